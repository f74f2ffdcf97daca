"""The summary of a comparison: every method, and the proposed one against each clip by clip."""

from __future__ import annotations

import pandas as pd

from melexp.report.plots import methods_in_order, metric_config
from melexp.results.tables import summarise

#: The method that the others are compared with.
BEST = "ADMM"


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """`melexp.results.tables.summarise` against `BEST`, sorted by data set, metric and method.

    Parameters
    ----------
    table : pd.DataFrame
        Tidy rows of one iteration.
    """
    lower = {m: bool(metric_config(m).lower_is_better) for m in table["metric"].unique()}
    order = methods_in_order(table)
    return summarise(table, best=BEST, lower_is_better=lower).sort_values(
        ["dataset", "metric", "method"],
        key=lambda column: column.map(order.index) if column.name == "method" else column,
    )
