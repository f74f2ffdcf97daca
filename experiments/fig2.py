"""Fig. 2: mean SCM against iterations, and the box plot of SCM after the last (speech)."""

import matplotlib.pyplot as plt

from melexp.report.plots import (
    STYLE,
    WIDTH,
    at_last,
    band,
    boxes,
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
    table = read_table(results, "fig2")
    table = table[table["metric"] == "scm"]
    last, iterations = at_last(table)
    labels = methods_in_order(table)
    means = mean_table(table, ["label", "iteration"]).sort_values(["label", "iteration"])

    plt.rcParams.update(STYLE)
    figure, (curves, box) = plt.subplots(
        1, 2, figsize=(WIDTH, 3.1), width_ratios=[1.5, 1], layout="constrained"
    )
    for label in labels:
        rows = means[means["label"] == label]
        band(curves, rows["iteration"], rows, label=label, **look(label, labels))
    curves.set_xscale("log")
    curves.set_xlabel("iteration")
    curves.set_ylabel(metric_config("scm").label)
    curves.set_title("(a)", loc="left")
    handles, names = curves.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=4)
    boxes(box, last, labels)
    box.set_title(f"(b) after {iterations} iterations", loc="left")
    box.set_ylabel(metric_config("scm").label)

    save(
        figure,
        results,
        "fig2",
        drawn=means,
        caption=(
            f"(a) SCM against iterations on {table['clip'].nunique()} clips of speech "
            f"({', '.join(table['dataset'].unique())}): mean and 95 % interval over clips. "
            f"(b) SCM of each clip after {iterations} iterations."
        ),
    )


if __name__ == "__main__":
    main()
