"""What the figures share: style, colours, the tables that they are drawn from."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from omegaconf import OmegaConf

from melexp.discovery import conf_file
from melexp.files.atomic import write_text
from melexp.results.tables import mean_interval

#: Okabe and Ito's palette, which colour-blind readers can tell apart, and a line style and marker
#: each, so that a figure can be read without colour too.
_LOOKS = {
    "ADMM": ("#D55E00", "-", "o"),
    "ADMM, ramped": ("#000000", "-", "P"),
    "iPALM": ("#0072B2", "-", "s"),
    "iPALM (tuned)": ("#56B4E9", "--", "s"),
    "NNLS + GLA": ("#009E73", "-", "^"),
    "NNLS + FGLA": ("#E69F00", "-.", "v"),
    "NNLS + ADMM-GLA": ("#CC79A7", ":", "D"),
    "librosa": ("#7F7F7F", "--", "x"),
    "ADMM, new start": ("#8C2D04", "--", "X"),
    "ADMM, ramped, old start": ("#555555", ":", "P"),
    "iPALM (tuned), new start": ("#08306B", "-.", "s"),
    "KL + FGLA, new start": ("#8C6D1F", "-.", "*"),
}
_FURTHER = [("#1B7F79", "--", "*"), ("#5B2A86", "-.", "X"), ("#7A0019", ":", "h")]

STYLE: dict[str, Any] = {
    "figure.dpi": 150,
    "savefig.dpi": 200,
    "savefig.bbox": "tight",
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "legend.fontsize": 7,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.3,
    "lines.markersize": 3.5,
    "pdf.fonttype": 42,
    "legend.frameon": False,
    "svg.hashsalt": "melexp",
}

#: Two columns of a paper, in inches.
WIDTH = 7.0


def look(label: str, among: Sequence[str] = ()) -> dict[str, Any]:
    """Colour, line style and marker of a method; unknown ones get the next that is free."""
    if label in _LOOKS:
        colour, line, marker = _LOOKS[label]
    else:
        others = [name for name in among if name not in _LOOKS]
        place = others.index(label) if label in others else 0
        colour, line, marker = _FURTHER[place % len(_FURTHER)]
    return {"color": colour, "linestyle": line, "marker": marker}


def metric_config(metric: str) -> Any:
    """Label and direction of a metric, from its yaml."""
    return OmegaConf.load(conf_file("metric", metric))


def results_folder(description: str | None) -> Path:
    """The folder named on the command line of a figure's script."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("results", type=Path, nargs="?", default=Path("results/demo"))
    folder: Path = parser.parse_args().results
    return folder


def mean_table(table: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Mean over clips with its 95 % interval, for each value of the columns `by`."""
    rows = []
    for key, group in table.groupby(by, sort=False):
        mean, low, high = mean_interval(group["value"].to_numpy())
        values = dict(zip(by, key, strict=True))
        n = int(group["value"].notna().sum())
        rows.append(values | {"clips": n, "mean": mean, "low95": low, "high95": high})
    return pd.DataFrame(rows)


def band(ax: Axes, x: pd.Series, drawn: pd.DataFrame, **kwargs: Any) -> None:
    """A curve of means with its 95 % band."""
    ax.plot(x, drawn["mean"], **kwargs)
    ax.fill_between(x, drawn["low95"], drawn["high95"], color=kwargs["color"], alpha=0.15, lw=0)


def boxes(
    ax: Axes,
    table: pd.DataFrame,
    labels: Sequence[str],
    *,
    positions: Sequence[float] | None = None,
    width: float = 0.6,
) -> None:
    """A box per method: median, quartiles, whiskers to 1.5 interquartile ranges, mean as a dot."""
    values = [table.loc[table["label"] == label, "value"].dropna().to_numpy() for label in labels]
    drawn = ax.boxplot(
        values,
        positions=positions,
        widths=width,
        patch_artist=True,
        showmeans=True,
        manage_ticks=positions is None,
        meanprops={"marker": "o", "markersize": 2.5, "mfc": "white", "mec": "black", "mew": 0.6},
        medianprops={"color": "black", "linewidth": 1},
        flierprops={"marker": ".", "markersize": 2.5, "mec": "0.3"},
        whiskerprops={"linewidth": 0.8},
        capprops={"linewidth": 0.8},
    )
    for box, label in zip(drawn["boxes"], labels, strict=True):
        box.set_facecolor(look(label, labels)["color"])
        box.set_alpha(0.75)
        box.set_linewidth(0.8)
    for x, few in zip(positions or range(1, len(labels) + 1), values, strict=True):
        if len(few) <= 6:  # too few for quartiles to say much: show the clips
            ax.plot([x] * len(few), few, ".", color="0.2", markersize=2, zorder=3)
    if positions is None:
        ax.set_xticks(range(1, len(labels) + 1), labels, rotation=35, ha="right")
    ax.grid(axis="x", visible=False)


def save(figure: Figure, results: Path, name: str, *, drawn: pd.DataFrame, caption: str) -> None:
    """Write ``<name>.png`` and ``.pdf``, the CSV they were drawn from, and the caption."""
    figure.savefig(results / f"{name}.png", metadata={"Software": None})
    figure.savefig(results / f"{name}.pdf", metadata={"CreationDate": None})
    plt.close(figure)
    text = drawn.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    write_text(results / f"{name}.drawn.csv", text)
    write_text(results / f"{name}.txt", caption + "\n")
    print(f"{results / name}.png: {caption}")


def methods_in_order(table: pd.DataFrame) -> list[str]:
    """The labels of a table: cascades first, the proposed method last, unknown ones behind it."""
    order = ["librosa", "NNLS + GLA", "NNLS + FGLA", "NNLS + ADMM-GLA"]
    order += ["iPALM", "iPALM (tuned)", "ADMM", "ADMM, ramped"]
    labels = list(table["label"].drop_duplicates())
    return [name for name in order if name in labels] + sorted(set(labels) - set(order))


def at_last(table: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """The rows of the last iteration, and that iteration."""
    last = int(np.max(table["iteration"]))
    return table[table["iteration"] == last], last
