"""ADMM: full-band magnitude and phase estimated together (the proposed method)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from melexp.methods._base import Method, State, Stop
from melexp.methods._splitting import douglas_rachford_lanes, douglas_rachford_step
from melexp.problem import Problem

if TYPE_CHECKING:
    from melexp.fast import LaneEngine


@dataclass
class ADMMState(State):
    """P = X + U (complex) and R = Y + V (real), each of shape (n_bins, n_frames)."""

    P: np.ndarray
    R: np.ndarray


@dataclass(frozen=True, kw_only=True)
class ADMM(Method[ADMMState]):
    r"""Alternating direction method of multipliers for the joint problem.

    .. math::
        \min \tfrac12 \||X| - Y\|^2 + \tfrac{\lambda}{2} \|M - E W\|^2 + \iota_C(Z)
        + \iota_{\ge 0}(Y) \quad \text{subject to } Z = X,\; W = Y

    with scaled duals U and V. As each update of (Z, W) needs X and Y only through P = X + U and
    R = Y + V, these are the whole state (Douglas-Rachford splitting): Z - U = 2Z - P and
    W - V = 2W - R.

    For power mels, M = E |STFT(x)|^2, Y and W are powers, J becomes
    :math:`\tfrac12 \||X| - \sqrt{Y}\|^2`, and the squares in which powers are compared are
    relative to the power that the mel-spectrogram implies: see `Problem.correction` and
    :func:`melexp.prox.power_pair`. The same lam and rho suit both.

    Parameters
    ----------
    lam : float > 0
        Weight of the mel-spectrogram.
    rho : float > 0
        Penalty of both constraints.

    References
    ----------
    Y. Masuyama, N. Ueno and N. Ono, "Mel-spectrogram inversion via alternating direction method
    of multipliers", arXiv:2501.05557, 2025.
    """

    lam: float = 5000.0
    rho: float = 0.1

    def __post_init__(self) -> None:
        if not (self.lam > 0 and self.rho > 0):
            raise ValueError(f"lam and rho must be above zero; got {self.lam} and {self.rho}")

    def begin(self, problem: Problem, Y: np.ndarray, X: np.ndarray) -> ADMMState:
        return ADMMState(iteration=0, P=X, R=problem.transform.spectrum(Y))

    def step(self, problem: Problem, state: ADMMState) -> ADMMState:
        P, R = douglas_rachford_step(
            problem,
            state.P,
            state.R,
            rho_x=self.rho,
            rho_y=self.rho,
            ridge=self.rho / self.lam,
        )
        return ADMMState(iteration=state.iteration + 1, P=P, R=R)

    def advance_fast(
        self,
        lanes: LaneEngine,
        problem: Problem,
        state: ADMMState,
        n_iter: int,
        stop: Stop | None,
    ) -> ADMMState:
        done, P, R = douglas_rachford_lanes(
            lanes,
            problem,
            state.P,
            state.R,
            rho_x=[self.rho] * n_iter,
            rho_y=[self.rho] * n_iter,
            ridge=self.rho / self.lam,
            stop=stop,
        )
        return ADMMState(iteration=state.iteration + done, P=P, R=R)

    def signal(self, problem: Problem, state: ADMMState) -> np.ndarray:
        return problem.waveform(state.P)
