"""Overhead of the runner."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from joblib import Parallel, delayed, parallel_config

from melexp.bench._rows import Row, row
from melexp.bench.cores import invert_one
from melexp.datasets import load_dataset
from melexp.methods import make_method
from melexp.results.pairs import Pair
from melexp.results.store import Store
from melexp.runs.runner import Job, finish_all
from melexp.runs.task import Task
from melexp.transforms.mel import MelTransform


@dataclass(frozen=True)
class Nap(Task):
    """A task of known length. It sleeps, so that other work on the machine hardly affects it."""

    length: float = 0.05

    def compute(self, wanted: list[Pair]) -> Iterator[dict[str, Any]]:
        time.sleep(self.length)
        for iteration, metric in wanted:
            yield {"iteration": iteration, "metric": metric, "value": 0.0, "seconds": self.length}


def rows(n: int, *, workers: int = 2, length: float = 0.05) -> Iterator[Row]:
    """Measure the overhead of the runner: tasks of a known length, against a bare pool."""
    one, method = load_dataset("demo_speech")[0], make_method("admm")
    tasks: list[Task] = [
        Nap(one, method, "admm", MelTransform.preset("paper"), k, "float32", length=length)
        for k in range(n)
    ]

    def bare() -> None:
        with parallel_config("loky", n_jobs=workers, inner_max_num_threads=1):
            Parallel()(delayed(time.sleep)(length) for _ in range(n))

    def run() -> None:
        with TemporaryDirectory() as folder:
            config = {"method": {"label": "ADMM"}, "workers": workers}
            wanted, store = [(500, "scm"), (500, "sc")], Store(folder)
            finish_all(Job(config, tasks, wanted, ["sc", "scm"], store, [""] * n, 0.0))

    with parallel_config("loky", n_jobs=workers, inner_max_num_threads=1):
        Parallel()(delayed(invert_one)(2) for _ in range(2 * workers))  # imports
    times = {}
    for name, entry in {"joblib alone": bare, "the runner": run}.items():
        began = time.perf_counter()
        entry()
        times[name] = np.full((2, 1), time.perf_counter() - began)  # its processes sleep
    section = f"runner, {n} tasks of {length:g} s, {workers} processes"
    least = np.full((2, 1), n * length / workers)
    for name, seconds in times.items():
        yield row(section, name, seconds, "s", least, "the tasks alone", clock="wall")
    yield row(
        section, "the runner", times["the runner"], "s", times["joblib alone"], "joblib",
        clock="wall",
    )  # fmt: skip
