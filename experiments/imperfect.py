"""Imperfect mel-spectrograms: which method wins on which error, on speech and on other sound."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from melexp.report.figures import Drawing, draw_figure
from melexp.report.plots import WIDTH, legend_above, look, panel
from melexp.results.statistics import mean_table, methods_in_order, metric_facts, summarise

#: Metrics of the panels, of speech and of other sound.
PANELS = {True: ["pesq", "dnsmos"], False: ["zimtohrli", "lsd"]}
#: Mel-spectrograms without an error.
EXACT = "exact"
#: The errors in the order of the figure: those of values, of resolution, of frames and bands.
ORDER = [EXACT, "8bit", "noise_0.1", "noise_0.3", "blur_frames", "blur_bands", "blur_both"]
ORDER += ["rank_20", "rank_10", "rank_5", "dropped", "repeated", "gains", "vocoded"]


def draw(table: pd.DataFrame) -> Drawing:
    if "imperfection" not in table:
        table = table.assign(imperfection=None)
    table = table.assign(imperfection=table["imperfection"].fillna(EXACT))
    labels = methods_in_order(table)
    speech = set(table.loc[table["metric"] == "pesq", "dataset"])
    datasets = sorted(table["dataset"].unique(), key=lambda name: (name not in speech, name))
    valued = table[table["value"].notna()].groupby("dataset")["metric"].unique()
    panels = [
        (dataset, metric)
        for dataset in datasets
        for metric in PANELS[dataset in speech]
        if metric in valued[dataset]
    ]
    errors = errors_in_order(table)
    figure, axes = plt.subplots(
        1, len(panels), figsize=(WIDTH, 3.6), layout="constrained", sharey=True, squeeze=False
    )
    drawn = []
    for ax, letter, (dataset, metric) in zip(axes[0], "abcdefgh", panels, strict=False):
        rows = table[(table["dataset"] == dataset) & (table["metric"] == metric)]
        means = mean_table(rows, ["label", "imperfection"])
        for n, label in enumerate(labels):
            curve = means[means["label"] == label].set_index("imperfection").reindex(errors)
            style = look(label, labels) | {"linestyle": "none", "markersize": 3, "elinewidth": 0.7}
            mean, bars = curve["mean"], (curve["mean"] - curve["low95"]).to_numpy()
            y = np.arange(len(errors)) + 0.25 * (n - (len(labels) - 1) / 2)
            ax.errorbar(mean, y, xerr=bars, label=label, **style)
        panel(ax, letter, metric, title=dataset)
        ax.set_xlabel(ax.get_ylabel())
        ax.set_ylabel("")
        drawn.append(means.assign(dataset=dataset, metric=metric))
    axes[0, 0].set_yticks(range(len(errors)), errors)
    axes[0, 0].invert_yaxis()
    legend_above(figure, axes[0, 0])
    counts = ", ".join(
        f"{table.loc[table['dataset'] == name, 'clip'].nunique()} clips of {name}"
        for name in datasets
    )
    caption = f"Means over {counts}, against the original; bars: 95 % intervals."
    return Drawing(figure, pd.concat(drawn), caption, {"imperfect.md": markdown(table, datasets)})


def errors_in_order(table: pd.DataFrame) -> list[str]:
    """Return the errors of a table: those of `ORDER`, then the others."""
    found = set(table["imperfection"])
    return [name for name in ORDER if name in found] + sorted(found - set(ORDER))


def markdown(table: pd.DataFrame, datasets: list[str]) -> str:
    """Return a table per data set: the mean of each method, and the winner of each metric."""
    lines = [
        "Means over clips. Bold: the best method of the row. `*`: its difference from the second",
        "best has p < 0.05 in a paired Wilcoxon test over the clips.",
    ]
    for dataset in datasets:
        rows = table[table["dataset"] == dataset]
        metrics = [m for m in rows["metric"].unique() if m in SHOWN]
        metrics.sort(key=SHOWN.index)
        labels = methods_in_order(rows)
        heads = " | ".join(f"{metric_facts(m).label}: {label}" for m in metrics for label in labels)
        n_clips = rows["clip"].nunique()
        lines += ["", f"**{dataset}** ({n_clips} clips)", "", f"| mel | {heads} |"]
        lines += ["| --- |" + " ---: |" * (len(metrics) * len(labels))]
        for error in errors_in_order(rows):
            of_error = rows[rows["imperfection"] == error]
            cells = [cell for m in metrics for cell in winners(of_error, m, labels)]
            lines.append(f"| {error} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


#: Metrics of the tables, in this order.
SHOWN = ["pesq", "estoi", "dnsmos", "zimtohrli", "lsd", "sc"]


def winners(rows: pd.DataFrame, metric: str, labels: list[str]) -> list[str]:
    """Return the mean of each method as text, that of the best one in bold."""
    rows, facts = rows[rows["metric"] == metric], metric_facts(metric)
    means = rows.groupby("label")["value"].mean()
    if means.isna().all() or len(means) < 2:
        return [facts.text(means[name]) if name in means else "" for name in labels]
    first, second = means.sort_values(ascending=facts.lower_is_better).index[:2]
    compared = summarise(rows, best=first, lower_is_better={metric: facts.lower_is_better})
    p = float(compared.set_index("method").loc[second, "p"])
    star = r"\*" if p < 0.05 else ""
    texts = {name: facts.text(mean) for name, mean in means.items()}
    texts[first] = f"**{texts[first]}**{star}"
    return [texts.get(name, "") for name in labels]


if __name__ == "__main__":
    draw_figure(__file__)
