"""Fig. 4: SC of iPALM and ADMM on foley sounds, per category and overall, with paired tests."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.patches import Patch
from scipy.stats import wilcoxon

from melexp.report.figures import Drawing, draw_figure
from melexp.report.plots import WIDTH, boxes, clips_of, look
from melexp.results.statistics import at_last, holm, mean_interval, metric_facts, p_text

METHODS = ["iPALM", "iPALM (tuned)", "ADMM", "ADMM, ramped"]
#: The method that the others are compared with.
BASE = "ADMM"


def draw(table: pd.DataFrame) -> Drawing:
    table, iterations = at_last(table)
    table = table[(table["metric"] == "sc") & table["label"].isin(METHODS) & table["value"].notna()]
    methods = [label for label in METHODS if label in set(table["label"])]
    categories = [*sorted(table["category"].unique()), "all"]

    figure, ax = plt.subplots(figsize=(WIDTH, 2.7), layout="constrained")
    for place, category in enumerate(categories):
        rows = table if category == "all" else table[table["category"] == category]
        middle = (len(methods) - 1) / 2
        positions = [place + 0.21 * (n - middle) for n in range(len(methods))]
        boxes(ax, rows, methods, positions=positions, width=0.17)
    ax.axvline(len(categories) - 1.5, color="0.6", linewidth=0.8)
    names = [category.replace("_", " ") for category in categories]
    ax.set_xticks(range(len(categories)), names, rotation=30, ha="right")
    ax.set_ylabel(metric_facts("sc").label)
    ax.legend(
        handles=[Patch(fc=look(m)["color"], ec="black", lw=0.6, alpha=0.75) for m in methods],
        labels=methods,
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        ncols=len(methods),
    )
    caption = (
        f"SC of {clips_of(table, 'foley')} after {iterations} iterations, per category and "
        "overall; box: quartiles and median, white dot: mean."
    )
    texts = {"fig4.md": markdown(table, iterations)}
    return Drawing(figure, table[["category", "label", "clip", "value"]], caption, texts)


def markdown(table: pd.DataFrame, iterations: int) -> str:
    """Return the difference of each method from ADMM, with its interval and paired tests."""
    values = table.pivot_table(index="clip", columns="label", values="value")
    others = [label for label in METHODS if label in values and label != BASE]
    if BASE not in values or not others:
        return "The table has no methods to compare.\n"
    gains = {label: (values[label] - values[BASE]).dropna() for label in others}
    p = {label: float(wilcoxon(gain).pvalue) for label, gain in gains.items()}
    corrected = dict(zip(p, holm(list(p.values())), strict=True))
    lines = [
        f"SC after {iterations} iterations minus that of {BASE} in dB, below zero if the method is",
        f"better: mean over {len(values)} clips, each the mean over its seeds, with the 95 %",
        "interval; the p of the paired Wilcoxon test, alone and corrected (Holm) for the number of",
        "comparisons; and the share of clips on which the method is better.",
        "",
        "| method | difference | 95 % interval | p | corrected p | better on |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for label, gain in gains.items():
        mean, low, high = mean_interval(gain.to_numpy())
        lines.append(
            f"| {label} | {mean:+.2f} | {low:+.2f} to {high:+.2f} | {p_text(p[label])} "
            f"| {p_text(corrected[label])} | {100 * (gain < 0).mean():.0f} % |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    draw_figure(__file__)
