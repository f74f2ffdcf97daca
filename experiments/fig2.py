"""Fig. 2: mean SCM against iterations, and the box plot of SCM after the last (speech)."""

import matplotlib.pyplot as plt
import pandas as pd

from melexp.report.figures import Drawing, draw_figure
from melexp.report.plots import WIDTH, band, boxes, clips_of, legend_above, look, panel
from melexp.results.statistics import at_last, mean_table, methods_in_order


def draw(table: pd.DataFrame) -> Drawing:
    table = table[table["metric"] == "scm"]
    last, iterations = at_last(table)
    labels = methods_in_order(table)
    means = mean_table(table, ["label", "iteration"]).sort_values(["label", "iteration"])

    figure, (curves, box) = plt.subplots(
        1, 2, figsize=(WIDTH, 3.1), width_ratios=[1.5, 1], layout="constrained"
    )
    for label in labels:
        rows = means[means["label"] == label]
        band(curves, rows["iteration"], rows, label=label, **look(label, labels))
    curves.set_xscale("log")
    curves.set_xlabel("iteration")
    panel(curves, "a", "scm")
    legend_above(figure, curves)
    boxes(box, last, labels)
    panel(box, "b", "scm", title=f"after {iterations} iterations")
    caption = (
        f"(a) SCM against iterations on {clips_of(table, 'speech')}: mean and 95 % interval over "
        f"clips. (b) SCM of each clip after {iterations} iterations."
    )
    return Drawing(figure, means, caption)


if __name__ == "__main__":
    draw_figure(__file__)
