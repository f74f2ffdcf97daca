"""Elementary functions of an update for vectors of lanes; see `melexp.methods._bins`."""

from .lanes import Complex, inverse_sqrt, near_cube_root, near_inverse, root, where_positive


def inline(function):
    """Return the function, as all code is inlined where it is traced."""
    return function


def magnitude(z):
    """Return |z|. The compiler shares common terms with `phase`."""
    square = z.re * z.re + z.im * z.im
    return square * inverse_sqrt(square + 1e-36)


def phase(z, size=None):
    """Return z / |z|, and 1 for zero."""
    square = z.re * z.re + z.im * z.im
    scale = inverse_sqrt(square + 1e-36)
    return Complex(where_positive(square, z.re * scale, 1.0), z.im * scale)


def clip(x):
    """Return ``max(x, 0)``."""
    return where_positive(x, x, 0.0)


def cubic_root(p, q):
    """Return the root b >= 0 of ``b^3 + p b = q`` for q >= 0.

    Used by `melexp.methods._prox.power_pair`. For a convex function, Halley's steps converge as
    safely as Newton's, in fewer iterations. The next step corrects an inexact division.
    """
    third = near_cube_root(q)
    scale = where_positive(p, p, 0.0 - p) + third * third
    b = where_positive(p, q * near_inverse(scale + 1e-36), root(scale))
    for _ in range(3):
        square = b * b
        f, slope = b * (square + p) - q, square * 3.0 + p
        step = f * slope * near_inverse(slope * slope - b * f * 3.0 + 1e-36)
        b = where_positive(b - step, b - step, 0.0)
    return b
