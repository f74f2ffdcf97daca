"""The engine for a clip: NumPy arrays in, iterations in compiled code, NumPy arrays out."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from .bins import Mel, MelTerm, Work
from .compiling import LANES
from .fft import buffer_rows, make_plan
from .kernels import Check, Layout, iteration_kernel, signal_kernel
from .packing import from_lanes, to_lanes

_COEFFICIENTS = 5

#: Samples of frames between two checks for signals such as Ctrl-C: about 0.15 s.
_BLOCK = 2**28
#: Largest number of iterations whose coefficients are in memory.
_ROWS = 2**12


class Space(NamedTuple):
    """Working memory of one call."""

    layout: Layout  # that of the engine with its own `sums`
    work: list  # of `Work`, one per thread
    signals: list  # two, which are exchanged after an iteration


class LaneEngine:
    """Mel-spectrogram inversion of clips of one length, in float32.

    The clip is cut into `LANES` parts that are processed side by side. `iterate` releases the GIL,
    and concurrent calls have separate working memory.

    Parameters
    ----------
    n_fft, hop_length : int
        Length of the frames and the distance between them; see `unsupported`.
    window : numpy.ndarray, shape (n_fft,)
    pad_index : numpy.ndarray of int, shape (n_fft + hop_length * (n_frames - 1),)
        Source of each sample of the padded signal, -1 for a zero.
    inv_norm : numpy.ndarray, shape (n_samples,)
        1 / the sum of the squared windows over all copies of a sample, 0 if there is no copy.
    n_samples, n_frames : int
    band : numpy.ndarray of int, shape (n_fft // 2 + 1,)
        The lower filter of each bin.
    weights : numpy.ndarray, shape (2, n_fft // 2 + 1)
        Weights of each bin in that filter and in the next one.
    n_mels : int
    power : 1 or 2
        Exponent of the magnitude in the mel-spectrograms.
    frame_gains : numpy.ndarray, shape (n_frames,), optional
        Positive gains of the frames. `inv_norm` then refers to the weighted windows. All
        spectrograms are weighted, except in the misfit of a stop.
    threads : int, default 1
        Number of threads. Each needs an idle core, because the threads wait for each other.
    """

    @staticmethod
    def unsupported(n_fft, hop_length):
        """Return the reason why the frames are not supported, or None if they are."""
        if n_fft < 64 or n_fft & (n_fft - 1):
            return f"n_fft must be a power of two, at least 64, not {n_fft}"
        if hop_length < 2 or n_fft % hop_length:
            return f"hop_length must be even and divide n_fft = {n_fft}, not {hop_length}"
        return None

    def __init__(
        self, *, n_fft, hop_length, window, pad_index, inv_norm, n_samples, n_frames, band, weights,
        n_mels, power=1, frame_gains=None, threads=1,
    ):  # fmt: skip
        reason = self.unsupported(n_fft, hop_length)
        if reason:
            raise ValueError(reason)
        later = n_fft // hop_length - 1  # frames that start within an earlier frame
        self.n_fft, self.n_frames, self.n_mels, self.threads = n_fft, n_frames, n_mels, threads
        self.power = int(power)
        # The last lane ends with `later` empty frames, as no lane follows to take their overlap.
        # The overlap of any other lane or segment must end within the next one.
        rows = max(-(-(n_frames + later) // (LANES * threads)), later, 1)
        self.rows = threads * rows
        window, pad_index = np.asarray(window, np.float64), np.asarray(pad_index, np.int64)
        if len(pad_index) != n_fft + hop_length * (n_frames - 1):
            raise ValueError("pad_index must cover the frames exactly")
        squares = (window**2).reshape(-1, hop_length).sum(axis=0)
        norm = np.divide(1, squares, out=np.zeros(hop_length), where=squares > 0)
        # The analysis window includes the division by the sum of squared windows.
        whole = np.tile(norm, n_fft // hop_length)
        self._plan, bins = make_plan(n_fft, hop_length, window * whole, window)
        self._bins, self._slot = bins, np.unique(bins, return_index=True)[1]
        self._layout = self._make_layout(
            pad_index, np.asarray(inv_norm), norm, squares, frame_gains
        )
        self._mel = self._make_mel(np.asarray(band, np.int64), *np.asarray(weights, np.float64))
        self._free = []  # working memory that no call uses
        self._signal_shape = threads, (rows - 1) * hop_length + n_fft
        # The copy from which each sample is read: the last one with the largest factor.
        self._copy = np.full(n_samples, -1)
        inside = pad_index >= 0
        self._copy[pad_index[inside]] = np.flatnonzero(inside)
        j = self._edges[pad_index[self._edges] >= 0]
        j = j[np.argsort(norm[j % hop_length], kind="stable")]
        self._copy[pad_index[j]] = j

    def _make_layout(self, pad_index, inv_norm, norm, squares, frame_gains):
        hop, own = len(norm), self.rows // self.threads * len(norm)
        frame = np.arange(self.rows)[:, None] + self.rows * np.arange(LANES)
        alive = frame < self.n_frames
        weights, plain, ratio = _aligned(self.rows), _aligned(0), _aligned(0)
        weights[:] = alive
        # Most samples have one copy, covered by the full number of frames; the others are edges.
        factor = inv_norm[pad_index]
        single = (np.bincount(pad_index + 1)[1:][pad_index] == 1) & (pad_index >= 0)
        if frame_gains is None:
            usual = np.abs(factor.reshape(-1, hop) - norm) <= 1e-6 * norm
            usual = usual.reshape(-1) & single
        else:  # the sum of squared windows differs between samples
            usual, scale = single, factor * np.resize(squares, len(factor))
            weights[alive] = frame_gains[frame[alive]]
            plain = _aligned(self.rows)
            plain[alive] = weights[alive] ** -self.power
            ratio = _aligned(self.threads * own)
            j = np.flatnonzero(single)
            ratio[...] = 1
            ratio[j % (self.threads * own), j // (self.threads * own)] = scale[j]
        self._edges = j = np.flatnonzero(~usual)
        values, group = np.unique(pad_index[j], return_inverse=True)
        return Layout(
            segments=self.threads,
            rows=self.rows // self.threads,
            weights=weights,
            partial=(weights != 1).any(axis=1),
            edges=self._place(j, hop),
            group=group,
            scale=np.where(pad_index[j] < 0, 0, factor[j] * squares[j % hop]).astype(np.float32),
            sums=np.zeros(len(values), np.float32),
            norm=norm.astype(np.float32),
            ratio=ratio,
            plain=plain,
        )

    def _place(self, j, hop):
        """Return the positions of samples of the padded signal in the signals of all segments."""
        own = self.rows // self.threads * hop
        lane, j = np.divmod(j, self.threads * own)
        segment, j = np.divmod(j, own)
        return (segment * (own + self.n_fft - hop) + j) * LANES + lane

    def _make_mel(self, band, low, high):
        used = np.flatnonzero((low != 0) | (high != 0))
        used = used[np.argsort(band[used], kind="stable")]
        table = (low[used], high[used], low[self._bins], high[self._bins])
        lower, upper, low, high = (x.astype(np.float32) for x in table)
        starts = np.searchsorted(band[used], np.arange(self.n_mels + 1))
        return Mel(starts, self._slot[used], lower, upper, band[self._bins], low, high)

    @contextmanager
    def _space(self):
        """Lend working memory: that of an earlier call, or new memory if all of it is in use."""
        try:
            space = self._free.pop()  # atomic, so that no two threads get the same
        except IndexError:
            sizes = buffer_rows(self.n_fft), len(self._bins), self.n_mels + 1
            space = Space(
                self._layout._replace(sums=np.zeros_like(self._layout.sums)),
                [Work(*map(_aligned, sizes)) for _ in range(self.threads)],
                [_aligned(*self._signal_shape) for _ in range(2)],
            )
        try:
            yield space
        finally:
            self._free.append(space)

    # Packing

    def pack(self, x):
        """Return a spectrogram (complex64) or magnitude (float32) of shape (F, T), in lanes."""
        parts = [2] if np.iscomplexobj(x) else []
        return self._pack(x, self._bins, _aligned(self.rows, len(self._bins), *parts))

    def pack_mel(self, M):
        """Return a mel-spectrogram of shape (n_mels, T), in lanes."""
        return self._pack(M, np.arange(self.n_mels), _aligned(self.rows, self.n_mels))

    def _pack(self, x, bins, lanes):
        to_lanes(np.ascontiguousarray(x), bins, lanes.reshape(*lanes.shape[:2], -1))
        return lanes

    def unpack(self, lanes):
        """Return the array that `pack` was given."""
        x = np.empty((len(self._slot), self.n_frames, lanes.ndim - 2), np.float32)
        from_lanes(lanes.reshape(*lanes.shape[:2], -1), self._slot, x)
        return x.view(np.complex64)[..., 0] if lanes.ndim == 4 else x[..., 0]

    def signal(self, X):
        """Return the inverse STFT of a spectrogram (F, T): shape (n_samples,), float32."""
        table = np.zeros((1, _COEFFICIENTS), np.float32)
        with self._space() as space:
            self._make_signal(space, None, ((self.pack(X),), (), ()), table)
            own = space.signals[0][:, : self.rows // self.threads * self._plan.hop]
            # A copy: the memory is lent again.
            x = own.transpose(2, 0, 1).copy().reshape(-1, self._plan.hop)
        x *= self._layout.norm
        return np.where(self._copy < 0, np.float32(0), x.reshape(-1)[self._copy])

    def _make_signal(self, space, source, state, table):
        """Write the signal of a state to the first of the signals."""
        tables = self._plan, space.layout, self._mel, space.work[0]
        signal_kernel(source)(*tables, state, table, space.signals[0])

    def iterate(self, bins, C, R, F, coefficients, *, mel, floored=None, factors=(), stop=None):
        """Iterate a method from a state.

        Parameters
        ----------
        bins : melexp.methods.Bins
            Declaration of the iteration.
        C, R, F : sequences of numpy.ndarray, shape (F, T)
            Complex, real and fixed arrays of the state. They are not changed.
        coefficients : sequence of sequences of float
            At most five per iteration. It is read in slices, block by block.
        mel : numpy.ndarray, shape (n_mels, T)
        floored : numpy.ndarray of bool, shape (n_mels, T), optional
            True where `mel` is only an upper bound.
        factors : () or (below, pivot)
            Solver of the mel step, ``L D L^T``: sub-diagonal of L, ending with 0, and 1 / D. Shape
            (n_mels, 1), or (n_mels, T) if they differ by frame.
        stop : melexp.Stop, optional

        Returns
        -------
        done : int
            Number of iterations.
        C, R : tuples of numpy.ndarray
            Arrays of the new state.
        """
        state = tuple(tuple(self.pack(x) for x in arrays) for arrays in (C, R, F))
        M, term = self.pack_mel(mel), None
        if bins.fits_mel:
            exact = np.ones(mel.shape, np.float32) if floored is None else np.float32(~floored)
            term = MelTerm(M, self.pack_mel(exact), tuple(self._pack_factor(x) for x in factors))
        every, target, tol = 0, 0.0, 0.0
        if stop is not None:
            every, tol = stop.every, float(stop.tol or 0)
            target = 0.0 if stop.target is None else 10 ** (stop.target / 20)
        check = Check(M, self.power, bins.source is None, every, target, tol)
        with self._space() as space:
            self._make_signal(space, bins.source, state, _table(coefficients[:1]))
            done = self._run(iteration_kernel(bins), space, state, term, coefficients, check)
        return done, *(tuple(map(self.unpack, arrays)) for arrays in state[:2])

    def _pack_factor(self, x):
        x = np.asarray(x, np.float32).reshape(self.n_mels, -1)
        return np.ascontiguousarray(x[:, 0]) if x.shape[1] == 1 else self.pack_mel(x)

    def _run(self, iterate, space, state, term, coefficients, stop):
        """Iterate in blocks, between which Python handles signals such as Ctrl-C."""
        block = min(max(_BLOCK // (self.n_frames * self.n_fft), 1), _ROWS)
        rare = stop.every > block  # at most one check of the stop in a block, at its end
        if stop.every and not rare:  # a block begins after a check of the stop
            block -= block % stop.every
        tables = self._plan, space.layout, self._mel
        done, total, signals = 0, len(coefficients), list(space.signals)
        while done < total:
            length, check = min(block, total - done), stop
            if rare:
                length = min(length, stop.every - done % stop.every)
                is_due = (done + length) % stop.every == 0
                check = stop._replace(every=length if is_due else 0)
            table = _table(coefficients[done : done + length + 1])  # the last row is looked up only
            shared = np.zeros(2, np.int64)

            def run(
                segment, table=table, length=length, check=check, signals=tuple(signals),
                shared=shared,
            ):  # fmt: skip
                return iterate(
                    *tables, space.work[segment], state, term, table, 0, length, *signals, check,
                    segment, shared,
                )  # fmt: skip

            if self.threads == 1:
                count = run(0)
            else:
                with ThreadPoolExecutor(self.threads) as pool:
                    count = max(pool.map(run, range(self.threads)))  # all are equal
            done += count
            if shared[1]:
                break
            if count % 2:  # the two signals are exchanged
                signals.reverse()
        return done


def _table(coefficients):
    table = np.zeros((len(coefficients), _COEFFICIENTS), np.float32)
    for row, values in zip(table, coefficients, strict=True):
        row[: len(values)] = values
    return table


def _aligned(*shape):
    """Return zeros of shape (*shape, LANES), float32, aligned to cache lines."""
    size = int(np.prod(shape)) * LANES
    raw = np.zeros(size + 16, np.float32)
    start = -raw.ctypes.data % 64 // 4
    return raw[start : start + size].reshape(*shape, LANES)
