"""Iteration on a short window of frames of one stream or many.

A lane holds a part of the window of one stream: `groups` neighbouring lanes share a stream. With
many streams each has a lane of its own; with one, its frames lie side by side. One call packs the
arrays of the streams into lanes, makes all iterations, and unpacks them.
"""

from functools import cache
from typing import NamedTuple

from llvmlite import ir

from . import ops
from .bins import Mel, MelTerm, Work, prepare
from .compiling import LANES
from .fft import Plan, add_frame, read_frame
from .kernels import COEFFICIENTS, first_complex, source_frame, update_frame
from .lanes import I32, Real
from .memory import Floats, Integers, Rows
from .tracing import kernel


class Division(NamedTuple):
    """Division of the windows of all streams into lanes."""

    blocks: int  # vectors of lanes
    rows: int  # frames of a lane that are computed
    own: int  # samples of a lane
    length: int  # ... with those that its frames share with later lanes
    frames: Integers  # (blocks, rows, LANES), place of a frame in the arrays; -1 for none
    streams: Integers  # (blocks, LANES), stream of a lane; -1 for none
    first: Integers  # (LANES,), first sample of a lane in the signal of a stream
    alive: Rows  # (rows, LANES), 1 for a frame, 0 for none
    partial: Integers  # (rows,), whether a row has a lane without a frame
    ages: Integers  # (rows, LANES), iterations done on each frame before this call
    scale: Rows  # (own, LANES), factor of each sample; 0 if it is fixed or past the end
    limits: Integers  # number of iterations; samples that are fixed; samples of a signal


class Table(NamedTuple):
    """Coefficients of each age."""

    rows: int
    values: Floats  # (rows, COEFFICIENTS)


class Lanes(NamedTuple):
    """Working memory of one block."""

    coefficients: Rows  # (2, COEFFICIENTS, LANES)
    base: Rows  # (own, LANES), the fixed samples
    old: Rows  # signal, of whole multiples of `own`
    new: Rows


class Items(NamedTuple):
    """The numbers of a frame in the arrays of the streams."""

    bins: Integers  # bin of each slot
    n_bins: int
    mels: Integers  # 0, 1, ...


def _pack(trace, division, block, x, lanes, places, n_items, slots, parts, writing):
    """Copy (frames, n_items, parts) to (rows, slots, parts, LANES), or back if `writing`."""
    for row in trace.range(division.rows):
        for lane in trace.range(LANES):
            frame = division.frames[(block * division.rows + row) * LANES + lane]
            there = row * slots * parts * LANES + lane
            with trace.when(frame.compare(">=", 0)):
                for slot in trace.range(slots):
                    for part in range(parts):
                        outside = (frame * n_items + places[slot]) * parts + part
                        inside = there + (slot * parts + part) * LANES
                        if writing:
                            x[outside] = lanes[inside]
                        else:
                            lanes[inside] = x[outside]
            if not writing:
                with trace.when(frame.compare("<", 0)):
                    for i in trace.range(slots * parts):
                        lanes[there + i * LANES] = 0.0


def _places(trace, division, block, end):
    """Loop over the samples of a block before sample `end`: their places in lanes and in `x`."""
    n_samples = division.limits[2]
    for lane in trace.range(LANES):
        stream, first = division.streams[block * LANES + lane], division.first[lane]
        left = end - first
        count = trace.select(left.compare("<", division.own), left, division.own)
        with trace.when(stream.compare(">=", 0)):
            for j in trace.range(count):
                yield j * LANES + lane, stream * n_samples + first + j


def _fixed_samples(trace, division, block, x, lanes):
    """Copy the fixed samples into their lanes; all others are zero."""
    zero = Real(trace.builder, ir.Constant(lanes.base.row, [0.0] * LANES))
    for j in trace.range(division.own):
        lanes.base[j] = zero
    base = lanes.base.numbers()
    for here, there in _places(trace, division, block, division.limits[1]):
        base[here] = x[there]


def _samples(trace, division, block, x, signal):
    """Copy the samples of a block back."""
    signal = signal.numbers()
    for here, there in _places(trace, division, block, division.limits[2]):
        x[there] = signal[here]


def _shifted(x, by, groups):
    """Move numbers `by` lanes up within each group of lanes; zeros follow."""
    order = [k - by if 0 <= k % groups - by < groups else LANES for k in range(LANES)]
    zeros = ir.Constant(x.value.type, [0.0] * LANES)
    order = ir.Constant(ir.VectorType(I32, LANES), order)
    return Real(x.builder, x.builder.shuffle_vector(x.value, zeros, order))


def _close(trace, division, lanes, signal, groups, overlap):
    """Complete a signal after all frames have been added, and copy what lanes share."""
    own, rest = division.own, division.length - division.own * overlap
    rest = trace.select(rest.compare("<", own), rest, own)

    def complete(start, stop, n):
        for j in trace.range(start, stop):
            x = signal[j]
            for k in range(1, n + 1):
                x = x + _shifted(signal[own * k + j], k, groups)
            x = x * division.scale[j] + lanes.base[j]
            signal[j] = x
            for k in range(1, n + 1):
                signal[own * k + j] = _shifted(x, -k, groups)

    if overlap:
        complete(0, rest, overlap)
        complete(rest, own, overlap - 1)
    else:
        complete(0, own, 0)


