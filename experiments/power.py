"""Power mels: PESQ, ESTOI and SCM on speech, SC and SCM on foley, after the last iteration."""

import matplotlib.pyplot as plt
import pandas as pd

from melexp.figures import (
    STYLE,
    WIDTH,
    at_last,
    boxes,
    methods_in_order,
    metric_config,
    results_folder,
    save,
)
from melexp.tables import read_table

PANELS = [
    ("speech", "pesq"),
    ("speech", "estoi"),
    ("speech", "scm"),
    ("foley", "sc"),
    ("foley", "scm"),
]


def main() -> None:
    results = results_folder(__doc__)
    table, iterations = at_last(read_table(results, "power"))
    labels = methods_in_order(table)
    # PESQ is computed on speech only, so it tells the two data sets apart.
    speech = table.loc[table["metric"] == "pesq", "dataset"].unique()
    kinds = {
        "speech": table[table["dataset"].isin(speech)],
        "foley": table[~table["dataset"].isin(speech)],
    }

    plt.rcParams.update(STYLE)
    figure, axes = plt.subplots(1, 5, figsize=(WIDTH, 2.6), layout="constrained")
    drawn = []
    for ax, letter, (kind, metric) in zip(axes, "abcde", PANELS, strict=True):
        rows = kinds[kind][kinds[kind]["metric"] == metric]
        boxes(ax, rows, labels)
        ax.tick_params(axis="x", labelrotation=60)
        ax.set_ylabel(metric_config(metric).label)
        ax.set_title(f"({letter}) {kind}", loc="left")
        drawn.append(rows[["dataset", "metric", "label", "clip", "value"]])

    clips = {kind: rows["clip"].nunique() for kind, rows in kinds.items()}
    save(
        figure,
        results,
        "power",
        drawn=pd.concat(drawn),
        caption=(
            f"Power mel-spectrograms after {iterations} iterations: PESQ, ESTOI and SCM of "
            f"{clips['speech']} clips of speech ({', '.join(speech)}), SC and SCM of "
            f"{clips['foley']} of foley ({', '.join(kinds['foley']['dataset'].unique())}); box: "
            "quartiles and median, white dot: mean."
        ),
    )


if __name__ == "__main__":
    main()
