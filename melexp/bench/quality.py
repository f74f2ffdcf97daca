"""Time until a method reaches the final quality of a peer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from melexp.bench._rows import SR, Row, interleaved, row
from melexp.datasets import load_dataset
from melexp.inversion.solve import Checkpoint, solve
from melexp.methods import make_method
from melexp.metrics import score
from melexp.problem import Problem
from melexp.transforms.mel import MelTransform


def rows(dataset: str, limit: int | None, *, rounds: int) -> Iterator[Row]:
    """Measure seconds to the final quality of librosa and iPALM, in SCM, PESQ and ESTOI."""
    transform = MelTransform.preset("paper")
    counts = (0, 1, 2, 3, 5, 8, 15, 30, 50, 75, 100, 150, 200, 300, 500)
    goals = {"librosa": (32, 500), "ipalm": (500,)}
    clips = [c.load(SR) for c in load_dataset(dataset)[:limit]]

    def run(name: str, x: np.ndarray, checkpoints: Sequence[int]) -> Iterator[Checkpoint]:
        # A new problem each time, so that the cost of its tables is counted.
        problem = Problem(transform(x), transform, length=len(x))
        return solve(make_method(name), problem, checkpoints=checkpoints)

    def all_clips(name: str, n: int) -> None:
        for x in clips:
            list(run(name, x, [n]))

    means = {}
    for name in ("librosa", "ipalm", "admm", "admm_ramp"):
        scores: dict[int, list[list[float]]] = {}
        for x in clips:
            for point in run(name, x, goals.get(name, counts)):
                scores.setdefault(point.iteration, []).append(
                    [
                        score(metric, x, point.signal, transform=transform).value
                        for metric in ("scm", "pesq", "estoi")
                    ]
                )
        means[name] = {n: np.mean(values, axis=0) for n, values in scores.items()}
    for goal, ends in goals.items():
        for end in ends:
            scm, pesq, estoi = means[goal][end]
            title = (
                f"time to the quality of {goal}, {end} iterations "
                f"(SCM {scm:.1f} dB, PESQ {pesq:.2f}, ESTOI {estoi:.3f}; {dataset})"
            )
            entries, labels = {goal: partial(all_clips, goal, end)}, {goal: goal}
            for name in ("admm", "admm_ramp"):
                good = [
                    n
                    for n, (s, p, e) in means[name].items()
                    if s <= scm and p >= pesq and e >= estoi
                ]
                labels[name] = f"{name}, {good[0]} iterations" if good else f"{name}: not reached"
                if good:
                    entries[name] = partial(all_clips, name, good[0])
            times = interleaved(entries, rounds=rounds)
            for name, label in labels.items():
                values = times.get(name, np.full((2, rounds), np.nan)) / len(clips)
                yield row(title, label, values, "s per clip", times[goal] / len(clips), goal)
