"""The summary table: every method on speech and foley, and ADMM against each clip by clip."""

from pathlib import Path

import pandas as pd

from melexp.files.atomic import write_text
from melexp.report.figures import results_folder
from melexp.results.statistics import BEST, at_last, metric_facts, summary
from melexp.results.tables import read_table


def write(results: Path) -> None:
    """Write ``summary.csv`` and ``summary.md`` from the tables of Fig. 3 and Fig. 4."""
    speech, iterations = at_last(read_table(results, "fig3"))
    foley, _ = at_last(read_table(results, "fig4"))
    rows = summary(pd.concat([speech, foley]))
    text = rows.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    write_text(results / "summary.csv", text)
    write_text(results / "summary.md", markdown(rows, iterations))
    print(f"{results / 'summary.md'}")


def markdown(rows: pd.DataFrame, iterations: int) -> str:
    """Return the table in Markdown: mean with its interval, median, win rate and p."""
    lines = [
        f"Statistics over clips after {iterations} iterations; each clip is the mean over its "
        f"seeds. A row has the mean with its 95 % interval, the median, the share of runs (clip "
        f"and seed) and of clips in which {BEST} is better, the two-sided p of the paired Wilcoxon "
        "test, and the mean seconds of a run.",
    ]
    for (dataset, metric), group in rows.groupby(["dataset", "metric"], sort=True):
        facts = metric_facts(str(metric))
        lines += [
            "",
            f"**{facts.label}** on {dataset} ({group['clips'].max()} clips)",
            "",
            f"| method | mean | 95 % interval | median | {BEST} wins runs | clips | p | seconds |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        ]
        for row in group.itertuples():
            wins, clips = (
                "" if pd.isna(share) else f"{100 * share:.0f} %"
                for share in (row.win_rate, row.clip_win_rate)
            )
            p = "" if pd.isna(row.p) else f"{row.p:.1e}"
            lines.append(
                f"| {row.method} | {facts.text(row.mean)} "
                f"| {facts.text(row.low95)} to {facts.text(row.high95)} "
                f"| {facts.text(row.median)} | {wins} | {clips} | {p} | {row.seconds:.2f} |"
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    write(results_folder(__doc__))
