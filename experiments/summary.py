"""The summary table: every method on speech and foley, and ADMM against each clip by clip."""

from pathlib import Path

import pandas as pd

from melexp.files.atomic import write_text
from melexp.report.plots import at_last, metric_config, results_folder
from melexp.results.summary import BEST, summary
from melexp.results.tables import read_table


def main() -> None:
    results = results_folder(__doc__)
    speech, iterations = at_last(read_table(results, "fig3"))
    foley, _ = at_last(read_table(results, "fig4"))
    rows = summary(pd.concat([speech, foley]))
    text = rows.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    write_text(results / "summary.csv", text)
    write_markdown(rows, iterations, results / "summary.md")
    print(f"{results / 'summary.md'}")


def write_markdown(rows: pd.DataFrame, iterations: int, path: Path) -> None:
    """The table for people: a mean with its interval, median, win rate and p."""
    lines = [
        f"After {iterations} iterations, over clips, each the mean over its seeds: mean with its "
        f"95 % interval, and median; share of the runs (clip and seed), and of the clips, in which "
        f"{BEST} is the better; p of the paired Wilcoxon test, two-sided; mean seconds of a run.",
    ]
    for (dataset, metric), group in rows.groupby(["dataset", "metric"], sort=True):
        label = metric_config(str(metric)).label
        lines += [
            "",
            f"**{label}** on {dataset} ({group['clips'].max()} clips)",
            "",
            f"| method | mean | 95 % interval | median | {BEST} wins runs | clips | p | seconds |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        ]
        digits = 3 if metric == "estoi" else 2
        for row in group.itertuples():
            wins, clips = (
                "" if pd.isna(share) else f"{100 * share:.0f} %"
                for share in (row.win_rate, row.clip_win_rate)
            )
            p = "" if pd.isna(row.p) else f"{row.p:.1e}"
            lines.append(
                f"| {row.method} | {row.mean:.{digits}f} "
                f"| {row.low95:.{digits}f} to {row.high95:.{digits}f} "
                f"| {row.median:.{digits}f} | {wins} | {clips} | {p} | {row.seconds:.2f} |"
            )
    write_text(path, "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
