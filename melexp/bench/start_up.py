"""Time of a new process before its first result."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import partial

import numpy as np

from melexp.bench._rows import Row, interleaved, row


def rows(rounds: int) -> Iterator[Row]:
    """Measure the import, and the first call of the fast engine with a filled cache."""
    first = (
        "import time, numpy as np, melexp, librosa.filters\n"
        "t = melexp.MelTransform.preset('paper'); m = t(np.ones(22050, np.float32))\n"
        "b = time.perf_counter(); melexp.invert(m, t, method='admm', n_iter=1)\n"
        "print(time.perf_counter() - b)"
    )
    programs = {
        "import numpy, scipy.fft, scipy.signal": "import numpy, scipy.fft, scipy.signal",
        "the same and melexp": "import numpy, scipy.fft, scipy.signal, melexp.inversion.solve",
    }
    entries = {
        name: partial(subprocess.run, [sys.executable, "-c", code], check=True)
        for name, code in programs.items()
    }
    times = interleaved(entries, rounds=max(5, rounds // 4))
    base = times["import numpy, scipy.fft, scipy.signal"]
    for name, values in times.items():
        yield row("start-up", name, values, "s", base, "numpy and scipy")
    firsts = []
    for _ in range(4):
        done = subprocess.run(
            [sys.executable, "-c", first], check=True, capture_output=True, text=True
        )
        firsts.append(float(done.stdout))
    seconds = np.array(firsts[1:])
    yield row("start-up", "first call of the fast engine, cached", seconds, "s", seconds, "itself")
