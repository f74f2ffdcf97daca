"""Fig. 3: box plots of PESQ and ESTOI after the last iteration (speech)."""

import matplotlib.pyplot as plt

from melexp.report.plots import (
    STYLE,
    WIDTH,
    at_last,
    boxes,
    methods_in_order,
    metric_config,
    results_folder,
    save,
)
from melexp.results.tables import read_table


def main() -> None:
    results = results_folder(__doc__)
    table, iterations = at_last(read_table(results, "fig3"))
    table = table[table["metric"].isin(["pesq", "estoi"])]
    labels = methods_in_order(table)

    plt.rcParams.update(STYLE)
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 2.7), layout="constrained")
    for ax, letter, metric in zip(axes, "ab", ["pesq", "estoi"], strict=True):
        boxes(ax, table[table["metric"] == metric], labels)
        ax.set_ylabel(metric_config(metric).label)
        ax.set_title(f"({letter})", loc="left")

    save(
        figure,
        results,
        "fig3",
        drawn=table[["metric", "label", "clip", "value"]],
        caption=(
            f"(a) PESQ and (b) ESTOI of {table['clip'].nunique()} clips of speech "
            f"({', '.join(table['dataset'].unique())}) after {iterations} iterations; box: "
            "quartiles and median, white dot: mean."
        ),
    )


if __name__ == "__main__":
    main()
