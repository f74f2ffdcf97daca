"""The bins of a frame: loads, stores and the mel step around the update of a method.

A state is a tuple of the tuples C, R and F of arrays. Spectra (C) have shape
``(rows, slots, 2, LANES)``, magnitudes (R, F) ``(rows, slots, LANES)``, mel spectra
``(rows, n_mels, LANES)``. `slot` counts slots from the first row, `k` within the row.
"""

from typing import Any, NamedTuple

import numpy as np

from .lanes import where_positive
from .memory import Floats, Integers, Rows


class Mel(NamedTuple):
    """A filter bank whose bins lie in at most two adjacent filters, k and k + 1."""

    n_mels: int
    slots: int  # slots of a spectrum
    starts: Integers  # bins with lower filter k are starts[k] to starts[k + 1] - 1 in
    members: Integers  # ... their slots
    lower: Floats  # ... their weights in filter k
    upper: Floats  # ... and in filter k + 1
    band: Integers  # k of each slot
    low: Floats  # weights of each slot
    high: Floats


def make_mel(bins, band, weights, n_mels):
    """Make the tables of a filter bank.

    Parameters
    ----------
    bins : numpy.ndarray of int, shape (slots,)
        The bin in each slot.
    band : numpy.ndarray of int, shape (n_bins,)
        The lower filter of each bin.
    weights : numpy.ndarray, shape (2, n_bins)
        Weights of each bin in that filter and in the next one.
    n_mels : int
    """
    band, (low, high) = np.asarray(band, np.int64), np.asarray(weights, np.float64)
    slot = np.unique(bins, return_index=True)[1]
    used = np.flatnonzero((low != 0) | (high != 0))
    used = used[np.argsort(band[used], kind="stable")]
    table = (low[used], high[used], low[bins], high[bins])
    lower, upper, low, high = (x.astype(np.float32) for x in table)
    starts = np.searchsorted(band[used], np.arange(n_mels + 1))
    return Mel(n_mels, len(bins), starts, slot[used], lower, upper, band[bins], low, high)


class Work(NamedTuple):
    """Working memory: for one frame, and for the edges of the signal."""

    buffer: Rows  # its transform
    magnitude: Rows  # (slots, LANES)
    mel: Rows  # (n_mels + 1, LANES)
    sums: Floats  # of the copies of each sample at an edge


def filter_rows(trace, mel, values, out):
    """Compute ``out = E v`` for magnitudes v."""
    carry = trace.zeros()
    for k in trace.range(mel.n_mels):
        total = trace.variable(carry.value)
        carry.value = carry.value.like(0)
        for i in trace.range(mel.starts[k], mel.starts[k + 1]):
            value = values[mel.members[i]]
            total.value = total.value + value * mel.lower[i]
            carry.value = carry.value + value * mel.upper[i]
        out[k] = total.value


# --- Load and store a bin of a state -------------------------------------------------------------


def look(state, slot):
    """Load the bin in `slot` of each array."""
    C, R, F = state
    return tuple(a.complex(slot) for a in C), tuple(a[slot] for a in R), tuple(a[slot] for a in F)


def prefetch(state, slot):
    """Prefetch the bin in `slot`, which may lie past the end, of each array that is read."""
    C, R, F = state
    for a in C[:1]:  # a second one is written only, which needs no prefetch
        a.prefetch(slot * 2)
        a.prefetch(slot * 2 + 1)
    for a in (*R, *F):
        a.prefetch(slot)


def put(state, slot, C, R):
    """Store the bin in `slot` of each array that an iteration changes."""
    for a, z in zip(state[0], C, strict=True):
        a.put(slot, z)
    for a, x in zip(state[1], R, strict=True):
        a[slot] = x


# --- The mel step ------------------------------------------------------------------------------


class MelTerm(NamedTuple):
    """The mel-spectrogram that a method fits."""

    M: Rows
    exact: Rows  # of M's shape: 0 where M is only an upper bound, otherwise 1
    # The solver, E E^T + c I = L D L^T: () for the identity, or (sub-diagonal of L, 1 / D), each of
    # shape (n_mels,) if equal in all frames, otherwise of M's shape.
    factors: Any


def prepare(trace, term, estimate, mel, work, state, c, row):
    """Compute S (M - E v) of a frame before its bins, for the estimate v of the method."""
    first = row * mel.slots
    if estimate is None:  # v is the first real array, read in place
        values = state[1][0].at(first)
    else:
        values = work.magnitude
        for k in trace.range(mel.slots):
            values[k] = estimate(*look(state, first + k), c)
    filter_rows(trace, mel, values, work.mel)
    M, exact = term.M.at(row * mel.n_mels), term.exact.at(row * mel.n_mels)

    def residual(k):
        error = M[k] - work.mel[k]
        return where_positive(error, error * exact[k], error)

    if not term.factors:
        for k in trace.range(mel.n_mels):
            work.mel[k] = residual(k)
        return
    # The system: a forward and a backward recursion over the filters.
    below, pivot = (x.at(row * mel.n_mels) if isinstance(x, Rows) else x for x in term.factors)
    s = trace.zeros()
    for k in trace.range(mel.n_mels):
        before = trace.select(k.compare(">", 0), k - 1, 0)  # in the first band s is zero
        s.value = residual(k) - s.value * below[before]
        work.mel[k] = s.value
    s = trace.zeros()
    for n in trace.range(mel.n_mels):
        k = mel.n_mels - 1 - n
        s.value = work.mel[k] * pivot[k] - s.value * below[k]
        work.mel[k] = s.value


def mel_bin(mel, work, k):
    """Return one bin of ``E^T S (M - E v)``."""
    band = mel.band[k]
    return work.mel[band] * mel.low[k] + work.mel[band + 1] * mel.high[k]
