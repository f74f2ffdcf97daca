"""Power mels: PESQ, ESTOI and SCM on speech, SC and SCM on foley, after the last iteration."""

import matplotlib.pyplot as plt
import pandas as pd

from melexp.files.atomic import write_text
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

PANELS = [
    ("speech", "pesq"),
    ("speech", "estoi"),
    ("speech", "scm"),
    ("foley", "sc"),
    ("foley", "scm"),
]


def main() -> None:
    results = results_folder(__doc__)
    every = read_table(results, "power")
    table, iterations = at_last(every)
    labels = methods_in_order(table)
    # PESQ is computed on speech only, so it tells the two data sets apart.
    speech = table.loc[table["metric"] == "pesq", "dataset"].unique()
    kinds = {
        "speech": table[table["dataset"].isin(speech)],
        "foley": table[~table["dataset"].isin(speech)],
    }

    write_text(results / "power.md", markdown(every, list(speech)))

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


def markdown(table: pd.DataFrame, speech: list[str]) -> str:
    """Means by iterations: of speech, of the clips that were not used for tuning."""
    lines = [
        "Means of power mel-spectrograms by iterations, and seconds of a run. Of speech, every",
        "second clip: with the others the parameters were chosen (`python studies/beyond.py",
        "power`).",
    ]
    for dataset, rows in table.groupby("dataset", sort=False):
        clips = rows["clip"].drop_duplicates()
        clips = clips[1::2] if dataset in speech else clips
        rows = rows[rows["clip"].isin(clips)]
        metrics = ["scm", "sc", "pesq", "estoi"] if dataset in speech else ["scm", "sc"]
        heads = " | ".join(metric_config(m).label for m in metrics)
        lines += ["", f"**{dataset}** ({len(clips)} clips)", ""]
        lines += [f"| method | iterations | {heads} | seconds |"]
        lines += ["| --- | ---: |" + " ---: |" * (len(metrics) + 1)]
        for (label, n), group in rows.groupby(["label", "iteration"], sort=False):
            means = group.groupby("metric")["value"].mean()
            digits = {"estoi": 3, "pesq": 2}
            values = " | ".join(f"{means[m]:.{digits.get(m, 1)}f}" for m in metrics)
            lines.append(f"| {label} | {n} | {values} | {group['seconds'].mean():.3f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
