"""The bins of a frame: loads, stores and the mel step around the update of a method.

A state is a tuple of the tuples C, R and F of arrays. Spectra (C) have shape
``(rows, slots, 2, LANES)``, magnitudes (R, F) ``(rows, slots, LANES)``, mel spectra
``(rows, n_mels, LANES)``. `slot` counts slots from the first row, `k` within the row.
"""

from typing import NamedTuple

import numpy as np
from numba.extending import overload, types

from .compiling import INLINE, inline
from .lanes import cload, cstore, full, load, prefetch, store, where_positive


class Mel(NamedTuple):
    """A filter bank whose bins lie in at most two adjacent filters, k and k + 1."""

    starts: np.ndarray  # bins with lower filter k are starts[k] to starts[k + 1] - 1 in
    members: np.ndarray  # ... their slots
    lower: np.ndarray  # ... their weights in filter k
    upper: np.ndarray  # ... and in filter k + 1
    band: np.ndarray  # k of each slot
    low: np.ndarray  # weights of each slot
    high: np.ndarray


class Work(NamedTuple):
    """Working memory for one frame."""

    buffer: np.ndarray  # its transform
    magnitude: np.ndarray  # (slots, LANES)
    mel: np.ndarray  # (n_mels + 1, LANES)


@inline
def filter_rows(mel, values, start, out):
    """Compute ``out = E v`` for the magnitudes v that begin at row `start` of `values`."""
    carry = full(0.0)
    for k in range(len(mel.starts) - 1):
        total, carry = carry, full(0.0)
        for i in range(mel.starts[k], mel.starts[k + 1]):
            value = load(values, start + mel.members[i])
            total = total + value * mel.lower[i]
            carry = carry + value * mel.upper[i]
        store(out, k, total)


# --- Load and store a bin of a state -------------------------------------------------------------


@inline
def _take_real(array, slot, ahead):
    prefetch(array, slot + ahead)
    return load(array, slot)


@inline
def _take_complex(array, slot, ahead):
    prefetch(array, 2 * (slot + ahead))
    prefetch(array, 2 * (slot + ahead) + 1)
    return cload(array, slot)


def take(arrays, slot, ahead):
    """Load the bin in `slot` of each array, and prefetch the bin `ahead` slots later."""


def look(arrays, slot):
    """Load the bin in `slot` of each array."""


def put(arrays, slot, values):
    """Store the bin in `slot` of each array."""


def _complex(arrays):
    return len(arrays) > 0 and arrays[0].ndim == 4


# The length of a tuple is part of its type in compiled code: one function per length.


@overload(take, jit_options=INLINE)
def _take(arrays, slot, ahead):
    one = _take_complex if _complex(arrays) else _take_real
    if len(arrays) == 0:
        return lambda arrays, slot, ahead: ()
    if len(arrays) == 1:
        return lambda arrays, slot, ahead: (one(arrays[0], slot, ahead),)
    if _complex(arrays):  # the second array is written only, which needs no prefetch
        return lambda arrays, slot, ahead: (one(arrays[0], slot, ahead), cload(arrays[1], slot))
    return lambda arrays, slot, ahead: (one(arrays[0], slot, ahead), one(arrays[1], slot, ahead))


@overload(look, jit_options=INLINE)
def _look(arrays, slot):
    one = cload if _complex(arrays) else load
    if len(arrays) == 0:
        return lambda arrays, slot: ()
    if len(arrays) == 1:
        return lambda arrays, slot: (one(arrays[0], slot),)
    return lambda arrays, slot: (one(arrays[0], slot), one(arrays[1], slot))


@overload(put, jit_options=INLINE)
def _put(arrays, slot, values):
    one = cstore if _complex(arrays) else store
    if len(arrays) == 0:
        return lambda arrays, slot, values: None
    if len(arrays) == 1:
        return lambda arrays, slot, values: one(arrays[0], slot, values[0])

    def both(arrays, slot, values):
        one(arrays[0], slot, values[0])
        one(arrays[1], slot, values[1])

    return both


