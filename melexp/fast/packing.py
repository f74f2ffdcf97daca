"""Conversion of arrays of bins and frames to lanes and from lanes."""

from .compiling import LANES, kernel

# Frames per block: their cache lines, over all bins and lanes, fit into the L2 cache.
_FRAMES = 8


@kernel
def to_lanes(x, bins, lanes):
    """Copy from shape (K, T), real or complex, to zeros of (rows, len(bins), parts * LANES)."""
    rows, slots, width = lanes.shape
    n_frames = x.shape[1]
    for r in range(0, rows, _FRAMES):
        for k in range(slots):
            b = bins[k]
            for lane in range(LANES):
                t = lane * rows + r
                for i in range(min(min(_FRAMES, rows - r), n_frames - t)):
                    z = x[b, t + i]
                    lanes[r + i, k, lane] = z.real
                    if width > LANES:
                        lanes[r + i, k, LANES + lane] = z.imag


@kernel
def from_lanes(lanes, slots, x):
    """Copy from lanes to shape (K, T, parts); `slots` has the slot of each of the K bins."""
    rows, _, width = lanes.shape
    n_bins, n_frames, _ = x.shape
    for r in range(0, rows, _FRAMES):
        for k in range(n_bins):
            slot = slots[k]
            for lane in range(LANES):
                t = lane * rows + r
                for i in range(min(min(_FRAMES, rows - r), n_frames - t)):
                    x[k, t + i, 0] = lanes[r + i, slot, lane]
                    if width > LANES:
                        x[k, t + i, 1] = lanes[r + i, slot, LANES + lane]
