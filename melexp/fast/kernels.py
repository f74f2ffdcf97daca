"""Iteration of all methods: read frames, update their spectra, overlap-add."""

import ctypes
import os
from functools import cache
from typing import NamedTuple

from . import ops
from .bins import Mel, MelTerm, Work, filter_rows, look, mel_bin, prefetch, prepare, put
from .fft import Plan, add_frame, merge, read_frame, split, transform
from .lanes import F64, Real, sum_lanes, to_next_lane, to_previous_lane
from .memory import Doubles, Floats, Integers, Rows
from .tracing import kernel

COEFFICIENTS = 6  # of an iteration, at most


class Layout(NamedTuple):
    """Division of a clip into lanes."""

    segments: int  # parts of a lane, one per thread, each with its own signal
    rows: int  # frames of a segment
    length: int  # samples of the signal of a segment
    weights: Rows  # (segments * rows, LANES), gains of frames; 0 past the end of the clip
    partial: Integers  # (segments * rows,), whether any weight of a row is not 1
    n_edges: int
    edges: Integers  # positions of samples that padding copies or fewer frames cover
    group: Integers  # ... index of the sample of the clip that each copies
    scale: Floats  # ... factor of their sum that gives the sample
    n_sums: int  # ... number of such samples
    norm: Floats  # (hop,), 1 / sum of the squared windows, for all other samples
    weighted: int  # whether there are frame weights; without, the next arrays are empty
    ratio: Rows  # (segments * rows * hop, LANES), per-sample factor on `norm`
    plain: Rows  # (segments * rows, LANES), factor that removes the weights from a mel


def _coefficients(table, n):
    return tuple(table[n * COEFFICIENTS + i].spread() for i in range(COEFFICIENTS))


def _read(trace, plan, layout, work, signal, segment, row):
    read_frame(trace, plan, work.buffer, signal, row)
    at = segment * layout.rows + row
    # Frames past the end of the clip must remain zero.
    with trace.when(layout.partial[at].compare("!=", 0)):
        _weigh_frame(trace, plan, layout, work, at)


def _add(trace, plan, layout, work, signal, segment, row):
    with trace.when(layout.weighted.compare("!=", 0)):
        _weigh_frame(trace, plan, layout, work, segment * layout.rows + row)
    add_frame(trace, plan, work.buffer, signal, row)


def _weigh_frame(trace, plan, layout, work, at):
    weight = layout.weights[at]
    for i in trace.range(plan.radix * plan.gap * 2):
        work.buffer[i] = work.buffer[i] * weight


def _segment(layout, signals, segment):
    return signals.at(segment * layout.length)


def _close(trace, plan, layout, work, signals):
    """Complete the signals after all frames have been added."""
    last, end, overlap = layout.segments - 1, layout.rows * plan.hop, plan.extent - plan.hop
    for segment in trace.range(layout.segments):  # the part past the end belongs to the next one
        first = segment.compare("==", 0)
        signal = _segment(layout, signals, segment)
        before = _segment(layout, signals, trace.select(first, last, segment - 1)).at(end)
        for j in trace.range(overlap):
            x = before[j]
            signal[j] = signal[j] + trace.select(first, to_next_lane(x), x)
    with trace.when(layout.weighted.compare("!=", 0)):
        for segment in trace.range(layout.segments):
            signal = _segment(layout, signals, segment)
            for j in trace.range(end):
                signal[j] = signal[j] * layout.ratio[segment * end + j]
    samples, sums = signals.numbers(), work.sums
    for i in trace.range(layout.n_sums):
        sums[i] = sums[i].like(0)
    for i in trace.range(layout.n_edges):
        group = layout.group[i]
        sums[group] = sums[group] + samples[layout.edges[i]]
    for i in trace.range(layout.n_edges):
        samples[layout.edges[i]] = sums[layout.group[i]] * layout.scale[i]
    for segment in trace.range(layout.segments):
        inner = segment.compare("<", last)
        signal = _segment(layout, signals, segment).at(end)
        after = _segment(layout, signals, trace.select(inner, segment + 1, 0))
        for j in trace.range(overlap):
            x = after[j]
            signal[j] = trace.select(inner, x, to_previous_lane(x))


