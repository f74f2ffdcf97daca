"""Cascade: a magnitude first, then its phase by the Griffin-Lim algorithm (GLA)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from melexp.methods._base import Binwise, State
from melexp.methods._bins import BinFunction, Bins, Coefficients
from melexp.problem import Problem


def gla_source(ops: Any) -> BinFunction:
    """Build A phase(X), the spectrogram to project."""
    phase = ops.phase

    def source(C: Any, R: Any, F: Any, c: Coefficients) -> Any:
        return phase(C[0]) * F[0]

    return source


def gla_update(ops: Any) -> BinFunction:
    """Build the update: X is the projection."""
    return lambda C, R, F, z, d, c: ((z,), ())


BINS = Bins(complex=("X",), fixed=("A",), source=gla_source, update=gla_update)


@dataclass
class GLAState(State):
    """The fixed magnitude A and the consistent spectrogram X, of shape (n_bins, n_frames)."""

    A: np.ndarray
    X: np.ndarray


@dataclass(frozen=True, kw_only=True)
class GLA(Binwise[GLAState]):
    r"""Griffin-Lim: :math:`X \leftarrow P_C(A \exp(i \angle X))` with a fixed magnitude A.

    References
    ----------
    D. W. Griffin and J. S. Lim, "Signal estimation from modified short-time Fourier transform",
    IEEE TASSP 32(2), 1984.
    """

    magnitude: str = "nnls"

    def bins(self, problem: Problem) -> Bins:
        return BINS

    def begin(self, problem: Problem, Y: np.ndarray, X: np.ndarray) -> GLAState:
        return GLAState(iteration=0, A=Y, X=X)
