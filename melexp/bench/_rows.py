"""Rows of the benchmarks, and the timing of alternatives in turn."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np

from melexp.datasets import load_dataset

SR = 22050

Clock = Literal["CPU", "wall"]
#: The clocks of the rows of an array of times, in order.
CLOCKS: tuple[Clock, Clock] = ("CPU", "wall")


class Row(NamedTuple):
    """One measurement: median, quartiles, and ratio to a reference.

    `value`, `low`, `high` and `ratio` are of the time of `clock`; `wall` is the median of the wall
    time beside it. A row that is no time has no clock.
    """

    section: str
    name: str
    value: float
    low: float
    high: float
    unit: str
    ratio: float
    against: str
    clock: str = ""
    wall: float = float("nan")


def interleaved(entries: Mapping[str, Callable[[], Any]], *, rounds: int) -> dict[str, np.ndarray]:
    """Time entries in turn, without a warm-up round.

    Returns
    -------
    times : dict of np.ndarray [shape=(2, rounds)]
        Seconds of each entry in each round: of the processor, and of the wall clock. The processor
        time includes that of ended sub-processes. Other programs hardly affect it.
    """
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in entries}
    for n in range(rounds + 1):
        for name, run in entries.items():
            cpu, wall = cpu_seconds(), time.perf_counter()
            run()
            wall = time.perf_counter() - wall
            if n:
                times[name].append((cpu_seconds() - cpu, wall))
    return {name: np.array(values).T for name, values in times.items()}


def cpu_seconds() -> float:
    """Return the processor time of this process and of its ended sub-processes, in seconds."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def row(
    section: str,
    name: str,
    values: np.ndarray,
    unit: str,
    base: np.ndarray,
    against: str,
    *,
    clock: Clock = "CPU",
) -> Row:
    """Make a row from paired rounds [shape=(2, rounds)], as `interleaved` returns them.

    The ratio is the median of the rounds' ratios: a change of the machine's speed during the
    measurement affects both alike.
    """
    of, wall = values[CLOCKS.index(clock)], float(np.median(values[CLOCKS.index("wall")]))
    low, median, high = np.percentile(of, [25, 50, 75])
    ratio = float(np.median(of / base[CLOCKS.index(clock)]))
    return Row(section, name, median, low, high, unit, ratio, against, clock, wall)


def clip(seconds: float, sr: float = SR) -> np.ndarray:
    """Return embedded speech, repeated to a length."""
    speech = np.concatenate([c.load(int(sr)) for c in load_dataset("demo_speech")])
    return np.resize(speech, int(seconds * sr)).astype(np.float32)
