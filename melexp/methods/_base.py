"""What a method is: parameters, and four functions of a problem and a state."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

import numpy as np

from melexp.problem import Problem
from melexp.start import start


@dataclass
class State:
    """All that a method needs to go on: its arrays are the whole restart file.

    A step returns a new state and leaves the old one as it was.
    """

    iteration: int


S = TypeVar("S", bound=State)


@dataclass(frozen=True, kw_only=True)
class Method(ABC, Generic[S]):
    """An iterative inversion method; its fields are its parameters.

    Parameters
    ----------
    magnitude : str
        Where the full-band magnitude starts: one of `melexp.start.MAGNITUDES`.
    phase : str
        Where the phase starts: one of `melexp.start.PHASES`.
    """

    #: Raise it when a change of the code changes the numbers: finished results are then redone.
    version: ClassVar[int] = 1
    #: True where n more iterations mean starting again (a library's closed loop).
    restarts: ClassVar[bool] = False

    magnitude: str = "pinv"
    phase: str = "random"

    def init(self, problem: Problem, rng: np.random.Generator) -> S:
        """The state before the first iteration."""
        Y, X = start(problem, rng, magnitude=self.magnitude, phase=self.phase)
        return self.begin(problem, Y, X)

    @abstractmethod
    def begin(self, problem: Problem, Y: np.ndarray, X: np.ndarray) -> S:
        """The state that starts (warm or cold) from a magnitude Y and a spectrogram X."""

    @abstractmethod
    def step(self, problem: Problem, state: S) -> S:
        """One iteration."""

    @abstractmethod
    def signal(self, problem: Problem, state: S) -> np.ndarray:
        """The waveform of a state [shape=(n_samples,)]."""

    def advance(self, problem: Problem, state: S, n_iter: int) -> S:
        """`n_iter` iterations."""
        for _ in range(n_iter):
            state = self.step(problem, state)
        return state
