"""Fig. 4: SC of iPALM and ADMM on foley sounds, per category and overall."""

import matplotlib.pyplot as plt
from matplotlib.patches import Patch

from melexp.report.plots import (
    STYLE,
    WIDTH,
    at_last,
    boxes,
    look,
    metric_config,
    results_folder,
    save,
)
from melexp.results.tables import read_table

METHODS = ["iPALM", "iPALM (tuned)", "ADMM"]


def main() -> None:
    results = results_folder(__doc__)
    table, iterations = at_last(read_table(results, "fig4"))
    table = table[(table["metric"] == "sc") & table["label"].isin(METHODS)]
    categories = [*sorted(table["category"].unique()), "all"]

    plt.rcParams.update(STYLE)
    figure, ax = plt.subplots(figsize=(WIDTH, 2.7), layout="constrained")
    for place, category in enumerate(categories):
        rows = table if category == "all" else table[table["category"] == category]
        boxes(ax, rows, METHODS, positions=[place - 0.27, place, place + 0.27], width=0.22)
    ax.axvline(len(categories) - 1.5, color="0.6", linewidth=0.8)
    names = [category.replace("_", " ") for category in categories]
    ax.set_xticks(range(len(categories)), names, rotation=30, ha="right")
    ax.set_ylabel(metric_config("sc").label)
    ax.legend(
        handles=[Patch(fc=look(m)["color"], ec="black", lw=0.6, alpha=0.75) for m in METHODS],
        labels=METHODS,
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        ncols=len(METHODS),
    )

    save(
        figure,
        results,
        "fig4",
        drawn=table[["category", "label", "clip", "value"]],
        caption=(
            f"SC of {table['clip'].nunique()} foley clips "
            f"({', '.join(table['dataset'].unique())}) after {iterations} iterations, per "
            "category and overall; box: quartiles and median, white dot: mean."
        ),
    )


if __name__ == "__main__":
    main()
