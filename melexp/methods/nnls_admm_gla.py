"""Cascade: a magnitude first, then its phase by ADMM (ADMM-GLA)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from melexp.methods._base import Method, State
from melexp.problem import Problem
from melexp.prox import unit_phase


@dataclass
class ADMMGLAState(State):
    """The fixed magnitude A and X, Z and the scaled dual U, each (n_bins, n_frames)."""

    A: np.ndarray
    X: np.ndarray
    Z: np.ndarray
    U: np.ndarray


@dataclass(frozen=True, kw_only=True)
class ADMMGLA(Method[ADMMGLAState]):
    r"""Griffin-Lim-like phase recovery by ADMM.

    Minimises :math:`\tfrac12 \|Z - P_C(Z)\|^2` subject to Z = X and |X| = A.

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
        return ADMMGLAState(iteration=0, A=Y, X=X, Z=X, U=np.zeros_like(X))

    def step(self, problem: Problem, state: ADMMGLAState) -> ADMMGLAState:
        rho = problem.dtype.type(self.rho)
        X = state.A * unit_phase(state.Z - state.U)
        P = X + state.U
        Z = (rho * P + problem.stft.project(P)) / (1 + rho)
        return ADMMGLAState(iteration=state.iteration + 1, A=state.A, X=X, Z=Z, U=P - Z)

    def signal(self, problem: Problem, state: ADMMGLAState) -> np.ndarray:
        return problem.waveform(state.X)
