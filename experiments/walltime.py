"""Quality against CPU time: every method on speech, including the time of the start."""

import matplotlib.pyplot as plt
import pandas as pd

from melexp.report.figures import Drawing, draw_figure
from melexp.report.plots import WIDTH, clips_of, legend_above, look, panel
from melexp.results.statistics import mean_table, methods_in_order


def draw(table: pd.DataFrame) -> Drawing:
    labels = methods_in_order(table)
    figure, axes = plt.subplots(1, 3, figsize=(WIDTH, 2.6), layout="constrained")
    drawn = []
    for ax, letter, metric in zip(axes, "abc", ["scm", "pesq", "estoi"], strict=True):
        rows = table[table["metric"] == metric]
        means = mean_table(rows, ["label", "iteration"])
        seconds = rows.groupby(["label", "iteration"])["seconds"].mean().rename("seconds")
        means = means.join(seconds, on=["label", "iteration"]).sort_values(["label", "iteration"])
        for label in labels:
            curve = means[means["label"] == label]
            ax.plot(
                curve["seconds"], curve["mean"], label=label, markersize=2.5, **look(label, labels)
            )
        ax.set_xscale("log")
        ax.set_xlabel("seconds per clip")
        panel(ax, letter, metric)
        drawn.append(means.assign(metric=metric))
    legend_above(figure, axes[0])
    caption = (
        f"Mean quality of {clips_of(table, 'speech')} against the mean time of a run on one core, "
        "including its start. Each mark is a separate run. New start: main-lobe KL magnitude and "
        "PGHI phase."
    )
    return Drawing(figure, pd.concat(drawn), caption)


if __name__ == "__main__":
    draw_figure(__file__)
