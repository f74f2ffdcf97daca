"""Speed-up by a second core: many clips at once, and one long clip."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from joblib import Parallel, delayed, parallel_config

from melexp.bench._rows import Row, clip, interleaved, row
from melexp.inversion.invert import invert
from melexp.inversion.solve import solve
from melexp.methods import make_method
from melexp.problem import Problem
from melexp.transforms.mel import MelTransform


def invert_one(n_iter: int) -> None:
    """Invert 5 s of speech; runs in a worker process."""
    transform = MelTransform.preset("paper")
    mel = transform(clip(5))
    for _ in solve(make_method("admm"), Problem(mel, transform), checkpoints=[n_iter]):
        pass


def rows(rounds: int, *, clips: int = 16, n_iter: int = 300, seconds: float = 60) -> Iterator[Row]:
    """Time many clips over processes and over threads, and one long clip over threads."""
    transform = MelTransform.preset("paper")
    many = np.stack([transform(clip(5))] * clips)
    long = transform(clip(seconds))

    def processes(workers: int) -> None:
        with parallel_config("loky", n_jobs=workers, inner_max_num_threads=1):
            Parallel()(delayed(invert_one)(n_iter) for _ in range(clips))

    def threads(mel: np.ndarray, n: int) -> None:
        invert(mel, transform, method="admm", n_iter=n_iter, threads=n)

    kinds: dict[str, Callable[[int], Any]] = {
        f"{clips} clips of 5 s, {{}} processes": processes,
        f"{clips} clips of 5 s, {{}} threads": partial(threads, many),
        f"one clip of {seconds:g} s, {{}} threads": partial(threads, long),
    }
    for name, kind in kinds.items():
        times = interleaved({str(n): partial(kind, n) for n in (1, 2)}, rounds=-(-rounds // 5))
        for n, values in times.items():
            section = f"cores, {n_iter} iterations"
            yield row(section, name.format(n), values, "s", times["1"], "1", clock="wall")
