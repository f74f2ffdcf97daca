"""Per-bin steps of the joint problem: pure functions of arrays of any shape and library."""

from __future__ import annotations

from typing import Any

import numpy as np


def namespace(x: Any) -> Any:
    """The functions for arrays of x's library: NumPy, or torch under NumPy's names."""
    if isinstance(x, np.ndarray):
        return np
    from array_api_compat import array_namespace  # here, because NumPy alone does without

    return array_namespace(x)


def unit_phase(X: np.ndarray, magnitude: np.ndarray | None = None) -> np.ndarray:
    """X / |X|, and 1 where X = 0. Give `magnitude` = |X| where it is at hand."""
    xp = namespace(X)
    magnitude = abs(X) if magnitude is None else magnitude
    # Below the least normal number 1 / |X| may overflow: such an X has no phase to speak of.
    zero = magnitude < xp.finfo(magnitude.dtype).smallest_normal
    if xp is np and not zero.any():  # elsewhere, to ask is to wait for the device
        return X * (1 / magnitude)
    return xp.where(zero, 1, X * (1 / xp.where(zero, 1, magnitude)))


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
    return namespace(z).where(clipped, (rho_x / (1 + rho_x)) * z, x), y.clip(0)


def power_pair(
    z: np.ndarray, w: np.ndarray, *, rho_x: float, rho_y: float | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    r"""`magnitude_pair` for power mels: Y is the squared magnitude.

    Minimises, bin by bin over :math:`x \ge 0` and :math:`y \ge 0`,

    .. math::
        \tfrac12 (x - \sqrt y)^2 + \tfrac{\rho_x}{2} (x - z)^2 + \tfrac{\rho_y}{2} (y - w)^2.

    With :math:`b = \sqrt y` and :math:`c = \rho_x / (1 + \rho_x)` the best x is
    :math:`(b + \rho_x z) / (1 + \rho_x)`, and what remains is stationary where

    .. math:: b^3 + p\, b = q, \qquad p = \frac{c}{2 \rho_y} - w, \quad q = \frac{c z}{2 \rho_y}.

    As q is not negative, at most one root is positive, and it is the minimiser; where none is
    (z = 0 and p >= 0), b = 0 is. From :math:`\sqrt{\max(-p, 0)} + \sqrt[3]{q}`, which lies above
    the root, Newton's steps descend to it.

    Parameters
    ----------
    z : np.ndarray, non-negative
        |Z - U|, the magnitude that the complex spectrogram asks for.
    w : np.ndarray of z's shape
        W - V, the power that the mel-spectrogram asks for; may be negative.
    rho_x : float > 0
        Penalty of Z = X.
    rho_y : float or np.ndarray of z's shape > 0
        Penalty of W = Y.

    Returns
    -------
    x, y : np.ndarray
        The magnitude |X| and the power Y.
    """
    xp = namespace(z)
    one = xp.ones((), dtype=z.dtype)  # a float64 scalar would widen float32 arrays
    rho_x = one * rho_x
    h = rho_x / (2 * (1 + rho_x)) / (one * rho_y)
    p, q = h - w, h * z
    b = xp.sqrt((-p).clip(0)) + (np.cbrt(q) if xp is np else q ** (1 / 3))
    # The start is within a factor of two of the root, or is so after a step or two (p >> q^2/3);
    # from there six steps reach float32's precision.
    tiny = xp.finfo(b.dtype).smallest_normal
    for _ in range(7 if b.dtype == xp.float32 else 9):
        square = b * b
        b = (2 * square * b + q) / (3 * square + p + tiny)
    return (b + rho_x * z) / (1 + rho_x), b * b
