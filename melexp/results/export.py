"""Export the table of an experiment for other programs and for a paper."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd

from melexp.errors import printable, require
from melexp.files.atomic import write_bytes, write_text
from melexp.results.columns import to_csv
from melexp.results.statistics import mean_interval, metric_facts, variants

#: Columns that no LaTeX table needs.
UNUSED = ("experiment", "category", "method", "seed", "reason", "seconds")

#: Characters that mean something else in TeX, or that its default font lacks.
_TEX = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
}


def export(table: pd.DataFrame, path: Path) -> None:
    """Write a table in the format of the file's suffix.

    Parameters
    ----------
    table : pd.DataFrame
        Tidy rows of one experiment.
    path : Path
        ``.csv`` and ``.parquet`` get all rows (see `melexp.results.columns.to_csv`); ``.tex`` gets
        the means after the last iteration (see `latex`).

    Raises
    ------
    ValueError
        For another suffix, or if the package for Parquet is not installed.
    """
    if path.suffix == ".csv":
        write_text(path, to_csv(table))
    elif path.suffix == ".parquet":
        require("parquet", "pyarrow", what="Parquet")
        buffer = io.BytesIO()
        table.to_parquet(buffer, index=False)
        write_bytes(path, buffer.getvalue())
    elif path.suffix == ".tex":
        write_text(path, latex(table))
    else:
        raise ValueError(f"{path} must end in .csv, .parquet or .tex")


def latex(table: pd.DataFrame) -> str:
    """Return a LaTeX table: the mean of each metric over clips, with its 95 % interval.

    Each clip counts once, as the mean over its seeds. The best mean of a column is bold. The
    table needs the LaTeX package booktabs.

    Parameters
    ----------
    table : pd.DataFrame
        Tidy rows of one experiment; each data set gets its own table.
    """
    name = pd.Categorical(variants(table))
    codes = name.codes
    iteration = table["iteration"].to_numpy()
    last_of = np.zeros(len(name.categories), iteration.dtype)
    np.maximum.at(last_of, codes, iteration)
    # Few rows and columns are left before any copy: a large table takes too much memory twice.
    rows = np.flatnonzero(iteration == last_of[codes])
    last = table[["dataset", "clip", "metric", "value"]].take(rows)
    last["name"] = name[rows]
    of_dataset = last.groupby("dataset", sort=False, observed=True)
    return "\n".join(_tabular(str(dataset), rows) for dataset, rows in of_dataset)


def _tabular(dataset: str, rows: pd.DataFrame) -> str:
    metrics = list(rows["metric"].drop_duplicates())
    names = list(rows["name"].drop_duplicates())
    cells = {
        key: mean_interval(group.groupby("clip", observed=True)["value"].mean().to_numpy())
        for key, group in rows.groupby(["name", "metric"], observed=True)
    }
    how = {metric: metric_facts(metric) for metric in metrics}
    best = {}
    for metric in metrics:
        means = [cells[name, metric][0] for name in names if (name, metric) in cells]
        means = [mean for mean in means if np.isfinite(mean)]
        if means:
            best[metric] = min(means) if how[metric].lower_is_better else max(means)

    def cell(name: str, metric: str) -> str:
        mean, low, high = cells.get((name, metric), (np.nan,) * 3)
        if not np.isfinite(mean):
            return "--"
        number = how[metric].text(mean)
        number = rf"\mathbf{{{number}}}" if mean == best[metric] else number
        half = (high - low) / 2
        return f"${number}$" if np.isnan(half) else rf"${number} \pm {how[metric].text(half)}$"

    heads = [
        rf"{_escaped(how[m].label)} $\{'down' if how[m].lower_is_better else 'up'}arrow$"
        for m in metrics
    ]
    n = rows["clip"].nunique()
    body = [" & ".join([_escaped(x), *(cell(x, m) for m in metrics)]) + r" \\" for x in names]
    return "\n".join(
        [
            f"% {printable(dataset)}: mean over {n} clips with its 95 % interval, last iteration",
            rf"\begin{{tabular}}{{l{'r' * len(metrics)}}}",
            r"\toprule",
            " & ".join(["Method", *heads]) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def _escaped(text: str) -> str:
    return "".join(_TEX.get(character, character) for character in printable(text))
