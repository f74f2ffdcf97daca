"""Time per iteration and peak memory against the length of a clip."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator, Sequence

from melexp.bench._rows import Row, clip, interleaved, row
from melexp.bench.iterations import per_iteration
from melexp.inversion.solve import solve
from melexp.methods import make_method
from melexp.problem import Problem
from melexp.transforms.mel import MelTransform


def rows(
    rounds: int,
    *,
    spans: Sequence[float] = (0.5, 1, 5, 30, 120, 600),
    memory: Sequence[float] = (5, 60, 300),
) -> Iterator[Row]:
    """Measure the time of an iteration and the peak memory against the length of the clip."""
    transform = MelTransform.preset("paper")
    section = "length of the clip, admm, fast"
    counts = {s: round(max(10, 100 / s)) for s in spans}
    entries = {}
    for s, n in counts.items():
        x = clip(s)
        for k in (1, n + 1):
            entries[f"{s}|{k}"] = per_iteration("admm", transform, x, "fast", k)
    times = interleaved(entries, rounds=-(-rounds // 4))
    each = {s: (times[f"{s}|{n + 1}"] - times[f"{s}|1"]) / n / s * 1e3 for s, n in counts.items()}
    for s in spans:
        yield row(section, f"{s:g} s", each[s], "ms per s of audio", each[5], "5 s")
    for s in memory:
        mel = transform(clip(s))
        problem = Problem(mel, transform)
        method = make_method("admm")
        tracemalloc.start()
        for _ in solve(method, problem, checkpoints=[5]):
            pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        spectrogram = problem.stft.n_frames * (transform.n_fft // 2 + 1) * 8
        mb = peak / 1e6
        yield Row(
            "peak memory, admm, fast", f"{s:g} s", mb, mb, mb, "MB",
            peak / spectrogram, "complex64 spectrograms",
        )  # fmt: skip
