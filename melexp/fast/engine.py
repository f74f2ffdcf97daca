"""The engine for a clip: NumPy arrays in, iterations in compiled code, NumPy arrays out."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import numpy as np

from .bins import Work, make_mel
from .compiling import LANES
from .denormals import flushed
from .fft import buffer_rows, factors, make_plan, support
from .kernels import (
    COEFFICIENTS,
    Layout,
    change_kernel,
    give_way,
    iteration_kernel,
    misfit_kernel,
    signal_kernel,
)
from .memory import Floats, Rows, aligned
from .packing import from_lanes, to_lanes

#: Samples of frames between two checks for signals such as Ctrl-C: about 0.15 s.
_BLOCK = 2**28
#: Largest number of iterations whose coefficients are in memory.
_ROWS = 2**12


class Space(NamedTuple):
    """Working memory of one call."""

    work: list  # a `Work` per thread
    signals: list  # two, each of shape (threads, length, LANES)


class LaneEngine:
    """Mel-spectrogram inversion of clips of one length, in float32.

    The clip is cut into `LANES` parts that are processed side by side. `iterate` releases the GIL,
    but its calls share working memory: use one engine per thread.

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
    def unsupported(n_fft):
        """Return the reason why a frame length is not supported, or None if it is."""
        if n_fft < 16 or n_fft % 2 or factors(n_fft // 2) is None:
            return f"n_fft must be even, at least 16 and a product of 2, 3, 5 and 7, not {n_fft}"
        return None

    def __init__(
        self, *, n_fft, hop_length, window, pad_index, inv_norm, n_samples, n_frames, band, weights,
        n_mels, power=1, frame_gains=None, threads=1,
    ):  # fmt: skip
        reason = self.unsupported(n_fft)
        if reason:
            raise ValueError(reason)
        if power not in (1, 2):
            raise ValueError(f"power must be 1 or 2, not {power}")
        self.n_fft, self.n_frames, self.n_mels, self.threads = n_fft, n_frames, n_mels, threads
        self.power = int(power)
        window, pad_index = np.asarray(window, np.float64), np.asarray(pad_index, np.int64)
        if len(pad_index) != n_fft + hop_length * (n_frames - 1):
            raise ValueError("pad_index must cover the frames exactly")
        # Frames consist of the samples that the window does not set to zero, and few others.
        begin, end = support(n_fft, window)
        window, pad_index = window[begin:end], pad_index[begin : len(pad_index) - (n_fft - end)]
        later = -(-len(window) // hop_length) - 1  # frames that start within an earlier frame
        # The last lane ends with `later` empty frames, as no lane follows to take their overlap.
        # The overlap of any other lane or segment must end within the next one.
        rows = max(-(-(n_frames + later) // (LANES * threads)), later, 1)
        self.rows = threads * rows
        squares = np.bincount(np.arange(len(window)) % hop_length, window**2, hop_length)
        norm = np.divide(1, squares, out=np.zeros(hop_length), where=squares > 0)
        # The analysis window includes the division by the sum of squared windows.
        whole = np.resize(norm, len(window))
        self._plan, bins = make_plan(n_fft, hop_length, begin, window * whole, window)
        self._bins, self._slot = bins, np.unique(bins, return_index=True)[1]
        self._length = (rows - 1) * hop_length + max(len(window), hop_length)
        self._layout = self._make_layout(
            pad_index, np.asarray(inv_norm), norm, squares, frame_gains
        )
        self._mel = make_mel(bins, band, weights, n_mels)
        self._free = []  # working memory that no call uses
        # The copy from which each sample is read: the last one with the largest factor.
        self._copy = np.full(n_samples, -1)
        inside = pad_index >= 0
        self._copy[pad_index[inside]] = np.flatnonzero(inside)
        j = self._edges[pad_index[self._edges] >= 0]
        j = j[np.argsort(norm[j % hop_length], kind="stable")]
        self._copy[pad_index[j]] = j

    @contextmanager
    def _space(self):
        """Lend working memory: that of an earlier call, or new memory if all of it is in use."""
        try:
            space = self._free.pop()  # atomic, so that no two threads get the same
        except IndexError:
            space = self._make_space()
        try:
            yield space
        finally:
            self._free.append(space)

    def _make_space(self):
        work = [
            Work(
                _aligned(buffer_rows(self._plan)),
                _aligned(self._mel.slots),
                _aligned(self.n_mels + 1),
                np.zeros(self._layout.n_sums, np.float32),
            )
            for _ in range(self.threads)
        ]
        return Space(work, [_aligned(self.threads, self._length) for _ in range(2)])

    def _make_layout(self, pad_index, inv_norm, norm, squares, frame_gains):
        hop, own = len(norm), self.rows // self.threads * len(norm)
        frame = np.arange(self.rows)[:, None] + self.rows * np.arange(LANES)
        alive = frame < self.n_frames
        weights, plain, ratio = _aligned(self.rows), _aligned(self.rows), _aligned(0)
        weights[:], plain[:] = alive, 1
        # Most samples have one copy, covered by the full number of frames; the others are edges.
        phase = np.arange(len(pad_index)) % hop
        factor = inv_norm[pad_index]
        single = (np.bincount(pad_index + 1)[1:][pad_index] == 1) & (pad_index >= 0)
        if frame_gains is None:
            usual = single & (np.abs(factor - norm[phase]) <= 1e-6 * norm[phase])
        else:  # the sum of squared windows differs between samples
            usual, scale = single, factor * squares[phase]
            weights[alive] = frame_gains[frame[alive]]
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
            length=self._length,
            weights=weights,
            partial=(weights != 1).any(axis=1).astype(np.int64),
            n_edges=len(j),
            edges=self._place(j, hop),
            group=group.astype(np.int64),
            scale=np.where(pad_index[j] < 0, 0, factor[j] * squares[phase[j]]).astype(np.float32),
            n_sums=len(values),
            norm=norm.astype(np.float32),
            weighted=frame_gains is not None,
            ratio=ratio,
            plain=plain,
        )

    def _place(self, j, hop):
        """Return the positions of samples of the padded signal in the signals of all segments."""
        own = self.rows // self.threads * hop
        lane, j = np.divmod(j, self.threads * own)
        segment, j = np.divmod(j, own)
        return (segment * self._length + j) * LANES + lane

    # Packing

    def pack(self, x):
        """Return a spectrogram (complex64) or magnitude (float32) of shape (F, T), in lanes."""
        parts = [2] if np.iscomplexobj(x) else []
        kind = np.complex64 if parts else np.float32
        lanes = _aligned(self.rows, len(self._bins), *parts)
        return self._pack(x, kind, self._bins, lanes)

    def pack_mel(self, M):
        """Return a mel-spectrogram of shape (n_mels, T), in lanes."""
        lanes = _aligned(self.rows, self.n_mels)
        return self._pack(M, np.float32, np.arange(self.n_mels, dtype=np.int64), lanes)

    def _pack(self, x, kind, bins, lanes):
        to_lanes(np.ascontiguousarray(x, kind), bins, lanes.reshape(*lanes.shape[:2], -1, LANES))
        return lanes

    def unpack(self, lanes):
        """Return the array that `pack` was given."""
        kind = np.complex64 if lanes.ndim == 4 else np.float32
        x = np.empty((len(self._slot), self.n_frames), kind)
        from_lanes(lanes.reshape(*lanes.shape[:2], -1, LANES), self._slot, x)
        return x

    # Iteration

    def signal(self, X):
        """Return the inverse STFT of a spectrogram (F, T): shape (n_samples,), float32."""
        with self._space() as space:
            self._make_signal(None, ((self.pack(X),), (), ()), _table([()]), space)
            own = space.signals[0][:, : self.rows // self.threads * self._plan.hop]
            # A copy: the memory is lent again.
            x = own.transpose(2, 0, 1).copy().reshape(-1, self._plan.hop)
        x *= self._layout.norm
        return np.where(self._copy < 0, np.float32(0), x.reshape(-1)[self._copy])

    def _make_signal(self, source, state, table, space):
        """Write the signal of a state to the first of the signals."""
        make = signal_kernel(source, tuple(map(len, state)))
        make(*self._tables, space.work[0], state, table, space.signals[0])

    @property
    def _tables(self):
        return self._plan, self._layout, self._mel

    def iterate(self, bins, C, R, F, coefficients, *, mel, floored=None, factors=(), stop=None):
        """Iterate a method from a state.

        Parameters
        ----------
        bins : melexp.methods.Bins
            Declaration of the iteration.
        C, R, F : sequences of numpy.ndarray, shape (F, T)
            Complex, real and fixed arrays of the state. They are not changed.
        coefficients : sequence of sequences of float
            At most six per iteration; slices of it are read, block by block.
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
        M, term, kinds = self.pack_mel(mel), (), ()
        if bins.fits_mel:
            exact = np.ones(mel.shape, np.float32) if floored is None else np.float32(~floored)
            packed = tuple(self._pack_factor(x) for x in factors)
            term = M, self.pack_mel(exact), packed
            kinds = tuple(Floats if x.ndim == 1 else Rows for x in packed)
        run = iteration_kernel(bins, tuple(map(len, state)), kinds)
        with self._space() as space:
            self._make_signal(bins.source, state, _table(coefficients[:1]), space)

            def advance(table, size, signals, segment, shared):
                with flushed():
                    run(
                        *self._tables, space.work[segment], state, term, table, len(table), 0,
                        size, *signals, segment, shared,
                    )  # fmt: skip

            def ends(old, new):
                # The result of a method with a source is the STFT of `old`.
                result = new if bins.source is None else old
                return self._must_stop(stop, M, old, new, result, space.work[0])

            done = self._run(advance, ends, coefficients, stop, space.signals)
        return done, *(tuple(map(self.unpack, arrays)) for arrays in state[:2])

    def _pack_factor(self, x):
        x = np.asarray(x, np.float32).reshape(self.n_mels, -1)
        return np.ascontiguousarray(x[:, 0]) if x.shape[1] == 1 else self.pack_mel(x)

    def _run(self, advance, ends, coefficients, stop, signals):
        """Iterate in blocks, between which Python handles signals such as Ctrl-C, and `stop`."""
        longest = min(max(_BLOCK // (self.n_frames * self.n_fft), 1), _ROWS)
        done, n_iter, signals = 0, len(coefficients), list(signals)
        with ExitStack() as stack:
            if self.threads > 1:
                pool = stack.enter_context(ThreadPoolExecutor(self.threads))
            while done < n_iter:
                size = min(longest, n_iter - done)
                if stop is not None:
                    size = min(size, stop.every - done % stop.every)
                shared = np.array([0, give_way()], np.int64)
                # One row more: an iteration looks up the source of the next.
                table = _table(coefficients[done : done + size + 1])
                work = [(table, size, signals, segment, shared)
                        for segment in range(self.threads)]  # fmt: skip
                if self.threads == 1:
                    advance(*work[0])
                else:
                    list(pool.map(advance, *zip(*work, strict=True)))
                done += size
                if size % 2:  # the two signals are exchanged
                    signals.reverse()
                if stop is not None and done % stop.every == 0 and ends(signals[1], signals[0]):
                    break
        return done

    def _must_stop(self, stop, M, old, new, result, work):
        """Return whether the signals of the last two iterations end the run."""
        sums = np.zeros(2)
        if stop.tol:
            change_kernel()(self._plan, self._layout, old, new, sums)
            if np.sqrt(sums[0]) < stop.tol * np.sqrt(sums[1]):
                return True
        if stop.target is None:
            return False
        misfit_kernel(self.power)(*self._tables, work, result, M, sums)
        return bool(np.sqrt(sums[0]) < 10 ** (stop.target / 20) * np.sqrt(sums[1]))


def _table(coefficients):
    table = np.zeros((len(coefficients), COEFFICIENTS), np.float32)
    for row, values in zip(table, coefficients, strict=True):
        row[: len(values)] = values
    return table


def _aligned(*shape):
    """Return zeros of shape (*shape, LANES)."""
    return aligned(*shape, LANES)
