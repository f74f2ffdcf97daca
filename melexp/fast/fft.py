"""Fourier transforms of real frames, one frame per lane, fused with window and overlap-add.

A frame of n samples is packed into ``N = n/2`` complex numbers ``z_j = x_2j + i x_2j+1``. The
forward transform decimates in frequency. A first pass of radix 8 reads the frame, applies the
window and makes eight blocks. After its own transform in place, block b holds the bins
``k = b (mod 8)`` in digit-reversed order. They are not sorted; a table gives the place of each bin.

The inverse is the mirror image of this flow graph. It is a forward transform of numbers with real
and imaginary parts exchanged, so both directions share butterflies and tables.

Bins k and N - k of the real frame come from the same two packed bins, in blocks b and 8 - b. Such a
group of blocks is transformed, modified and transformed back while it is in the fastest cache.
"""

from typing import NamedTuple

import numpy as np

from .compiling import inline
from .lanes import cload, conj, cstore, full, pair, store, swap

GROUPS = 5  # blocks 0 and 4, and the pairs 1 and 7, 2 and 6, 3 and 5


class Plan(NamedTuple):
    """Tables for frames of one length."""

    half: int  # N, the length of the packed transform
    hop: int
    analysis: np.ndarray  # window, also halves the sums of `split`
    synthesis: np.ndarray  # window, also scales the inverse transform
    first: np.ndarray  # twiddle factors of the pass that makes the blocks
    radices: np.ndarray  # radices of the passes within a block
    twiddles: np.ndarray  # twiddle factors of these passes, concatenated
    groups: np.ndarray  # group g has the pairs groups[g] to groups[g + 1] - 1
    left: np.ndarray  # place of bin k of each pair in the buffer
    right: np.ndarray  # place of bin N - k
    twist: np.ndarray  # -i exp(-2 pi i k / n)


