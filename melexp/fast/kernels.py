"""Iteration of all methods: read frames, update their spectra, overlap-add."""

from functools import cache
from typing import NamedTuple

import numpy as np

from . import ops
from .bins import filter_rows, look, mel_bin, prepare, put, take
from .compiling import inline, kernel
from .fft import GROUPS, add_frame, backward, forward, merge, read_frame, split
from .lanes import (
    add_atomic,
    cload,
    cstore,
    give_way,
    load,
    store,
    sum_lanes,
    to_next_lane,
    to_previous_lane,
)


class Layout(NamedTuple):
    """Division of a clip into lanes."""

    segments: int  # parts of a lane, one per thread, each with its own signal
    rows: int  # frames of a segment
    weights: np.ndarray  # (segments * rows, LANES), gains of frames; 0 past the end of the clip
    partial: np.ndarray  # (segments * rows,), whether any weight of a row is not 1
    edges: np.ndarray  # positions of samples that padding copies or fewer frames cover
    group: np.ndarray  # ... index of the sample of the clip that each copies
    scale: np.ndarray  # ... factor of their sum that gives the sample
    sums: np.ndarray  # ... working memory for the sums
    norm: np.ndarray  # (hop,), 1 / sum of the squared windows, for all other samples
    # Empty without frame weights:
    ratio: np.ndarray  # (segments * rows * hop, LANES), per-sample factor on `norm`
    plain: np.ndarray  # (segments * rows, LANES), factor that removes the weights from a mel


@inline
def _row(table, n):
    return table[n, 0], table[n, 1], table[n, 2], table[n, 3], table[n, 4]


@inline
def _read(plan, layout, work, signals, segment, row):
    read_frame(plan, work.buffer, signals[segment], row)
    row += segment * layout.rows
    if layout.partial[row]:  # frames past the end of the clip must remain zero
        _weigh_frame(plan, layout, work, row)


@inline
def _add(plan, layout, work, signals, segment, row):
    if len(layout.ratio):
        _weigh_frame(plan, layout, work, segment * layout.rows + row)
    add_frame(plan, work.buffer, signals[segment], row)


@inline
def _weigh_frame(plan, layout, work, row):
    weight = load(layout.weights, row)
    for i in range(plan.half + 8):
        cstore(work.buffer, i, cload(work.buffer, i) * weight)


@inline
def _close(plan, layout, signals):
    """Complete the signals after all frames have been added."""
    last, end, overlap = layout.segments - 1, layout.rows * plan.hop, 2 * plan.half - plan.hop
    for segment in range(layout.segments):  # the part past the end belongs to the next segment
        signal, before = signals[segment], signals[segment - 1 if segment else last]
        for j in range(overlap):
            x = load(before, end + j)
            store(signal, j, load(signal, j) + (x if segment else to_next_lane(x)))
    if len(layout.ratio):
        for segment in range(layout.segments):
            for j in range(end):
                row = segment * end + j
                x = load(signals[segment], j) * load(layout.ratio, row)
                store(signals[segment], j, x)
    samples = signals.reshape(-1)
    layout.sums[:] = 0
    for i in range(len(layout.edges)):
        layout.sums[layout.group[i]] += samples[layout.edges[i]]
    for i in range(len(layout.edges)):
        samples[layout.edges[i]] = layout.sums[layout.group[i]] * layout.scale[i]
    for segment in range(layout.segments):
        signal, after = signals[segment], signals[segment + 1 if segment < last else 0]
        for j in range(overlap):
            x = load(after, j)
            store(signal, end + j, x if segment < last else to_previous_lane(x))


@inline
def _source(source, state, c, slot):
    return source(look(state[0], slot), look(state[1], slot), look(state[2], slot), c)


def make_signal(plan, layout, mel, work, state, table, signals):
    """Make the signal of a state for `iterate`, without the division by the squared windows."""
    c, slots = _row(table, 0), len(mel.band)
    for segment in range(layout.segments):
        for row in range(layout.rows):
            first = (segment * layout.rows + row) * slots
            for g in range(GROUPS):
                for i in range(plan.groups[g], plan.groups[g + 1]):
                    x = _source(SOURCE, state, c, first + 2 * i)
                    y = _source(SOURCE, state, c, first + 2 * i + 1)
                    merge(plan, work.buffer, i, x, y)
                backward(plan, work.buffer, g)
            _add(plan, layout, work, signals, segment, row)
    _close(plan, layout, signals)


@inline
def _step(source, update, mel, work, state, term, c, following, k, slot, z):
    """Update a bin, given its projection z, and return the next source."""
    C, R = take(state[0], slot, len(mel.band)), take(state[1], slot, len(mel.band))
    F = take(state[2], slot, len(mel.band))
    C, R = update(C, R, F, z, mel_bin(term, mel, work, k), c)
    put(state[0], slot, C)
    put(state[1], slot, R)
    return source(C, R, F, following)


