"""Generate tables of Markdown from results/core and results/bench."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import pandas as pd

from melexp.results import statistics
from melexp.results.statistics import at_last, metric_facts
from melexp.results.tables import read_table

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "results" / "core"
TITLES = {"ljspeech": ("Speech", "LJ Speech"), "esc10": ("Foley", "ESC-10")}
METRICS = ["scm", "sc", "pesq", "estoi"]


def table(rows: list[list[str]], *, text_columns: int = 1) -> str:
    """Return rows, the first one the header, as a table; all but the first columns are numbers."""
    numbers = len(rows[0]) - text_columns
    rule = ["---"] * text_columns + ["---:"] * numbers
    return "\n".join("| " + " | ".join(row) + " |" for row in [rows[0], rule, *rows[1:]]) + "\n"


def share(value: float) -> str:
    """Return a share in percent, or nothing if there is none."""
    return "" if pd.isna(value) else f"{100 * value:.0f} %"


@functools.cache
def summary_rows() -> pd.DataFrame:
    """Return the rows of results/core/summary.csv at full precision, from Fig. 3 and Fig. 4.

    The file has six digits. Rounding them again changes some values: -23.67495 becomes -23.68.
    """
    return statistics.summary(
        pd.concat([at_last(read_table(CORE, name))[0] for name in ("fig3", "fig4")])
    )


def results(dataset: str) -> str:
    """Return the means of every method on a data set, and the share of runs that ADMM wins."""
    rows = summary_rows()
    rows = rows[rows["dataset"] == dataset]
    metrics = [m for m in METRICS if m in set(rows["metric"])]
    means = rows.pivot(index="method", columns="metric", values="mean")
    wins = rows[rows["metric"] == "scm"].set_index("method")["win_rate"]
    head = ["method", *(metric_facts(m).label for m in metrics), "ADMM wins SCM"]
    body = [
        [method, *(f"{means.loc[method, m]:.{metric_facts(m).digits}f}" for m in metrics), share(w)]
        for method, w in wins.items()
    ]
    kind, name = TITLES[dataset]
    return (
        f"## {kind}\n\n{rows['clips'].max()} clips of {name}, 500 iterations, means over clips and "
        "three seeds, and the share of runs that ADMM wins.\n\n" + table([head, *body])
    )


def summary() -> str:
    """Return results/core/summary.md with its parts as sections."""
    return _sections((CORE / "summary.md").read_text())


def text(name: str) -> str:
    """Return results/core/<name>.md with its parts as sections, or say that it is missing."""
    path = CORE / f"{name}.md"
    if not path.exists():
        return f"*There is no table yet: run `melexp reproduce --profile core {name}`.*"
    return _sections(path.read_text())


def power() -> str:
    """Return results/core/power.md with its parts as sections."""
    return _sections((CORE / "power.md").read_text())


def bench() -> str:
    """Return results/bench/bench.md with its parts as sections."""
    return _sections((ROOT / "results" / "bench" / "bench.md").read_text())


def _sections(text: str) -> str:
    return re.sub(r"(?m)^\*\*(.+?)\*\*(.*)$", r"### \1\2", text)


def claims() -> str:
    """Return each claim of the paper beside the value of results/core."""
    rows = summary_rows().set_index(["dataset", "metric", "method"])
    curve = pd.read_csv(CORE / "fig2.drawn.csv").set_index(["label", "iteration"])["mean"]

    def mean(metric: str, method: str, dataset: str = "ljspeech") -> float:
        return float(rows.loc[(dataset, metric, method), "mean"])

    ipalm, foley = rows.loc[("ljspeech", "scm", "iPALM")], rows.loc[("esc10", "sc", "iPALM")]
    cascades = ["NNLS + GLA", "NNLS + FGLA", "NNLS + ADMM-GLA"]
    ahead = min(mean("scm", c) for c in cascades) - mean("scm", "ADMM")
    clearer = mean("pesq", "ADMM") - max(mean("pesq", c) for c in cascades)
    won = min(float(rows.loc[("ljspeech", "scm", c), "win_rate"]) for c in cascades)
    lam, rho = sweep("lam"), sweep("rho")
    near = lam[(lam.index >= 1000) & (lam.index <= 20000)]
    body = [
        [
            "ADMM beats iPALM on speech",
            f"SCM {mean('scm', 'ADMM'):.1f} against {mean('scm', 'iPALM'):.1f} dB; better in "
            f"{share(ipalm.win_rate)} of the runs and {share(ipalm.clip_win_rate)} of the clips; "
            f"PESQ {mean('pesq', 'ADMM'):.2f} against {mean('pesq', 'iPALM'):.2f}; "
            f"ESTOI {mean('estoi', 'ADMM'):.3f} against {mean('estoi', 'iPALM'):.3f}",
            verdict(ipalm.p < 0.05 and mean("scm", "ADMM") < mean("scm", "iPALM")),
            "`fig3`",
        ],
        [
            "ADMM beats the cascades on speech",
            f"SCM at least {ahead:.1f} dB lower, PESQ at least {clearer:.1f} higher; SCM better in "
            f"{share(won)} of the runs",
            verdict(ahead > 0 and clearer > 0),
            "`fig3`",
        ],
        [
            "ADMM needs fewer iterations",
            f"SCM {curve['ADMM', 160]:.1f} dB after 160; iPALM {curve['iPALM', 500]:.1f} dB "
            "after 500",
            verdict(curve["ADMM", 160] <= curve["iPALM", 500]),
            "`fig2`",
        ],
        [
            "ADMM beats iPALM on foley",
            f"SC {mean('sc', 'ADMM', 'esc10'):.2f} against {mean('sc', 'iPALM', 'esc10'):.2f} dB, "
            f"p = {foley.p:.2f}",
            verdict(foley.p < 0.05),
            "`fig4`",
        ],
        [
            "lambda = 5000 and rho = 0.1 are best",
            f"best of their sweeps: lambda {lam.idxmin():g}, rho {rho.idxmin():g}; lambda 1000 to "
            f"20000 within {near.max() - near.min():.1f} dB, rho = 1 worse by "
            f"{rho[1.0] - rho.min():.1f} dB",
            verdict(lam.idxmin() == 5000 and rho.idxmin() == 0.1),
            "`fig1`",
        ],
    ]
    head = ["claim", "here", "shown?", "`melexp reproduce --profile core ...`"]
    return table([head, *body], text_columns=4)


def verdict(shown: bool) -> str:
    """Return the word for a claim that the results show, or do not show."""
    return "yes" if shown else "not shown"


def sweep(parameter: str) -> pd.Series:
    """Return the mean SCM of ADMM after 500 iterations against a parameter of Fig. 1."""
    drawn = pd.read_csv(CORE / "fig1.drawn.csv")
    chosen = (drawn["swept"] == parameter) & (drawn["metric"] == "scm")
    return drawn[chosen].set_index("x")["mean"]


def inspection() -> str:
    """Return the shares of right explanations and of warnings, from results/inspect."""
    answers = pd.read_csv(ROOT / "results" / "inspect" / "confusion.csv")
    warned = pd.read_csv(ROOT / "results" / "inspect" / "warnings.csv")
    right = warned["truth"] == warned["claimed"]
    wrong = len(warned[~right][["truth", "claimed"]].drop_duplicates())
    rows = [["mels of", "mels", "conventions", "explained first", "false warnings", "warnings"]]
    for dataset, part in answers.groupby("dataset", sort=False):
        hits = part.loc[part["right"], "mels"].sum() / part["mels"].sum()
        counts = [warned[(warned["dataset"] == dataset) & kind] for kind in (right, ~right)]
        false, found = (c["warned"].sum() / c["mels"].sum() for c in counts)
        mels, conventions = part["mels"].sum(), part["truth"].nunique()
        percent = [f"{100 * value:.1f} %" for value in (hits, false, found)]
        rows.append([dataset, str(mels), str(conventions), *percent])
    return (
        table(rows)
        + "\n*Explained first* counts mels whose true convention is the first explanation. *False "
        f"warnings* are those for right settings, *warnings* those for {wrong} wrong ones.\n"
    )
