"""The engine for streams: their windows side by side in lanes, iterated in one call."""

from math import ceil

import numpy as np

from .bins import Work, make_mel
from .compiling import LANES
from .denormals import flushed
from .fft import buffer_rows, make_plan, support
from .kernels import COEFFICIENTS
from .memory import aligned
from .window_kernel import Division, Items, Lanes, Table, windows_kernel


def divide(n_streams, n_frames, n_hops):
    """Return how many neighbouring lanes share a stream, and the frames of each.

    Of the powers of two it is the one with the least work.

    Parameters
    ----------
    n_streams, n_frames : int > 0
    n_hops : int
        Number of hops that the frames of a window cover.

    Returns
    -------
    groups, rows : int
        `rows` is the number of hops of a lane. It computes as many frames, or `n_frames` if those
        are fewer.
    """
    options = []
    for groups in (2**i for i in range(LANES.bit_length())):
        rows, blocks = ceil(n_hops / groups), ceil(n_streams * groups / LANES)
        options.append((blocks * min(rows, n_frames), groups, rows))
    return min(options)[1:]


class WindowEngine:
    """Iterations on a window of frames whose first samples are fixed, for streams side by side.

    All memory is allocated here; `run` allocates none for its iterations.

    Parameters
    ----------
    bins : melexp.methods.Bins
        Declaration of the iteration.
    coefficients : numpy.ndarray, shape (n_ages, at most 5)
        Coefficients for a frame on which so many iterations have been done. Older frames have the
        last ones.
    n_fft, hop_length : int
        As for `LaneEngine`; the hop is at most the length of the window without its zeros.
    window : numpy.ndarray, shape (n_fft,)
    band, weights, n_mels
        The filter bank, as for `LaneEngine`.
    n_streams, n_frames : int
        Number of streams, and of the frames of a full window.
    """

    def __init__(
        self, bins, coefficients, *, n_fft, hop_length, window, band, weights, n_mels, n_streams,
        n_frames,
    ):  # fmt: skip
        self._bins, self._n_streams, self._n_frames = bins, n_streams, n_frames
        begin, end = support(n_fft, window)
        w = np.asarray(window, np.float64)[begin:end]
        self._plan, slots = make_plan(n_fft, hop_length, begin, w, w)
        self._mel = make_mel(slots, band, weights, n_mels)
        extent = end - begin
        groups, hops = divide(n_streams, n_frames, n_frames - 1 + ceil(extent / hop_length))
        rows, own = min(hops, n_frames), hops * hop_length
        length = (rows - 1) * hop_length + extent
        overlap = max(ceil(length / own) - 1, 0)
        self._groups, self._overlap = groups, overlap
        lane, blocks = np.arange(LANES), ceil(n_streams * groups / LANES)
        stream = np.arange(blocks * LANES).reshape(blocks, LANES) // groups
        stream[stream >= n_streams] = -1
        # The frame of a window in each lane; there may be more lanes than frames.
        self._frame = lane % groups * hops + np.arange(rows)[:, None]
        self._first = begin + lane % groups * own
        self._division = Division(
            blocks=blocks,
            rows=rows,
            own=own,
            length=length,
            frames=np.full((blocks, rows, LANES), -1, np.int64),
            streams=stream.astype(np.int64),
            first=self._first.astype(np.int64),
            alive=aligned(rows, LANES),
            partial=np.ones(rows, np.int64),
            ages=np.zeros((rows, LANES), np.int64),
            scale=aligned(own, LANES),
            limits=np.zeros(3, np.int64),
        )
        table = np.zeros((len(coefficients), COEFFICIENTS), np.float32)
        table[:, : np.shape(coefficients)[1]] = coefficients
        self._table = Table(len(table), table)
        n_bins = n_fft // 2 + 1
        self._items = Items(slots.astype(np.int64), n_bins, np.arange(n_mels, dtype=np.int64))
        self._work = Work(
            aligned(buffer_rows(self._plan), LANES),
            aligned(len(slots), LANES),
            aligned(n_mels + 1, LANES),
            np.zeros(0, np.float32),
        )
        signals = (aligned(max(own * (overlap + 1), length), LANES) for _ in range(2))
        self._lanes = Lanes(aligned(2, COEFFICIENTS, LANES), aligned(own, LANES), *signals)
        self._key = None

    def bind(self, C, R, F, fits, x):
        """Use these arrays in `run`, which changes C, R and x in place.

        Parameters
        ----------
        C, R, F : sequences of numpy.ndarray, shape (n_streams, n_frames, n_bins)
            Complex, real and fixed arrays of the streams.
        fits : () or a sequence of four numpy.ndarray, shape (n_streams, n_frames, n_mels)
            The mel; 0 where it is only an upper bound, otherwise 1; the solver ``L D L^T``:
            sub-diagonal of L, ending with 0, and 1 / D.
        x : numpy.ndarray, shape (n_streams, n_samples), float32
            The signals, from the first sample of the first frame on.
        """
        rows, slots, n_mels = self._division.rows, self._mel.slots, self._mel.n_mels
        shapes = ((rows, slots, 2, LANES), (rows, slots, LANES), (rows, slots, LANES))
        state = tuple(
            tuple(aligned(*shape) for _ in arrays)
            for shape, arrays in zip(shapes, (C, R, F), strict=True)
        )
        terms = tuple(aligned(rows, n_mels, LANES) for _ in fits)
        self._x, self._division.limits[2] = x, x.shape[1]
        run = windows_kernel(self._bins, tuple(map(len, state)), self._groups, self._overlap)
        self._run = run.bind(
            self._plan,
            self._division,
            self._mel,
            self._table,
            self._items,
            self._work,
            self._lanes,
            tuple(map(tuple, (C, R, F))),
            tuple(fits),
            (state, terms),
            x,
        )
        self._key = None

    def run(self, n, ages, n_iter, fixed, scale):
        """Iterate on the first `n` frames, and overwrite the samples that are not fixed.

        Parameters
        ----------
        n : int > 0
        ages : numpy.ndarray of int, shape (n_frames,)
            Iterations done on each frame.
        n_iter : int
        fixed : int
            Number of samples of `x` that do not change.
        scale : function of no arguments
            Returns 1 / the sum of the squared windows at each sample of `x`, or 0 where the signal
            is zero. It is called if `n` or `fixed` changes, or `end()` was called.
        """
        d, fixed = self._division, min(fixed, self._x.shape[1])
        if self._key != (n, fixed):
            used = self._frame < n
            d.alive[:] = used
            d.partial[:] = ~used.all(axis=1)
            streams = d.streams[:, None]
            d.frames[:] = np.where(
                used & (streams >= 0), streams * self._n_frames + self._frame, -1
            )
            self._set_scale(scale(), fixed)
            self._key = n, fixed
        d.ages[:] = ages[np.minimum(self._frame, n - 1)]
        d.limits[:2] = n_iter, fixed
        with flushed():
            self._run()
        self._x[:, fixed : self._first[0]] = 0
        self._x[:, max(fixed, self._first[0] + self._groups * d.own) :] = 0

    def end(self):
        """Ask `scale` of the next `run` again."""
        self._key = None

    def _set_scale(self, scale, fixed):
        d, total = self._division, self._groups * self._division.own
        padded = np.zeros(max(self._first[0] + total, len(scale)), np.float32)
        padded[fixed : len(scale)] = scale[fixed:]
        for lane, first in enumerate(self._first):
            d.scale[:, lane] = padded[first : first + d.own]
