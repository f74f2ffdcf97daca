"""Time of a new process: its imports, and an inversion with a filled and with an empty cache."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from tempfile import TemporaryDirectory

from melexp.bench._rows import Row, interleaved, row

BASE = "import numpy, scipy.fft, scipy.signal"
INVERT = """
import numpy as np, melexp
t = melexp.MelTransform.preset("paper")
x = np.random.default_rng(0).standard_normal(5 * 22050).astype(np.float32)
melexp.invert(t(x), t, n_iter=100)
"""


def rows(rounds: int) -> Iterator[Row]:
    """Measure whole processes: imports, and `melexp.invert` of 5 s from either cache."""
    with TemporaryDirectory() as filled:  # by the round that is not counted
        times = interleaved(
            {
                BASE: partial(_process, BASE, filled),
                "the same and melexp": partial(_process, f"{BASE}, melexp.inversion.solve", filled),
                "melexp.invert of 5 s, filled cache": partial(_process, INVERT, filled),
                "melexp.invert of 5 s, empty cache": _cold,
            },
            rounds=-(-rounds // 4),
        )
    for name, values in times.items():
        yield row("start-up", name, values, "s", times[BASE], BASE)


def _process(code: str, cache: str) -> None:
    command = [sys.executable, "-W", "ignore", "-c", code]
    subprocess.run(command, check=True, env={**os.environ, "NUMBA_CACHE_DIR": cache})


def _cold() -> None:
    with TemporaryDirectory() as empty:
        _process(INVERT, empty)
