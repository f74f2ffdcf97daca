"""The summary table: every method on speech and foley, and ADMM against each clip by clip."""

from pathlib import Path

import pandas as pd

from melexp.figures import at_last, methods_in_order, metric_config, results_folder
from melexp.store import write_text
from melexp.tables import read_table, summarise

BEST = "ADMM"


def main() -> None:
    results = results_folder(__doc__)
    speech, iterations = at_last(read_table(results, "fig3"))
    foley, _ = at_last(read_table(results, "fig4"))
    table = pd.concat([speech, foley])
    lower = {m: bool(metric_config(m).lower_is_better) for m in table["metric"].unique()}
    summary = summarise(table, best=BEST, lower_is_better=lower)
    order = methods_in_order(table)
    summary = summary.sort_values(
        ["dataset", "metric", "method"],
        key=lambda column: column.map(order.index) if column.name == "method" else column,
    )
    text = summary.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    write_text(results / "summary.csv", text)
    write_markdown(summary, iterations, results / "summary.md")
    print(f"{results / 'summary.md'}")


def write_markdown(summary: pd.DataFrame, iterations: int, path: Path) -> None:
    """The table for people: a mean with its interval, median, win rate and p."""
    lines = [
        f"After {iterations} iterations: mean over clips [95 % interval]; share of the clips on "
        f"which {BEST} wins, and p of the paired Wilcoxon test, two-sided.",
    ]
    for (dataset, metric), group in summary.groupby(["dataset", "metric"], sort=True):
        label = metric_config(str(metric)).label
        lines += [
            "",
            f"**{label}** on {dataset} ({group['clips'].max()} clips)",
            "",
            f"| method | mean | 95 % interval | median | {BEST} wins | p | seconds |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        ]
        digits = 3 if metric == "estoi" else 2
        for row in group.itertuples():
            wins = "" if pd.isna(row.win_rate) else f"{100 * row.win_rate:.0f} %"
            p = "" if pd.isna(row.p) else f"{row.p:.1e}"
            lines.append(
                f"| {row.method} | {row.mean:.{digits}f} "
                f"| {row.low95:.{digits}f} to {row.high95:.{digits}f} "
                f"| {row.median:.{digits}f} | {wins} | {p} | {row.seconds:.2f} |"
            )
    write_text(path, "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
