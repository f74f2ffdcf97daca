"""Fig. 4: SC of iPALM and ADMM on foley sounds, per category and overall."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.patches import Patch

from melexp.report.figures import Drawing, draw_figure
from melexp.report.plots import WIDTH, boxes, clips_of, look
from melexp.results.statistics import at_last, metric_facts

METHODS = ["iPALM", "iPALM (tuned)", "ADMM"]


def draw(table: pd.DataFrame) -> Drawing:
    table, iterations = at_last(table)
    table = table[(table["metric"] == "sc") & table["label"].isin(METHODS)]
    categories = [*sorted(table["category"].unique()), "all"]

    figure, ax = plt.subplots(figsize=(WIDTH, 2.7), layout="constrained")
    for place, category in enumerate(categories):
        rows = table if category == "all" else table[table["category"] == category]
        boxes(ax, rows, METHODS, positions=[place - 0.27, place, place + 0.27], width=0.22)
    ax.axvline(len(categories) - 1.5, color="0.6", linewidth=0.8)
    names = [category.replace("_", " ") for category in categories]
    ax.set_xticks(range(len(categories)), names, rotation=30, ha="right")
    ax.set_ylabel(metric_facts("sc").label)
    ax.legend(
        handles=[Patch(fc=look(m)["color"], ec="black", lw=0.6, alpha=0.75) for m in METHODS],
        labels=METHODS,
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        ncols=len(METHODS),
    )
    caption = (
        f"SC of {clips_of(table, 'foley')} after {iterations} iterations, per category and "
        "overall; box: quartiles and median, white dot: mean."
    )
    return Drawing(figure, table[["category", "label", "clip", "value"]], caption)


if __name__ == "__main__":
    draw_figure(__file__)
