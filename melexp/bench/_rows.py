"""Rows of the benchmarks, and the timing of alternatives in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from melexp.datasets import load_dataset

SR = 22050


class Row(NamedTuple):
    """One measurement: median, quartiles, and ratio to a reference."""

    section: str
    name: str
    value: float
    low: float
    high: float
    unit: str
    ratio: float
    against: str


def interleaved(
    entries: Mapping[str, Callable[[], Any]],
    *,
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, np.ndarray]:
    """Time entries in turn; return the seconds of each in each round, without a warm-up round."""
    times: dict[str, list[float]] = {name: [] for name in entries}
    for n in range(rounds + 1):
        for name, run in entries.items():
            began = clock()
            run()
            if n:
                times[name].append(clock() - began)
    return {name: np.array(values) for name, values in times.items()}


def row(
    section: str, name: str, values: np.ndarray, unit: str, base: np.ndarray, against: str
) -> Row:
    """Make a row from paired rounds: the ratio is the median of the rounds' ratios."""
    low, median, high = np.percentile(values, [25, 50, 75])
    return Row(section, name, median, low, high, unit, float(np.median(values / base)), against)


def clip(seconds: float, sr: float = SR) -> np.ndarray:
    """Return embedded speech, repeated to a length."""
    speech = np.concatenate([c.load(int(sr)) for c in load_dataset("demo_speech")])
    return np.resize(speech, int(seconds * sr)).astype(np.float32)
