"""Elementary functions of an update for vectors of lanes; see `melexp.methods._bins`."""

import numpy as np

from .compiling import inline
from .lanes import divide, full, inverse_sqrt, near_cube_root, pair, root, where_positive


@inline
def magnitude(z):
    """Return |z|. The compiler shares common terms with `phase`."""
    square = z.re * z.re + z.im * z.im
    return square * inverse_sqrt(square + np.float32(1e-36))


@inline
def phase(z, size=None):
    """Return z / |z|, and 1 for zero."""
    square = z.re * z.re + z.im * z.im
    scale = inverse_sqrt(square + np.float32(1e-36))
    return pair(where_positive(square, z.re * scale, full(1.0)), z.im * scale)


@inline
def clip(x):
    """Return ``max(x, 0)``."""
    return where_positive(x, x, full(0.0))


@inline
def cubic_root(p, q):
    """Return the root b >= 0 of ``b^3 + p b = q`` for q >= 0.

    Used by `melexp.methods._prox.power_pair`. For a convex function, Halley's steps converge as
    safely as Newton's, in fewer iterations.
    """
    b = root(where_positive(p, full(0.0), full(0.0) - p)) + near_cube_root(q)
    for _ in range(5):
        square = b * b
        f, slope = b * (square + p) - q, square * np.float32(3.0) + p
        step = divide(f * slope, slope * slope - b * f * np.float32(3.0) + np.float32(1e-36))
        b = where_positive(b - step, b - step, full(0.0))
    return b