# --- The mel step ------------------------------------------------------------------------------


class MelTerm(NamedTuple):
    """The mel-spectrogram that a method fits."""

    M: np.ndarray
    exact: np.ndarray  # of M's shape: 0 where M is only an upper bound, otherwise 1
    # The solver, E E^T + c I = L D L^T: () for the identity, or (sub-diagonal of L, 1 / D), each of
    # shape (n_mels,) if equal in all frames, otherwise of M's shape.
    factors: tuple


def factor(factors, at, k):
    """Return the factor of band k, whose row in an array of M's shape is `at`."""


@overload(factor, jit_options=INLINE)
def _factor(factors, at, k):
    if factors.ndim == 1:
        return lambda factors, at, k: factors[k]
    return lambda factors, at, k: load(factors, at)


@inline
def _residual(term, at, value):
    error = load(term.M, at) - value
    return where_positive(error, error * load(term.exact, at), error)


def _estimated(estimate, mel, work, state, c, row):
    """Write E v to the working memory, where v is the estimate of the method."""


@overload(_estimated, jit_options=INLINE)
def _estimated_in(estimate, mel, work, state, c, row):
    if isinstance(estimate, types.NoneType):  # v is the first real array, read in place

        def direct(estimate, mel, work, state, c, row):
            filter_rows(mel, state[1][0], row * len(mel.band), work.mel)

        return direct

    def computed(estimate, mel, work, state, c, row):
        slots = len(mel.band)
        for k in range(slots):
            at = row * slots + k
            v = estimate(look(state[0], at), look(state[1], at), look(state[2], at), c)
            store(work.magnitude, k, v)
        filter_rows(mel, work.magnitude, 0, work.mel)

    return computed


def _solved(term, n_mels, work, row):
    """Replace E v in the working memory by S (M - E v)."""


@overload(_solved, jit_options=INLINE)
def _solved_in(term, n_mels, work, row):
    if len(term.types[2]) == 0:

        def identity(term, n_mels, work, row):
            for k in range(n_mels):
                store(work.mel, k, _residual(term, row * n_mels + k, load(work.mel, k)))

        return identity

    def system(term, n_mels, work, row):
        """Solve by a forward and a backward recursion over the filters."""
        below, pivot = term.factors
        s = full(0.0)
        for k in range(n_mels):
            before = max(k - 1, 0)  # in the first band s is zero
            error = _residual(term, row * n_mels + k, load(work.mel, k))
            s = error - s * factor(below, row * n_mels + before, before)
            store(work.mel, k, s)
        s = full(0.0)
        for k in range(n_mels - 1, -1, -1):
            at = row * n_mels + k
            s = load(work.mel, k) * factor(pivot, at, k) - s * factor(below, at, k)
            store(work.mel, k, s)

    return system


def prepare(term, estimate, mel, work, state, c, row):
    """Compute S (M - E v) of a frame before its bins. Do nothing without a mel term."""


@overload(prepare, jit_options=INLINE)
def _prepare(term, estimate, mel, work, state, c, row):
    if isinstance(term, types.NoneType):
        return lambda term, estimate, mel, work, state, c, row: None

    def fit(term, estimate, mel, work, state, c, row):
        _estimated(estimate, mel, work, state, c, row)
        _solved(term, len(mel.starts) - 1, work, row)

    return fit


def mel_bin(term, mel, work, k):
    """Return one bin of ``E^T S (M - E v)``, or None without a mel term."""


@overload(mel_bin, jit_options=INLINE)
def _mel_bin(term, mel, work, k):
    if isinstance(term, types.NoneType):
        return lambda term, mel, work, k: None

    def spread(term, mel, work, k):
        band = mel.band[k]
        return load(work.mel, band) * mel.low[k] + load(work.mel, band + 1) * mel.high[k]

    return spread
