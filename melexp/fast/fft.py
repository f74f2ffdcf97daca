"""Fourier transforms of real frames, one frame per lane, fused with window and overlap-add.

A frame of n samples is packed into ``N = n/2`` complex numbers ``z_j = x_2j + i x_2j+1``. The
forward transform decimates in frequency. A first pass of radix r reads the frame, applies the
window and makes r blocks. After its own transform in place, block b holds the bins
``k = b (mod r)`` in digit-reversed order. They are not sorted; a table gives the place of each bin.

The inverse is the mirror image of this flow graph. It is a forward transform of numbers with real
and imaginary parts exchanged, so both directions share butterflies and tables.

Bins k and N - k of the real frame come from the same two packed bins, in blocks b and r - b. Such a
group of blocks is transformed, modified and transformed back while it is in the fastest cache.

Each pass of a radix is a function of its own, which all lengths and methods call by its address.
"""

from functools import cache
from typing import NamedTuple

import numpy as np

from .lanes import Complex, conj, swap, turn
from .memory import Floats, Integers, Rows
from .tracing import address

#: Radices of a pass, with its relative cost per number: arithmetic and memory access.
_COSTS = {2: 10.0, 3: 12.7, 4: 13.0, 5: 16.2, 6: 15.3, 7: 19.4, 8: 16.5, 9: 18.6, 10: 18.6}


class Plan(NamedTuple):
    """Tables for frames of one length."""

    radix: int  # of the first pass, the number of blocks
    block: int  # complex numbers in a block
    gap: int  # ... and from one block to the next
    hop: int
    extent: int  # samples of a frame that are read and written; the window is zero elsewhere
    analysis: Floats  # window, also halves the sums of `split`
    synthesis: Floats  # window, also scales the inverse transform
    first: Floats  # twiddle factors of the first pass
    read: int  # address of the first pass
    add: int  # ... and of its mirror image
    write: int  # ... of the same, for samples that no earlier frame has
    passes: int  # number of the passes within a block
    forward: Integers  # address, span, repetitions and place of the twiddle factors of each pass
    backward: Integers  # ... of the mirrored passes
    twiddles: Floats
    n_groups: int
    groups: Integers  # group g has the pairs groups[g] to groups[g + 1] - 1
    members: Integers  # number of blocks of each group, one or two
    left: Integers  # place of bin k of each pair in the buffer
    right: Integers  # place of bin N - k
    twist: Floats  # -i exp(-2 pi i k / n)


