"""Cascade: a magnitude first, then its phase by the fast Griffin-Lim algorithm (FGLA)."""

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
class FGLAState(State):
    """The fixed magnitude A, the consistent C and its last change dC, (n_bins, n_frames)."""

    A: np.ndarray
    C: np.ndarray
    dC: np.ndarray


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
        return FGLAState(iteration=0, A=Y, C=X, dC=np.zeros_like(X))

    def step(self, problem: Problem, state: FGLAState) -> FGLAState:
        T = state.C + problem.dtype.type(self.momentum) * state.dC
        C = problem.stft.project(state.A * unit_phase(T))
        return FGLAState(iteration=state.iteration + 1, A=state.A, C=C, dC=C - state.C)

    def advance_fast(
        self,
        lanes: LaneEngine,
        problem: Problem,
        state: FGLAState,
        n_iter: int,
        stop: Stop | None,
    ) -> FGLAState:
        packed, fixed = lanes.pack(X=state.C, dX=state.dC), lanes.pack(A=state.A)["A"]
        mel = lanes.pack_mel(problem.mel)
        done = lanes.gla(packed, fixed, [self.momentum] * n_iter, mel, **lane_stop(stop))
        C, dC = lanes.unpack(packed)
        return FGLAState(iteration=state.iteration + done, A=state.A, C=C, dC=dC)

    def signal(self, problem: Problem, state: FGLAState) -> np.ndarray:
        return problem.waveform(state.C)
