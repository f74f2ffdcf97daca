"""Full-band magnitudes that fit a mel-spectrogram."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from melexp.problem import Problem
from melexp.transforms.filters import MelFilters


def pinv(problem: Problem) -> np.ndarray:
    """Return max(0, E^+ M), the least-squares solution of least norm, clipped at zero.

    Parameters
    ----------
    problem : Problem

    Returns
    -------
    A : np.ndarray [shape=(n_bins, n_frames)], non-negative
        Magnitude, or power for a power mel: the quantity that the filter bank was applied to.
    """
    # E is singular if two filters coincide. NumPy's default threshold then depends on rounding,
    # and a singular value that should be zero but is inverted makes the solution huge.
    inverse = np.linalg.pinv(problem.transform.basis, rcond=1e-12).astype(problem.dtype)
    return np.maximum(inverse @ problem.mel, 0)


def nnls(problem: Problem, *, n_iter: int = 500, tol: float = 1e-5) -> np.ndarray:
    r"""Solve :math:`\min_{A \ge 0} \|M - E A\|`, starting from the clipped `pinv`.

    The solution is not unique, because there are more bins than mel bands. Starting from `pinv`
    keeps it near the solution of least norm. The algorithm is the accelerated projected gradient
    (FISTA), restarted whenever the momentum points uphill.

    Parameters
    ----------
    problem : Problem
    n_iter : int >= 0
        Largest number of iterations.
    tol : float >= 0
        Stop when an iteration changes A by less than this fraction of its norm.

    Returns
    -------
    A : np.ndarray [shape=(n_bins, n_frames)], non-negative
        Magnitude, or power for a power mel: the quantity that the filter bank was applied to.

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


def kl(problem: Problem, *, n_iter: int = 15) -> np.ndarray:
    r"""Fit spectral lines of the window's width to the mel-spectrogram (main-lobe KL-NNLS).

    The result is A = H a with :math:`a \ge 0`, where H convolves along frequency with the main lobe
    of the window (:func:`main_lobe`), the narrowest spectrum that this window shows. The updates
    decrease the Kullback-Leibler divergence D(M | E H a), which weights faint and loud bands alike:

    .. math:: a \leftarrow a \circ \Big( (E H)^\top \frac{M}{E H a} \Big/ (E H)^\top 1 \Big)^\omega

    They start from the clipped least-norm solution, floored at 1e-6 of the largest mel value. All
    updates but the last are over-relaxed with :math:`\omega = 2`: n of them reach the divergence
    of 2 n updates with :math:`\omega = 1`. The result is zero in the bins that no filter covers.

    Parameters
    ----------
    problem : Problem
    n_iter : int >= 0
        Number of updates.

    Returns
    -------
    A : np.ndarray [shape=(n_bins, n_frames)], non-negative
        Magnitude, or power for a power mel: the quantity that the filter bank was applied to.

    References
    ----------
    D. D. Lee and H. S. Seung, "Algorithms for non-negative matrix factorization", NIPS 2000 (the
    updates, with one factor fixed).
    """
    from melexp.start._kernels import kl_updates  # imported late: it loads the compiler

    E, M = problem.filters, problem.mel
    lobe = main_lobe(problem.stft.window)
    bands = _bands_of(problem, lobe)
    covered = problem.transform.basis.any(axis=0)
    # Entries of a above this bin do not influence the result.
    used = np.flatnonzero(covered)[-1] + len(lobe) // 2 + 1
    A = E.adjoint(E.solver(_RIDGE * E.norm_squared).solve(M))
    a = A[:used]
    np.maximum(a, problem.dtype.type(_FLOOR) * M.max(initial=0), out=a)
    kl_updates(
        M, a, bands.first_bin, bands.rows, bands.first_mel, bands.columns,
        lobe.astype(problem.dtype), n_iter,
    )  # fmt: skip
    A[~covered] = 0
    return A


#: Magnitudes by name.
MAGNITUDES: dict[str, Callable[[Problem], np.ndarray]] = {"pinv": pinv, "nnls": nnls, "kl": kl}

