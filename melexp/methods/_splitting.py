"""The iteration that ADMM is, shared by the methods that differ in their start and penalties."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from melexp.methods._base import Stop, lane_stop
from melexp.problem import Problem
from melexp.prox import unit_phase

if TYPE_CHECKING:
    from melexp.fast import LaneEngine


def douglas_rachford_step(
    problem: Problem, P: np.ndarray, R: np.ndarray, *, rho_x: float, rho_y: float, ridge: float
) -> tuple[np.ndarray, np.ndarray]:
    r"""One iteration of ADMM for the joint problem, in the state P = X + U and R = Y + V.

    As each update of (Z, W) needs X and Y only through P and R, these are the whole state
    (Douglas-Rachford splitting): Z - U = 2Z - P and W - V = 2W - R.

    Parameters
    ----------
    problem : Problem
    P : np.ndarray [shape=(n_bins, n_frames), complex]
    R : np.ndarray [shape=(n_bins, n_frames)]
        As Y and W, a magnitude or a power, whichever the mel-spectrogram is of.
    rho_x, rho_y : float > 0
        Penalties of Z = X and of W = Y.
    ridge : float > 0
        rho_y / lambda.

    Returns
    -------
    P, R : np.ndarray
        The next state; the arrays given are left as they were.
    """
    # Z = P_C(X + U)
    Z = problem.stft.project(P)
    # W = R + d,  d = E^T (E E^T + (rho_y / lam) I)^-1 (M - E R) for magnitude mels
    d = problem.correction(R, ridge=ridge)
    # (X, Y): per bin, from Z - U and W - V
    zeta = 2 * Z - P
    z = abs(zeta)
    x, y = problem.pair(z, R + 2 * d, rho_x=rho_x, rho_y=rho_y)
    # U += X - Z,  V += Y - W
    return P + x * unit_phase(zeta, z) - Z, y - d


def douglas_rachford_lanes(
    lanes: LaneEngine,
    problem: Problem,
    P: np.ndarray,
    R: np.ndarray,
    *,
    rho_x: Sequence[float],
    rho_y: Sequence[float],
    ridge: float,
    stop: Stop | None,
) -> tuple[int, np.ndarray, np.ndarray]:
    """As many iterations as there are penalties, in the fast engine; also how many were done."""
    packed = lanes.pack(P=P, R=R)
    mel = lanes.pack_mel(problem.mel)
    options = {"bound": problem.floored, **lane_stop(stop)}
    if problem.transform.power == 1:
        done = lanes.admm(packed, mel, rho_x, rho_y, ridge, **options)
    else:
        factors = problem.power_solver(ridge).factors
        done = lanes.admm_power(packed, mel, rho_x, rho_y, problem.envelope, *factors, **options)
    P, R = lanes.unpack(packed)
    return done, P, R
