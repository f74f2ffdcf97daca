"""The cost of the start in iterations, and the cost of a complete run of `admm_ramp`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from melexp.bench._rows import Row, clip, interleaved, row
from melexp.bench.iterations import per_iteration
from melexp.inversion.solve import solve
from melexp.methods import make_method
from melexp.problem import Problem
from melexp.start import kl, nnls, pghi, pinv
from melexp.transforms.mel import MelTransform


def rows(rounds: int) -> Iterator[Row]:
    """Time starts against ten iterations of `admm`, and `admm_ramp` at 100 against 500."""
    x, transform = clip(5.14), MelTransform.preset("paper")
    mel = transform(x)
    problem = Problem(mel, transform, length=len(x))
    Y = kl(problem)

    def run(name: str, n: int) -> None:
        # A new problem each time, so that the cost of its tables is counted.
        given = Problem(mel, transform, length=len(x))
        list(solve(make_method(name).for_budget(n), given, checkpoints=[n]))

    times = interleaved(
        {
            "pinv": lambda: pinv(problem),
            "nnls": lambda: nnls(problem),
            "kl": lambda: kl(problem),
            "pghi": lambda: pghi(Y, problem, np.random.default_rng(0)),
            "1": per_iteration("admm", transform, x, "fast", 1),
            "51": per_iteration("admm", transform, x, "fast", 51),
            "admm, 500 iterations": lambda: run("admm", 500),
            "admm_ramp, 100 iterations": lambda: run("admm_ramp", 100),
        },
        rounds=rounds,
    )
    ten = (times["51"] - times["1"]) / 5 * 1e3
    times["kl + pghi"] = times["kl"] + times["pghi"]
    for name in ("pinv", "nnls", "kl", "pghi", "kl + pghi"):
        yield row("the start, 5.1 s", name, times[name] * 1e3, "ms", ten, "10 iterations of admm")
    section, base = "from the mel to the waveform, 5.1 s", "admm, 500 iterations"
    for name in (base, "admm_ramp, 100 iterations"):
        yield row(section, name, times[name] * 1e3, "ms", times[base] * 1e3, base)
