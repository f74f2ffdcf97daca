"""Conversion of arrays of bins and frames to lanes and from lanes."""

from functools import cache

import numpy as np

from .compiling import LANES
from .memory import Floats, Integers
from .tracing import kernel

# Frames per block: their cache lines, over all bins and lanes, fit into the L2 cache.
_FRAMES = 8


def copy_lanes(trace, x, lanes, n, bins, places, parts, n_frames, rows, slots, *, packing):
    """Copy `n` bins between shape (K, T, parts) and (rows, slots, parts, LANES).

    Item k is bin bins[k] of `x` and slot places[k] of the lanes.
    """

    def least(a, b):
        return trace.select(a.compare("<", b), a, b)

    for block in trace.range((rows + (_FRAMES - 1)) // _FRAMES):
        first = block * _FRAMES
        size = least(rows - first, trace.integer(_FRAMES))
        for k in trace.range(n):
            source, place = bins[k] * n_frames, places[k]
            for lane in trace.range(LANES):
                t = lane * rows + first
                for i in trace.range(least(size, n_frames - t)):
                    for part in trace.range(parts):
                        here = (source + t + i) * parts + part
                        there = (((first + i) * slots + place) * parts + part) * LANES + lane
                        if packing:
                            lanes[there] = x[here]
                        else:
                            x[here] = lanes[there]


@cache
def _kernel(packing):
    kinds = (Floats, Floats, int, Integers, Integers, int, int, int, int)
    return kernel(copy_lanes, *kinds, key=packing, packing=packing)


def to_lanes(x, bins, lanes):
    """Copy from shape (K, T), float32 or complex64, to zeros of (rows, slots, parts, LANES).

    `bins` has the bin of each slot.
    """
    rows, slots, parts, _ = lanes.shape
    places = np.arange(slots, dtype=np.int64)
    _kernel(True)(x, lanes, slots, bins, places, parts, x.shape[1], rows, slots)


def from_lanes(lanes, slots, x):
    """Copy from lanes to shape (K, T), float32 or complex64; `slots` has the slot of each bin."""
    rows, n_slots, parts, _ = lanes.shape
    bins = np.arange(len(slots), dtype=np.int64)
    _kernel(False)(x, lanes, len(slots), bins, slots, parts, x.shape[1], rows, n_slots)
