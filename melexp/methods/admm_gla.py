"""Cascade: a magnitude first, then its phase by ADMM (ADMM-GLA)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from melexp.methods._base import Binwise, State
from melexp.methods._bins import BinFunction, Bins, Coefficients
from melexp.problem import Problem


def admm_gla_update(ops: Any) -> BinFunction:
    """Build the update; c = (rho / (1 + rho), 1 / (1 + rho))."""
    phase = ops.phase

    def update(C: Any, R: Any, F: Any, z: Any, d: Any, c: Coefficients) -> Any:
        (p,), (a,) = C, F
        z = p * c[0] + z * c[1]
        u = p - z  # U += X - Z
        return (u + phase(z - u) * a,), ()  # X = A phase(Z - U)

    return update


BINS = Bins(complex=("P",), fixed=("A",), update=admm_gla_update)


@dataclass
class ADMMGLAState(State):
    """The fixed magnitude A and P = X + U, U the scaled dual, each (n_bins, n_frames)."""

    A: np.ndarray
    P: np.ndarray


@dataclass(frozen=True, kw_only=True)
class ADMMGLA(Binwise[ADMMGLAState]):
    r"""Griffin-Lim-like phase recovery by ADMM, from a fixed magnitude A.

    It minimises :math:`\tfrac12 \|Z - P_C(Z)\|^2` subject to Z = X and |X| = A. The update of Z
    needs X only through P = X + U, which is the whole state:

    .. math::
        Z = \frac{\rho P + P_C(P)}{1 + \rho}, \qquad
        P \leftarrow P - Z + A \exp(i \angle (2 Z - P)).

    U has no consistent part, so P and X have the same inverse STFT.

    Parameters
    ----------
    rho : float > 0
        Penalty of Z = X.

    Raises
    ------
    ValueError
        If rho is not above zero.

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

    def bins(self, problem: Problem) -> Bins:
        return BINS

    def coefficients(self, problem: Problem, k: int) -> Coefficients:
        return self.rho / (1 + self.rho), 1 / (1 + self.rho)

    def begin(self, problem: Problem, Y: np.ndarray, X: np.ndarray) -> ADMMGLAState:
        return ADMMGLAState(iteration=0, A=Y, P=X)