def make_plan(n_fft, hop, analysis, synthesis):
    """Make the tables for frames of `n_fft` samples, `hop` samples apart.

    Returns
    -------
    plan : Plan
    bins : numpy.ndarray of int, shape (n_fft // 2 + 2,)
        The bin in each slot of a spectrum: slots 2i and 2i + 1 hold pair i, bins k and N - k.
        Bin N/2 is its own partner and occupies two slots.
    """
    half = n_fft // 2
    block = half // 8
    radices = [4] * (-(block.bit_length() - 1) % 3)  # as many passes of radix 8 as possible
    while np.prod(radices, dtype=int) < block:
        radices.append(8)
    twiddles, order, span = [], np.zeros(1, int), block
    for radix in radices:
        span //= radix
        twiddles.append(_twiddles(radix, span))
        order = (np.arange(radix)[:, None] * span + order).ravel()
    # A gap of one number between blocks keeps their rows out of the same cache sets.
    place = (np.arange(8) * (block + 1) + order[:, None]).ravel()
    ends = (half // 2, half - 1, half - 1, half - 1, half // 2)
    pairs = [np.arange(g, end + 1, 8) for g, end in enumerate(ends)]
    low = np.concatenate(pairs)
    plan = Plan(
        half=half,
        hop=hop,
        analysis=(np.asarray(analysis) / 2).astype(np.float32),
        synthesis=(np.asarray(synthesis) / n_fft).astype(np.float32),
        first=_twiddles(8, block),
        radices=np.array(radices),
        twiddles=np.concatenate(twiddles),
        groups=np.cumsum([0, *map(len, pairs)]),
        left=place[low],
        right=place[(half - low) % half],
        twist=(-1j * np.exp(-2j * np.pi * low / n_fft)).astype(np.complex64),
    )
    return plan, np.stack([low, half - low], axis=1).ravel()


def buffer_rows(n_fft):
    """Return the number of rows of the buffer of a transform."""
    return n_fft + 16


def _twiddles(radix, span):
    angles = np.outer(np.arange(span), np.arange(1, radix)) / (radix * span)
    return np.exp(-2j * np.pi * angles).ravel().astype(np.complex64)


_W1, _W3 = (np.complex64(np.exp(-2j * np.pi * k / 8)) for k in (1, 3))


@inline
def _turn(a):
    """Multiply by -i."""
    return pair(a.im, full(0.0) - a.re)


@inline
def _butterfly4(x):
    a, b, c, d = x[0] + x[2], x[0] - x[2], x[1] + x[3], _turn(x[1] - x[3])
    return a + c, b + d, a - c, b - d


@inline
def _butterfly8(x):
    a, b, c, d = _butterfly4((x[0], x[2], x[4], x[6]))
    e, f, g, h = _butterfly4((x[1], x[3], x[5], x[7]))
    f, g, h = f * _W1, _turn(g), h * _W3
    return a + e, b + f, c + g, d + h, a - e, b - f, c - g, d - h


@inline
def _twiddle4(x, w, t):
    return x[0], x[1] * w[t], x[2] * w[t + 1], x[3] * w[t + 2]


@inline
def _twiddle8(x, w, t):
    return (x[0], x[1] * w[t], x[2] * w[t + 1], x[3] * w[t + 2], x[4] * w[t + 3],
            x[5] * w[t + 4], x[6] * w[t + 5], x[7] * w[t + 6])  # fmt: skip


@inline
def _load4(buffer, at, m):
    return (cload(buffer, at), cload(buffer, at + m), cload(buffer, at + 2 * m),
            cload(buffer, at + 3 * m))  # fmt: skip


@inline
def _load8(buffer, at, m):
    return _load4(buffer, at, m) + _load4(buffer, at + 4 * m, m)


@inline
def _store4(buffer, at, m, x):
    cstore(buffer, at, x[0])
    cstore(buffer, at + m, x[1])
    cstore(buffer, at + 2 * m, x[2])
    cstore(buffer, at + 3 * m, x[3])


@inline
def _store8(buffer, at, m, x):
    _store4(buffer, at, m, x[:4])
    _store4(buffer, at + 4 * m, m, x[4:])


@inline
def _pass4(buffer, at, m, w, t, mirrored):
    """Apply radix-4 butterflies in place, the twiddle factors after them (mirrored: before)."""
    for p in range(m):
        x = _load4(buffer, at + p, m)
        if mirrored:
            x = _butterfly4(_twiddle4(x, w, t + 3 * p))
        else:
            x = _twiddle4(_butterfly4(x), w, t + 3 * p)
        _store4(buffer, at + p, m, x)


@inline
def _pass8(buffer, at, m, w, t, mirrored):
    """Apply radix-8 butterflies in place, as `_pass4` for radix 4."""
    for p in range(m):
        x = _load8(buffer, at + p, m)
        if mirrored:
            x = _butterfly8(_twiddle8(x, w, t + 7 * p))
        else:
            x = _twiddle8(_butterfly8(x), w, t + 7 * p)
        _store8(buffer, at + p, m, x)


@inline
def _pass(plan, buffer, start, m, radix, t, mirrored):
    """Apply one pass to the block at `start`; the legs of its butterflies are `m` apart."""
    for at in range(start, start + plan.half // 8, m * radix):
        if radix == 4:
            _pass4(buffer, at, m, plan.twiddles, t, mirrored)
        elif m > 1:
            _pass8(buffer, at, m, plan.twiddles, t, mirrored)
        else:  # all twiddle factors are 1
            _store8(buffer, at, 1, _butterfly8(_load8(buffer, at, 1)))


@inline
def _block(plan, buffer, b):
    start, m, t = b * (plan.half // 8 + 1), plan.half // 8, 0
    for radix in plan.radices:
        m //= radix
        _pass(plan, buffer, start, m, radix, t, False)
        t += (radix - 1) * m


@inline
def _block_mirrored(plan, buffer, b):
    start, m, t = b * (plan.half // 8 + 1), 1, len(plan.twiddles)
    for radix in plan.radices[::-1]:
        t -= (radix - 1) * m
        _pass(plan, buffer, start, m, radix, t, True)
        m *= radix


@inline
def forward(plan, buffer, group):
    """Return transform the blocks of a group."""
    for i in range(2 if group % 4 else 1):
        _block(plan, buffer, 8 - group if i else group)


@inline
def backward(plan, buffer, group):
    """Apply the inverse transform to the blocks of a group."""
    for i in range(2 if group % 4 else 1):
        _block_mirrored(plan, buffer, 8 - group if i else group)


@inline
def _weigh(x, w, p, m):
    """Multiply eight legs, each a pair of samples, by the window."""
    return (_weigh1(x[0], w, p), _weigh1(x[1], w, p + m), _weigh1(x[2], w, p + 2 * m),
            _weigh1(x[3], w, p + 3 * m), _weigh1(x[4], w, p + 4 * m), _weigh1(x[5], w, p + 5 * m),
            _weigh1(x[6], w, p + 6 * m), _weigh1(x[7], w, p + 7 * m))  # fmt: skip


@inline
def _weigh1(z, w, j):
    return pair(z.re * w[2 * j], z.im * w[2 * j + 1])


@inline
def _add8(x, y):
    return (x[0] + y[0], x[1] + y[1], x[2] + y[2], x[3] + y[3],
            x[4] + y[4], x[5] + y[5], x[6] + y[6], x[7] + y[7])  # fmt: skip


@inline
def _swap8(x):
    return (swap(x[0]), swap(x[1]), swap(x[2]), swap(x[3]),
            swap(x[4]), swap(x[5]), swap(x[6]), swap(x[7]))  # fmt: skip


@inline
def read_frame(plan, buffer, signal, row):
    """Window frame `row` of the signal and write the first pass to the blocks in the buffer."""
    m, start = plan.half // 8, row * plan.hop // 2
    for p in range(m):
        x = _butterfly8(_weigh(_load8(signal, start + p, m), plan.analysis, p, m))
        _store8(buffer, p, m + 1, _twiddle8(x, plan.first, 7 * p))


@inline
def add_frame(plan, buffer, signal, row):
    """Window the frame and add it to the signal (mirror image of `read_frame`)."""
    m, start = plan.half // 8, row * plan.hop // 2
    fresh = 0 if row == 0 else 2 * plan.half - plan.hop  # samples that no earlier frame has written
    for j in range(2 * start + fresh, 2 * (start + plan.half)):
        store(signal, j, full(0.0))
    for p in range(m):
        x = _swap8(_butterfly8(_twiddle8(_load8(buffer, p, m + 1), plan.first, 7 * p)))
        x = _weigh(x, plan.synthesis, p, m)
        _store8(signal, start + p, m, _add8(_load8(signal, start + p, m), x))


@inline
def split(plan, buffer, i):
    """Return bins k and N - k of the real frame (pair `i`) from the packed bins."""
    a, b = cload(buffer, plan.left[i]), conj(cload(buffer, plan.right[i]))
    even, odd = a + b, (a - b) * plan.twist[i]
    return even + odd, conj(even - odd)


@inline
def merge(plan, buffer, i, x, y):
    """Invert `split`, and exchange real and imaginary parts for `backward`."""
    if i == 0:  # the first and the last bin of a real frame are real
        x, y = pair(x.re, full(0.0)), pair(y.re, full(0.0))
    y = conj(y)
    even, odd = x + y, (x - y) * plan.twist[i].conjugate()
    cstore(buffer, plan.left[i], swap(even + odd))
    cstore(buffer, plan.right[i], swap(conj(even - odd)))
