"""Where the iterations start: a full-band magnitude and a phase, each by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np

from melexp.problem import Problem


def pinv(problem: Problem) -> np.ndarray:
    """max(0, E^+ M): the least-squares solution of least norm, clipped."""
    inverse = np.linalg.pinv(problem.transform.basis).astype(problem.dtype)
    return np.maximum(inverse @ problem.mel, 0)


def nnls(problem: Problem, *, n_iter: int = 500, tol: float = 1e-5) -> np.ndarray:
    r"""Non-negative least squares :math:`\min_{A \ge 0} \|M - E A\|`, from the clipped `pinv`.

    The solution is not unique (there are more bins than mels), so the start matters: this one
    keeps it near the solution of least norm. Accelerated projected gradient (FISTA), restarted
    where the momentum points uphill, until an iteration changes A by less than `tol` of its norm.

    References
    ----------
    A. Beck and M. Teboulle, "A fast iterative shrinkage-thresholding algorithm for linear inverse
    problems", SIAM J. Imaging Sci. 2(1), 2009; B. O'Donoghue and E. Candes, "Adaptive restart for
    accelerated gradient schemes", Found. Comput. Math. 15, 2015.
    """
    E, M = problem.filters, problem.mel
    step = problem.dtype.type(1 / E.norm_squared)
    A = B = pinv(problem)
    t = 1.0
    for _ in range(n_iter):
        A_new = np.maximum(B + step * E.adjoint(M - E.apply(B)), 0)
        change = A_new - A
        if np.vdot(B - A_new, change) > 0:
            t = 1.0
        t_new = (1 + np.sqrt(1 + 4 * t * t)) / 2
        B = A_new + problem.dtype.type((t - 1) / t_new) * change
        A, t = A_new, t_new
        if np.linalg.norm(change) <= tol * np.linalg.norm(A):
            break
    return A


def random(magnitude: np.ndarray, problem: Problem, rng: np.random.Generator) -> np.ndarray:
    """Phase uniform on the circle; the same for one seed whatever the precision."""
    return rng.uniform(-np.pi, np.pi, magnitude.shape)


def zero(magnitude: np.ndarray, problem: Problem, rng: np.random.Generator) -> np.ndarray:
    """Phase zero everywhere."""
    return np.zeros(magnitude.shape)


F = TypeVar("F")

MAGNITUDES: dict[str, Callable[[Problem], np.ndarray]] = {"pinv": pinv, "nnls": nnls}
PHASES: dict[str, Callable[[np.ndarray, Problem, np.random.Generator], np.ndarray]] = {
    "random": random,
    "zero": zero,
}


def start(
    problem: Problem, rng: np.random.Generator, *, magnitude: str, phase: str
) -> tuple[np.ndarray, np.ndarray]:
    """Magnitude Y [shape=(n_bins, n_frames)] and complex spectrogram X = Y exp(i phase)."""
    Y = _named(MAGNITUDES, magnitude, "magnitude")(problem)
    if problem.transform.power == 2:
        Y = np.sqrt(Y)
    angle = _named(PHASES, phase, "phase")(Y, problem, rng).astype(problem.dtype)
    return Y, Y * np.exp(1j * angle)


def _named(table: dict[str, F], name: str, kind: str) -> F:
    if name not in table:
        raise ValueError(f"{kind} must be one of {', '.join(table)}; got {name!r}")
    return table[name]
