"""Ablation: the start and the growing penalties, each alone and together, and other methods."""

import matplotlib.pyplot as plt
import pandas as pd

from melexp.report.figures import Drawing, draw_figure
from melexp.report.plots import WIDTH, clips_of, legend_above, look, panel
from melexp.results.statistics import mean_table

#: Pairs of labels with the same iteration: with the own or old start, and with the new start.
PAIRS = [
    ("NNLS + FGLA", "KL + FGLA, new start"),
    ("iPALM (tuned)", "iPALM (tuned), new start"),
    ("ADMM", "ADMM, new start"),
    ("ADMM, ramped, old start", "ADMM, ramped"),
]
#: Label of the method that gives each pair its colour.
COLOURS = ["NNLS + FGLA", "iPALM", "ADMM", "ADMM, ramped"]
METRICS = ["scm", "sc", "pesq", "estoi"]


def draw(table: pd.DataFrame) -> Drawing:
    # The value of a clip is the mean over its seeds; the interval is over clips.
    by = ["label", "iteration", "metric", "clip"]
    clips = table.groupby(by, sort=False)["value"].mean().reset_index()
    means = mean_table(clips, ["metric", "label", "iteration"])
    counts = sorted(means["iteration"].unique())
    labels = [label for pair in PAIRS for label in pair]

    figure, axes = plt.subplots(1, 4, figsize=(WIDTH, 2.7), layout="constrained")
    for ax, letter, metric in zip(axes, "abcd", METRICS, strict=True):
        for place, label in enumerate(labels):
            colour, new = look(COLOURS[place // 2])["color"], place % 2 == 1
            rows = means[(means["metric"] == metric) & (means["label"] == label)]
            # Shifted, so that the intervals do not overlap.
            x = [counts.index(n) + 0.06 * (place - 3.5) for n in rows["iteration"]]
            ax.errorbar(
                x,
                rows["mean"],
                yerr=[rows["mean"] - rows["low95"], rows["high95"] - rows["mean"]],
                color=colour,
                linestyle="-" if new else "--",
                marker="o" if new else "s",
                markerfacecolor=colour if new else "white",
                linewidth=0.9,
                elinewidth=0.7,
                label=label,
            )
        ax.set_xticks(range(len(counts)), counts)
        ax.set_xlabel("iterations")
        panel(ax, letter, metric)
        ax.grid(axis="x", visible=False)
    legend_above(figure, axes[0])
    n = table["seed"].nunique()
    seeds = "one seed" if n == 1 else f"{n} seeds"
    caption = (
        f"Start and penalties: means over {clips_of(table, 'speech')}, each the mean over "
        f"{seeds}, with 95 % intervals. Filled markers: new start "
        "(main-lobe KL magnitude, PGHI phase). Open markers: the method's own start."
    )
    return Drawing(figure, means, caption)


if __name__ == "__main__":
    draw_figure(__file__)
