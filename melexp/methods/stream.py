"""Frame by frame: the iteration of another method on a short window, as in live use."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from melexp.methods._base import Peer
from melexp.problem import Problem


@dataclass(frozen=True, kw_only=True)
class Stream(Peer):
    """`melexp.MelStream` on a complete mel-spectrogram, to compare it with methods that see it all.

    The number of iterations is that of each new frame. The frames are linear: the floor of a
    compression, which hides values below it, is not used.

    Parameters
    ----------
    lookahead : int >= 0
        Number of frames to wait for before a hop of samples is final.
    update : str
        Method of the iteration, with its default parameters.

    Raises
    ------
    ValueError
        If the look-ahead is negative.
    """

    version: ClassVar[int] = 3

    lookahead: int = 6
    update: str = "admm_ramp"

    def __post_init__(self) -> None:
        if not self.lookahead >= 0:
            raise ValueError(f"lookahead must not be negative; got {self.lookahead}")

    def run(
        self, problem: Problem, rng: np.random.Generator, n_iter: int, start: Any
    ) -> np.ndarray:
        from melexp.inversion.stream import MelStream

        transform = dataclasses.replace(problem.transform, compression=None)
        stream = MelStream(
            transform,
            lookahead=self.lookahead,
            n_iter=max(n_iter, 1),
            method=self.update,
            seed=int(rng.integers(2**31)),
        )
        y = np.concatenate([stream.push(problem.mel), stream.flush()])[: problem.n_samples]
        y = np.pad(y, (0, problem.n_samples - len(y)))
        return (y * problem.dtype.type(problem.scale)).astype(problem.dtype)
