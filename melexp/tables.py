"""From finished tasks to the tidy table of an experiment, and to its summary."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TextIO

import numpy as np
import pandas as pd
import scipy.stats

from melexp.store import Store, write_json, write_text

#: The first columns of every table; the methods' parameters stand between `label` and `seed`.
FIRST = ["experiment", "dataset", "clip", "category", "method", "label"]
#: Of these, those that are names.
NAMES = ["dataset", "clip", "category", "method", "label"]
LAST = ["seed", "dtype", "iteration", "metric", "value", "reason", "seconds"]


def write_table(results: str | Path, experiment: str) -> pd.DataFrame:
    """Collect an experiment's rows into ``<experiment>.csv`` with its provenance beside it."""
    store = Store(results)
    table = pd.DataFrame(list(store.rows(experiment)))
    parameters = sorted(set(table.columns) - set(FIRST) - set(LAST))
    table = table[[*FIRST, *parameters, *LAST]]
    table = table.sort_values([*FIRST[:-1], *parameters, "seed", "iteration", "metric"])
    write_text(store.root / f"{experiment}.csv", table.to_csv(index=False, lineterminator="\n"))
    jobs = [{key: job[key] for key in ("config", "provenance")} for job in store.jobs(experiment)]
    clips = {
        f"{clip['dataset']}/{clip['id']}": clip
        for job in jobs
        for clip in job["provenance"].pop("clips")
    }
    write_json(
        store.root / f"{experiment}.provenance.json",
        {"experiment": experiment, "jobs": jobs, "clips": clips},
    )
    return table


def read_table(results: str | Path | TextIO, experiment: str) -> pd.DataFrame:
    """The stored table of an experiment, in a folder of results or as text.

    Raises
    ------
    FileNotFoundError
        If there is none; names the command that makes it.
    """
    if not isinstance(results, str | Path):
        return _parsed(results.read())
    path = Path(results) / f"{experiment}.csv"
    if not path.exists():
        raise FileNotFoundError(
            f"{path} is missing; run: melexp run experiment={experiment} results={results}"
        )
    return _parsed(path.read_text(encoding="utf-8"))


def _parsed(text: str) -> pd.DataFrame:
    """A table from its text. Names are no numbers and never missing: a clip may be called NA."""
    table = pd.read_csv(io.StringIO(text))
    # Read by themselves: what a converter returns is taken for a missing value by pandas 3.
    names = [column for column in NAMES if column in table]
    plain = pd.read_csv(io.StringIO(text), usecols=names, dtype=str, keep_default_na=False)
    table[names] = plain[names]  # they are in the file's order, and assigned by place
    return table


def parameters_of(table: pd.DataFrame) -> list[str]:
    """The columns of the methods' parameters."""
    return [column for column in table.columns if column not in {*FIRST, *LAST}]


def variants(table: pd.DataFrame) -> pd.Series:
    """A name for the method of each row: its label, and those parameters that vary under it.

    Returns
    -------
    pd.Series
        Such as ``ADMM`` or ``ADMM (rho=0.2)``.
    """
    names = table["label"].astype(str)
    for label, rows in table.groupby("label"):
        varying = [p for p in parameters_of(table) if rows[p].nunique(dropna=False) > 1]
        if varying:
            inner = rows[varying].apply(
                lambda row: ", ".join(f"{p}={v}" for p, v in row.items() if not pd.isna(v)), axis=1
            )
            names = names.mask(table["label"] == label, f"{label} (" + inner + ")")
    return names


def mean_interval(values: np.ndarray, *, level: float = 0.95) -> tuple[float, float, float]:
    """Mean and its Student-t confidence interval over clips; NaN values are left out."""
    values = np.asarray(values, dtype=np.float64)
    values = values[np.isfinite(values)]
    if values.size == 0:
        return (float("nan"),) * 3
    mean = float(values.mean())
    if values.size == 1:
        return mean, float("nan"), float("nan")
    half = scipy.stats.sem(values) * scipy.stats.t.ppf((1 + level) / 2, values.size - 1)
    return mean, mean - half, mean + half


def summarise(table: pd.DataFrame, *, best: str, lower_is_better: dict[str, bool]) -> pd.DataFrame:
    """One row per data set, metric and method, each compared clip by clip with one method.

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
        (clip and seed) in which `best` is better, `clip_win_rate` that of clips.
    """
    rows = []
    for (dataset, metric), group in table.groupby(["dataset", "metric"], sort=True):
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
                "seconds": float(group.loc[group["label"] == label, "seconds"].mean()),
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
