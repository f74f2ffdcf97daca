"""Per-bin steps of the joint problem: pure functions of arrays of any shape."""

from __future__ import annotations

import numpy as np


def unit_phase(X: np.ndarray, magnitude: np.ndarray | None = None) -> np.ndarray:
    """X / |X|, and 1 where X = 0. Give `magnitude` = |X| where it is at hand."""
    magnitude = np.abs(X) if magnitude is None else magnitude
    # Below the least normal number 1 / |X| may overflow: such an X has no phase to speak of.
    zero = magnitude < np.finfo(magnitude.dtype).tiny
    if not zero.any():
        return X * (1 / magnitude)
    return np.where(zero, np.ones((), X.dtype), X * (1 / np.where(zero, 1, magnitude)))


def magnitude_pair(
    z: np.ndarray, w: np.ndarray, *, rho_x: float, rho_y: float
) -> tuple[np.ndarray, np.ndarray]:
    r"""Proximal operator of :math:`J(X, Y) = \frac12 \||X| - Y\|^2` with :math:`Y \ge 0`.

    Minimises, bin by bin over :math:`x \ge 0` and :math:`y \ge 0`,

    .. math:: \tfrac12 (x - y)^2 + \tfrac{\rho_x}{2} (x - z)^2 + \tfrac{\rho_y}{2} (y - w)^2.

    Parameters
    ----------
    z : np.ndarray, non-negative
        |Z - U|, the magnitude that the complex spectrogram asks for.
    w : np.ndarray of z's shape
        W - V, the magnitude that the mel-spectrogram asks for; may be negative.
    rho_x, rho_y : float > 0
        Penalties of Z = X and W = Y. The paper has one rho for both.

    Returns
    -------
    x, y : np.ndarray
        The magnitude |X| and Y.
    """
    rho_x, rho_y = float(rho_x), float(rho_y)  # one of numpy's float64 would widen float32 arrays
    q = 1.0 / (rho_x + rho_y + rho_x * rho_y)
    y = (q * (1 + rho_x) * rho_y) * w + (q * rho_x) * z
    x = (q * (1 + rho_y) * rho_x) * z + (q * rho_y) * w
    clipped = y < 0
    y[clipped] = 0
    x[clipped] = (rho_x / (1 + rho_x)) * z[clipped]
    return x, y
