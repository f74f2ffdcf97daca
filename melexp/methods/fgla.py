"""Cascade: a magnitude first, then its phase by the fast Griffin-Lim algorithm (FGLA)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from melexp.methods._base import Binwise, State
from melexp.methods._bins import BinFunction, Bins, Coefficients
from melexp.problem import Problem


def fgla_source(ops: Any) -> BinFunction:
    """Build A phase(X + a dX), the spectrogram to project; c = (a,)."""
    phase = ops.phase

    def source(C: Any, R: Any, F: Any, c: Coefficients) -> Any:
        return phase(C[0] + C[1] * c[0]) * F[0]

    return source


def fgla_update(ops: Any) -> BinFunction:
    """Build the update: X is the projection, dX its change."""
    return lambda C, R, F, z, d, c: ((z, z - C[0]), ())


BINS = Bins(complex=("X", "dX"), fixed=("A",), source=fgla_source, update=fgla_update)


@dataclass
class FGLAState(State):
    """The fixed magnitude A, the consistent X and its last change dX, (n_bins, n_frames)."""

    A: np.ndarray
    X: np.ndarray
    dX: np.ndarray


@dataclass(frozen=True, kw_only=True)
class FGLA(Binwise[FGLAState]):
    r"""Griffin-Lim with momentum, from a fixed magnitude A.

    .. math:: X_{k+1} = P_C\big(A \exp(i \angle (X_k + a (X_k - X_{k-1})))\big)

    Without momentum (a = 0) it is `gla`.

    Parameters
    ----------
    momentum : float >= 0
        The momentum a.

    Raises
    ------
    ValueError
        If the momentum is negative.

    References
    ----------
    N. Perraudin, P. Balazs and P. L. Søndergaard, "A fast Griffin-Lim algorithm", WASPAA 2013.
    """

    magnitude: str = "nnls"
    momentum: float = 0.99

    def __post_init__(self) -> None:
        if not self.momentum >= 0:
            raise ValueError(f"momentum must not be negative; got {self.momentum}")

    def bins(self, problem: Problem) -> Bins:
        return BINS

    def coefficients(self, problem: Problem, k: int) -> Coefficients:
        return (self.momentum,)

    def begin(self, problem: Problem, Y: np.ndarray, X: np.ndarray) -> FGLAState:
        return FGLAState(iteration=0, A=Y, X=X, dX=np.zeros_like(X))