@inline
def _sweep(
    source, estimate, update, plan, layout, mel, work, state, term, c, following, old, new, segment
):
    """Run one iteration from the signal `old` to the signal `new`, except `_close`."""
    for row in range(layout.rows):
        at = segment * layout.rows + row
        first = at * len(mel.band)
        prepare(term, estimate, mel, work, state, c, at)
        _read(plan, layout, work, old, segment, row)
        for g in range(GROUPS):
            forward(plan, work.buffer, g)
            for i in range(plan.groups[g], plan.groups[g + 1]):
                x, y = split(plan, work.buffer, i)
                k = 2 * i
                x = _step(source, update, mel, work, state, term, c, following, k, first + k, x)
                k += 1
                y = _step(source, update, mel, work, state, term, c, following, k, first + k, y)
                merge(plan, work.buffer, i, x, y)
            backward(plan, work.buffer, g)
        _add(plan, layout, work, new, segment, row)


@inline
def _misfit(plan, layout, mel, work, signals, M, power):
    """Compute ``||M - E |STFT(x)|^power|| / ||M||`` without frame weights."""
    n_mels = len(mel.starts) - 1
    wrong = total = 0.0
    for at in range(layout.segments * layout.rows):
        _read(plan, layout, work, signals, at // layout.rows, at % layout.rows)
        for g in range(GROUPS):
            forward(plan, work.buffer, g)
        for i in range(len(plan.left)):
            x, y = split(plan, work.buffer, i)
            x, y = ops.magnitude(x), ops.magnitude(y)
            if power == 2:
                x, y = x * x, y * y
            store(work.magnitude, 2 * i, x)
            store(work.magnitude, 2 * i + 1, y)
        filter_rows(mel, work.magnitude, 0, work.mel)
        for k in range(n_mels):
            m = load(M, at * n_mels + k)
            d = m - load(work.mel, k)
            if len(layout.ratio):
                plain = load(layout.plain, at)
                m, d = m * plain, d * plain
            wrong += sum_lanes(d * d)
            total += sum_lanes(m * m)
    return np.sqrt(wrong / total)


@inline
def _change(plan, layout, old, new):
    """Compute ``||new - old|| / ||new||``."""
    wrong = total = 0.0
    for segment in range(layout.segments):
        for j in range(layout.rows * plan.hop):
            norm = layout.norm[j % plan.hop]
            x = load(new[segment], j) * norm
            d = x - load(old[segment], j) * norm
            wrong += sum_lanes(d * d)
            total += sum_lanes(x * x)
    return np.sqrt(wrong / total)


class Check(NamedTuple):
    """`melexp.Stop` in the units of the engine."""

    M: np.ndarray
    power: int  # exponent of the magnitude in the mel-spectrogram
    fresh: bool  # whether the result of the method is `new` or `old`
    every: int  # iterations between checks; 0 means never
    target: float  # relative mel error; 0 means none
    tol: float  # relative change of the signal; 0 means none


@inline
def _must_stop(plan, layout, mel, work, old, new, stop):
    if stop.tol > 0 and _change(plan, layout, old, new) < stop.tol:
        return True
    if stop.target > 0:
        signals = new if stop.fresh else old
        return _misfit(plan, layout, mel, work, signals, stop.M, stop.power) < stop.target
    return False


@inline
def _meet(shared, threads):
    """Wait for all threads; `shared` counts the calls."""
    if threads > 1:
        count = add_atomic(shared, 1)
        everyone = (count + threads - 1) // threads * threads
        while add_atomic(shared, 0) < everyone:
            give_way()


def iterate(
    plan, layout, mel, work, state, term, table, first, last, old, new, stop, segment, shared
):  # fmt: skip
    """Iterate with the coefficients in rows `first` to `last` - 1 of `table`, or fewer.

    `old` is the signal of the state, `new` and `work` are working memory. Call this concurrently
    for each segment, with separate `work` and a common `shared` of two zeros. Returns the number of
    iterations.
    """
    for n in range(first, last):
        c, following = _row(table, n), _row(table, min(n + 1, len(table) - 1))
        _sweep(
            SOURCE, ESTIMATE, UPDATE, plan, layout, mel, work, state, term, c, following, old, new,
            segment,
        )  # fmt: skip
        _meet(shared, layout.segments)
        if segment == 0:
            _close(plan, layout, new)
            if stop.every and (n + 1) % stop.every == 0:
                shared[1] = _must_stop(plan, layout, mel, work, old, new, stop)
        _meet(shared, layout.segments)
        if shared[1]:
            return n + 1 - first
        old, new = new, old
    return last - first


# Functions of a method; `kernel` replaces these names.
SOURCE = ESTIMATE = UPDATE = None


@inline
def _first(C, R, F, c):
    return C[0]


@cache
def signal_kernel(source):
    """Compile `make_signal` for the source of a method; None is the first complex array."""
    part = _first if source is None else inline(source(ops))
    return kernel(make_signal, [source] if source else [], SOURCE=part)


@cache
def iteration_kernel(bins):
    """Compile `iterate` for the declaration of a method (`melexp.methods.Bins`)."""
    factories = {"SOURCE": bins.source, "UPDATE": bins.update, "ESTIMATE": bins.estimate}
    parts = {name: inline(f(ops)) if f else None for name, f in factories.items()}
    parts["SOURCE"] = parts["SOURCE"] or _first
    return kernel(iterate, [f for f in factories.values() if f], **parts)
