"""Cascade: a magnitude first, then its phase by the fast Griffin-Lim algorithm (FGLA)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from melexp.methods._base import Method, State
from melexp.problem import Problem
from melexp.prox import unit_phase


@dataclass
class FGLAState(State):
    """The fixed magnitude A, and C of this iteration and the one before, (n_bins, n_frames)."""

    A: np.ndarray
    C: np.ndarray
    C_old: np.ndarray


@dataclass(frozen=True, kw_only=True)
class FGLA(Method[FGLAState]):
    """Griffin-Lim with momentum: C_k = P_C(A phase(T_{k-1})), T_k = C_k + a (C_k - C_{k-1}).

    Parameters
    ----------
    momentum : float >= 0
        The momentum a.

    References
    ----------
    N. Perraudin, P. Balazs and P. L. Søndergaard, "A fast Griffin-Lim algorithm", WASPAA 2013.
    """

    magnitude: str = "nnls"
    momentum: float = 0.99

    def __post_init__(self) -> None:
        if not self.momentum >= 0:
            raise ValueError(f"momentum must not be negative; got {self.momentum}")

    def begin(self, problem: Problem, Y: np.ndarray, X: np.ndarray) -> FGLAState:
        return FGLAState(iteration=0, A=Y, C=X, C_old=X)

    def step(self, problem: Problem, state: FGLAState) -> FGLAState:
        T = state.C + problem.dtype.type(self.momentum) * (state.C - state.C_old)
        C = problem.stft.project(state.A * unit_phase(T))
        return FGLAState(iteration=state.iteration + 1, A=state.A, C=C, C_old=state.C)

    def signal(self, problem: Problem, state: FGLAState) -> np.ndarray:
        return problem.waveform(state.C)
