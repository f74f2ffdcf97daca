"""Compiled loops of `kl` and `pghi`. Import it lazily, because it loads the compiler."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit
from numba.extending import intrinsic

#: Frames per block: many, because each inner loop first checks that its rows do not overlap.
LANES = 64
#: Number of levels of the priority queue of `integrate`: 64 words of 64 bits.
LEVELS = 4096


def _lowest_bit(typing: Any, word: Any) -> Any:
    """Return the index of the lowest set bit of a positive unsigned integer."""

    def lower(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return word(word), lower


lowest_bit: Any = intrinsic(_lowest_bit)


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "nsz"})
def kl_updates(
    M: np.ndarray,
    a: np.ndarray,
    first_bin: np.ndarray,
    rows: np.ndarray,
    first_mel: np.ndarray,
    columns: np.ndarray,
    lobe: np.ndarray,
    n_iter: int,
) -> None:
    """Update `a` (n_bins, n_frames) multiplicatively, then overwrite it with H a.

    `first_bin`, `rows`, `first_mel` and `columns` are the strips of `_Bands`. All updates except
    the last are squared (see `melexp.start.magnitude.kl`). A block of frames stays in the cache
    during all updates.
    """
    n_mels, n_frames = M.shape
    n_bins = len(a)
    length, width, side = rows.shape[1], columns.shape[1], len(lobe) // 2
    target = np.empty((n_mels, LANES), M.dtype)
    # Padding: strips may extend past the last bin, and the lobe past both ends.
    block = np.zeros((side + n_bins + max(length, side), LANES), M.dtype)
    ratio = np.zeros((n_mels + width, LANES), M.dtype)
    tiny = np.finfo(M.dtype).tiny
    for start in range(0, n_frames, LANES):
        size = min(LANES, n_frames - start)
        target[:, :size] = M[:, start : start + size]
        target[:, size:] = 0
        for f in range(n_bins):
            block[side + f, :size] = a[f, start : start + size]
            block[side + f, size:] = 1
        for n in range(n_iter):
            squared = n < n_iter - 1
            for k in range(n_mels):
                r = ratio[k]
                for j in range(LANES):
                    r[j] = tiny
                f = side + first_bin[k]
                for i in range(0, length, 4):
                    g0, g1, g2, g3 = rows[k, i], rows[k, i + 1], rows[k, i + 2], rows[k, i + 3]
                    if g0 == 0 and g1 == 0:  # the padding
                        break
                    b0, b1, b2, b3 = block[f], block[f + 1], block[f + 2], block[f + 3]
                    f += 4
                    for j in range(LANES):
                        r[j] += g0 * b0[j] + g1 * b1[j] + (g2 * b2[j] + g3 * b3[j])
                m = target[k]
                for j in range(LANES):
                    r[j] = m[j] / r[j]
            for f in range(n_bins):
                k = first_mel[f]
                b = block[side + f]
                g0, g1, g2, g3 = columns[f, 0], columns[f, 1], columns[f, 2], columns[f, 3]
                r0, r1, r2, r3 = ratio[k], ratio[k + 1], ratio[k + 2], ratio[k + 3]
                if width == 4 and squared:
                    for j in range(LANES):
                        total = g0 * r0[j] + g1 * r1[j] + (g2 * r2[j] + g3 * r3[j])
                        b[j] *= total * total
                elif width == 4:
                    for j in range(LANES):
                        b[j] *= g0 * r0[j] + g1 * r1[j] + (g2 * r2[j] + g3 * r3[j])
                else:
                    for j in range(LANES):
                        total = g0 * r0[j] + g1 * r1[j] + (g2 * r2[j] + g3 * r3[j])
                        for i in range(4, width):
                            total += columns[f, i] * ratio[k + i, j]
                        b[j] *= total * total if squared else total
        for f in range(n_bins):
            out = a[f, start : start + size]
            out[:] = lobe[side] * block[side + f, :size]
            for i in range(1, side + 1):  # the lobe is symmetric
                before, behind = block[side + f - i], block[side + f + i]
                for j in range(size):
                    out[j] += lobe[side + i] * (before[j] + behind[j])


@njit(cache=True, nogil=True, error_model="numpy")
def integrate(
    log: np.ndarray,
    least: float,
    along_t: float,
    along_f: float,
    advance: np.ndarray,
    delay: float,
    mirrored: bool,
    angle: np.ndarray,
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
    """
    n_bins, n_frames = log.shape
    real = log.dtype.type
    stride = n_frames + 1  # a column of borders between the rows
    size = (n_bins + 2) * stride + 1
    # Per bin: phase increment to the next frame, phase increment to the next bin, phase.
    field = np.empty((size, 3), log.dtype)
    # Queue level of each unvisited bin, 0 for the largest magnitude; -1 for other bins.
    level = np.full(size, -1, np.int16)
    peak = log.max() if log.size else least
    per_level = (LEVELS - 1) / (peak - least) if peak > least else 0.0
    # Linked lists of bins per level: `head` is the first bin, `after` the next, -1 the end.
    head, after = np.full(LEVELS, -1, np.int32), np.empty(size, np.int32)
    # Linked lists of the local maxima, at which islands may begin, in order of discovery.
    seeds, after_seed = np.full(LEVELS, -1, np.int32), np.empty(size, np.int32)
    seed_bin, n_seeds = np.empty(size, np.int32), 0
    # Bit i of words[w] is set if level 64 w + i is not empty, bit w of `summary` if words[w] != 0.
    words, summary = np.zeros(64, np.uint64), np.uint64(0)
    one = np.uint64(1)

    half = real(0.5)
    a_t, a_f, lag = real(along_t), real(along_f), real(delay)
    for f in range(n_bins):
        here = log[f]
        below, above, scale = log[max(f - 1, 0)], log[min(f + 1, n_bins - 1)], half
        if f == 0 or (f == n_bins - 1 and mirrored):
            scale = real(0)
        elif f == n_bins - 1:
            scale = real(1)
        base = (f + 1) * stride + 1
        for t in range(n_frames):
            before, behind = max(t - 1, 0), min(t + 1, n_frames - 1)
            slope = (here[behind] - here[before]) * (half if behind - before == 2 else real(1))
            n = base + t
            field[n, 0] = advance[f] + a_t * scale * (above[t] - below[t])
            field[n, 1] = a_f * slope - lag
            field[n, 2] = 0
            if here[t] > least:
                level[n] = np.int16((peak - here[t]) * per_level)
                if (
                    here[t] >= here[before]
                    and here[t] >= here[behind]
                    and here[t] >= below[t]
                    and here[t] >= above[t]
                ):
                    seed_bin[n_seeds], after_seed[n_seeds] = n, seeds[level[n]]
                    seeds[level[n]] = n_seeds
                    n_seeds += 1

    for first in range(LEVELS):
        seed = seeds[first]
        while seed >= 0:
            n = np.int64(seed_bin[seed])
            if level[n] >= 0:
                level[n] = -1
                while True:
                    # The four neighbours: previous and next frame, previous and next bin.
                    for side in range(4):
                        axis, sign = side >> 1, 1 - ((side & 1) << 1)
                        m = n + sign * (stride if axis else 1)
                        rank = level[m]
                        if rank < 0:
                            continue
                        rise = half * (field[n, axis] + field[m, axis])
                        field[m, 2] = field[n, 2] + real(sign) * rise
                        level[m] = -1
                        after[m] = head[rank]
                        head[rank] = m
                        words[rank >> 6] |= one << np.uint64(rank & 63)
                        summary |= one << np.uint64(rank >> 6)
                    if summary == 0:
                        break
                    word = np.int64(lowest_bit(summary))
                    top = (word << 6) + np.int64(lowest_bit(words[word]))
                    n = head[top]
                    head[top] = after[n]
                    if head[top] < 0:
                        words[word] &= ~(one << np.uint64(top & 63))
                        if words[word] == 0:
                            summary &= ~(one << np.uint64(word))
            seed = after_seed[seed]

    for f in range(n_bins):
        base = (f + 1) * stride + 1
        for t in range(n_frames):
            if log[f, t] > least:
                angle[f, t] = field[base + t, 2]
