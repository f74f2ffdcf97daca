"""Time of an iteration on mels whose numbers become denormal, relative to ordinary mels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from melexp.bench._rows import Row, interleaved, row
from melexp.bench.iterations import METHODS
from melexp.methods import make_method
from melexp.problem import Problem
from melexp.transforms.mel import MelTransform

#: The transform, and the frames (of 188) that are made hard.
SHORT = MelTransform.preset("paper", sr=16000, n_fft=512, hop_length=128, n_mels=40, fmax=8000)
HARD = slice(40, 120)


def rows(rounds: int, *, methods: Sequence[str] = METHODS, power: float = 1.0) -> Iterator[Row]:
    """Time iterations on mels whose numbers become denormal, against ordinary mels.

    2,000 untimed iterations come first, because the changes of a converged run are the smallest
    numbers.
    """
    transform = replace(SHORT, power=power)
    x = np.random.default_rng(0).standard_normal(24000).astype(np.float32)
    mel = transform(x).astype(np.float64)
    mels = {"ordinary": mel, "denormal": mel.copy(), "silent": mel.copy(), "spike": 0 * mel}
    mels["denormal"][:, HARD] *= 1e-39
    mels["silent"][:, HARD] = 0
    mels["spike"][3, 50] = 1
    for name in methods:
        method, entries = make_method(name).for_budget(2200), {}
        for kind, given in mels.items():
            problem = Problem(given, transform, length=len(x), engine="fast")
            state = method.init(problem, np.random.default_rng(0))
            state = method.advance(problem, state, 2000)
            entries[kind] = partial(method.advance, problem, state, 200)
        times = interleaved(entries, rounds=rounds)
        section = f"denormal numbers, {name}, power {power:g}"
        for kind, seconds in times.items():
            yield row(
                section, kind, seconds / 200 * 1e3, "ms", times["ordinary"] / 200 * 1e3, "ordinary"
            )
