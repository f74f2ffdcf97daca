"""Ablation: the start and the penalty schedule, each alone and together, and with other methods."""

import matplotlib.pyplot as plt
import pandas as pd

from melexp.report.plots import STYLE, WIDTH, mean_table, metric_config, results_folder, save
from melexp.results.tables import read_table

#: Colour by iteration; filled markers and solid lines with the new start.
LOOKS = {
    "NNLS + FGLA": ("#E69F00", False),
    "KL + FGLA, new start": ("#E69F00", True),
    "iPALM (tuned)": ("#0072B2", False),
    "iPALM (tuned), new start": ("#0072B2", True),
    "ADMM": ("#D55E00", False),
    "ADMM, new start": ("#D55E00", True),
    "ADMM, ramped, old start": ("#000000", False),
    "ADMM, ramped": ("#000000", True),
}
METRICS = ["scm", "sc", "pesq", "estoi"]


def main() -> None:
    results = results_folder(__doc__)
    table = read_table(results, "ablation")
    # A clip's value is the mean over its seeds; the interval is over clips.
    by = ["label", "iteration", "metric", "clip"]
    clips = table.groupby(by, sort=False)["value"].mean().reset_index()
    means = mean_table(clips, ["metric", "label", "iteration"])
    counts = sorted(means["iteration"].unique())

    plt.rcParams.update(STYLE)
    figure, axes = plt.subplots(1, 4, figsize=(WIDTH, 2.7), layout="constrained")
    for ax, letter, metric in zip(axes, "abcd", METRICS, strict=True):
        for label, (colour, new) in LOOKS.items():
            rows = means[(means["metric"] == metric) & (means["label"] == label)]
            # Not quite above each other, so that the intervals can be told apart.
            x = [
                counts.index(n) + 0.06 * (list(LOOKS).index(label) - 3.5) for n in rows["iteration"]
            ]
            ax.errorbar(
                x,
                rows["mean"],
                yerr=[rows["mean"] - rows["low95"], rows["high95"] - rows["mean"]],
                color=colour,
                linestyle="-" if new else "--",
                marker="o" if new else "s",
                markerfacecolor=colour if new else "white",
                linewidth=0.9,
                elinewidth=0.7,
                label=label,
            )
        ax.set_xticks(range(len(counts)), counts)
        ax.set_xlabel("iterations")
        ax.set_ylabel(metric_config(metric).label)
        ax.set_title(f"({letter})", loc="left")
        ax.grid(axis="x", visible=False)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=4)

    save(
        figure,
        results,
        "ablation",
        drawn=pd.DataFrame(means),
        caption=(
            f"Start and schedule: means over {clips['clip'].nunique()} clips of speech "
            f"({', '.join(table['dataset'].unique())}), each the mean over "
            f"{table['seed'].nunique()} seeds, with 95 % intervals. Filled: from the new start "
            "(main-lobe KL magnitude, PGHI phase); open: from the method's own."
        ),
    )


if __name__ == "__main__":
    main()
