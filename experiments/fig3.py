"""Fig. 3: box plots of PESQ and ESTOI after the last iteration (speech)."""

import matplotlib.pyplot as plt
import pandas as pd

from melexp.report.figures import Drawing, draw_figure
from melexp.report.plots import WIDTH, boxes, clips_of, panel
from melexp.results.statistics import at_last, methods_in_order


def draw(table: pd.DataFrame) -> Drawing:
    table, iterations = at_last(table)
    table = table[table["metric"].isin(["pesq", "estoi"])]
    labels = methods_in_order(table)
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 2.7), layout="constrained")
    for ax, letter, metric in zip(axes, "ab", ["pesq", "estoi"], strict=True):
        boxes(ax, table[table["metric"] == metric], labels)
        panel(ax, letter, metric)
    caption = (
        f"(a) PESQ and (b) ESTOI of {clips_of(table, 'speech')} after {iterations} iterations; "
        "box: quartiles and median, white dot: mean."
    )
    return Drawing(figure, table[["metric", "label", "clip", "value"]], caption)


if __name__ == "__main__":
    draw_figure(__file__)
