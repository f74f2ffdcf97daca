"""Statistics of tables: means with intervals, summaries, names and order of methods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.stats

from melexp.discovery import read_config
from melexp.results.columns import FIRST, LAST, distinct


class Look(NamedTuple):
    """Colour, line style and marker of a method, as matplotlib names them."""

    colour: str
    line: str
    marker: str


#: The methods in the order of every figure and table: cascades first, then the joint methods, the
#: variants of the ablation, and the peers of an extra. The palette is that of Okabe and Ito, which
#: colour-blind readers can tell apart; line style and marker make a figure readable without colour.
LOOKS = {
    "librosa": Look("#7F7F7F", "--", "x"),
    "NNLS + GLA": Look("#009E73", "-", "^"),
    "NNLS + FGLA": Look("#E69F00", "-.", "v"),
    "NNLS + ADMM-GLA": Look("#CC79A7", ":", "D"),
    "iPALM": Look("#0072B2", "-", "s"),
    "iPALM (tuned)": Look("#56B4E9", "--", "s"),
    "ADMM": Look("#D55E00", "-", "o"),
    "ADMM, ramped": Look("#000000", "-", "P"),
    "ADMM, new start": Look("#8C2D04", "--", "X"),
    "ADMM, ramped, old start": Look("#555555", ":", "P"),
    "KL + FGLA, new start": Look("#8C6D1F", "-.", "*"),
    "iPALM (tuned), new start": Look("#08306B", "-.", "s"),
    "torchaudio": Look("#A6A600", "--", "D"),
    "HiFi-GAN": Look("#0B5345", "-", "h"),
    "HiFi-GAN (LJSpeech)": Look("#4A235A", ":", "*"),
    "MelStream": Look("#A11D33", "-", "o"),
    "RTISI-LA": Look("#3B6FB6", "-.", "s"),
    "RTPGHI": Look("#4C8C4A", ":", "^"),
}
#: Looks of other methods, in turn.
FURTHER = [Look("#1B7F79", "--", "*"), Look("#5B2A86", "-.", "X"), Look("#7A0019", ":", "h")]

#: Label of the method that the others are compared with in a summary.
BEST = "ADMM"


class MetricFacts(NamedTuple):
    """Facts of a metric, from ``conf/metric/<name>.yaml``.

    Attributes
    ----------
    label : str
        Label of an axis or a column, with the unit.
    lower_is_better : bool
    speech_only : bool
        Computed on data sets of speech only.
    unit : str
        Empty for a metric without a unit.
    digits : int >= 0
        Digits after the decimal point, in tables.
    """

    label: str
    lower_is_better: bool
    speech_only: bool
    unit: str = ""
    digits: int = 2

    def text(self, value: float, *, minus: str = "-") -> str:
        """Return a value with the digits of the metric."""
        return f"{value:.{self.digits}f}".replace("-", minus)


def metric_facts(metric: str) -> MetricFacts:
    """Return the facts of a metric.

    Raises
    ------
    ValueError
        If there is no such metric, or its file lacks a fact.
    """
    try:
        return MetricFacts(**read_config("metric", metric))
    except TypeError as error:
        raise ValueError(
            f"conf/metric/{metric}.yaml must have label, lower_is_better and speech_only, and may "
            f"have unit and digits ({error})"
        ) from None


def methods_in_order(table: pd.DataFrame) -> list[str]:
    """Return the labels of a table in the order of `LOOKS`, followed by the others, sorted."""
    labels = list(table["label"].drop_duplicates())
    return [name for name in LOOKS if name in labels] + sorted(set(labels) - set(LOOKS))


def look_of(label: str, among: Sequence[str] = ()) -> Look:
    """Return the look of a method.

    Parameters
    ----------
    label : str
    among : sequence of str
        The labels of a figure. Those that `LOOKS` lacks get the looks of `FURTHER` in turn.
    """
    if label in LOOKS:
        return LOOKS[label]
    others = [name for name in among if name not in LOOKS]
    place = others.index(label) if label in others else 0
    return FURTHER[place % len(FURTHER)]


def at_last(table: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Return the rows of the last iteration, and that iteration."""
    last = int(np.max(table["iteration"]))
    return table[table["iteration"] == last], last


def parameters_of(table: pd.DataFrame) -> list[str]:
    """Return the columns of the methods' parameters."""
    return [column for column in table.columns if column not in {*FIRST, *LAST}]