#: Smallest start value of `kl`, relative to the largest mel value.
_FLOOR = 1e-6
#: Ridge relative to ||E||^2. It keeps E E^T regular if filters coincide, and is too small to change
#: the least-norm solution otherwise.
_RIDGE = 1e-9


def magnitude_of(problem: Problem, name: str) -> np.ndarray:
    """Return the magnitude |STFT| by the estimator `name`, also for power mels.

    Parameters
    ----------
    problem : Problem
    name : str
        Key of `MAGNITUDES`.

    Returns
    -------
    Y : np.ndarray [shape=(n_bins, n_frames)], non-negative
        At the level of `problem.mel`, whose maximum is 1.
    """
    A = MAGNITUDES[name](problem)
    return np.sqrt(A) if problem.transform.power == 2 else A


def main_lobe(window: np.ndarray) -> np.ndarray:
    """Sample the main lobe of the window's power spectrum at integer bins, scaled to a peak of 1.

    The lobe is cut at its first minimum or at -30 dB. It is (1/4, 1, 1/4) for a Hann window of
    n_fft samples, and wider for a shorter window.

    Parameters
    ----------
    window : np.ndarray [shape=(n_fft,)]

    Returns
    -------
    lobe : np.ndarray [shape=(2 n + 1,), float64]
    """
    power = np.abs(np.fft.rfft(window)) ** 2
    power /= power[0]
    rising = np.flatnonzero(np.diff(power) >= 0)
    end = rising[0] + 1 if rising.size else len(power)
    side = power[1:end]
    side = side[side > 1e-3]  # smaller entries have no effect
    return np.concatenate([side[::-1], [1.0], side])


def _convolved(a: np.ndarray, lobe: np.ndarray) -> np.ndarray:
    """Return H a: each column convolved with the lobe, with zeros beyond the ends."""
    n = len(lobe) // 2
    out = lobe[n] * a
    for k in range(1, min(n, len(a) - 1) + 1):
        out[k:] += lobe[n + k] * a[:-k]
        out[:-k] += lobe[n - k] * a[k:]
    return out


class _Bands(NamedTuple):
    """Non-zero parts of G = E H, by rows and by columns.

    Row k of `rows` [shape=(n_mels, longest)] starts at bin `first_bin[k]`. Row f of `columns`
    [shape=(n_bins, widest)] starts at mel band `first_mel[f]` and is divided by the sum of column f
    of G. The lengths are padded with zeros to a multiple of four.
    """

    first_bin: np.ndarray
    rows: np.ndarray
    first_mel: np.ndarray
    columns: np.ndarray


_BANDS: WeakKeyDictionary[MelFilters, dict[bytes, _Bands]] = WeakKeyDictionary()


def _bands_of(problem: Problem, lobe: np.ndarray) -> _Bands:
    """Return G = E H of a problem's filter bank, cached per filter bank and lobe."""
    E = problem.filters
    table = _BANDS.setdefault(E, {})
    if lobe.tobytes() not in table:
        G = _convolved(problem.transform.basis.T, lobe).T
        total = G.sum(axis=0)
        scaled = np.divide(G, total, out=np.zeros_like(G), where=total > 0)
        first_bin, rows = _strips(G)
        first_mel, columns = _strips(scaled.T)
        table[lobe.tobytes()] = _Bands(
            first_bin, rows.astype(E.dtype), first_mel, columns.astype(E.dtype)
        )
    return table[lobe.tobytes()]


def _strips(G: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first non-zero column of each row (0 in empty rows) and the rows from there."""
    used = G != 0
    first = np.argmax(used, axis=1)
    last = np.where(used.any(axis=1), G.shape[1] - np.argmax(used[:, ::-1], axis=1), first)
    width = -(-int((last - first).max()) // 4) * 4
    padded = np.pad(G, ((0, 0), (0, width)))
    return first, np.take_along_axis(padded, first[:, None] + np.arange(width), axis=1)
