"""The rows of a table, job by job, as columns."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from melexp.errors import printable
from melexp.results.identity import Identities, cell
from melexp.results.index import Index
from melexp.results.pairs import Pair, pairs
from melexp.results.records import canonical

Note = dict[str, Any]
_OF_ROWS = ("clip", "pair", "value", "seconds", "reason")


@dataclass(frozen=True)
class Block:
    """Rows of one job, clip by clip; within a clip by iteration and metric.

    Attributes
    ----------
    fixed : dict
        The columns that have one value: experiment, method, label, parameters, seed and dtype.
    clips : list of tuple
        Data set, name and category of each clip.
    clip, pair : np.ndarray [shape=(n_rows,), int64]
        Places in `clips` and in `pairs`.
    pairs : list of Pair
        Iteration and metric.
    value, seconds : np.ndarray [shape=(n_rows,), float64]
        NaN where there is none.
    reason : np.ndarray [shape=(n_rows,), int64]
        Places in `reasons`.
    reasons : list of str
    """

    fixed: dict[str, Any]
    clips: list[tuple[str, str, str]]
    clip: np.ndarray
    pair: np.ndarray
    pairs: list[Pair]
    value: np.ndarray
    seconds: np.ndarray
    reason: np.ndarray
    reasons: list[str]

    def __len__(self) -> int:
        return len(self.value)

    def columns(self) -> dict[str, np.ndarray]:
        """Return the columns that are not fixed."""
        names = np.array(self.clips, dtype=object).reshape(-1, 3)
        iteration = np.array([iteration for iteration, _ in self.pairs], np.int64)
        metric = np.array([metric for _, metric in self.pairs], dtype=object)
        return {
            **{key: names[self.clip, k] for k, key in enumerate(("dataset", "clip", "category"))},
            "iteration": iteration[self.pair],
            "metric": metric[self.pair],
            "value": self.value,
            "reason": np.array(self.reasons, dtype=object)[self.reason],
            "seconds": self.seconds,
        }

    def lost(self) -> pd.DataFrame:
        """Return the rows without a value, all columns."""
        places = np.flatnonzero(np.isnan(self.value))
        cut = {name: getattr(self, name)[places] for name in _OF_ROWS}
        table = pd.DataFrame(dataclasses.replace(self, **cut).columns())
        return table.assign(**{name: [v] * len(table) for name, v in self.fixed.items()})

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the rows as dicts."""
        columns = {name: column.tolist() for name, column in self.columns().items()}
        for values in zip(*columns.values(), strict=True):
            row = self.fixed | dict(zip(columns, values, strict=True))
            for name in ("value", "seconds"):
                row[name] = None if np.isnan(row[name]) else row[name]
            yield row


def blocks(
    index: Index, experiment: str, jobs: Sequence[Note], apart: Identities
) -> Iterator[Block]:
    """Yield the rows of some jobs of one experiment; rows that jobs share come once.

    Parameters
    ----------
    index : Index
    experiment : str
    jobs : sequence of dict
        Notes as of `melexp.results.records.read_note`.
    apart : Identities
        Of these jobs.
    """
    # Jobs of one experiment may share tasks, such as jobs with different limits.
    uses = Counter(_setting(job) for job in jobs)
    seen: dict[str, dict[tuple[str, str, str], frozenset[Pair]]] = {}
    for job in jobs:
        setting = _setting(job)
        of_setting = seen.setdefault(setting, {}) if uses[setting] > 1 else {}
        wanted = pairs(job["checkpoints"], job["metrics"], job.get("metric_checkpoints", {}))
        clips = [
            (printable(clip["dataset"]), apart.clip(clip), printable(clip["category"]))
            for clip in job["clips"]
        ]
        matrix = index.matrix(job["tasks"], wanted)
        reasons = [printable(reason) for reason in index.reasons]
        codes = matrix.reason.astype(np.int64)
        for n in np.flatnonzero((codes < 0).any(axis=1)):
            # The task of a missing value failed; the reason is in the note of the job.
            lost = printable(job["reasons"].get(str(n), "not computed"))
            codes[n, codes[n] < 0] = len(reasons)
            reasons.append(lost)
        new, asked = np.ones(codes.shape, bool), frozenset(wanted)
        for n, (task, (dataset, clip, _)) in enumerate(zip(job["tasks"], clips, strict=True)):
            have = of_setting.get(key := (task, dataset, clip))
            if have is not None:
                new[n] = [pair not in have for pair in wanted]
            of_setting[key] = asked if have is None else asked | have
        clip_of, pair_of = np.nonzero(new)
        if not clip_of.size:
            continue
        yield Block(
            fixed=fixed(experiment, job, apart),
            clips=clips,
            clip=clip_of,
            pair=pair_of,
            pairs=wanted,
            value=matrix.value[new],
            seconds=matrix.seconds[new],
            reason=codes[new],
            reasons=reasons,
        )


def fixed(experiment: str, job: Note, apart: Identities) -> dict[str, Any]:
    """Return the columns of a job that have one value."""
    method = {name: cell(value) for name, value in job["method"].items()}
    return {
        "experiment": experiment,
        **method,
        **apart.columns(job),
        "seed": job["seed"],
        "dtype": job["dtype"],
    }


def _setting(job: Note) -> str:
    return canonical([job["method"], job["seed"], job["dtype"]])
