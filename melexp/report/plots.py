"""Style and drawing shared by all figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib

matplotlib.use("Agg")

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from melexp.results.statistics import look_of, metric_facts

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
    """Return the look of a method as keywords of matplotlib; see `look_of`."""
    chosen = look_of(label, among)
    return {"color": chosen.colour, "linestyle": chosen.line, "marker": chosen.marker}


def band(ax: Axes, x: pd.Series, drawn: pd.DataFrame, **kwargs: Any) -> None:
    """Draw a curve of means with its 95 % band."""
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
    """Draw a box per method: quartiles, whiskers to 1.5 interquartile ranges, mean as a dot."""
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
        if len(few) <= 6:  # quartiles of so few clips say little: show the clips
            ax.plot([x] * len(few), few, ".", color="0.2", markersize=2, zorder=3)
    if positions is None:
        ax.set_xticks(range(1, len(labels) + 1), labels, rotation=35, ha="right")
    ax.grid(axis="x", visible=False)


def panel(ax: Axes, letter: str, metric: str, *, title: str = "") -> None:
    """Label a panel with its letter and the metric of its y axis."""
    ax.set_title(f"({letter}) {title}".rstrip(), loc="left")
    ax.set_ylabel(metric_facts(metric).label)


def legend_above(figure: Figure, ax: Axes, columns: int = 4) -> None:
    """Put the legend of a panel above the figure."""
    handles, names = ax.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=columns)


def clips_of(table: pd.DataFrame, kind: str) -> str:
    """Return the number of clips and their data sets, for a caption."""
    return f"{table['clip'].nunique()} clips of {kind} ({', '.join(table['dataset'].unique())})"
