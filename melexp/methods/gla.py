"""Cascade: a magnitude first, then its phase by the Griffin-Lim algorithm (GLA)."""

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
class GLAState(State):
    """The fixed magnitude A and the consistent spectrogram X, of shape (n_bins, n_frames)."""

    A: np.ndarray
    X: np.ndarray


@dataclass(frozen=True, kw_only=True)
class GLA(Method[GLAState]):
    """Griffin-Lim: X = P_C(A phase(X)).

    References
    ----------
    D. W. Griffin and J. S. Lim, "Signal estimation from modified short-time Fourier transform",
    IEEE TASSP 32(2), 1984.
    """

    magnitude: str = "nnls"

    def begin(self, problem: Problem, Y: np.ndarray, X: np.ndarray) -> GLAState:
        return GLAState(iteration=0, A=Y, X=X)

    def step(self, problem: Problem, state: GLAState) -> GLAState:
        X = problem.stft.project(state.A * unit_phase(state.X))
        return GLAState(iteration=state.iteration + 1, A=state.A, X=X)

    def advance_fast(
        self,
        lanes: LaneEngine,
        problem: Problem,
        state: GLAState,
        n_iter: int,
        stop: Stop | None,
    ) -> GLAState:
        packed, fixed = lanes.pack(X=state.X), lanes.pack(A=state.A)["A"]
        mel = lanes.pack_mel(problem.mel)
        done = lanes.gla(packed, fixed, [0.0] * n_iter, mel, **lane_stop(stop))
        X, _ = lanes.unpack(packed)
        return GLAState(iteration=state.iteration + done, A=state.A, X=X)

    def signal(self, problem: Problem, state: GLAState) -> np.ndarray:
        return problem.waveform(state.X)