@cache
def factors(n):
    """Return the radices whose product is n, at the least cost, or None; the largest is first."""
    best = {1: (0.0, ())}

    def cheapest(m):
        if m not in best:
            found = [(c + cheapest(m // r)[0], (r, *cheapest(m // r)[1]))
                     for r, c in _COSTS.items() if m % r == 0]  # fmt: skip
            best[m] = min(found, default=(np.inf, ()))
        return best[m]

    cost, radices = cheapest(n)
    if cost == np.inf:
        return None
    *others, largest = sorted(radices)
    return (largest, *others)  # the last pass has no twiddle factors, which is best for a large one


def support(n_fft, window):
    """Return the samples of a frame that the first pass reads: whole legs of its butterflies."""
    leg = n_fft // factors(n_fft // 2)[0]
    used = np.flatnonzero(window)
    first, last = (used[0], used[-1]) if len(used) else (0, n_fft - 1)
    return first // leg * leg, (last // leg + 1) * leg


def make_plan(n_fft, hop, begin, analysis, synthesis):
    """Make the tables for frames of `n_fft` samples, `hop` samples apart.

    Parameters
    ----------
    n_fft, hop : int
    begin : int
        First sample of `support`.
    analysis, synthesis : numpy.ndarray, shape (extent,)
        Windows on the support.

    Returns
    -------
    plan : Plan
    bins : numpy.ndarray of int, shape (n_slots,)
        The bin in each slot of a spectrum: slots 2i and 2i + 1 hold pair i, bins k and N - k.
        If N is even, bin N/2 is its own partner and occupies two slots.
    """
    half = n_fft // 2
    radix, *others = factors(half)
    block = half // radix
    legs = begin // (2 * block), (begin + len(analysis)) // (2 * block)
    passes, twiddles, order, span, size = [], [], np.zeros(1, np.int64), block, 0
    for r in others:
        span //= r
        passes.append((r, span, block // (r * span), size))
        twiddles.append(_twiddles(r, span))
        size += len(twiddles[-1])
        order = (np.arange(r, dtype=np.int64)[:, None] * span + order).ravel()
    # A gap of one number between blocks keeps their rows out of the same cache sets.
    place = (np.arange(radix, dtype=np.int64) * (block + 1) + order[:, None]).ravel()
    middle = half // 2 + 1  # block g = -g (mod radix) has each pair twice
    pairs = [np.arange(g, half if 2 * g % radix > 0 else middle, radix)
             for g in range(radix // 2 + 1)]  # fmt: skip
    low = np.concatenate(pairs).astype(np.int64)
    plan = Plan(
        radix=radix,
        block=block,
        gap=block + 1,
        hop=hop,
        extent=len(analysis),
        analysis=(np.asarray(analysis) / 2).astype(np.float32),
        synthesis=(np.asarray(synthesis) / n_fft).astype(np.float32),
        first=_twiddles(radix, block),
        read=edge_pass(radix, legs, False),
        add=edge_pass(radix, legs, True),
        write=edge_pass(radix, legs, True, False),
        passes=len(passes),
        forward=_table(passes, False),
        backward=_table(passes[::-1], True),
        twiddles=np.concatenate([*twiddles, np.zeros(0, np.complex64)]),
        n_groups=len(pairs),
        groups=np.cumsum([0, *map(len, pairs)], dtype=np.int64),
        members=np.array([2 if 2 * g % radix else 1 for g in range(len(pairs))], np.int64),
        left=place[low],
        right=place[(half - low) % half],
        twist=(-1j * np.exp(-2j * np.pi * low / n_fft)).astype(np.complex64),
    )
    return plan, np.stack([low, half - low], axis=1).ravel()


def _table(passes, mirrored):
    rows = [(inner_pass(r, span == 1, mirrored), span, *rest) for r, span, *rest in passes]
    return np.array(rows, np.int64).ravel()


def buffer_rows(plan):
    """Return the number of rows of the buffer of a transform."""
    return 2 * plan.radix * plan.gap


def _twiddles(radix, span):
    angles = np.outer(np.arange(span), np.arange(1, radix)) / (radix * span)
    return np.exp(-2j * np.pi * angles).ravel().astype(np.complex64)


# --- Passes --------------------------------------------------------------------------------------


def dft(x):
    """Return the Fourier transform of a short list of numbers."""
    n = len(x)
    if n == 2:
        return [x[0] + x[1], x[0] - x[1]]
    if n == 4:
        a, b, c, d = x[0] + x[2], x[0] - x[2], x[1] + x[3], turn(x[1] - x[3])
        return [a + c, b + d, a - c, b - d]
    first = next((r for r in (2, 3) if n % r == 0 and n > r), None)
    if first is None:
        return _prime(x)
    parts = [dft(x[i::first]) for i in range(first)]
    turned = [[_rotated(z, i * k, n) for k, z in enumerate(part)] for i, part in enumerate(parts)]
    columns = [dft([part[k] for part in turned]) for k in range(n // first)]
    return [column[j] for j in range(first) for column in columns]


def _rotated(z, k, n):
    """Multiply by exp(-2 pi i k / n)."""
    if k == 0:
        return z
    return turn(z) if 4 * k == n else z * complex(np.exp(-2j * np.pi * k / n))


def _prime(x):
    """Return the transform of an odd number of values, which come in pairs of conjugate factors."""
    n, half = len(x), len(x) // 2
    sums = [x[k] + x[-k] for k in range(1, half + 1)]
    differences = [turn(x[k] - x[-k]) for k in range(1, half + 1)]
    out = [sum(sums, x[0])] + [None] * (n - 1)
    for j in range(1, half + 1):
        angles = [2 * np.pi * (j * k % n) / n for k in range(1, half + 1)]
        even = x[0]
        for angle, z in zip(angles, sums, strict=True):
            even = even + z * float(np.cos(angle))
        first, *others = (z * float(np.sin(a)) for a, z in zip(angles, differences, strict=True))
        odd = sum(others, first)
        out[j], out[n - j] = even + odd, even - odd
    return out


def _twiddle(x, w, t):
    return [x[0], *(z * w.complex(t + k) for k, z in enumerate(x[1:]))]


@cache
def inner_pass(radix, last, mirrored):
    """Compile a pass within a block, in place, and return its address.

    The twiddle factors come after the butterflies, in the mirror image before them. They are all 1
    in the last pass.
    """

    def fft_pass(trace, buffer, span, repetitions, twiddles):
        span = 1 if last else span
        for n in trace.range(repetitions):
            start = buffer.at(n * radix * span * 2)
            for p in [0] if last else trace.range(span):
                x = [start.complex(p + k * span) for k in range(radix)]
                t = p * (radix - 1)
                if mirrored and not last:
                    x = _twiddle(x, twiddles, t)
                x = dft(x)
                if not mirrored and not last:
                    x = _twiddle(x, twiddles, t)
                for k, z in enumerate(x):
                    start.put(p + k * span, z)

    return address(fft_pass, Rows, int, int, Floats, key=f"{radix} {last} {mirrored}")


@cache
def edge_pass(radix, legs, mirrored, adding=True):
    """Compile the pass between a frame of the signal and the blocks, and return its address.

    It windows the frame and writes the blocks. Its mirror image windows the frame and adds it to
    the signal, or overwrites that. `legs` are the first and the last + 1 of the legs with samples;
    others are zero.
    """

    def first_pass(trace, signal, window, twiddles, buffer, block):
        for p in trace.range(block):
            x = [Complex(0.0, 0.0)] * radix
            for k in range(*legs):
                j = (p + (k - legs[0]) * block) * 2
                x[k] = Complex(signal[j] * window[j], signal[j + 1] * window[j + 1])
            for k, z in enumerate(_twiddle(dft(x), twiddles, p * (radix - 1))):
                buffer.put(p + (block + 1) * k, z)

    def last_pass(trace, signal, window, twiddles, buffer, block):
        for p in trace.range(block):
            x = [buffer.complex(p + (block + 1) * k) for k in range(radix)]
            x = dft(_twiddle(x, twiddles, p * (radix - 1)))
            for k in range(*legs):
                j, z = (p + (k - legs[0]) * block) * 2, swap(x[k])
                for i, x_i in ((j, z.re), (j + 1, z.im)):
                    x_i = x_i * window[i]
                    signal[i] = signal[i] + x_i if adding else x_i

    kinds = Rows, Floats, Floats, Rows, int
    return address(last_pass if mirrored else first_pass, *kinds, key=f"{radix} {legs} {adding}")


# --- Use in kernels ------------------------------------------------------------------------------


def read_frame(trace, plan, buffer, signal, row):
    """Window frame `row` of the signal and write the first pass to the blocks in the buffer."""
    frame = signal.at(row * plan.hop)
    trace.call(plan.read, frame, plan.analysis, plan.first, buffer, plan.block)


def add_frame(trace, plan, buffer, signal, row):
    """Window the frame and add it to the signal (mirror image of `read_frame`)."""
    frame, first = signal.at(row * plan.hop), row.compare("==", 0)
    with trace.when(row.compare("!=", 0)):
        for j in trace.range(plan.extent - plan.hop, plan.extent):
            frame[j] = 0.0
    function = trace.select(first, plan.write, plan.add)
    trace.call(function, frame, plan.synthesis, plan.first, buffer, plan.block)


def transform(trace, plan, buffer, group, passes):
    """Transform the blocks of a group by `plan.forward`, or back by `plan.backward`."""
    for i in trace.range(plan.members[group]):
        b = trace.select(i.compare(">", 0), plan.radix - group, group)
        start = buffer.at(b * plan.gap * 2)
        for n in trace.range(plan.passes):
            function, span, repetitions, t = (passes[n * 4 + j] for j in range(4))
            trace.call(function, start, span, repetitions, plan.twiddles.at(t * 2))


def split(plan, buffer, i):
    """Return bins k and N - k of the real frame (pair `i`) from the packed bins."""
    a, b = buffer.complex(plan.left[i]), conj(buffer.complex(plan.right[i]))
    even, odd = a + b, (a - b) * plan.twist.complex(i)
    return even + odd, conj(even - odd)


def merge(trace, plan, buffer, i, x, y):
    """Invert `split`, and exchange real and imaginary parts for `backward`."""
    first = i.compare("==", 0)  # the first and the last bin of a real frame are real
    x, y = (Complex(z.re, trace.select(first, z.im.like(0), z.im)) for z in (x, y))
    y = conj(y)
    even, odd = x + y, (x - y) * conj(plan.twist.complex(i))
    buffer.put(plan.left[i], swap(even + odd))
    buffer.put(plan.right[i], swap(conj(even - odd)))
