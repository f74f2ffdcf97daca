"""The protocols of an inversion method: `Method`, `Binwise` (updates by bin) and `Peer`."""

from __future__ import annotations

import dataclasses
import functools
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

from melexp.errors import require
from melexp.methods._bins import Bins, Coefficients
from melexp.problem import Problem
from melexp.start import start
from melexp.transforms.arrays import namespace


@dataclass
class State:
    """The state of a method after an iteration: its arrays are a complete restart file.

    A step returns a new state and leaves the old one unchanged.
    """

    iteration: int


S = TypeVar("S", bound=State)


@dataclass(frozen=True, kw_only=True)
class Stop:
    """A condition that ends a run before its last iteration.

    Parameters
    ----------
    every : int > 0
        Number of iterations between two checks.
    target : float or None
        End when the SCM of the waveform is below this value, in dB.
    tol : float or None
        End when an iteration changes the waveform by less than this share of its norm.

    Raises
    ------
    ValueError
        If `every` is below 1.
    """

    every: int = 10
    target: float | None = None
    tol: float | None = None

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"every must be at least 1; got {self.every}")

    def reached(self, problem: Problem, before: np.ndarray, now: np.ndarray) -> bool:
        """Return whether the waveforms of the last two iterations end the run."""
        if self.tol is not None and np.linalg.norm(now - before) < self.tol * np.linalg.norm(now):
            return True
        return self.target is not None and problem.misfit(now) < 10 ** (self.target / 20)


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Parameters as dataclass fields: the common part of `Method` and `Peer`."""

    #: Raise it when a change of the code changes the numbers: finished tasks are then recomputed.
    version: ClassVar[int] = 1

    def parameters(self) -> dict[str, Any]:
        """Return the names and values of the parameters."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, kw_only=True)
class Peer(Parameters, ABC):
    """A method of another library that runs all iterations in one call and cannot be resumed."""

    #: An extra of ``pyproject.toml`` and the modules that it installs; empty if none is needed.
    needs: ClassVar[tuple[str, ...]] = ()

    def check_installed(self) -> None:
        """Raise :class:`melexp.errors.MissingExtra` if a package that the peer calls is missing."""
        if self.needs:
            require(*self.needs, what=f"the peer {type(self).__name__}")

    def start(self, problem: Problem) -> Any:
        """Return what `run` needs for any number of iterations, such as a magnitude; or None."""
        return None

    @abstractmethod
    def run(
        self, problem: Problem, rng: np.random.Generator, n_iter: int, start: Any
    ) -> np.ndarray:
        """Return the waveform after `n_iter` iterations [shape=(n_samples,)].

        `start` is what :meth:`start` returned for the problem, and must not be changed.
        """


