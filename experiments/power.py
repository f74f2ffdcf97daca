"""Power mels: PESQ, ESTOI and SCM on speech, SC and SCM on foley, after the last iteration."""

import matplotlib.pyplot as plt
import pandas as pd

from melexp.report.figures import Drawing, draw_figure
from melexp.report.plots import WIDTH, boxes, clips_of, panel
from melexp.results.statistics import at_last, methods_in_order, metric_facts

PANELS = [
    ("speech", "pesq"),
    ("speech", "estoi"),
    ("speech", "scm"),
    ("foley", "sc"),
    ("foley", "scm"),
]


def draw(every: pd.DataFrame) -> Drawing:
    table, iterations = at_last(every)
    labels = methods_in_order(table)
    # PESQ is computed on speech only, so it tells the two data sets apart.
    speech = table.loc[table["metric"] == "pesq", "dataset"].unique()
    kinds = {
        "speech": table[table["dataset"].isin(speech)],
        "foley": table[~table["dataset"].isin(speech)],
    }
    figure, axes = plt.subplots(1, 5, figsize=(WIDTH, 2.6), layout="constrained")
    drawn = []
    for ax, letter, (kind, metric) in zip(axes, "abcde", PANELS, strict=True):
        rows = kinds[kind][kinds[kind]["metric"] == metric]
        boxes(ax, rows, labels)
        ax.tick_params(axis="x", labelrotation=60)
        panel(ax, letter, metric, title=kind)
        drawn.append(rows[["dataset", "metric", "label", "clip", "value"]])
    caption = (
        f"Power mel-spectrograms after {iterations} iterations: PESQ, ESTOI and SCM of "
        f"{clips_of(kinds['speech'], 'speech')}, SC and SCM of "
        f"{clips_of(kinds['foley'], 'foley')}; box: quartiles and median, white dot: mean."
    )
    texts = {"power.md": markdown(every, list(speech))}
    return Drawing(figure, pd.concat(drawn), caption, texts)


def markdown(table: pd.DataFrame, speech: list[str]) -> str:
    """Return the means by iterations; speech clips that were used for tuning are left out."""
    lines = [
        "Means of power mel-spectrograms by iterations, and mean seconds of a run. The speech is",
        "every second clip, because the others were used for tuning (`python studies/beyond.py",
        "power`).",
    ]
    for dataset, rows in table.groupby("dataset", sort=False):
        clips = rows["clip"].drop_duplicates()
        clips = clips[1::2] if dataset in speech else clips
        rows = rows[rows["clip"].isin(clips)]
        facts = {m: metric_facts(m) for m in ("scm", "sc", "pesq", "estoi")}
        metrics = [m for m, fact in facts.items() if dataset in speech or not fact.speech_only]
        heads = " | ".join(facts[m].label for m in metrics)
        lines += ["", f"**{dataset}** ({len(clips)} clips)", ""]
        lines += [f"| method | iterations | {heads} | seconds |"]
        lines += ["| --- | ---: |" + " ---: |" * (len(metrics) + 1)]
        for (label, n), group in rows.groupby(["label", "iteration"], sort=False):
            means = group.groupby("metric")["value"].mean()
            values = " | ".join(facts[m].text(means[m]) for m in metrics)
            lines.append(f"| {label} | {n} | {values} | {group['seconds'].mean():.3f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    draw_figure(__file__)
