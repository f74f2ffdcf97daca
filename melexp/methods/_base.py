"""What a method is: parameters, and four functions of a problem and a state."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import numpy as np

from melexp.problem import Problem
from melexp.start import start

if TYPE_CHECKING:
    from melexp.fast import LaneEngine


#: Parameters of every method that came later, and what those without them had.
LATER = {"frame_weights": 0.0}


@dataclass
class State:
    """All that a method needs to go on: its arrays are the whole restart file.

    A step returns a new state and leaves the old one as it was.
    """

    iteration: int


S = TypeVar("S", bound=State)


@dataclass(frozen=True, kw_only=True)
class Stop:
    """When a run may end before its last iteration.

    Parameters
    ----------
    every : int > 0
        Look every so many iterations.
    target : float or None
        End when the SCM of the waveform is below this, in dB.
    tol : float or None
        End when an iteration changes the waveform by less than this share of its norm.
    """

    every: int = 10
    target: float | None = None
    tol: float | None = None

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"every must be at least 1; got {self.every}")

    def reached(self, problem: Problem, before: np.ndarray, now: np.ndarray) -> bool:
        """Whether the waveforms of the last two iterations end the run."""
        if self.tol is not None and np.linalg.norm(now - before) < self.tol * np.linalg.norm(now):
            return True
        return self.target is not None and problem.misfit(now) < 10 ** (self.target / 20)


@dataclass(frozen=True, kw_only=True)
class Method(ABC, Generic[S]):
    """An iterative inversion method; its fields are its parameters.

    Parameters
    ----------
    magnitude : str
        Where the full-band magnitude starts: one of `melexp.start.MAGNITUDES`.
    phase : str
        Where the phase starts: one of `melexp.start.PHASES`.
    frame_weights : float in [0, 1]
        Exponent of the weights of the frames, 0 is none. The method then needs the problem that
        :meth:`melexp.problem.Problem.weighted` makes.
    """

    #: Raise it when a change of the code changes the numbers: finished results are then redone.
    version: ClassVar[int] = 1
    #: True where n more iterations mean starting again (a library's closed loop).
    restarts: ClassVar[bool] = False

    magnitude: str = "pinv"
    phase: str = "random"
    frame_weights: float = 0.0

    def parameters(self) -> dict[str, Any]:
        """Names and values, but of what came `LATER` only if they are others than before.

        So what was computed before is still known by its parameters.
        """
        values = dataclasses.asdict(self)
        return {k: v for k, v in values.items() if k not in LATER or v != LATER[k]}

    def for_budget(self, n_iter: int) -> Method[S]:
        """The method itself, what it leaves open chosen for a run of `n_iter` iterations."""
        return self

    def init(self, problem: Problem, rng: np.random.Generator) -> S:
        """The state before the first iteration."""
        if self.frame_weights != problem.frame_weights:
            raise ValueError(
                f"the method has frame_weights = {self.frame_weights}, the problem "
                f"{problem.frame_weights}: give it problem.weighted({self.frame_weights})"
            )
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

    def advance(self, problem: Problem, state: S, n_iter: int, stop: Stop | None = None) -> S:
        """`n_iter` iterations, or fewer where `stop` ends them; by the fast engine if it can."""
        if problem.lanes is not None and type(self).advance_fast is not Method.advance_fast:
            return self.advance_fast(problem.lanes, problem, state, n_iter, stop)
        for k in range(1, n_iter + 1):
            before, state = state, self.step(problem, state)
            if stop is not None and k % stop.every == 0:
                signals = self.signal(problem, before), self.signal(problem, state)
                if stop.reached(problem, *signals):
                    break
        return state

    def advance_fast(
        self, lanes: LaneEngine, problem: Problem, state: S, n_iter: int, stop: Stop | None
    ) -> S:
        """As `advance`, in the fast engine; a method that has no such function uses `step`."""
        raise TypeError(f"{type(self).__name__} has no fast form")


def lane_stop(stop: Stop | None) -> dict[str, Any]:
    """A `Stop` in the engine's words, where 0 means never."""
    if stop is None:
        return {}
    target = 0.0 if stop.target is None else 10 ** (stop.target / 20)
    return {"every": stop.every, "target": target, "tol": stop.tol or 0.0}
