"""From finished tasks to the tidy table of an experiment, and to its summary."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pandas as pd
import scipy.stats

from melexp.files.atomic import write_text
from melexp.methods._base import LATER
from melexp.results.store import DamagedFile, Store, read_json, write_json

#: The first columns of every table; the methods' parameters stand between `label` and `seed`.
FIRST = ["experiment", "dataset", "clip", "category", "method", "label"]
#: Of these, those that are names.
NAMES = ["dataset", "clip", "category", "method", "label"]
LAST = ["seed", "dtype", "iteration", "metric", "value", "reason", "seconds"]


def write_table(results: str | Path | Store, experiment: str) -> pd.DataFrame:
    """Collect an experiment's rows into ``<experiment>.csv`` with its provenance beside it."""
    store = results if isinstance(results, Store) else Store(results)
    # Of two runs that end at once the later one must have read what the earlier one wrote.
    with store.writing(experiment):
        table, text, notes = collect(store, experiment)
        put_table(store, experiment, text, notes)
    return table


def collect(store: Store, experiment: str) -> tuple[pd.DataFrame, str, list[dict[str, Any]]]:
    """An experiment's rows, the same as the text of its table, and the notes of its jobs."""
    notes = store.jobs(experiment)
    table = pd.DataFrame(list(store.rows(experiment, notes)))
    table = table.fillna({name: value for name, value in LATER.items() if name in table})
    parameters = sorted(set(table.columns) - set(FIRST) - set(LAST))
    table = table[[*FIRST, *parameters, *LAST]]
    table = table.sort_values([*FIRST[:-1], *parameters, "seed", "iteration", "metric"])
    return table, table.to_csv(index=False, lineterminator="\n"), notes


def put_table(store: Store, experiment: str, text: str, notes: list[dict[str, Any]]) -> None:
    """Write what `collect` gave; under `Store.writing`, as is to be that."""
    write_text(store.root / f"{experiment}.csv", text)
    jobs = [{key: note[key] for key in ("config", "provenance")} for note in notes]
    clips = {
        f"{clip['dataset']}/{clip['id']}": clip
        for job in jobs
        for clip in job["provenance"].pop("clips")
    }
    write_json(
        provenance_of(store.root, experiment),
        {"experiment": experiment, "table": table_checksum(text.encode())}
        | {"jobs": jobs, "clips": clips},
    )


def provenance_of(results: str | Path, experiment: str) -> Path:
    """The file that lies beside an experiment's table."""
    return Path(results) / f"{experiment}.provenance.json"


def read_provenance(path: Path) -> dict[str, Any]:
    """What lies beside an experiment's table.

    Raises
    ------
    DamagedFile
        If the file is damaged, or another's.
    """
    body = read_json(path)
    if f"{body.get('experiment')}.provenance.json" != path.name:
        raise DamagedFile(f"{path} is not the provenance of this table")
    return body


def table_checksum(content: bytes) -> str:
    """Hash of a table's file, whichever way its lines end."""
    return hashlib.sha256(content.replace(b"\r\n", b"\n")).hexdigest()


def check_table(results: str | Path, experiment: str) -> None:
    """Compare a table with the checksum in its provenance; older ones have none.

    Raises
    ------
    DamagedFile
        If the table, or its provenance, is damaged.
    """
    path, provenance = Path(results) / f"{experiment}.csv", provenance_of(results, experiment)
    if not provenance.exists():
        return
    checksum = read_provenance(provenance).get("table")
    if checksum not in (None, table_checksum(path.read_bytes())):
        raise DamagedFile(f"{path} does not match its checksum in {provenance.name}")


def read_table(results: str | Path | TextIO, experiment: str) -> pd.DataFrame:
    """The stored table of an experiment, in a folder of results or as text.

    Raises
    ------
    FileNotFoundError
        If there is none; names the command that makes it.
    DamagedFile
        If it, or its provenance, does not match its checksum.
    """
    if not isinstance(results, str | Path):
        return _parsed(results.read())
    path = Path(results) / f"{experiment}.csv"
    if not path.exists():
        raise FileNotFoundError(
            f"{path} is missing; run: melexp run experiment={experiment} results={results}"
        )
    check_table(results, experiment)
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
