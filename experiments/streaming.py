"""Frame by frame: quality against delay, beside the method that sees the whole mel-spectrogram."""

import matplotlib.pyplot as plt
import pandas as pd

from melexp.report.figures import Drawing, draw_figure
from melexp.report.plots import WIDTH, legend_above, look, panel
from melexp.results.statistics import mean_table, methods_in_order, metric_facts

#: Delay of the layout `paper` in ms: half a window of 1024 samples, and a hop of 256 per frame.
HALF_WINDOW, HOP = 512 / 22.05, 256 / 22.05
METRICS = ["pesq", "scm"]
#: Metrics of the table, as far as they were computed.
TABULATED = ["pesq", "estoi", "scm", "sc", "zimtohrli", "visqol", "dnsmos"]
#: Methods without iterations.
AT_ONCE = {"rtpghi"}
BY = ["method", "label", "lookahead", "iteration"]


def draw(table: pd.DataFrame) -> Drawing:
    table = table.assign(lookahead=table["lookahead"].fillna(-1))
    means = mean_table(table, ["dataset", "metric", *BY])
    means["delay_ms"] = (HALF_WINDOW + HOP * means["lookahead"]).where(means["lookahead"] >= 0)
    labels = methods_in_order(table)
    datasets = list(table.loc[table["metric"] == METRICS[0], "dataset"].unique())  # speech
    figure, axes = plt.subplots(
        len(METRICS),
        len(datasets),
        figsize=(WIDTH, 2.1 * len(METRICS) + 0.5),
        layout="constrained",
        squeeze=False,
        sharex=True,
    )
    letters = iter("abcdefgh")
    for row, metric in zip(axes, METRICS, strict=True):
        for ax, dataset in zip(row, datasets, strict=True):
            shown = means[(means["dataset"] == dataset) & (means["metric"] == metric)]
            curves(shown, labels, ax)
            panel(ax, next(letters), metric, title=dataset)
    for ax in axes[-1]:
        ax.set_xlabel("delay (ms)")
    legend_above(figure, axes[0, 0])
    clips = ", ".join(f"{table.loc[table.dataset == d, 'clip'].nunique()} of {d}" for d in datasets)
    caption = (
        f"Mean quality against the delay behind the newest frame ({clips}; 95 % intervals). A line "
        "connects runs with the most frequent number of iterations for each frame; other marks "
        "have more. Dashed: the whole mel-spectrogram is known. RTISI-LA and RTPGHI have the "
        "magnitude of the same start (KL)."
    )
    return Drawing(figure, means, caption, {"streaming.md": markdown(means)})


def curves(means: pd.DataFrame, labels: list[str], ax: plt.Axes) -> None:
    """Draw a line per method over its most frequent number of iterations, other runs as marks."""
    for label in labels:
        rows = means[means["label"] == label].sort_values("lookahead")
        style = look(label, labels)
        if rows["delay_ms"].isna().all():  # offline
            for mean, low, high in rows[["mean", "low95", "high95"]].itertuples(index=False):
                ax.axhline(mean, color=style["color"], linestyle="--", linewidth=1, label=label)
                ax.axhspan(low, high, color=style["color"], alpha=0.1, linewidth=0)
            continue
        usual = rows["iteration"].mode().max()
        for iteration, part in rows.groupby("iteration"):
            line = style if iteration == usual else style | {"linestyle": "none"}
            x, mean, low, high = part[["delay_ms", "mean", "low95", "high95"]].to_numpy().T
            ax.errorbar(
                x,
                mean,
                yerr=(mean - low, high - mean),
                elinewidth=0.7,
                markersize=3,
                label=label if iteration == usual else None,
                **line,
            )


def markdown(means: pd.DataFrame) -> str:
    """Return a table of all settings for each data set, with the metrics that it has."""
    lines: list[str] = []
    for dataset, rows in means.groupby("dataset"):
        metrics = [m for m in TABULATED if m in set(rows["metric"])]
        heads = " | ".join(metric_facts(m).label for m in metrics)
        lines += [*([""] if lines else []), f"**{dataset}** ({rows['clips'].max()} clips)", ""]
        lines += [f"| setting | delay | {heads} |", "| --- | ---: |" + " ---: |" * len(metrics)]
        order = rows.sort_values(["method", "lookahead", "iteration"])
        for key, group in order.groupby(BY, sort=False):
            method, label, lookahead, iteration = key
            cells = group.set_index("metric")
            values = " | ".join(cell(cells, metric) for metric in metrics)
            online = lookahead >= 0
            parts = [f"{lookahead:.0f} ahead"] * online + [f"{iteration}"] * (method not in AT_ONCE)
            delay = f"{cells['delay_ms'].iloc[0]:.0f} ms" if online else "all"
            lines.append(f"| {', '.join([label, *parts])} | {delay} | {values} |")
    return "\n".join(lines) + "\n"


def cell(cells: pd.DataFrame, metric: str) -> str:
    """Return the mean of a metric, for PESQ with half its 95 % interval."""
    facts = metric_facts(metric)
    text = facts.text(cells.loc[metric, "mean"])
    if metric != "pesq":
        return text
    return f"{text} ± {facts.text(cells.loc[metric, 'high95'] - cells.loc[metric, 'mean'])}"


if __name__ == "__main__":
    draw_figure(__file__)