def first_complex(C, R, F, c):
    """Return the first complex array, the source of methods that declare none."""
    return C[0]


def source_frame(trace, plan, work, state, first, c, source):
    """Transform the source of a frame back; its bins begin in slot `first`."""
    for g in trace.range(plan.n_groups):
        for i in trace.range(plan.groups[g], plan.groups[g + 1]):
            x, y = (source(*look(state, first + i * 2 + j), c) for j in range(2))
            merge(trace, plan, work.buffer, i, x, y)
        transform(trace, plan, work.buffer, g, plan.backward)


def update_frame(trace, plan, mel, work, state, first, c, following, *, source, update, fits_mel):
    """Update the bins of a frame, given its samples, and transform their next source back."""

    def step(k, z):
        """Update a bin, given its projection z, and return the next source."""
        slot = first + k
        prefetch(state, slot + mel.slots)
        C, R, F = look(state, slot)
        C, R = update(C, R, F, z, mel_bin(mel, work, k) if fits_mel else None, c)
        put(state, slot, C, R)
        return source(C, R, F, following)

    for g in trace.range(plan.n_groups):
        transform(trace, plan, work.buffer, g, plan.forward)
        for i in trace.range(plan.groups[g], plan.groups[g + 1]):
            z = split(plan, work.buffer, i)
            x, y = (step(i * 2 + j, z[j]) for j in range(2))
            merge(trace, plan, work.buffer, i, x, y)
        transform(trace, plan, work.buffer, g, plan.backward)


def make_signal(trace, plan, layout, mel, work, state, table, signals, *, source):
    """Make the signal of a state for `iterate`, without the division by the squared windows."""
    c = _coefficients(table, trace.integer(0))
    for segment in trace.range(layout.segments):
        signal = _segment(layout, signals, segment)
        for row in trace.range(layout.rows):
            first = (segment * layout.rows + row) * mel.slots
            source_frame(trace, plan, work, state, first, c, source)
            _add(trace, plan, layout, work, signal, segment, row)
    _close(trace, plan, layout, work, signals)


def iterate(
    trace, plan, layout, mel, work, state, term, table, n_table, first, last, old, new, segment,
    shared, *, source, estimate, update, fits_mel,
):  # fmt: skip
    """Iterate with the coefficients in rows `first` to `last` - 1 of `table`.

    `old` is the signal of the state, `new` and `work` are working memory. Call this concurrently
    for each segment, with separate `work` and a common `shared`: zero and `give_way()`.
    """
    term = MelTerm(*term) if fits_mel else None
    for n in trace.range(first, last):
        c = _coefficients(table, n)
        following = trace.select((n + 1).compare("<", n_table), n + 1, n)
        following = _coefficients(table, following)
        odd = ((n - first) % 2).compare("!=", 0)
        now, then = trace.pick(odd, new, old), trace.pick(odd, old, new)
        for row in trace.range(layout.rows):
            at = segment * layout.rows + row
            begin = at * mel.slots
            if fits_mel:
                prepare(trace, term, estimate, mel, work, state, c, at)
            _read(trace, plan, layout, work, _segment(layout, now, segment), segment, row)
            update_frame(
                trace, plan, mel, work, state, begin, c, following,
                source=source, update=update, fits_mel=fits_mel,
            )  # fmt: skip
            _add(trace, plan, layout, work, _segment(layout, then, segment), segment, row)
        _meet(trace, shared, layout)
        with trace.when(segment.compare("==", 0)):
            _close(trace, plan, layout, work, then)
        _meet(trace, shared, layout)


def _meet(trace, shared, layout):
    """Wait for all threads; `shared` counts the calls."""
    with trace.when(layout.segments.compare(">", 1)):
        count = shared.add_atomic(1)
        everyone = (count + layout.segments - 1) // layout.segments * layout.segments
        for _ in trace.during(lambda: shared.add_atomic(0).compare("<", everyone)):
            with trace.when(shared[1].compare("!=", 0)):
                trace.call(shared[1])


