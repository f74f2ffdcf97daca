"""Lanes for a whole clip: NumPy arrays in, iterations in compiled code, NumPy arrays out."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from .compiling import LANES
from .fft import buffer_rows, make_plan
from .kernels import Layout, Stop, iterate, make_signal
from .methods import Admm, AdmmGla, AdmmPower, Gla, Ipalm, Mel, Spectrum, Work
from .packing import from_lanes, to_lanes

_KNOBS = 5

#: Samples of frames between two looks of Python at its signals: some 0.15 s. Ctrl-C waits for it.
_BLOCK = 2**28


class LaneEngine:
    """Mel-spectrogram inversion of clips of one length, in float32.

    The clip is cut into `LANES` parts that are processed side by side.  A state is a dict of
    arrays made by `pack`; the methods change it in place and can be called again to continue.
    They release the GIL but share their work space: use one engine a thread.

    Parameters
    ----------
    n_fft, hop_length : int
        Length and distance of the frames; see `unsupported`.
    window : numpy.ndarray, shape (n_fft,)
    pad_index : numpy.ndarray of int, shape (n_fft + hop_length * (n_frames - 1),)
        Sample that each sample of the padded signal copies, -1 for a zero.
    inv_norm : numpy.ndarray, shape (n_samples,)
        1 / the sum of all squared windows over the copies of a sample, 0 where there are none.
    n_samples, n_frames : int
    band : numpy.ndarray of int, shape (n_fft // 2 + 1,)
        The lower filter of each bin.
    weights : numpy.ndarray, shape (2, n_fft // 2 + 1)
        Weights of each bin in that filter and in the next one.
    n_mels : int
    power : 1 or 2
        Of the mel-spectrograms.
    frame_weights : numpy.ndarray, shape (n_frames,), optional
        Positive weights of the frames; `inv_norm` is then of the weighted windows, and all
        spectrograms are weighted but those of the target to stop at.
    threads : int, default 1
        Cores to use; they must be idle ones, as the threads wait for each other all the time.
    """

    @staticmethod
    def unsupported(n_fft, hop_length):
        """Why frames of this kind cannot be processed, or None if they can."""
        if n_fft < 64 or n_fft & (n_fft - 1):
            return f"n_fft must be a power of two, at least 64, not {n_fft}"
        if hop_length < 2 or n_fft % hop_length:
            return f"hop_length must be even and divide n_fft = {n_fft}, not {hop_length}"
        return None

    def __init__(
        self, *, n_fft, hop_length, window, pad_index, inv_norm, n_samples, n_frames, band, weights,
        n_mels, power=1, frame_weights=None, threads=1,
    ):  # fmt: skip
        reason = self.unsupported(n_fft, hop_length)
        if reason:
            raise ValueError(reason)
        later = n_fft // hop_length - 1  # further frames that begin within a frame
        self.n_fft, self.n_frames, self.n_mels, self.threads = n_fft, n_frames, n_mels, threads
        self.power = int(power)
        # The last lane ends with `later` empty frames, as no lane follows to take their overlap;
        # that of any other lane, or segment of a lane, must not reach past the next one.
        rows = max(-(-(n_frames + later) // (LANES * threads)), later, 1)
        self.rows = threads * rows
        window, pad_index = np.asarray(window, np.float64), np.asarray(pad_index, np.int64)
        if len(pad_index) != n_fft + hop_length * (n_frames - 1):
            raise ValueError("pad_index must cover the frames exactly")
        squares = (window**2).reshape(-1, hop_length).sum(axis=0)
        norm = np.divide(1, squares, out=np.zeros(hop_length), where=squares > 0)
        # Dividing the signal by the sum of squared windows is left to the analysis window.
        whole = np.tile(norm, n_fft // hop_length)
        self._plan, bins = make_plan(n_fft, hop_length, window * whole, window)
        self._bins, self._slot = bins, np.unique(bins, return_index=True)[1]
        self._layout = self._make_layout(
            pad_index, np.asarray(inv_norm), norm, squares, frame_weights
        )
        self._band, self._weights = np.asarray(band, np.int64), np.asarray(weights, np.float64)
        self._mels = {}  # by c
        self._work = [
            Work(_aligned(buffer_rows(n_fft)), _aligned(len(bins)), _aligned(n_mels + 1))
            for _ in range(threads)
        ]
        self._signals = [_aligned(threads, (rows - 1) * hop_length + n_fft) for _ in range(2)]
        # The copy of each sample to read it from: the last one with the largest factor.
        self._copy = np.full(n_samples, -1)
        inside = pad_index >= 0
        self._copy[pad_index[inside]] = np.flatnonzero(inside)
        j = self._edges[pad_index[self._edges] >= 0]
        j = j[np.argsort(norm[j % hop_length], kind="stable")]
        self._copy[pad_index[j]] = j

    def _make_layout(self, pad_index, inv_norm, norm, squares, frame_weights):
        hop, own = len(norm), self.rows // self.threads * len(norm)
        frame = np.arange(self.rows)[:, None] + self.rows * np.arange(LANES)
        alive = frame < self.n_frames
        weights, plain, ratio = _aligned(self.rows), _aligned(0), _aligned(0)
        weights[:] = alive
        # Most samples have one copy, covered by as many frames as can be; the others are edges.
        factor = inv_norm[pad_index]
        single = (np.bincount(pad_index + 1)[1:][pad_index] == 1) & (pad_index >= 0)
        if frame_weights is None:
            usual = np.abs(factor.reshape(-1, hop) - norm) <= 1e-6 * norm
            usual = usual.reshape(-1) & single
        else:  # each has a sum of squared windows of its own
            usual, scale = single, factor * np.resize(squares, len(factor))
            weights[alive] = frame_weights[frame[alive]]
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
        """Where samples of the padded signal are in the signals of all segments."""
        own = self.rows // self.threads * hop
        lane, j = np.divmod(j, self.threads * own)
        segment, j = np.divmod(j, own)
        return (segment * (own + self.n_fft - hop) + j) * LANES + lane

    def _mel(self, c):
        if c not in self._mels:
            self._mels[c] = self._make_mel(c)
        return self._mels[c]

    def _make_mel(self, c):
        n, band, (low, high) = self.n_mels, self._band, self._weights
        used = np.flatnonzero((low != 0) | (high != 0))
        used = used[np.argsort(band[used], kind="stable")]
        diagonal = c + np.bincount(band, low**2, n + 1) + np.bincount(band + 1, high**2, n + 1)
        beside = np.bincount(band, low * high, n)
        below, pivot = np.zeros(n + 1), diagonal[:n]
        for k in range(1, n):
            below[k] = beside[k - 1] / pivot[k - 1]
            pivot[k] -= below[k] * beside[k - 1]
        table = (used, low[used], high[used], low[self._bins], high[self._bins], below, 1 / pivot)
        _, lower, upper, low, high, below, pivot = (x.astype(np.float32) for x in table)
        starts = np.searchsorted(band[used], np.arange(n + 1))
        return Mel(
            starts, self._slot[used], lower, upper, band[self._bins], low, high, below, pivot
        )

    # Packing

    def pack(self, **arrays):
        """A state of spectrograms, complex64, and magnitudes, float32, of shape (F, T)."""
        state = {}
        for name, x in arrays.items():
            parts = [2] if np.iscomplexobj(x) else []
            state[name] = self._pack(x, self._bins, _aligned(self.rows, len(self._bins), *parts))
        return state

    def pack_mel(self, M):
        """A mel-spectrogram, shape (n_mels, T), in the form that the methods take."""
        return self._pack(M, np.arange(self.n_mels), _aligned(self.rows, self.n_mels))

    def _pack(self, x, bins, lanes):
        to_lanes(np.ascontiguousarray(x), bins, lanes.reshape(*lanes.shape[:2], -1))
        return lanes

    def unpack(self, state):
        """The arrays of a state, in the order in which they were packed."""
        return tuple(map(self._unpack, state.values()))

    def _unpack(self, lanes):
        x = np.empty((len(self._slot), self.n_frames, lanes.ndim - 2), np.float32)
        from_lanes(lanes.reshape(*lanes.shape[:2], -1), self._slot, x)
        return x.view(np.complex64)[..., 0] if lanes.ndim == 4 else x[..., 0]

    def signal(self, X):
        """Inverse STFT of a spectrogram, shape (F, T): shape (n_samples,), float32."""
        self._make_signal(Spectrum(self.pack(X=X)["X"]))
        own = self._signals[0][:, : self.rows // self.threads * self._plan.hop]
        x = np.ascontiguousarray(own.transpose(2, 0, 1)).reshape(-1, self._plan.hop)
        x *= self._layout.norm
        return np.where(self._copy < 0, np.float32(0), x.reshape(-1)[self._copy])

    def _make_signal(self, method, knobs=None, c=1.0):
        """Put the signal of a state into the first of the signals; returns the tables."""
        knobs = np.zeros((1, _KNOBS), np.float32) if knobs is None else knobs
        tables = self._plan, self._layout, self._mel(c)
        make_signal(*tables, self._work[0], method, knobs, self._signals[0])
        return *tables, self._work[0]

    # Methods

    def _iterate(self, state, knobs, M, *, c=1.0, fresh=False, every=0, target=0.0, tol=0.0):
        knobs = np.broadcast_arrays(*knobs)
        table = np.zeros((len(knobs[0]), _KNOBS), np.float32)
        table[:, : len(knobs)] = np.stack(knobs, axis=1)
        if not len(table):
            return 0
        if M is None:
            if target > 0:
                raise ValueError("a target needs the mel-spectrogram M")
            M = _aligned(1, self.n_mels)
        stop = Stop(self.power, fresh, int(every), float(target), float(tol))
        *tables, _ = self._make_signal(state, table, c)
        block = max(_BLOCK // (self.n_frames * self.n_fft), 1)
        if stop.every:  # which counts from the first iteration of a block
            block = -(-block // stop.every) * stop.every
        done, signals = 0, list(self._signals)
        while done < len(table):
            rows = table[done : done + block]
            shared = np.zeros(2, np.int64)

            def run(segment, rows=rows, signals=tuple(signals), shared=shared):
                return iterate(
                    *tables, self._work[segment], state, rows, *signals, M, stop, segment, shared
                )

            if self.threads == 1:
                count = run(0)
            else:
                with ThreadPoolExecutor(self.threads) as pool:
                    count = max(pool.map(run, range(self.threads)))  # all are equal
            done += count
            if shared[1]:
                break
            if count % 2:  # the two signals have changed places
                signals.reverse()
        return done

    def admm(self, state, M, rho1, rho2, c, bound=None, **stop):
        """ADMM for magnitude mels; state P, R.

        Parameters
        ----------
        state : dict
            ``pack(P=X + U, R=Y + V)``.
        M : numpy.ndarray
            From `pack_mel`.
        rho1, rho2 : array_like, shape (iterations,)
            Penalties of the two constraints.
        c : float
            Penalty of the mel-spectrogram over its weight, rho / lambda.
        bound : numpy.ndarray of bool, shape (n_mels, T), optional
            Where M is only an upper bound.
        **stop
            ``every=m, target=s, tol=t``: look every m iterations (0: never) whether
            ``||M - E |STFT(x)|| / ||M||`` is below s, or the last relative change of the signal
            below t, and end if so.

        Returns
        -------
        int
            Number of iterations done.
        """
        rho1, rho2 = np.asarray(rho1, np.float64), np.asarray(rho2, np.float64)
        method = Admm(state["P"], state["R"], M, self._free(bound))
        return self._iterate(method, Admm.knobs(rho1, rho2), M, c=c, fresh=True, **stop)

    def admm_power(self, state, M, rho1, rho2, envelope, below, pivot, bound=None, **stop):
        """ADMM for power mels; state P, R.

        Parameters
        ----------
        state, M, rho1, rho2, bound, **stop
            As in `admm`; R is a power.
        envelope : numpy.ndarray, shape (F, T)
            What powers are relative to, S.
        below, pivot : numpy.ndarray, shape (n_mels, T)
            ``E S E^T + c E S = L D L^T`` of each frame: L has ones and below them the rows of
            `below` (the last one is not used); `pivot` is 1 / D.
        """
        rho1, rho2 = np.asarray(rho1, np.float64), np.asarray(rho2, np.float64)
        tables = self.pack(S=envelope)["S"], self.pack_mel(below), self.pack_mel(pivot)
        method = AdmmPower(state["P"], state["R"], M, self._free(bound), *tables)
        return self._iterate(method, AdmmPower.knobs(rho1, rho2), M, fresh=True, **stop)

    def ipalm(self, state, M, inertia, lam, norm, bound=None, **stop):
        """iPALM; state X, Y, with changes dX, dY (zeros if absent); `norm` is ``||E||_2``."""
        knobs = Ipalm.knobs(np.asarray(inertia, np.float64), lam, norm)
        method = Ipalm(*self._fill(state, "X Y"), M, self._free(bound))
        return self._iterate(method, knobs, M, **stop)

    def gla(self, state, A, momentum, M=None, **stop):
        """Fast Griffin-Lim, or Griffin-Lim if momentum is 0; state X, with its change dX.

        `A` is from ``pack``: the fixed magnitude, ``pack(A=A)["A"]``; `momentum` has one value an
        iteration.  `M` is wanted for a target only.
        """
        knobs = Gla.knobs(np.asarray(momentum, np.float64))
        return self._iterate(Gla(*self._fill(state, "X"), A), knobs, M, **stop)

    def admm_gla(self, state, A, rho, M=None, **stop):
        """ADMM for the phase alone; state ``P = X + U``, `rho` has one value an iteration."""
        knobs = AdmmGla.knobs(np.asarray(rho, np.float64))
        return self._iterate(AdmmGla(state["P"], A), knobs, M, fresh=True, **stop)

    def _free(self, bound):
        shape = self.n_mels, self.n_frames
        return self.pack_mel(np.ones(shape, np.float32) if bound is None else np.float32(~bound))

    @staticmethod
    def _fill(state, names):
        for name in names.split():
            if "d" + name not in state:
                state["d" + name] = _aligned(*state[name].shape[:-1])
        return [state[prefix + name] for name in names.split() for prefix in ("", "d")]


def _aligned(*shape):
    """Zeros of shape (*shape, LANES), float32, each row within as few cache lines as can be."""
    size = int(np.prod(shape)) * LANES
    raw = np.zeros(size + 16, np.float32)
    start = -raw.ctypes.data % 64 // 4
    return raw[start : start + size].reshape(*shape, LANES)
