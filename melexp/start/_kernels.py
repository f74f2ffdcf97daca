"""Compiled loops of `kl` and `pghi`. Import it lazily, because it loads the compiler."""

from __future__ import annotations

import threading
from functools import cache
from typing import Any

import numpy as np

from melexp.fast.compiling import LANES
from melexp.fast.denormals import flushed
from melexp.fast.memory import (
    DoubleRows,
    Doubles,
    Floats,
    Integers,
    Rows,
    ShortIntegers,
    aligned,
)
from melexp.fast.tracing import kernel

#: Vectors in a block of frames, which stay in registers; one for a few frames.
VECTORS = 4
#: Number of levels of the priority queue of `integrate`: 64 words of 64 bits.
LEVELS = 4096


class KlUpdates:
    """The updates of `kl` for blocks of frames, with their memory.

    Parameters
    ----------
    bands : melexp.start.magnitude.Bands
    n_mels, n_bins, n_frames : int
    dtype : np.dtype
    n_iter : int
        All updates except the last are squared (see `melexp.start.magnitude.kl`).
    """

    def __init__(
        self, bands: Any, n_mels: int, n_bins: int, n_frames: int, dtype: Any, n_iter: int
    ) -> None:
        side = len(bands.lobe) // 2
        width = LANES if dtype == np.float32 else LANES // 2
        vectors = VECTORS if n_frames > width else 1
        self._width = width * vectors
        n_blocks = -(-n_frames // self._width)
        # Padding: strips may extend past the last bin, and the lobe past both ends.
        margin = max(bands.rows.shape[1], side)
        self._target = aligned(n_blocks, n_mels, self._width, dtype=dtype)
        block = aligned(n_blocks, side + n_bins + margin, self._width, dtype=dtype)
        ratio = aligned(n_mels + bands.columns.shape[1], self._width, dtype=dtype)
        smooth = aligned(n_bins, self._width, dtype=dtype)
        self._inner = block[:, side : side + n_bins]
        self._run = _kl_kernel(dtype.name, vectors).bind(
            self._target, block, ratio, smooth, bands.first_bin, bands.rows, bands.row_lengths,
            bands.rows.shape[1], bands.first_mel, bands.columns, bands.column_lengths,
            bands.columns.shape[1], bands.lobe, side, np.array([np.finfo(dtype).tiny]), n_mels,
            n_bins, n_blocks, block.shape[1], n_iter,
        )  # fmt: skip

    def __call__(self, M: np.ndarray, a: np.ndarray) -> None:
        """Update `a` (n_bins, n_frames) multiplicatively, then overwrite it with H a.

        A block of frames stays in the cache during all updates.
        """
        inner, width, n_frames = self._inner, self._width, a.shape[1]
        inner[-1] = 1
        parts = [slice(k, min(k + width, n_frames)) for k in range(0, n_frames, width)]
        for i, part in enumerate(parts):
            size = part.stop - part.start
            self._target[i, :, :size], inner[i, :, :size] = M[:, part], a[:, part]
        with flushed():
            self._run()
        for i, part in enumerate(parts):
            a[:, part] = inner[i, :, : part.stop - part.start]


_KEPT = threading.local()


def kl_updates(M: np.ndarray, a: np.ndarray, bands: Any, n_iter: int) -> None:
    """Update `a` (n_bins, n_frames) for the mel M, as `KlUpdates` does.

    The memory for the last few frames is kept, as a stream needs it again for each frame.
    """
    (n_mels, n_frames), n_bins = M.shape, len(a)
    key = n_mels, n_bins, n_frames, M.dtype, n_iter
    kept = getattr(_KEPT, "last", None)
    if kept is None or kept[0] is not bands or kept[1] != key:
        kept = bands, key, KlUpdates(bands, *key)
        if n_frames <= VECTORS * LANES:
            _KEPT.last = kept
    kept[2](M, a)


@cache
def _kl_kernel(dtype: str, vectors: int) -> Any:
    number, row = (Floats, Rows) if dtype == "float32" else (Doubles, DoubleRows)
    kinds = (row, row, row, row, Integers, number, Integers, int, Integers, number, Integers, int,
             number, int, number, int, int, int, int, int)  # fmt: skip
    return kernel(_kl, *kinds, key=(dtype, vectors), n_vectors=vectors)


def _kl(
    trace, targets, blocks, ratio, smooth, first_bin, rows, longest, length, first_mel, columns,
    widest, width, lobe, side, tiny, n_mels, n_bins, n_blocks, block_rows, n_iter, *,
    n_vectors,
):  # fmt: skip
    """Run all updates of every block, and replace it by H a; see `kl_updates`."""
    vectors = range(n_vectors)

    def weighed(weights: Any, values: Any, count: Any, first: Any) -> list[Any]:
        """Sum rows of `values` from `first` on, times the weights."""
        totals = [trace.variable(first_value) for first_value in first]
        for i in trace.range(count):
            weight = weights[i]
            for v in vectors:
                totals[v].value = totals[v].value + values[i * n_vectors + v] * weight
        return [t.value for t in totals]

    for n in trace.range(n_blocks):
        block = blocks.at(n * block_rows * n_vectors)
        inner, target = block.at(side * n_vectors), targets.at(n * n_mels * n_vectors)
        least = [tiny[0].spread(blocks.row) for _ in vectors]
        nothing = [x.like(0) for x in least]
        for update in trace.range(n_iter):
            for k in trace.range(n_mels):
                bins = inner.at(first_bin[k] * n_vectors)
                totals = weighed(rows.at(k * length), bins, longest[k], least)
                for v in vectors:
                    ratio[k * n_vectors + v] = target[k * n_vectors + v] / totals[v]
            last = update.compare("==", n_iter - 1)
            for f in trace.range(n_bins):
                mels = ratio.at(first_mel[f] * n_vectors)
                totals = weighed(columns.at(f * width), mels, widest[f], nothing)
                for v in vectors:
                    at, x = f * n_vectors + v, totals[v]
                    inner[at] = inner[at] * trace.select(last, x, x * x)
        for f in trace.range(n_bins):
            around = block.at(f * n_vectors)
            for v, x in enumerate(weighed(lobe, around, side * 2 + 1, nothing)):
                smooth[f * n_vectors + v] = x
        for i in trace.range(n_bins * n_vectors):
            inner[i] = smooth[i]


def integrate(
    log: np.ndarray,
    least: float,
    along_t: float,
    along_f: float,
    advance: np.ndarray,
    delay: float,
    mirrored: bool,
    angle: np.ndarray,
    corrections: np.ndarray | None = None,
) -> None:
    """Integrate the phase gradient in the order of a heap, for `melexp.start.pghi.pghi`.

    Parameters
    ----------
    log : np.ndarray [shape=(n_bins, n_frames)]
        Natural logarithm of the magnitude, floored.
    least : float
        Bins at or below this value are skipped.
    along_t, along_f : float
        Phase increment to the next frame per d log / d bin, and to the next bin per
        d log / d frame.
    advance : np.ndarray [shape=(n_bins,)]
        Phase increment to the next frame at the centre frequency of a bin, in [0, 2 pi).
    delay : float
        Phase lag of each bin relative to the bin below.
    mirrored : bool
        Whether the last bin is the Nyquist frequency, about which the logarithm is symmetric.
    angle : np.ndarray [shape=(n_bins, n_frames)]
        Receives the phase. Values in skipped bins are not changed.
    corrections : np.ndarray [shape=(2, n_bins, n_frames)] or None
        Added to the increments to the next frame and to the next bin.
    """
    n_bins, n_frames = log.shape
    size = (n_bins + 2) * (n_frames + 1) + 1  # with a column of borders between the rows
    peak = float(log.max()) if log.size else least
    per_level = (LEVELS - 1) / (peak - least) if peak > least else 0.0
    numbers = np.array([least, peak, per_level, along_t, along_f, delay], log.dtype)
    more = () if corrections is None else (np.ascontiguousarray(corrections),)
    _integrate_kernel(log.dtype.name, corrections is not None)(
        log,
        numbers,
        advance.astype(log.dtype),
        angle,
        n_bins,
        n_frames,
        bool(mirrored),
        np.empty((size, 3), log.dtype),
        np.full(size, -1, np.int32),
        np.full(LEVELS, -1, np.int32),
        np.empty(size, np.int32),
        np.full(LEVELS, -1, np.int32),
        np.empty(size, np.int32),
        np.empty(size, np.int32),
        np.zeros(64, np.int64),
        *more,
    )


@cache
def _integrate_kernel(dtype: str, corrected: bool) -> Any:
    number, short = Floats if dtype == "float32" else Doubles, ShortIntegers
    kinds = (number, number, number, number, int, int, int, number, short, short, short, short,
             short, short, Integers)  # fmt: skip
    if corrected:
        return kernel(_integrate, *kinds, number, key=f"{dtype}-corrected")
    return kernel(_integrate, *kinds, key=dtype)


def _integrate(
    trace, log, numbers, advance, angle, n_bins, n_frames, mirrored, field, level, head, after,
    seeds, after_seed, seed_bin, words, corrections=None,
):  # fmt: skip
    """Compute the increments of each bin, then visit the bins; see `integrate`.

    `field` has the phase increments of a bin to the next frame and to the next bin, and its phase.
    `level` is the queue level of each unvisited bin, 0 for the largest magnitude; -1 for other
    bins. `head` and `after` are linked lists of bins per level, `seeds` and `after_seed` those of
    the local maxima, at which islands may begin. -1 ends a list. Bit i of words[w] is set if level
    64 w + i is not empty, bit w of the summary if words[w] != 0.
    """
    stride = n_frames + 1
    least, peak, per_level, along_t, along_f, delay = (numbers[i] for i in range(6))
    half, one, zero = least.like(0.5), least.like(1), least.like(0)
    n_seeds = trace.variable(trace.integer(0))
    for f in trace.range(n_bins):
        lowest, highest = f.compare("==", 0), f.compare("==", n_bins - 1)
        below = log.at(trace.select(lowest, f, f - 1) * n_frames)
        above = log.at(trace.select(highest, f, f + 1) * n_frames)
        here, base = log.at(f * n_frames), (f + 1) * stride + 1
        edge = trace.select(mirrored.compare("!=", 0), zero, one)
        scale = trace.select(lowest, zero, trace.select(highest, edge, half))
        for t in trace.range(n_frames):
            before = trace.select(t.compare(">", 0), t - 1, t)
            behind = trace.select(t.compare("<", n_frames - 1), t + 1, t)
            inside = (behind - before).compare("==", 2)
            slope = (here[behind] - here[before]) * trace.select(inside, half, one)
            n, x = base + t, here[t]
            field[n * 3] = advance[f] + along_t * scale * (above[t] - below[t])
            field[n * 3 + 1] = along_f * slope - delay
            field[n * 3 + 2] = zero
            if corrections is not None:
                at = f * n_frames + t
                field[n * 3] = field[n * 3] + corrections[at]
                field[n * 3 + 1] = field[n * 3 + 1] + corrections[n_bins * n_frames + at]
            with trace.when(x.compare(">", least)):
                level[n] = ((peak - x) * per_level).integer()
                neighbours = here[before], here[behind], below[t], above[t]
                largest = trace.every(x.compare(">=", y) for y in neighbours)
                with trace.when(largest):
                    seed_bin[n_seeds.value] = n
                    after_seed[n_seeds.value] = seeds[level[n]]
                    seeds[level[n]] = n_seeds.value
                    n_seeds.value = n_seeds.value + 1

    summary, bit = trace.variable(trace.integer(0)), trace.integer(1)

    def visit(n: Any, axis: int, sign: int) -> None:
        """Continue to a neighbour of bin n, and queue it."""
        m = n + (stride if axis else trace.integer(1)) * sign
        rank = level[m]
        with trace.when(rank.compare(">=", 0)):
            rise = half * (field[n * 3 + axis] + field[m * 3 + axis])
            field[m * 3 + 2] = field[n * 3 + 2] + rise * sign
            level[m] = -1
            after[m], head[rank] = head[rank], m
            word = rank >> 6
            words[word] = words[word] | (bit << (rank & 63))
            summary.value = summary.value | (bit << word)

    def pop() -> Any:
        """Return the bin of the largest magnitude in the queue."""
        word = summary.value.lowest_bit()
        place = words[word].lowest_bit()
        rank = (word << 6) + place
        n = head[rank]
        head[rank] = after[n]
        with trace.when(head[rank].compare("<", 0)):
            words[word] = words[word] - (bit << place)
            with trace.when(words[word].compare("==", 0)):
                summary.value = summary.value - (bit << word)
        return n

    for first in trace.range(LEVELS):
        seed = trace.variable(seeds[first])
        for _ in trace.during(lambda: seed.value.compare(">=", 0)):  # noqa: B023
            n = trace.variable(seed_bin[seed.value])
            fresh = level[n.value].compare(">=", 0)
            going = trace.variable(trace.select(fresh, 1, 0))
            with trace.when(fresh):
                level[n.value] = -1
            for _ in trace.during(lambda: going.value.compare("!=", 0)):  # noqa: B023
                for axis in range(2):
                    for sign in (1, -1):
                        visit(n.value, axis, sign)
                more = summary.value.compare("!=", 0)
                going.value = trace.select(more, 1, 0)
                with trace.when(more):
                    n.value = pop()
            seed.value = after_seed[seed.value]
    for f in trace.range(n_bins):
        base = (f + 1) * stride + 1
        for t in trace.range(n_frames):
            at = f * n_frames + t
            with trace.when(log[at].compare(">", least)):
                angle[at] = field[(base + t) * 3 + 2]
