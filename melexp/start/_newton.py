"""Compiled Newton iteration of `nnls`. Import it lazily, because it loads the compiler."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from melexp.fast.compiling import LANES
from melexp.fast.lanes import any_positive
from melexp.fast.memory import DoubleRows, Doubles, HalfRows, Integers, aligned
from melexp.fast.tracing import kernel
from melexp.transforms.filters import MelFilters

#: Frames of a block; each lane of a vector has one.
WIDTH = LANES // 2
#: A step must lower the dual by this part of what its slope promises (Armijo) ...
ARMIJO = 1e-4
#: ... up to the rounding of the dual, relative to its value.
ROUNDING = 1e-13
#: Rows of the working memory of a mel: the point that the step leaves, the step, the gradient, the
#: solution of the forward sweep, 1 / pivot, and the factor of the backward sweep.
BASE, STEP, SLOPE, SOLVED, PIVOT, BESIDE = range(6)
ROWS = 6


def nonnegative_spectrum(
    M: np.ndarray, E: MelFilters, *, ridge: float, n_iter: int, tol: float
) -> np.ndarray:
    """Minimise ``norm(M - E A)**2 + ridge * norm(A)**2`` over A >= 0, in float64.

    See `melexp.start.magnitude.nnls` for the equations.

    Parameters
    ----------
    M : np.ndarray [shape=(n_mels, n_frames)]
    E : MelFilters
    ridge : float > 0
    n_iter : int >= 0
        Largest number of evaluations of the dual.
    tol : float >= 0
        End if no entry of the gradient exceeds this fraction of the largest mel of its frame.

    Returns
    -------
    A : np.ndarray [shape=(n_bins, n_frames), dtype of M]
    """
    n_mels, n_frames = M.shape
    covered = np.flatnonzero(E.weights.any(axis=0))
    bins = covered[np.argsort(E.band[covered], kind="stable")]  # those of a band are neighbours
    ends = np.searchsorted(E.band[bins], np.arange(n_mels + 1))
    low, high = np.ascontiguousarray(E.weights[:, bins])
    n_blocks = -(-n_frames // WIDTH)
    M = M.copy()
    M[E.empty] = 0  # no spectrum reaches these mels
    # All bins are positive at y = 1, so that the first step leads to the solution without a bound.
    y = np.broadcast_to(M.max(axis=0) > 0, M.shape)
    mel, y = (_in_blocks(x, n_blocks, rows) for x, rows in ((M, n_mels), (y, n_mels + 1)))
    work = aligned(n_mels, ROWS, WIDTH, dtype=np.float64)
    A = aligned(E.n_bins, n_blocks, WIDTH, dtype=M.dtype)
    numbers = np.array([ridge, tol, ARMIJO, ROUNDING])
    _newton_kernel(M.dtype.name)(
        mel, y, A, work, bins, ends.astype(np.int64), low, high, numbers, n_mels, n_blocks, n_iter
    )
    return np.ascontiguousarray(A.reshape(E.n_bins, -1)[:, :n_frames])


def _in_blocks(x: np.ndarray, n_blocks: int, n_rows: int) -> np.ndarray:
    """Return the rows of frames side by side, in blocks, with zeros as padding."""
    blocks = aligned(n_blocks, n_rows, WIDTH, dtype=np.float64)
    padded = np.zeros((len(x), n_blocks * WIDTH))
    padded[:, : x.shape[1]] = x
    blocks[:, : len(x)] = padded.reshape(len(x), n_blocks, WIDTH).transpose(1, 0, 2)
    return blocks


@cache
def _newton_kernel(dtype: str) -> Any:
    spectrum = HalfRows if dtype == "float32" else DoubleRows
    kinds = (DoubleRows, DoubleRows, spectrum, DoubleRows, Integers, Integers, Doubles, Doubles,
             Doubles, int, int, int)  # fmt: skip
    return kernel(_newton, *kinds, key=dtype)


def _newton(
    trace, mels, points, spectrum, work, bins, ends, lows, highs, numbers, n_mels, n_blocks, n_iter
):
    """Solve every block of frames; see `nonnegative_spectrum`."""
    bank = ends, lows, highs
    for n in trace.range(n_blocks):
        mel, y = mels.at(n * n_mels), points.at(n * (n_mels + 1))
        _solve(trace, mel, y, work, bank, numbers, n_mels, n_iter)
        for k in trace.range(n_mels):
            for f in trace.range(ends[k], ends[k + 1]):
                s = y[k] * lows[f] + y[k + 1] * highs[f]
                spectrum[bins[f] * n_blocks + n] = trace.select(s.compare(">", 0), s, s.like(0))


def _solve(trace, mel, y, work, bank, numbers, n_mels, n_iter):
    """Move y to the minimum of the dual, a frame in each lane."""
    ridge, tol, armijo, rounding = (numbers[i].spread(mel.row) for i in range(4))
    zero, one = ridge.like(0), ridge.like(1)
    best, length, promise = (trace.variable(x) for x in (ridge.like(np.inf), one, zero))
    left = trace.variable(n_iter)  # evaluations; none if all lanes have ended
    for _ in trace.during(lambda: left.value.compare(">", 0)):
        # The dual, its gradient, and the forward sweep of the tridiagonal system.
        dual, worst, largest = (trace.variable(zero) for _ in range(3))
        beside, before, factor = (trace.variable(zero) for _ in range(3))
        sums = [trace.variable(zero) for _ in range(5)]
        for k in trace.range(n_mels):
            at = work.at(k * ROWS)
            _add_bins(trace, y, k, bank, sums)
            slope = sums[0].value + ridge * y[k] - mel[k]
            dual.value = dual.value + y[k] * (slope - mel[k]) * 0.5
            worst.value = _larger(trace, worst.value, slope)
            largest.value = _larger(trace, largest.value, mel[k])
            pivot = one / (sums[2].value + ridge - factor.value * beside.value)
            solved = zero - slope - factor.value * before.value
            beside.value, before.value = sums[4].value, solved
            factor.value = beside.value * pivot
            at[SLOPE], at[SOLVED], at[PIVOT], at[BESIDE] = slope, solved, pivot, factor.value
        bound = best.value + armijo * length.value * promise.value
        bound = bound + rounding * _larger(trace, zero, dual.value)
        better = bound.compare(">=", dual.value)
        ended = (tol * largest.value).compare(">=", worst.value)
        length.value = trace.select(better, one, length.value * 0.5)
        best.value = trace.select(better, dual.value, best.value)
        going = any_positive(trace.select(ended, zero, one))
        left.value = trace.select(going, left.value - 1, 0)
        # The backward sweep, and the next point: the full step, or half of the last one.
        after, slopes = trace.variable(zero), trace.variable(zero)
        for back in trace.range(n_mels):
            k = n_mels - 1 - back
            at = work.at(k * ROWS)
            after.value = at[SOLVED] * at[PIVOT] - at[BESIDE] * after.value
            slopes.value = slopes.value + after.value * at[SLOPE]
            at[STEP] = trace.select(better, after.value, at[STEP])
            at[BASE] = trace.select(better, y[k], at[BASE])
            y[k] = trace.select(ended, y[k], at[BASE] + length.value * at[STEP])
        promise.value = trace.select(better, slopes.value, promise.value)


def _add_bins(trace, y, k, bank, sums):
    """Sum E A of mels k and k + 1, their diagonals of E D E^T, and its entry beside them.

    The bins with weights in both are added to what those of mel k - 1 gave.
    """
    ends, lows, highs = bank
    lower, upper = y[k], y[k + 1]
    zero = lower.like(0)
    for here, above in ((0, 1), (2, 3)):
        sums[here].value, sums[above].value = sums[above].value, zero
    sums[4].value = zero
    for f in trace.range(ends[k], ends[k + 1]):
        low, high = lows[f].spread(y.row), highs[f].spread(y.row)
        s = low * lower + high * upper
        on = s.compare(">", 0)
        a, b = trace.select(on, low, zero), trace.select(on, high, zero)
        for total, x in zip(sums, (a * s, b * s, a * low, b * high, a * high), strict=True):
            total.value = total.value + x


def _larger(trace, x, y):
    """Return the larger of x and ``abs(y)`` in each lane."""
    size = trace.select(y.compare(">", 0), y, y.like(0) - y)
    return trace.select(x.compare(">", size), x, size)