def parameter_text(value: Any) -> str:
    """Return the text of a parameter's value, the same for a table and a configuration."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.number):
        return str(value)
    return f"{value:.10g}"


def named_setting(label: str, values: dict[Any, Any]) -> str:
    """Return a label with parameters, such as ``ADMM (rho=0.2)``; empty values are left out."""
    texts = {name: parameter_text(value) for name, value in values.items()}
    inner = ", ".join(f"{name}={text}" for name, text in texts.items() if text)
    return f"{label} ({inner})" if inner else label


def telling_parameters(table: pd.DataFrame) -> dict[str, list[str]]:
    """Return, for each label, the parameters that have several values."""
    names = [*parameters_of(table), "dtype"] if "dtype" in table else parameters_of(table)
    # The groups of a large table take twice the memory of the table.
    few = table.iloc[distinct(table, ["label", *names])[0]]
    groups = few.groupby("label", observed=True)
    several = {p: groups[p].nunique(dropna=False) > 1 for p in names}
    labels = groups.size().index
    return {str(label): [p for p in names if several[p][label]] for label in labels}


def variants(table: pd.DataFrame) -> pd.Series:
    """Return a name for the method of each row: its label and the parameters that vary under it.

    Returns
    -------
    pd.Series
        Such as ``ADMM`` or ``ADMM (rho=0.2)``.
    """
    telling = telling_parameters(table)
    varying = sorted({p for names in telling.values() for p in names})
    if not varying:
        return table["label"]
    first, which = distinct(table, ["label", *varying])
    records = table[["label", *varying]].iloc[first].astype(object).to_dict("records")
    names = [
        named_setting(record["label"], {p: record[p] for p in telling[record["label"]]})
        for record in records
    ]
    if isinstance(table["label"].dtype, pd.CategoricalDtype):
        codes, several = pd.factorize(np.array(names, dtype=object))
        small = codes.astype(np.min_scalar_type(len(names)))
        return pd.Series(pd.Categorical.from_codes(small[which], several), index=table.index)
    return pd.Series(np.array(names, dtype=object)[which], index=table.index)


def mean_interval(values: np.ndarray, *, level: float = 0.95) -> tuple[float, float, float]:
    """Return the mean and its Student-t confidence interval over clips; NaN values are left out."""
    values = np.asarray(values, dtype=np.float64)
    values = values[np.isfinite(values)]
    if values.size == 0:
        return (float("nan"),) * 3
    mean = float(values.mean())
    if values.size == 1:
        return mean, float("nan"), float("nan")
    half = scipy.stats.sem(values) * scipy.stats.t.ppf((1 + level) / 2, values.size - 1)
    return mean, mean - half, mean + half


def p_text(p: float | None) -> str:
    """Return a p-value with two digits, such as 0.17 or < 0.001; empty if there is none."""
    if p is None or np.isnan(p):
        return ""
    return "< 0.001" if p < 0.001 else f"{p:.2f}" if p >= 0.0995 else f"{p:.3f}"


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number (Holm 1979), in the given order."""
    order = np.argsort(p)
    factors = np.arange(len(p), 0, -1)
    corrected = np.minimum(np.maximum.accumulate(np.asarray(p)[order] * factors), 1)
    result = np.empty(len(p))
    result[order] = corrected
    return [float(value) for value in result]


def mean_table(table: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Return the mean over clips with its 95 % interval, for each value of the columns `by`."""
    rows = []
    for key, group in table.groupby(by, sort=False, observed=True):
        mean, low, high = mean_interval(group["value"].to_numpy())
        values = dict(zip(by, key, strict=True))
        n = int(group["value"].notna().sum())
        rows.append(values | {"clips": n, "mean": mean, "low95": low, "high95": high})
    return pd.DataFrame(rows)


def summarise(table: pd.DataFrame, *, best: str, lower_is_better: dict[str, bool]) -> pd.DataFrame:
    """Return one row per data set, metric and method, each compared clip by clip with one method.

    Parameters
    ----------
    table : pd.DataFrame
        Tidy rows of one iteration.
    best : str
        Label of the method that the others are compared with.
    lower_is_better : dict
        For each metric.

    Returns
    -------
    pd.DataFrame
        Over clips, each the mean over its seeds: mean, 95 % interval, median, number of clips with
        a value, and the two-sided p of the paired Wilcoxon test. `win_rate` is the share of runs
        (clip and seed) in which `best` is better, `clip_win_rate` the share of clips.
    """
    rows = []
    for (dataset, metric), group in table.groupby(["dataset", "metric"], observed=True):
        group = group.astype({"clip": object, "label": object})
        of_label = group.groupby("label").indices
        seconds = group["seconds"].to_numpy()
        runs = group.pivot(index=["clip", "seed"], columns="label", values="value")
        wide = runs.groupby("clip").mean()
        for label in group["label"].drop_duplicates():
            values = wide[label].to_numpy() if label in wide else np.array([])
            mean, low, high = mean_interval(values)
            row = {
                "dataset": dataset,
                "metric": metric,
                "method": label,
                "clips": int(np.isfinite(values).sum()),
                "mean": mean,
                "low95": low,
                "high95": high,
                "median": float(np.nanmedian(values)) if np.isfinite(values).any() else np.nan,
                "seconds": float(pd.Series(seconds[of_label[label]]).mean()),
            }
            if label != best and best in wide:
                sign = 1 if lower_is_better[str(metric)] else -1
                gain = (sign * (wide[label] - wide[best])).dropna()
                gain_of_runs = (sign * (runs[label] - runs[best])).dropna()
                row["win_rate"] = float((gain_of_runs > 0).mean())
                row["clip_win_rate"] = float((gain > 0).mean())
                row["p"] = float(scipy.stats.wilcoxon(gain).pvalue) if gain.any() else np.nan
            rows.append(row)
    return pd.DataFrame(rows)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return `summarise` against `BEST`, sorted by data set, metric and method.

    Parameters
    ----------
    table : pd.DataFrame
        Tidy rows of one iteration.
    """
    lower = {m: metric_facts(m).lower_is_better for m in table["metric"].unique()}
    order = methods_in_order(table)
    return summarise(table, best=BEST, lower_is_better=lower).sort_values(
        ["dataset", "metric", "method"],
        key=lambda column: column.map(order.index) if column.name == "method" else column,
    )
