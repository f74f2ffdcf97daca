"""ADMM from a phase-aware start with growing penalties: fewer iterations, a better end."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from melexp.methods._base import Method, State, Stop
from melexp.methods._splitting import douglas_rachford_lanes, douglas_rachford_step
from melexp.problem import Problem

if TYPE_CHECKING:
    from melexp.fast import LaneEngine


@dataclass
class ADMMRampState(State):
    """P = X + U (complex) and R = Y + V (real), each of shape (n_bins, n_frames)."""

    P: np.ndarray
    R: np.ndarray


@dataclass(frozen=True, kw_only=True)
class ADMMRamp(Method[ADMMRampState]):
    r"""The iteration of `admm` with another start and penalties that grow.

    The start is a magnitude of the window's resolution (`kl`) with the phase that its gradient
    implies (`pghi`). The problem is not convex, and a small penalty takes long steps away from a
    start while a large one settles near it: so Z = X and W = Y have penalties of their own, which
    grow geometrically over the first `ramp` iterations and then stay. The scaled duals are not
    rescaled.

    Parameters
    ----------
    rho_x, rho_x_last : float > 0
        First and last penalty of Z = X.
    rho_y, rho_y_last : float > 0
        First and last penalty of W = Y.
    ratio : float > 0
        Weight of the mel-spectrogram over the penalty of W = Y. As the weight grows with the
        penalty, the mel system is the same in all iterations.
    ramp : int > 0 or None
        Number of iterations in which the penalties grow. None means 100, or in a call that has a
        number of iterations (:func:`melexp.invert`) that number, which is best.
    """

    version: ClassVar[int] = 2

    magnitude: str = "kl"
    phase: str = "pghi"
    rho_x: float = 0.001
    rho_x_last: float = 0.3
    rho_y: float = 0.01
    rho_y_last: float = 0.3
    ratio: float = 50000.0
    ramp: int | None = None

    def __post_init__(self) -> None:
        for name in ("rho_x", "rho_x_last", "rho_y", "rho_y_last", "ratio"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above zero; got {getattr(self, name)}")
        if self.ramp is not None and self.ramp < 1:
            raise ValueError(f"ramp must be at least 1; got {self.ramp}")

    def for_budget(self, n_iter: int) -> ADMMRamp:
        return self if self.ramp is not None else dataclasses.replace(self, ramp=max(n_iter, 1))

    def penalties(self, k: int) -> tuple[float, float]:
        """rho_x and rho_y of iteration k = 1, 2, ..."""
        ramp = self.ramp or 100
        return (
            geometric(k, self.rho_x, self.rho_x_last, ramp),
            geometric(k, self.rho_y, self.rho_y_last, ramp),
        )

    def begin(self, problem: Problem, Y: np.ndarray, X: np.ndarray) -> ADMMRampState:
        return ADMMRampState(iteration=0, P=X, R=problem.transform.spectrum(Y))

    def step(self, problem: Problem, state: ADMMRampState) -> ADMMRampState:
        k = state.iteration + 1
        rho_x, rho_y = self.penalties(k)
        P, R = douglas_rachford_step(
            problem, state.P, state.R, rho_x=rho_x, rho_y=rho_y, ridge=1 / self.ratio
        )
        return ADMMRampState(iteration=k, P=P, R=R)

    def advance_fast(
        self,
        lanes: LaneEngine,
        problem: Problem,
        state: ADMMRampState,
        n_iter: int,
        stop: Stop | None,
    ) -> ADMMRampState:
        ks = range(state.iteration + 1, state.iteration + n_iter + 1)
        penalties = [self.penalties(k) for k in ks]
        done, P, R = douglas_rachford_lanes(
            lanes,
            problem,
            state.P,
            state.R,
            rho_x=[rho_x for rho_x, _ in penalties],
            rho_y=[rho_y for _, rho_y in penalties],
            ridge=1 / self.ratio,
            stop=stop,
        )
        return ADMMRampState(iteration=state.iteration + done, P=P, R=R)

    def signal(self, problem: Problem, state: ADMMRampState) -> np.ndarray:
        return problem.waveform(state.P)


def geometric(k: int, first: float, last: float, length: int) -> float:
    r"""Return the penalty of iteration k = 1, 2, ...: from `first` to `last` by equal factors.

    .. math:: \rho_k = \rho_1 (\rho_n / \rho_1)^{s}, \quad s = \min(1, (k - 1) / (n - 1))
    """
    if k >= length:
        return last
    return float(first * (last / first) ** ((k - 1) / (length - 1)))