@cache
def give_way():
    """Return the address of a function that yields to other threads, or 0."""
    if os.name != "posix":
        return 0
    return ctypes.cast(ctypes.CDLL(None).sched_yield, ctypes.c_void_p).value


def misfit(trace, plan, layout, mel, work, signals, M, sums, *, power):
    """Write ``||M - E |STFT(x)|^power||^2`` and ``||M||^2``, without frame weights, to `sums`."""
    wrong, total = _doubles(trace, 2)
    for at in trace.range(layout.segments * layout.rows):
        segment, row = at // layout.rows, at % layout.rows
        _read(trace, plan, layout, work, _segment(layout, signals, segment), segment, row)
        for g in trace.range(plan.n_groups):
            transform(trace, plan, work.buffer, g, plan.forward)
        for i in trace.range(mel.slots // 2):
            for j, z in enumerate(split(plan, work.buffer, i)):
                size = ops.magnitude(z)
                work.magnitude[i * 2 + j] = size * size if power == 2 else size
        filter_rows(trace, mel, work.magnitude, work.mel)
        plain = layout.plain[at]
        for k in trace.range(mel.n_mels):
            m = M[at * mel.n_mels + k]
            m, d = m * plain, (m - work.mel[k]) * plain
            wrong.value = wrong.value + sum_lanes(d * d)
            total.value = total.value + sum_lanes(m * m)
    _put_doubles(sums, wrong, total)


def change(trace, plan, layout, old, new, sums):
    """Write ``||new - old||^2`` and ``||new||^2`` to `sums`."""
    wrong, total = _doubles(trace, 2)
    for segment in trace.range(layout.segments):
        one, two = (_segment(layout, x, segment) for x in (old, new))
        for j in trace.range(layout.rows * plan.hop):
            norm = layout.norm[j % plan.hop]
            x = two[j] * norm
            d = x - one[j] * norm
            wrong.value = wrong.value + sum_lanes(d * d)
            total.value = total.value + sum_lanes(x * x)
    _put_doubles(sums, wrong, total)


def _doubles(trace, n):
    return [trace.variable(Real(trace.builder, F64(0.0))) for _ in range(n)]


def _put_doubles(sums, *variables):
    for i, x in enumerate(variables):
        sums[i] = x.value


# --- Compiled functions --------------------------------------------------------------------------


def _kinds(sizes):
    return tuple((Rows,) * n for n in sizes)


@cache
def signal_kernel(source, sizes):
    """Compile `make_signal` for the source of a method; None is the first complex array.

    `sizes` are the numbers of complex, real and fixed arrays of the state.
    """
    part = source(ops) if source else first_complex
    kinds = Plan, Layout, Mel, Work, _kinds(sizes), Floats, Rows
    return kernel(make_signal, *kinds, key=sizes, parts=[source], source=part)


@cache
def iteration_kernel(bins, sizes, factors):
    """Compile `iterate` for the declaration of a method (`melexp.methods.Bins`).

    `sizes` are as in `signal_kernel`; `factors` are the kinds of the factors of a mel term.
    """
    term = (Rows, Rows, factors) if bins.fits_mel else ()
    kinds = (Plan, Layout, Mel, Work, _kinds(sizes), term, Floats, int, int, int, Rows, Rows, int,
             Integers)  # fmt: skip
    return kernel(
        iterate,
        *kinds,
        key=(sizes, bins.fits_mel, [k.__name__ for k in factors]),
        parts=[bins.source, bins.update, bins.estimate],
        source=bins.source(ops) if bins.source else first_complex,
        estimate=bins.estimate(ops) if bins.estimate else None,
        update=bins.update(ops),
        fits_mel=bins.fits_mel,
    )


@cache
def misfit_kernel(power):
    """Compile `misfit`."""
    kinds = Plan, Layout, Mel, Work, Rows, Rows, Doubles
    return kernel(misfit, *kinds, key=power, power=power)


@cache
def change_kernel():
    """Compile `change`."""
    return kernel(change, Plan, Layout, Rows, Rows, Doubles)