@dataclass(frozen=True, kw_only=True)
class Method(Parameters, ABC, Generic[S]):
    """An iterative inversion method; its fields are its parameters.

    Parameters
    ----------
    magnitude : str
        Initial full-band magnitude: a name in `melexp.start.MAGNITUDES`.
    phase : str
        Initial phase: a name in `melexp.start.PHASES`.
    frame_weights : float in [0, 1]
        Exponent of the frame weights; 0 means none. See :meth:`melexp.problem.Problem.weighted`.
    """

    magnitude: str = "pinv"
    phase: str = "random"
    frame_weights: float = 0.0

    def for_budget(self, n_iter: int, n_frames: int | None = None) -> Method[S]:
        """Return the method with its parameters adapted to a run of :func:`melexp.invert`.

        Parameters
        ----------
        n_iter : int >= 0
            Number of iterations.
        n_frames : int > 0 or None
            Number of frames of the mel-spectrogram; None ignores it.
        """
        return self

    def init(self, problem: Problem, rng: np.random.Generator) -> S:
        """Return the state before the first iteration.

        Raises
        ------
        ValueError
            If the problem has other frame weights than the method.
        """
        if self.frame_weights != problem.frame_weights:
            raise ValueError(
                f"the method has frame_weights = {self.frame_weights}, the problem "
                f"{problem.frame_weights}: give it problem.weighted({self.frame_weights})"
            )
        return self.begin(problem, *self.start(problem, rng))

    def start(self, problem: Problem, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return the initial magnitude and spectrogram; see :func:`melexp.start.start`."""
        return start(problem, rng, magnitude=self.magnitude, phase=self.phase)

    @abstractmethod
    def begin(self, problem: Problem, Y: np.ndarray, X: np.ndarray) -> S:
        """Return the state that starts (warm or cold) from a magnitude Y and a spectrogram X."""

    @abstractmethod
    def step(self, problem: Problem, state: S) -> S:
        """Return the state after one more iteration."""

    @abstractmethod
    def signal(self, problem: Problem, state: S) -> np.ndarray:
        """Return the waveform of a state [shape=(n_samples,)]."""

    def advance(self, problem: Problem, state: S, n_iter: int, stop: Stop | None = None) -> S:
        """Return the state after `n_iter` more iterations, or fewer if `stop` ends them."""
        for k in range(1, n_iter + 1):
            before, state = state, self.step(problem, state)
            if stop is not None and k % stop.every == 0:
                signals = self.signal(problem, before), self.signal(problem, state)
                if stop.reached(problem, *signals):
                    break
        return state


@dataclass(frozen=True, kw_only=True)
class Binwise(Method[S]):
    """A method whose iteration is a projection and an update bin by bin.

    A subclass declares `bins` and `coefficients`; the same update then runs in NumPy, in torch and
    in the fast engine.
    """

    @abstractmethod
    def bins(self, problem: Problem) -> Bins:
        """Return the declaration of the iteration."""

    def coefficients(self, problem: Problem, k: int) -> Coefficients:
        """Return the coefficients of iteration k = 1, 2, ..."""
        return ()

    def fixed(self, problem: Problem, state: S) -> tuple[np.ndarray, ...]:
        """Return the arrays that no iteration changes."""
        return tuple(getattr(state, name) for name in self.bins(problem).fixed)

    def mel_solver(self, problem: Problem) -> Any:
        """Return the solver S of the mel step, or None for the identity."""
        return None

    def step(self, problem: Problem, state: S) -> S:
        bins = self.bins(problem)
        source, estimate, update = bins.on_arrays
        C, R = (tuple(getattr(state, n) for n in names) for names in (bins.complex, bins.real))
        F = self.fixed(problem, state)
        # A NumPy float64 would widen float32 arrays.
        c = tuple(map(float, self.coefficients(problem, state.iteration + 1)))
        z = problem.stft.project(source(C, R, F, c))
        d = self._mel_step(problem, estimate(C, R, F, c)) if bins.fits_mel else None
        C, R = update(C, R, F, z, d, c)
        return self._next(state, bins, 1, C, R)

    def advance(self, problem: Problem, state: S, n_iter: int, stop: Stop | None = None) -> S:
        engine = problem.lanes
        if engine is None or n_iter < 1:
            return super().advance(problem, state, n_iter, stop)
        bins, solver = self.bins(problem), self.mel_solver(problem)
        ks = range(state.iteration + 1, state.iteration + n_iter + 1)
        coefficients = _Lazy(functools.partial(self.coefficients, problem), ks)
        done, C, R = engine.iterate(
            bins,
            [getattr(state, name) for name in bins.complex],
            [getattr(state, name) for name in bins.real],
            self.fixed(problem, state),
            coefficients,
            mel=problem.mel,
            floored=problem.floored,
            factors=() if solver is None else solver.factors,
            stop=stop,
        )
        return self._next(state, bins, done, C, R)

    def signal(self, problem: Problem, state: S) -> np.ndarray:
        return problem.waveform(getattr(state, self.bins(problem).complex[0]))

    def _mel_step(self, problem: Problem, estimate: np.ndarray) -> np.ndarray:
        """Return E^T S (M - E estimate); a floored mel value is an upper bound only."""
        E, solver = problem.filters, self.mel_solver(problem)
        error = mel_residual(problem, estimate)
        return E.adjoint(error if solver is None else solver.solve(error))

    def _next(self, state: S, bins: Bins, n_iter: int, C: Any, R: Any) -> S:
        values = dict(zip((*bins.complex, *bins.real), (*C, *R), strict=True))
        return dataclasses.replace(state, iteration=state.iteration + n_iter, **values)


@dataclass(frozen=True)
class _Lazy:
    """The coefficients of many iterations, computed slice by slice."""

    of: Callable[[int], Coefficients]
    ks: range

    def __len__(self) -> int:
        return len(self.ks)

    def __getitem__(self, part: slice) -> list[Coefficients]:
        return [self.of(k) for k in self.ks[part]]


def mel_residual(problem: Problem, estimate: np.ndarray) -> np.ndarray:
    """Return M - E estimate, and 0 where M is only an upper bound and E estimate lies below it."""
    error = problem.mel - problem.filters.apply(estimate)
    if problem.floored is None:
        return error
    return namespace(error).where(problem.floored & (error > 0), 0, error)
