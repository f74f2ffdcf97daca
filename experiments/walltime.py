"""Quality against wall time: every method on speech, the start's time included."""

import matplotlib.pyplot as plt
import pandas as pd

from melexp.report.plots import (
    STYLE,
    WIDTH,
    look,
    mean_table,
    methods_in_order,
    metric_config,
    results_folder,
    save,
)
from melexp.results.tables import read_table


def main() -> None:
    results = results_folder(__doc__)
    table = read_table(results, "walltime")
    labels = methods_in_order(table)

    plt.rcParams.update(STYLE)
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
        ax.set_ylabel(metric_config(metric).label)
        ax.set_title(f"({letter})", loc="left")
        drawn.append(means.assign(metric=metric))
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=4)

    save(
        figure,
        results,
        "walltime",
        drawn=pd.concat(drawn),
        caption=(
            f"Mean quality of {table['clip'].nunique()} clips of speech "
            f"({', '.join(table['dataset'].unique())}) against the mean time that a method takes "
            "on one core, its start included; each mark is a run of its own. New start: main-lobe "
            "KL magnitude and PGHI phase."
        ),
    )


if __name__ == "__main__":
    main()
