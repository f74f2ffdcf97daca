"""The learned prior: what it changes at each front end, clip by clip."""

import json

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from melexp.report.figures import Drawing, draw_figure
from melexp.report.plots import WIDTH, legend_above, look, panel
from melexp.results.statistics import mean_interval, metric_facts

#: Metrics of the panels, and of the table.
PANELS = ["pesq", "sc"]
TABULATED = ["pesq", "estoi", "sc", "scm", "zimtohrli", "visqol_speech", "dnsmos"]


def front_end(row: pd.Series) -> str:
    """Return what tells the front end of a row apart."""
    kind = "power" if row["mel.power"] == 2 else "magnitude"
    text = f"{row['mel.n_fft']:.0f} / {row['mel.hop_length']:.0f}, {row['mel.n_mels']:.0f} {kind}"
    compression = row.get("mel.compression")
    return f"{text}, {json.loads(compression)['unit']}" if isinstance(compression, str) else text


def loses_level(row: pd.Series) -> bool:
    """Return whether the mel is relative to its maximum, so that SC says nothing."""
    compression = row.get("mel.compression")
    return isinstance(compression, str) and json.loads(compression).get("ref") == "max"


def changes(table: pd.DataFrame) -> pd.DataFrame:
    """Return the mean change of each metric by the prior, for each front end and data set.

    The columns are `mean` (without the prior), `change`, `low95`, `high95`, `worst` and `better`,
    the share of the clips that the prior improves.
    """
    rows = table[table["value"].notna()]
    rows = rows[~((rows["metric"] == "sc") & rows.apply(loses_level, axis=1))]
    rows = rows.assign(front_end=rows.apply(front_end, axis=1), prior=rows["prior"].notna())
    pairs = rows.pivot_table(
        index=["front_end", "dataset", "metric", "clip", "seed"], columns="prior", values="value"
    ).dropna()
    made = []
    for (end, dataset, metric), pair in pairs.groupby(["front_end", "dataset", "metric"]):
        change = (pair[True] - pair[False]).to_numpy()
        mean, low, high = mean_interval(change)
        lower = metric_facts(metric).lower_is_better
        made.append(
            {
                "front_end": end,
                "dataset": dataset,
                "metric": metric,
                "clips": len(change),
                "mean": pair[False].mean(),
                "change": mean,
                "low95": low,
                "high95": high,
                "worst": change.max() if lower else change.min(),
                "better": np.mean(change < 0 if lower else change > 0),
            }
        )
    return pd.DataFrame(made)


def draw(table: pd.DataFrame) -> Drawing:
    found = changes(table)
    ends, datasets = sorted(found["front_end"].unique()), sorted(found["dataset"].unique())
    figure, axes = plt.subplots(
        1, len(PANELS), figsize=(WIDTH, 3.4), layout="constrained", sharey=True
    )
    for ax, letter, metric in zip(axes, "ab", PANELS, strict=True):
        for n, dataset in enumerate(datasets):
            chosen = (found["metric"] == metric) & (found["dataset"] == dataset)
            rows = found[chosen].set_index("front_end").reindex(ends)
            bars = rows["change"] - rows["low95"], rows["high95"] - rows["change"]
            y = np.arange(len(ends)) + 0.25 * (n - (len(datasets) - 1) / 2)
            style = look(dataset, datasets) | {"linestyle": "none", "markersize": 3}
            ax.errorbar(rows["change"], y, xerr=bars, label=dataset, elinewidth=0.7, **style)
        ax.axvline(0, color="0.5", linewidth=0.8)
        panel(ax, letter, metric, title="change by the prior")
        ax.set_xlabel(f"change of {ax.get_ylabel()}")
        ax.set_ylabel("")
    axes[0].set_yticks(range(len(ends)), ends)
    axes[0].invert_yaxis()
    legend_above(figure, axes[1])
    n_iter, clips = table["iteration"].max(), found.groupby("dataset")["clips"].max()
    caption = (
        f"Change by the shipped prior after {n_iter} iterations, clip by clip, with 95 % intervals "
        f"({', '.join(f'{count} of {name}' for name, count in clips.items())}). Higher PESQ and "
        "lower SC are better. Front ends: n_fft / hop length, bands."
    )
    return Drawing(figure, found, caption, {"prior.md": markdown(found)})


def markdown(found: pd.DataFrame) -> str:
    """Return a table per metric."""
    lines = []
    for metric in [m for m in TABULATED if m in set(found["metric"])]:
        facts = metric_facts(metric)
        lines += [*([""] if lines else []), f"**{facts.label}**", ""]
        lines += ["| front end | data | clips | without | change | worst clip | better |"]
        lines += ["| --- | --- | ---: | ---: | ---: | ---: | ---: |"]
        for row in found[found["metric"] == metric].itertuples():
            low, high = (signed(facts.text(abs(v)), v) for v in (row.low95, row.high95))
            change, worst = (signed(facts.text(abs(v)), v) for v in (row.change, row.worst))
            lines.append(
                f"| {row.front_end} | {row.dataset} | {row.clips} | {facts.text(row.mean)} | "
                f"{change} [{low}, {high}] | {worst} | {row.better:.0%} |"
            )
    return "\n".join(lines) + "\n"


def signed(text: str, value: float) -> str:
    """Return the text of an absolute value with the sign of the value."""
    return f"{'-' if value < 0 else '+'}{text}"


if __name__ == "__main__":
    draw_figure(__file__)