def iterate_windows(
    trace, plan, division, mel, table, items, work, lanes, arrays, fits, packed, x, *,
    source, estimate, update, fits_mel, groups, overlap,
):  # fmt: skip
    """Iterate on the windows of all streams; see `WindowEngine.run`.

    `arrays` has the complex, real and fixed arrays of the streams, `fits` their mel, whether it is
    exact, and the solver. `packed` is the memory of a block for both.
    """
    state, terms = packed
    both = [(a, b, parts) for kind, parts in ((0, 2), (1, 1), (2, 1))
            for a, b in zip(arrays[kind], state[kind], strict=True)]  # fmt: skip
    term = MelTerm(terms[0], terms[1], (terms[2], terms[3])) if fits_mel else None
    n_iter = division.limits[0]

    def coefficients(row, n, place):
        """Look up the coefficients of iteration n for each frame of a row."""
        out = lanes.coefficients.at(place * COEFFICIENTS)
        numbers, last = out.numbers(), table.rows - 1
        for lane in trace.range(LANES):
            age = division.ages[row * LANES + lane] + n
            at = trace.select(age.compare("<", last), age, last) * COEFFICIENTS
            for i in range(COEFFICIENTS):
                numbers[lane + i * LANES] = table.values[at + i]
        return tuple(out[i] for i in range(COEFFICIENTS))

    def synthesise(signal, of):
        for row in trace.range(division.rows):
            c = coefficients(row, trace.integer(0), 0)
            source_frame(trace, plan, work, state, row * mel.slots, c, of)
            add_frame(trace, plan, work.buffer, signal, row)
        _close(trace, division, lanes, signal, groups, overlap)

    for block in trace.range(division.blocks):
        for a, b, parts in both:
            args = items.bins, items.n_bins, mel.slots, parts
            _pack(trace, division, block, a, b.numbers(), *args, False)
        for a, b in zip(fits, terms, strict=True):
            args = items.mels, mel.n_mels, mel.n_mels, 1
            _pack(trace, division, block, a, b.numbers(), *args, False)
        _fixed_samples(trace, division, block, x, lanes)
        synthesise(lanes.old, source)
        for n in trace.range(n_iter):
            odd = (n % 2).compare("!=", 0)
            now = trace.pick(odd, lanes.new, lanes.old)
            then = trace.pick(odd, lanes.old, lanes.new)
            for row in trace.range(division.rows):
                c = coefficients(row, n, 0)
                following = c if source is first_complex else coefficients(row, n + 1, 1)
                if fits_mel:
                    prepare(trace, term, estimate, mel, work, state, c, row)
                read_frame(trace, plan, work.buffer, now, row)
                with trace.when(division.partial[row].compare("!=", 0)):
                    alive = division.alive[row]  # other lanes stay zero
                    for i in trace.range(plan.radix * plan.gap * 2):
                        work.buffer[i] = work.buffer[i] * alive
                update_frame(
                    trace, plan, mel, work, state, row * mel.slots, c, following,
                    source=source, update=update, fits_mel=fits_mel,
                )  # fmt: skip
                add_frame(trace, plan, work.buffer, then, row)
            _close(trace, division, lanes, then, groups, overlap)
        odd = (n_iter % 2).compare("!=", 0)
        last = trace.pick(odd, lanes.new, lanes.old)
        if source is not first_complex:
            synthesise(last, first_complex)
        _samples(trace, division, block, x, last)
        for a, b, parts in both[: len(arrays[0]) + len(arrays[1])]:
            args = items.bins, items.n_bins, mel.slots, parts
            _pack(trace, division, block, a, b.numbers(), *args, True)


@cache
def windows_kernel(bins, sizes, groups, overlap):
    """Compile `iterate_windows` for the declaration of a method; see `iteration_kernel`."""
    kinds_of = tuple((Floats,) * n for n in sizes), tuple((Rows,) * n for n in sizes)
    n_terms = 4 if bins.fits_mel else 0
    kinds = (Plan, Division, Mel, Table, Items, Work, Lanes, kinds_of[0], (Floats,) * n_terms,
             (kinds_of[1], (Rows,) * n_terms), Floats)  # fmt: skip
    return kernel(
        iterate_windows,
        *kinds,
        key=(sizes, bins.fits_mel, groups, overlap),
        parts=[bins.source, bins.update, bins.estimate],
        source=bins.source(ops) if bins.source else first_complex,
        estimate=bins.estimate(ops) if bins.estimate else None,
        update=bins.update(ops),
        fits_mel=bins.fits_mel,
        groups=groups,
        overlap=overlap,
    )
