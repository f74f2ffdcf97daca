"""Full-band magnitudes (or powers) that fit a mel-spectrogram.

Each function takes a `Problem` and returns the non-negative spectrum that the filter bank maps to
its mel: the magnitude, or the power for a power mel. `mel_to_magnitude` takes the square root.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from melexp.problem import Problem
from melexp.transforms.filters import MelFilters


def pinv(problem: Problem) -> np.ndarray:
    """Return max(0, E^+ M): the least-squares solution of least norm, clipped.

    Parameters
    ----------
    problem : Problem

    Returns
    -------
    A : np.ndarray [shape=(n_bins, n_frames)], non-negative
        Magnitude, or power for a power mel.
    """
    E, M = problem.filters, problem.mel
    if _has_independent_filters(E):
        A = E.adjoint(E.solver(0.0).solve(M))  # E^T (E E^T)^-1 M
    else:
        if E not in _INVERSES:
            # Coinciding filters make E singular. With NumPy's default `rcond`, a singular value
            # that is zero up to rounding may be inverted, and the solution is then huge.
            inverse = np.linalg.pinv(problem.transform.basis, rcond=1e-12)
            _INVERSES[E] = inverse.astype(problem.dtype)
        A = _INVERSES[E] @ M
    return np.maximum(A, 0, out=A)


#: Pseudo-inverses of filter banks that are singular.
_INVERSES: WeakKeyDictionary[MelFilters, np.ndarray] = WeakKeyDictionary()


def nnls(problem: Problem, *, n_iter: int = 500, tol: float = 1e-5) -> np.ndarray:
    r"""Solve the non-negative least squares problem :math:`\min_{A \ge 0} \|M - E A\|`.

    The solution is not unique, because there are more bins than mels. Starting from the clipped
    `pinv` keeps it near the solution of least norm. The method is the accelerated projected
    gradient (FISTA), restarted if the momentum points uphill.

    Parameters
    ----------
    problem : Problem
    n_iter : int >= 0
        Largest number of iterations.
    tol : float >= 0
        End if an iteration changes A by less than this fraction of its norm.

    Returns
    -------
    A : np.ndarray [shape=(n_bins, n_frames)], non-negative
        Magnitude, or power for a power mel.

    References
    ----------
    A. Beck and M. Teboulle, "A fast iterative shrinkage-thresholding algorithm for linear inverse
    problems", SIAM J. Imaging Sci. 2(1), 2009; B. O'Donoghue and E. Candes, "Adaptive restart for
    accelerated gradient schemes", Found. Comput. Math. 15, 2015.
    """
    from melexp.fast.denormals import flushed  # here, as they import the compiler
    from melexp.start._gradient import ProjectedGradient

    E = problem.filters
    gradient = ProjectedGradient(E, problem.mel, pinv(problem), size=1 / E.norm_squared)
    t, momentum = 1.0, 0.0
    with flushed():
        for _ in range(n_iter):
            uphill, change, size = gradient.step(momentum)
            if change <= tol**2 * size:
                break
            before = 1.0 if uphill > 0 else t
            t = (1 + np.sqrt(1 + 4 * before**2)) / 2
            momentum = (before - 1) / t
    return gradient.values


def kl(problem: Problem, *, n_iter: int = 15) -> np.ndarray:
    r"""Fit non-negative spectral lines, as wide as the window's main lobe, in KL divergence.

    The result is A = H a with :math:`a \ge 0`. H convolves along frequency with the main lobe of
    the window, :func:`main_lobe`, because no spectral line is narrower with this window. Each
    update of a decreases the Kullback-Leibler divergence D(M | E H a), which weighs faint and
    strong bands alike:

    .. math:: a \leftarrow a \circ \Big( (E H)^\top \frac{M}{E H a} \Big/ (E H)^\top 1 \Big)^\omega

    The updates start from the clipped least-norm solution, floored at 1e-6 of the largest mel
    value. They are over-relaxed with omega = 2, except the last with omega = 1; n such updates
    equal about 2 n plain ones. The result is zero in bins without a filter.

    Parameters
    ----------
    problem : Problem
    n_iter : int >= 0
        Number of updates.

    Returns
    -------
    A : np.ndarray [shape=(n_bins, n_frames)], non-negative
        Magnitude, or power for a power mel.

    References
    ----------
    D. D. Lee and H. S. Seung, "Algorithms for non-negative matrix factorization", NIPS 2000 (the
    updates, with one factor fixed).
    """
    from melexp.start._kernels import kl_updates  # here, as it imports the compiler

    E, M = problem.filters, problem.mel
    lobe = main_lobe(problem.stft.window)
    bands = _bands_of(problem, lobe)
    A = E.adjoint(E.solver(_RIDGE * E.norm_squared).solve(M))
    a = A[: bands.n_used]
    np.maximum(a, problem.dtype.type(_FLOOR) * M.max(initial=0), out=a)
    kl_updates(M, a, bands, n_iter)
    A[bands.uncovered] = 0
    return A


#: Estimators of the magnitude (of the power for a power mel), by name.
MAGNITUDES: dict[str, Callable[[Problem], np.ndarray]] = {"pinv": pinv, "nnls": nnls, "kl": kl}

_FLOOR = 1e-6
#: Least squared distance of a filter from the span of those below it, relative to its own square.
#: That of the presets is 0.7 or more, or zero up to rounding.
_INDEPENDENT = 0.1
#: Keeps E E^T regular if filters coincide; too small to change the least-norm solution.
_RIDGE = 1e-9


def _has_independent_filters(E: MelFilters) -> bool:
    """Return whether E E^T is well conditioned, so that its solver is as exact as the SVD."""
    low, high = E.weights
    squares = np.bincount(E.band, low**2, E.n_mels)
    squares += np.bincount(np.minimum(E.band + 1, E.n_mels - 1), high**2, E.n_mels)
    products = np.bincount(E.band, low * high, E.n_mels)
    rest = squares.copy()  # the pivots of the elimination
    for k in range(E.n_mels):
        if not rest[k] > _INDEPENDENT * squares[k]:
            return False
        if k + 1 < E.n_mels:
            rest[k + 1] -= products[k] ** 2 / rest[k]
    return True


def magnitude_of(spectrum: np.ndarray, power: float) -> np.ndarray:
    """Return the magnitude of a spectrum that is the magnitude to the given power."""
    if power == 1:
        return spectrum
    result: np.ndarray = np.sqrt(spectrum) if power == 2 else spectrum ** (1 / power)
    return result


def main_lobe(window: np.ndarray) -> np.ndarray:
    """Return the main lobe of the window's power spectrum at integer bins, with a peak of 1.

    The lobe ends at the first minimum, or at -30 dB. It is (1/4, 1, 1/4) for a Hann window of n_fft
    samples, and wider for a shorter window.

    Parameters
    ----------
    window : np.ndarray [shape=(n_fft,)]

    Returns
    -------
    lobe : np.ndarray [shape=(2 n + 1,), float64]
    """
    return _main_lobe(np.ascontiguousarray(window, np.float64).tobytes())


@lru_cache(maxsize=32)
def _main_lobe(data: bytes) -> np.ndarray:
    window = np.frombuffer(data)
    power = np.abs(np.fft.rfft(window)) ** 2
    power /= power[0]
    rising = np.flatnonzero(np.diff(power) >= 0)
    end = rising[0] + 1 if rising.size else len(power)
    side = power[1:end]
    side = side[side > 1e-3]  # values 30 dB down are negligible
    lobe = np.concatenate([side[::-1], [1.0], side])
    lobe.setflags(write=False)
    return lobe


def _convolved(a: np.ndarray, lobe: np.ndarray) -> np.ndarray:
    """Return H a: every column convolved with the lobe, zero beyond the ends."""
    n = len(lobe) // 2
    out = lobe[n] * a
    for k in range(1, min(n, len(a) - 1) + 1):
        out[k:] += lobe[n + k] * a[:-k]
        out[:-k] += lobe[n - k] * a[k:]
    return out


class Bands(NamedTuple):
    """Rows and columns of G = E H, each a dense strip from its first non-zero entry on.

    `rows` [shape=(n_mels, longest)] starts at bin `first_bin[k]`; `columns`
    [shape=(n_bins, widest)] starts at mel `first_mel[f]` and is divided by the column's sum.
    The length of the strips is a multiple of four; the rest is padded with zeros, which the lengths
    do not count. `lobe` is that of H, `uncovered` the bins without a filter, and the first `n_used`
    bins influence E H a.
    """

    first_bin: np.ndarray
    rows: np.ndarray
    row_lengths: np.ndarray
    first_mel: np.ndarray
    columns: np.ndarray
    column_lengths: np.ndarray
    lobe: np.ndarray
    uncovered: np.ndarray
    n_used: int


_BANDS: WeakKeyDictionary[MelFilters, dict[bytes, Bands]] = WeakKeyDictionary()


def _bands_of(problem: Problem, lobe: np.ndarray) -> Bands:
    """Return the strips of G, computed once per filter bank and lobe."""
    table = _BANDS.setdefault(problem.filters, {})
    if lobe.tobytes() not in table:
        covered = problem.filters.weights.any(axis=0)
        G = _convolved(problem.transform.basis.T, lobe).T
        total = G.sum(axis=0)
        scaled = np.divide(G, total, out=np.zeros_like(G), where=total > 0)
        first_bin, rows = _strips(G)
        first_mel, columns = _strips(scaled.T)
        rows, columns = (x.astype(problem.filters.dtype) for x in (rows, columns))
        table[lobe.tobytes()] = Bands(
            first_bin, rows, _lengths(rows), first_mel, columns, _lengths(columns),
            lobe.astype(problem.filters.dtype), np.flatnonzero(~covered),
            np.flatnonzero(covered)[-1] + len(lobe) // 2 + 1,
        )  # fmt: skip
    return table[lobe.tobytes()]


def _strips(G: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first non-zero column of each row (0 if empty), and the rows from there on."""
    used = G != 0
    first = np.argmax(used, axis=1).astype(np.int64)
    last = np.where(used.any(axis=1), G.shape[1] - np.argmax(used[:, ::-1], axis=1), first)
    width = -(-int((last - first).max()) // 4) * 4
    padded = np.pad(G, ((0, 0), (0, width)))
    return first, np.take_along_axis(padded, first[:, None] + np.arange(width), axis=1)


def _lengths(strips: np.ndarray) -> np.ndarray:
    """Return the length of each strip without its padding of zeros."""
    used = strips != 0
    return np.where(used.any(axis=1), strips.shape[1] - used[:, ::-1].argmax(axis=1), 0)
