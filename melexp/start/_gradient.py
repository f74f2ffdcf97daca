"""Compiled steps of `nnls`. Import it lazily, because it loads the compiler."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from melexp.fast.compiling import LANES
from melexp.fast.lanes import where_positive
from melexp.fast.memory import DoubleRows, Doubles, Floats, Integers, Rows, aligned
from melexp.fast.tracing import kernel
from melexp.transforms.filters import MelFilters


class ProjectedGradient:
    """Projected gradient steps with momentum, for `melexp.start.magnitude.nnls`.

    Parameters
    ----------
    E : MelFilters
    M : np.ndarray [shape=(n_mels, n_frames)]
    A : np.ndarray [shape=(n_bins, n_frames)], non-negative
        Where to begin.
    size : float
        Factor of the gradient.
    """

    def __init__(self, E: MelFilters, M: np.ndarray, A: np.ndarray, *, size: float) -> None:
        dtype, self._n_frames = A.dtype, A.shape[1]
        width = LANES if dtype == np.float32 else LANES // 2
        n_blocks = -(-self._n_frames // width)
        shapes = (E.n_bins, E.n_bins, E.n_mels)
        self._new, self._old, target = (aligned(n_blocks, n, width, dtype=dtype) for n in shapes)
        for n in range(n_blocks):
            frames = slice(n * width, min((n + 1) * width, self._n_frames))
            lanes = slice(frames.stop - frames.start)
            self._new[n, :, lanes] = self._old[n, :, lanes] = A[:, frames]
            target[n, :, lanes] = M[:, frames]
        self._sums = aligned(n_blocks, 3, width, dtype=dtype)
        self._numbers = np.array([0, size], dtype)
        residual = aligned(E.n_mels + 1, width, dtype=dtype)
        # The bins between the peaks of two filters; those without a filter go with the bins below.
        band = np.maximum.accumulate(np.where(E.weights.any(axis=0), E.band, 0))
        first_bin = np.searchsorted(band, np.arange(E.n_mels + 1))
        low, high = E.weights.astype(dtype)
        self._run, self._next_run = (
            _gradient_kernel(dtype.name).bind(
                new, old, target, residual, self._sums, first_bin, low, high, self._numbers,
                E.n_mels, E.n_bins, n_blocks,
            )
            for new, old in ((self._new, self._old), (self._old, self._new))
        )  # fmt: skip

    def step(self, momentum: float) -> tuple[float, float, float]:
        """Make a step to A' from B = A + `momentum` times the last change of A.

        Returns
        -------
        uphill : float
            Product of B - A' and the change A' - A.
        change, size : float
            Squared norms of the change and of A'.
        """
        self._numbers[0] = momentum
        self._run()
        self._run, self._next_run = self._next_run, self._run
        self._new, self._old = self._old, self._new
        uphill, change, size = self._sums.sum(axis=(0, 2), dtype=np.float64)
        return float(uphill), float(change), float(size)

    @property
    def values(self) -> np.ndarray:
        """The values of A [shape=(n_bins, n_frames)]."""
        joined = self._new.swapaxes(0, 1).reshape(self._new.shape[1], -1)
        return np.ascontiguousarray(joined[:, : self._n_frames])


@cache
def _gradient_kernel(dtype: str) -> Any:
    number, row = (Floats, Rows) if dtype == "float32" else (Doubles, DoubleRows)
    kinds = (row, row, row, row, row, Integers, number, number, number, int, int, int)
    return kernel(_gradient_step, *kinds, key=dtype)


def _gradient_step(
    trace, news, olds, targets, residual, sums, first_bin, low, high, numbers, n_mels, n_bins,
    n_blocks,
):  # fmt: skip
    """Make a step in every block; it replaces the values before the last step."""
    momentum, size = numbers[0], numbers[1]

    def zeros(count: int) -> list[Any]:
        return [trace.variable(size.spread(residual.row).like(0)) for _ in range(count)]

    for n in trace.range(n_blocks):
        new, old, target = news.at(n * n_bins), olds.at(n * n_bins), targets.at(n * n_mels)
        (below,) = zeros(1)  # the part of a filter below its peak
        for k in trace.range(n_mels):
            above, next_below = zeros(2)
            for f in trace.range(first_bin[k], first_bin[k + 1]):
                b = new[f] + (new[f] - old[f]) * momentum
                above.value = above.value + b * low[f]
                next_below.value = next_below.value + b * high[f]
            residual[k] = (target[k] - below.value - above.value) * size
            below.value = next_below.value
        totals = zeros(3)
        for k in trace.range(n_mels):
            left, right = residual[k], residual[k + 1]
            for f in trace.range(first_bin[k], first_bin[k + 1]):
                a = new[f]
                b = a + (a - old[f]) * momentum
                x = b + left * low[f] + right * high[f]
                x = where_positive(x, x, 0)
                parts = (b - x) * (x - a), (x - a) * (x - a), x * x
                for total, part in zip(totals, parts, strict=True):
                    total.value = total.value + part
                old[f] = x
        for i, total in enumerate(totals):
            sums[n * 3 + i] = total.value
