"""The (X, Y) step of the joint problem, bin by bin: the proximal operator of the term J."""

from __future__ import annotations

from typing import Any

import numpy as np

from melexp.methods._bins import ARRAYS, Coefficients
from melexp.transforms.arrays import namespace


def magnitude_coefficients(rho_x: float, rho_y: float) -> Coefficients:
    """Return the five coefficients of `magnitude_step` for the penalties of Z = X and W = Y."""
    q = 1 / (rho_x + rho_y + rho_x * rho_y)
    y_w, y_z = q * (1 + rho_x) * rho_y, q * rho_x
    x_z, x_w = q * (1 + rho_y) * rho_x, q * rho_y
    return y_w, y_z, x_z, x_w, rho_x / (1 + rho_x)


def magnitude_step(ops: Any) -> Any:
    """Build the (X, Y) step for magnitude mels: see `magnitude_pair`."""
    where_positive, clip = ops.where_positive, ops.clip

    def pair(z: Any, w: Any, c: Coefficients) -> tuple[Any, Any]:
        y_w, y_z, x_z, x_w, x_clipped = c[:5]
        y = w * y_w + z * y_z
        x = where_positive(y, z * x_z + w * x_w, z * x_clipped)
        return x, clip(y)

    return ops.inline(pair)


def power_coefficients(rho_x: float, rho_y: float) -> Coefficients:
    """Return the three coefficients of `power_step`; rho_y is relative to the envelope."""
    return rho_x / (2 * (1 + rho_x) * rho_y), 1 / (1 + rho_x), rho_x / (1 + rho_x)


def power_step(ops: Any) -> Any:
    """Build the (X, Y) step for power mels: see `power_pair`."""
    cubic_root = ops.cubic_root

    def pair(z: Any, w: Any, envelope: Any, c: Coefficients) -> tuple[Any, Any]:
        h = envelope * c[0]
        b = cubic_root(h - w, h * z)
        return b * c[1] + z * c[2], b * b

    return ops.inline(pair)


def any_power_pair(
    z: Any, w: Any, envelope: Any, *, rho_x: float, rho_y: float, power: float
) -> tuple[Any, Any]:
    r"""Return the proximal point of `power_pair` for any exponent p > 0: Y is :math:`|X|^p`.

    The penalty of W = Y is `rho_y` divided by the envelope S. With :math:`b = y^{1/p}` and
    :math:`\kappa = S \rho_x / ((1 + \rho_x) p\, \rho_y)`, the minimum over b lies at 0 or where

    .. math:: \kappa (b - z) + b^{p-1} (b^p - w) = 0 .

    Newton's method finds the largest root from above and, for p > 2, a root near z. The solution is
    the candidate of least cost, which may be 0.

    Parameters
    ----------
    z : np.ndarray or torch.Tensor, non-negative
        |Z - U|, the magnitude that the complex spectrogram asks for.
    w : np.ndarray or torch.Tensor of z's shape
        W - V, the spectrum to the power p that the mel-spectrogram asks for; may be negative.
    envelope : np.ndarray or torch.Tensor of z's shape, positive
    rho_x, rho_y, power : float > 0

    Returns
    -------
    x, y : np.ndarray or torch.Tensor
        The magnitude |X| and :math:`|X|^p`.
    """
    xp = namespace(z)
    kappa = envelope * (rho_x / ((1 + rho_x) * power * rho_y))
    tiny = xp.finfo(z.dtype).smallest_normal ** 0.25
    largest = xp.where(w > 0, w, 0 * w) ** (1 / power)
    largest = xp.where(z > largest, z, largest) + tiny  # no root lies above

    def newton(b: Any) -> Any:
        for _ in range(12 if power <= 2 else 40):  # far above the root it shrinks by 1 / (2p - 1)
            slope = b ** (power - 1)
            value = kappa * (b - z) + slope * (b * slope - w)
            bend = kappa + (2 * power - 1) * slope * slope - (power - 1) * w * slope / b
            # Where the cost is concave, halving b searches further down.
            step = xp.where(bend > 0, b - value / xp.where(bend > 0, bend, 1), b / 2)
            b = xp.where(step > b / 2, step, b / 2)
            b = xp.where(b > tiny, b, 0 * b + tiny)
            b = xp.where(b < largest, b, largest)
        return b

    def cost(b: Any) -> Any:
        return kappa * power * (b - z) ** 2 + (b**power - w) ** 2

    best = newton(largest)
    candidates = [0 * best]
    if power > 2:  # the cost may have two minima, the other one near z
        candidates.append(newton(z + tiny))
    for b in candidates:
        best = xp.where(cost(b) < cost(best), b, best)
    return (best + rho_x * z) / (1 + rho_x), best**power


_magnitude_step, _power_step = magnitude_step(ARRAYS), power_step(ARRAYS)


def magnitude_pair(
    z: np.ndarray, w: np.ndarray, *, rho_x: float, rho_y: float
) -> tuple[np.ndarray, np.ndarray]:
    r"""Return the proximal point of :math:`J(X, Y) = \frac12 \||X| - Y\|^2` with :math:`Y \ge 0`.

    It minimises, bin by bin over :math:`x \ge 0` and :math:`y \ge 0`,

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
    return _magnitude_step(z, w, magnitude_coefficients(float(rho_x), float(rho_y)))


def power_pair(
    z: np.ndarray, w: np.ndarray, *, rho_x: float, rho_y: float | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    r"""Return the proximal point of `magnitude_pair` for power mels: Y is the squared magnitude.

    It minimises, bin by bin over :math:`x \ge 0` and :math:`y \ge 0`,

    .. math::
        \tfrac12 (x - \sqrt y)^2 + \tfrac{\rho_x}{2} (x - z)^2 + \tfrac{\rho_y}{2} (y - w)^2.

    With :math:`b = \sqrt y` and :math:`c = \rho_x / (1 + \rho_x)` the best x is
    :math:`(b + \rho_x z) / (1 + \rho_x)`. The remaining function of b is stationary where

    .. math:: b^3 + p\, b = q, \qquad p = \frac{c}{2 \rho_y} - w, \quad q = \frac{c z}{2 \rho_y}.

    As q is not negative, at most one root is positive, and it is the minimiser. If there is none
    (z = 0 and p >= 0), the minimiser is b = 0.

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
    envelope = (1 / np.asarray(rho_y)).astype(z.dtype)
    return _power_step(z, w, envelope, power_coefficients(float(rho_x), 1.0))
