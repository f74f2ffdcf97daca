"""Cascade: a magnitude first, then its phase by ADMM (ADMM-GLA)."""

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
class ADMMGLAState(State):
    """The fixed magnitude A and P = X + U, U the scaled dual, each (n_bins, n_frames)."""

    A: np.ndarray
    P: np.ndarray


@dataclass(frozen=True, kw_only=True)
class ADMMGLA(Method[ADMMGLAState]):
    r"""Griffin-Lim-like phase recovery by ADMM.

    Minimises :math:`\tfrac12 \|Z - P_C(Z)\|^2` subject to Z = X and |X| = A. The update of Z needs
    X only through P = X + U, which is the whole state; U has no consistent part, so P and X have
    the same inverse STFT.

    Parameters
    ----------
    rho : float > 0
        Penalty of Z = X.

    References
    ----------
    Y. Masuyama, K. Yatabe and Y. Oikawa, "Griffin-Lim like phase recovery via alternating
    direction method of multipliers", IEEE Signal Process. Lett. 26(1), 2019.
    """

    magnitude: str = "nnls"
    rho: float = 0.1

    def __post_init__(self) -> None:
        if not self.rho > 0:
            raise ValueError(f"rho must be above zero; got {self.rho}")

    def begin(self, problem: Problem, Y: np.ndarray, X: np.ndarray) -> ADMMGLAState:
        return ADMMGLAState(iteration=0, A=Y, P=X)

    def step(self, problem: Problem, state: ADMMGLAState) -> ADMMGLAState:
        P, rho = state.P, problem.dtype.type(self.rho)
        Z = (rho * P + problem.stft.project(P)) / (1 + rho)
        # U += X - Z, which makes it P - Z;  X = A phase(Z - U)
        X = state.A * unit_phase(2 * Z - P)
        return ADMMGLAState(iteration=state.iteration + 1, A=state.A, P=X + P - Z)

    def advance_fast(
        self,
        lanes: LaneEngine,
        problem: Problem,
        state: ADMMGLAState,
        n_iter: int,
        stop: Stop | None,
    ) -> ADMMGLAState:
        packed, fixed = lanes.pack(P=state.P), lanes.pack(A=state.A)["A"]
        mel = lanes.pack_mel(problem.mel)
        done = lanes.admm_gla(packed, fixed, [self.rho] * n_iter, mel, **lane_stop(stop))
        (P,) = lanes.unpack(packed)
        return ADMMGLAState(iteration=state.iteration + done, A=state.A, P=P)

    def signal(self, problem: Problem, state: ADMMGLAState) -> np.ndarray:
        return problem.waveform(state.P)
