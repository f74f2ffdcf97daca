"""Methods without training against trained vocoders: quality against time, win rates and tests."""

import matplotlib.pyplot as plt
import pandas as pd

from melexp.report.figures import Drawing, draw_figure
from melexp.report.plots import WIDTH, legend_above, look, panel
from melexp.results.statistics import mean_table, methods_in_order, metric_facts, summarise

#: Methods that do not iterate: their number of iterations says nothing.
VOCODERS = {"hifigan"}
#: Metrics of the panels, of speech and of other sound. Those that a data set lacks are left out.
PANELS = {True: ["pesq", "dnsmos"], False: ["zimtohrli", "sc"]}
#: The setting that the others are compared with: this method after most iterations.
BASE = "ADMM"


def draw(table: pd.DataFrame) -> Drawing:
    table = table.assign(setting=[setting(*row) for row in table[NAMED].itertuples(index=False)])
    labels = methods_in_order(table)
    speech = set(table.loc[table["metric"] == "pesq", "dataset"])
    datasets = sorted(table["dataset"].unique(), key=lambda name: (name not in speech, name))
    valued = table[table["value"].notna()].groupby("dataset")["metric"].unique()
    panels = [
        (dataset, [m for m in PANELS[dataset in speech] if m in valued[dataset]] or ["scm"])
        for dataset in datasets
    ]
    rows = max(len(metrics) for _, metrics in panels)
    figure, axes = plt.subplots(
        rows,
        len(panels),
        figsize=(WIDTH, 2.1 * rows + 0.5),
        layout="constrained",
        squeeze=False,
    )
    drawn = []
    letters = iter("abcdefghijkl")
    for row in range(rows):
        for column, (dataset, metrics) in enumerate(panels):
            ax = axes[row, column]
            if row >= len(metrics):
                ax.set_axis_off()
                continue
            rows_of = table[(table["dataset"] == dataset) & (table["metric"] == metrics[row])]
            drawn.append(curves(rows_of, labels, ax).assign(dataset=dataset, metric=metrics[row]))
            panel(ax, next(letters), metrics[row], title=dataset)
    legend_above(figure, axes[0, 0], columns=3)
    caption = (
        "Mean quality against mean CPU seconds of a run per clip on one core, of "
        + ", ".join(f"{clips(table, name)} clips of {name}" for name in datasets)
        + "; bars: 95 % intervals. The front end is that of HiFi-GAN."
    )
    return Drawing(figure, pd.concat(drawn), caption, {"peers.md": markdown(table, datasets)})


NAMED = ["method", "label", "iteration"]


def setting(method: str, label: str, iteration: int) -> str:
    """Return the name of a row of the tables: the label, and the iterations if there are any."""
    return label if method in VOCODERS else f"{label} {iteration}"


def clips(table: pd.DataFrame, dataset: str) -> int:
    return int(table.loc[table["dataset"] == dataset, "clip"].nunique())


def curves(rows: pd.DataFrame, labels: list[str], ax: plt.Axes) -> pd.DataFrame:
    """Draw a curve per method over its numbers of iterations; return what was drawn."""
    by = ["label", "iteration"]
    seconds = rows.groupby(by)["seconds"].mean().rename("seconds")
    means = mean_table(rows, by).join(seconds, on=by).sort_values(by)
    for label in labels:
        curve = means[means["label"] == label]
        x, mean, low, high = curve[["seconds", "mean", "low95", "high95"]].to_numpy().T
        style = look(label, labels) | {"markersize": 3, "elinewidth": 0.7}
        ax.errorbar(x, mean, yerr=(mean - low, high - mean), label=label, **style)
    ax.set_xscale("log")
    ax.set_xlabel("CPU seconds per clip")
    return means


def markdown(table: pd.DataFrame, datasets: list[str]) -> str:
    """Return a table per data set, and each setting against ADMM, clip by clip."""
    runs = table[table["label"] == BASE]
    best = setting("", BASE, int(runs["iteration"].max())) if len(runs) else ""
    lower = {m: metric_facts(m).lower_is_better for m in table["metric"].unique()}
    names = table.assign(label=table["setting"])
    summary = summarise(names, best=best, lower_is_better=lower)
    order = {name: n for n, name in enumerate(names["label"].drop_duplicates())}
    lines = [
        "Means over clips, and mean CPU seconds of a run per clip on one core. In brackets: the",
        f"share of clips on which {best} is better; `*`: p < 0.05 in a paired Wilcoxon test.",
    ]
    for dataset in datasets:
        rows = summary[summary["dataset"] == dataset]
        metrics = [m for m in metric_order(table) if m in set(rows["metric"])]
        heads = " | ".join(metric_facts(m).label for m in metrics)
        lines += ["", f"**{dataset}** ({clips(table, dataset)} clips)", ""]
        lines += [f"| setting | {heads} | seconds |", "| --- |" + " ---: |" * (len(metrics) + 1)]
        for name in sorted(rows["method"].unique(), key=order.__getitem__):
            by_metric = rows[rows["method"] == name].set_index("metric")
            cells = [cell(by_metric.loc[m], m) if m in by_metric.index else "–" for m in metrics]
            lines.append(f"| {name} | {' | '.join(cells)} | {by_metric['seconds'].mean():.3f} |")
    return "\n".join(lines) + "\n"


def metric_order(table: pd.DataFrame) -> list[str]:
    """Return the metrics of a table: those of the waveform or spectrum first."""
    first = ["scm", "sc", "lsd"]
    return sorted(table["metric"].unique(), key=lambda m: (m not in first, m))


def cell(row: pd.Series, metric: str) -> str:
    """Return a mean, and the share of clips that the setting compared with wins."""
    text = metric_facts(metric).text(row["mean"])
    if pd.isna(row.get("clip_win_rate")):
        return text
    star = "*" if row["p"] < 0.05 else ""
    return f"{text} ({100 * row['clip_win_rate']:.0f} %{star})"


if __name__ == "__main__":
    draw_figure(__file__)
