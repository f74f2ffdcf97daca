"""Compare two sets of results."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from melexp.results.columns import FIRST
from melexp.results.statistics import mean_interval, metric_facts, parameters_of, variants
from melexp.results.tables import read_table

#: Largest allowed change of a mean over clips. The iterations amplify rounding, so another engine,
#: processor or FFT library changes single clips slightly. Between the two engines, the mean SCM of
#: four clips changes by at most 0.004 dB.
TOLERANCE = {
    **{"scm": 0.5, "sc": 0.1, "lsd": 0.1},
    **{"pesq": 0.1, "estoi": 0.01, "visqol": 0.1, "visqol_speech": 0.1},
    **{"zimtohrli": 0.1, "dnsmos": 0.1},
}
#: Factors on the tolerance, by method. ADMM-GLA does not converge: its mean SCM changes by 0.2 dB,
#: that of a clip by 1 dB.
UNSETTLED = {"admm_gla": 3.0}


def tables_of(source: str, *, folder: str = "results/core") -> dict[str, pd.DataFrame]:
    """Return the tables of a folder of results, or of a commit.

    Parameters
    ----------
    source : str
        A folder of results, or a commit such as ``HEAD~2`` or ``HEAD~2:results/mine``.
    folder : str
        The folder of results in the commit, if `source` names none.

    Returns
    -------
    dict
        Tables by experiment.

    Raises
    ------
    ValueError
        If `source` is neither, or has no table.
    """
    if Path(source).is_dir():
        # A table of an experiment has a provenance file; other CSV files belong to figures.
        names = sorted(p.name.split(".")[0] for p in Path(source).glob("*.provenance.json"))
        tables = {name: read_table(source, name) for name in names}
    else:
        commit, _, inside = source.partition(":")
        inside = inside or folder
        files = _git("ls-tree", "--name-only", commit, f"{inside}/", source=source).split()
        names = sorted(Path(f).name.split(".")[0] for f in files if f.endswith(".provenance.json"))
        tables = {}
        for name in names:
            text = _git("show", f"{commit}:./{inside}/{name}.csv", source=source)
            tables[name] = read_table(io.StringIO(text), name)
    if not tables:
        raise ValueError(
            f"{source} has no tables of experiments; name a folder that melexp run wrote"
        )
    return tables


def _git(*arguments: str, source: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        why = done.stderr.strip().splitlines()[-1:]
        raise ValueError(f"{source} is neither a folder nor a commit with results: {''.join(why)}")
    return done.stdout


def compare(
    a: pd.DataFrame,
    b: pd.DataFrame,
    *,
    tolerance: Mapping[str, float] = TOLERANCE,
    either_way: bool = False,
) -> pd.DataFrame:
    """Compare the common rows of two tables of one experiment.

    Parameters
    ----------
    a, b : pd.DataFrame
        Tidy tables; rows are paired by clip, seed, method, parameters, iteration and metric.
    tolerance : mapping
        For each metric, the largest allowed loss of the mean over clips in `b`.
    either_way : bool
        Whether a gain above the tolerance is out of tolerance too.

    Returns
    -------
    pd.DataFrame
        A row per data set, method, iteration and metric. It has the means over clips of `a` and
        `b`; their difference b - a with its 95 % interval (Student's t over clips, each the mean
        over its seeds); the number of `clips`; the number of values `lost` in `b`; the tolerance;
        and whether the difference is `out` of tolerance.

    Raises
    ------
    ValueError
        If a metric has no tolerance.
    """
    parameters = sorted(set(parameters_of(a)) & set(parameters_of(b)))
    method = ["dataset", "method", "label", *parameters, "dtype"]
    key = [*method, "iteration", "metric", "clip", "seed"]
    both = a.drop_duplicates(key).merge(b.drop_duplicates(key), on=key, suffixes=("_a", "_b"))
    both["name"] = variants(both[[*FIRST[1:3], *method[1:]]])
    rows = []
    for (dataset, name, iteration, metric), pairs in both.groupby(
        ["dataset", "name", "iteration", "metric"], sort=False
    ):
        if metric not in tolerance:
            raise ValueError(f"there is no tolerance for {metric}; give --tolerance {metric}=...")
        allowed = tolerance[metric] * UNSETTLED.get(pairs["method"].iloc[0], 1.0)
        lost = int((pairs["value_a"].notna() & pairs["value_b"].isna()).sum())
        paired = pairs.dropna(subset=["value_a", "value_b"])
        clips = paired.groupby("clip")[["value_a", "value_b"]].mean()
        mean, low, high = mean_interval((clips["value_b"] - clips["value_a"]).to_numpy())
        worse = mean if metric_facts(str(metric)).lower_is_better else -mean
        rows.append(
            {"dataset": dataset, "name": name, "iteration": iteration, "metric": metric}
            | {"clips": len(clips), "a": clips["value_a"].mean(), "b": clips["value_b"].mean()}
            | {"difference": mean, "low95": low, "high95": high, "lost": lost}
            | {"tolerance": allowed}
            | {"out": bool(lost or worse > allowed or (either_way and worse < -allowed))}
        )
    return pd.DataFrame(rows)


def lines(compared: pd.DataFrame) -> list[str]:
    """Return the comparison as text, a line per row."""
    return [
        f"{r.dataset} {r.name_} {r.iteration} {r.metric}: {r.a:.3f} -> {r.b:.3f}, "
        f"{r.difference:+.3f} [{r.low95:+.3f}, {r.high95:+.3f}] "
        f"({r.clips} clips, tolerance {r.tolerance:g})"
        f"{f', {r.lost} values lost' if r.lost else ''}{'  OUT' if r.out else ''}"
        for r in compared.rename(columns={"name": "name_"}).itertuples()
    ]


def compare_all(
    a: Mapping[str, pd.DataFrame],
    b: Mapping[str, pd.DataFrame],
    *,
    every: bool = True,
    **options: Any,
) -> int:
    """Print the comparison of the common experiments; return 1 if a mean is out of tolerance.

    Parameters
    ----------
    a, b : mapping
        Tables by experiment.
    every : bool
        Print every mean; otherwise only means that differ or lost values.
    **options
        As of `compare`.

    Raises
    ------
    ValueError
        If no row is in both.
    """
    out = compared_rows = differing = 0
    for name in sorted(a.keys() & b.keys()):
        compared = compare(a[name], b[name], **options)
        if compared.empty:
            continue
        changed = compared[(compared["a"] != compared["b"]) | compared["out"]]
        shown = compared if every else changed
        print(f"{name}: {len(compared)} means, {len(changed)} differ")
        print("".join(f"{line}\n" for line in lines(shown)), end="")
        out += int(compared["out"].sum())
        differing += len(changed)
        compared_rows += len(compared)
    for name in sorted(a.keys() ^ b.keys()):
        print(f"{name}: only in {'A' if name in a else 'B'}, not compared")
    if not compared_rows:
        raise ValueError("the two have no row in common: nothing to compare")
    print(f"{compared_rows} means compared, {differing} differ, {out} out of tolerance")
    return int(out > 0)


def compare_sources(
    a: str,
    b: str,
    *,
    experiments: Sequence[str] = (),
    tolerance: Sequence[str] = (),
    every: bool = False,
) -> int:
    """Print the comparison of two folders or commits; return 1 if the second is worse.

    Parameters
    ----------
    a, b : str
        As of `tables_of`.
    experiments : sequence of str
        The experiments to compare; by default all common ones.
    tolerance : sequence of str
        Overrides of `TOLERANCE`, such as ``scm=0.5``.
    every : bool
        As of `compare_all`.

    Raises
    ------
    ValueError
        For an unknown experiment or source, or a tolerance that is not a number.
    """
    allowed = dict(TOLERANCE)
    for text in tolerance:
        metric, _, value = text.partition("=")
        try:
            allowed[metric] = float(value)
        except ValueError:
            raise ValueError(f"--tolerance {text} must look like scm=0.5") from None
    first, second = tables_of(a), tables_of(b)
    for name in experiments:
        if name not in first or name not in second:
            both = ", ".join(sorted(first.keys() & second.keys()))
            raise ValueError(f"{name} is not in both; there are {both}")
    if experiments:
        first = {name: first[name] for name in experiments}
        second = {name: second[name] for name in experiments}
    return compare_all(first, second, tolerance=allowed, every=every)
