"""iPALM: inertial proximal alternating linearised minimisation (the previous joint method)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from melexp.methods._base import Method, State, Stop, lane_stop
from melexp.problem import Problem
from melexp.prox import unit_phase

if TYPE_CHECKING:
    from melexp.fast import LaneEngine


@dataclass
class IPALMState(State):
    """X and Y, and their last changes dX and dY, each of shape (n_bins, n_frames)."""

    X: np.ndarray
    Y: np.ndarray
    dX: np.ndarray
    dY: np.ndarray


@dataclass(frozen=True, kw_only=True)
class IPALM(Method[IPALMState]):
    r"""Griffin-Lim and a gradient step on the magnitude in turn, both with inertia.

    .. math::
        \min_{X \in C,\, Y \ge 0} \tfrac12 \||X| - Y\|^2 + \tfrac{\lambda}{2} \|M - E Y\|^2

    Parameters
    ----------
    lam : float > 0
        Weight of the mel-spectrogram.
    inertia : float in [0, 1) or None
        Weight of the last change; None means (k - 1) / (k + 2) in iteration k = 1, 2, ...

    References
    ----------
    Y. Masuyama, N. Ueno and N. Ono, "Signal reconstruction from mel-spectrogram based on bi-level
    consistency of full-band magnitude and phase", WASPAA 2023, arXiv:2307.12232; T. Pock and
    S. Sabach, "Inertial proximal alternating linearized minimization (iPALM) for nonconvex and
    nonsmooth problems", SIAM J. Imaging Sci. 9(4), 2016.
    """

    lam: float = 5000.0
    inertia: float | None = None

    def __post_init__(self) -> None:
        if not self.lam > 0:
            raise ValueError(f"lam must be above zero; got {self.lam}")
        if self.inertia is not None and not 0 <= self.inertia < 1:
            raise ValueError(f"inertia must lie in [0, 1) or be None; got {self.inertia}")

    def begin(self, problem: Problem, Y: np.ndarray, X: np.ndarray) -> IPALMState:
        if problem.transform.power != 1:
            raise ValueError(
                "ipalm is for magnitude mels (power = 1), as its gradient step is; use admm"
            )
        return IPALMState(iteration=0, X=X, Y=Y, dX=np.zeros_like(X), dY=np.zeros_like(Y))

    def step(self, problem: Problem, state: IPALMState) -> IPALMState:
        X, Y, E = state.X, state.Y, problem.filters
        a = problem.dtype.type(self._inertia(state.iteration + 1))
        lam = problem.dtype.type(self.lam)
        # X~ = X_k + a (X_k - X_{k-1});  X_{k+1} = P_C(Y_k phase(X~))
        X_ahead = X + a * state.dX
        X_new = problem.stft.project(Y * unit_phase(X_ahead))
        # Y~ = Y_k + a (Y_k - Y_{k-1});  Y_{k+1} = max(0, Y~ - gradient / L)
        Y_ahead = Y + a * state.dY
        gradient = (Y_ahead - abs(X_new)) - lam * E.adjoint(problem.residual(Y_ahead))
        lipschitz = problem.dtype.type(1 + self.lam * E.norm_squared)
        Y_new = (Y_ahead - gradient / lipschitz).clip(0)
        return IPALMState(
            iteration=state.iteration + 1, X=X_new, Y=Y_new, dX=X_new - X, dY=Y_new - Y
        )

    def _inertia(self, k: int) -> float:
        """Inertia of iteration k = 1, 2, ..."""
        return (k - 1) / (k + 2) if self.inertia is None else self.inertia

    def advance_fast(
        self,
        lanes: LaneEngine,
        problem: Problem,
        state: IPALMState,
        n_iter: int,
        stop: Stop | None,
    ) -> IPALMState:
        first = state.iteration + 1
        packed = lanes.pack(X=state.X, Y=state.Y, dX=state.dX, dY=state.dY)
        done = lanes.ipalm(
            packed,
            lanes.pack_mel(problem.mel),
            [self._inertia(k) for k in range(first, first + n_iter)],
            self.lam,
            problem.filters.norm_squared**0.5,
            bound=problem.floored,
            **lane_stop(stop),
        )
        X, Y, dX, dY = lanes.unpack(packed)
        return IPALMState(iteration=state.iteration + done, X=X, Y=Y, dX=dX, dY=dY)

    def signal(self, problem: Problem, state: IPALMState) -> np.ndarray:
        return problem.waveform(state.X)
