"""Inversion of a mel-spectrogram while it arrives, frame by frame."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.signal

from melexp.inversion.stream_frames import PHASES, RECENT, TINY, Starter, read_frames
from melexp.inversion.stream_iteration import iteration
from melexp.inversion.stream_state import Guard, StreamState
from melexp.inversion.stream_window import Window
from melexp.methods import Binwise, make_method
from melexp.transforms.mel import MelTransform

#: Limits of the memory and of the iterations that a frame sees.
MOST_AHEAD, MOST_ITERATIONS = 10_000, 1_000_000


class MelStream:
    r"""Invert mel-spectrograms frame by frame, with a short delay.

    The iteration of the method runs on a window: the frames that touch samples not yet given out.
    Samples that have been given out stay fixed in the projection. A new frame starts from its own
    magnitude and from the phase that continues the frame before. After `n_iter` iterations the
    oldest hop of samples is given out. Penalties follow the age of each frame, so a frame sees the
    same sequence as in :func:`melexp.invert`. Nothing depends on the end, the level or the loudest
    frame of the stream.

    Parameters
    ----------
    transform : MelTransform
        The front end that computes the frames.
    lookahead : int >= 0
        Number of frames to wait for before a hop of samples is final. More is better and later.
    n_iter : int > 0
        Number of iterations for each new frame.
    method : str
        A method of `melexp.available_methods` that updates bin by bin.
    seed : int >= 0
        Seed of the random phases of faint bins.
    conceal : bool
        Replace bad frames (NaN, infinite, negative or of a wrong number of bands) by the frame
        before, 3 dB lower. Otherwise they are an error.
    engine : "auto", "fast" or "portable"
        As in :func:`melexp.invert`: compiled, or in NumPy. They differ by rounding.
    **params
        Parameters of the method.

    Raises
    ------
    ValueError
        For an argument out of range, or a method or start that cannot run frame by frame.

    See Also
    --------
    melexp.invert : The same from the complete mel-spectrogram, slightly better.

    References
    ----------
    The fixed samples are those of X. Zhu, G. T. Beauregard and L. L. Wyse, "Real-time signal
    estimation from modified short-time Fourier transform magnitude spectra", IEEE TASLP 15(5),
    2007. The joint iteration on a window and the penalties by age are additions of this project.

    Examples
    --------
    >>> import numpy as np
    >>> from melexp import MelStream, MelTransform
    >>> transform = MelTransform.preset("paper")
    >>> mel = transform(np.sin(np.arange(8192) / 10).astype(np.float32))
    >>> stream = MelStream(transform, lookahead=2, n_iter=5)
    >>> parts = [stream.push(mel[:, :10]), stream.push(mel[:, 10:]), stream.flush()]
    >>> [part.shape for part in parts]
    [(1536,), (5888,), (768,)]
    """

    def __init__(
        self,
        transform: MelTransform,
        *,
        lookahead: int = 6,
        n_iter: int = 50,
        method: str = "admm_ramp",
        seed: int = 0,
        conceal: bool = False,
        engine: str = "auto",
        **params: Any,
    ) -> None:
        for name, value, least in (("lookahead", lookahead, 0), ("n_iter", n_iter, 1)):
            whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
            if not (whole and value >= least):
                raise ValueError(f"{name} must be a whole number from {least} on; got {value!r}")
        if lookahead > MOST_AHEAD or (lookahead + 1) * n_iter > MOST_ITERATIONS:
            raise ValueError(
                f"lookahead may be up to {MOST_AHEAD:,}, and (lookahead + 1) * n_iter up to "
                f"{MOST_ITERATIONS:,}; got lookahead = {lookahead:,}, n_iter = {n_iter:,}"
            )
        solver = make_method(method, **params)
        if not isinstance(solver, Binwise):
            raise ValueError(f"method {method} cannot run frame by frame; use admm_ramp")
        if solver.frame_weights:
            raise ValueError(
                f"a stream has no frame weights; got frame_weights = {solver.frame_weights}; "
                "leave it out"
            )
        if getattr(solver, "prior", None) is not None:
            raise ValueError(
                "a stream cannot have a prior, which looks at later frames; leave it out"
            )
        if solver.phase not in PHASES:
            raise ValueError(
                f"the phase of a stream must be one of {', '.join(PHASES)}; got {solver.phase!r}"
            )
        self.transform, self.lookahead, self.n_iter = transform, int(lookahead), int(n_iter)
        n_steps = (self.lookahead + 1) * self.n_iter
        self._method: Binwise[Any] = solver.for_budget(n_steps)  # type: ignore[assignment]
        self._conceal = conceal
        self._starter = Starter(transform, self._method, seed)
        self._bins = self._starter.bins
        covered = np.flatnonzero(transform.filters().weights.any(axis=0))
        n_bins = transform.n_fft // 2 + 1
        first, end = covered.min(initial=n_bins), covered.max(initial=-1) + 1
        self._uncovered = np.s_[..., :first], np.s_[..., end:]
        window = transform.stft(transform.n_fft).window
        win_length = transform.win_length or transform.n_fft
        self._begin = (transform.n_fft - win_length) // 2
        self._end = self._begin + win_length
        touching = -(-(self._end - self._begin) // transform.hop_length)
        self._capacity = max(self.lookahead + touching, 2)
        self._window = Window(window, transform.hop_length, self._capacity)
        problem: Any = self._starter.problem(np.zeros((0, 0), np.float32))
        table = [self._method.coefficients(problem, k + 1) for k in range(n_steps)]
        coefficients = np.array(table, np.float32).reshape(n_steps, -1)
        self._parts = transform, self._bins, coefficients, self._window
        self._iteration = iteration(engine, *self._parts)
        # The signal is zero before its beginning and after its end; other paddings are not known.
        self._is_zero_outside = transform.pad_mode == "constant"
        self._state: StreamState | None = None
        self._guard = Guard()

    # Public

    @property
    def latency(self) -> int:
        """Delay in samples: k frames give ``max(0, k * hop_length - latency)`` samples, k > 0.

        It is the distance from the centre of the newest frame back to the first sample that it
        completes. Negative if frames begin with zeros and are not padded as much.
        """
        t = self.transform
        return self.lookahead * t.hop_length + t.padding - self._begin

    @property
    def concealed(self) -> int:
        """Number of bad frames that were replaced."""
        return 0 if self._state is None else self._state.concealed

    def push(self, frames: np.ndarray) -> np.ndarray:
        """Take new frames and return the samples that have become final.

        Parameters
        ----------
        frames : np.ndarray [shape=(..., n_mels, n_frames)]
            Any number of frames, as the transform makes them. Leading axes are streams side by
            side, the same in all calls.

        Returns
        -------
        samples : np.ndarray [shape=(..., n_samples), float32]

        Raises
        ------
        ValueError
            If the frames do not fit or one is bad. The stream is then as before the call.
        RuntimeError
            If another thread uses the stream, or a call before was interrupted.
        """
        with self._guard.alone():
            return self._push(frames)

    def _push(self, frames: np.ndarray) -> np.ndarray:
        frames = self._checked(np.asarray(frames))
        lead = frames.shape[:-2]
        s = self._begun(lead) if self._state is None else self._state
        if lead != tuple(s.lead):
            raise ValueError(
                f"frames have the leading shape {lead}, those before had {tuple(s.lead)}; flush() "
                "or reset() begins other streams"
            )
        read = read_frames(
            frames.reshape(len(s.x), *frames.shape[-2:]),
            self.transform,
            first=s.n_read,
            largest=s.largest,
            last=s.last,
            conceal=self._conceal,
        )
        parts = []
        with self._guard.changing():
            self._state = s
            s.largest, s.last = read.largest, read.last
            s.concealed += read.concealed
            for mel, bound in zip(read.mels, read.bounds, strict=True):
                self._append(s, mel, bound)
                self._iterate(s, None)
                parts.append(self._commit(s, self._final(s.n_read)))
        return self._joined(parts, s)

    def flush(self) -> np.ndarray:
        """End the stream: return the remaining samples, and begin again with the next frame.

        Returns
        -------
        samples : np.ndarray [shape=(..., n_samples), float32]
            All calls since the beginning return ``transform.n_samples(n_frames)`` samples.

        Raises
        ------
        RuntimeError
            As of `push`.
        """
        with self._guard.alone():
            return self._flush()

    def _flush(self) -> np.ndarray:
        s = self._state
        if s is None or s.n_read == 0:
            self.reset()
            return np.zeros((*(() if s is None else s.lead), 0), np.float32)
        end = self.transform.padding + self.transform.n_samples(s.n_read)
        parts = []
        with self._guard.changing():
            for later in range(1, self.lookahead + 1):
                self._iterate(s, end if self._is_zero_outside else None)
                parts.append(self._commit(s, min(self._final(s.n_read + later), end)))
            parts.append(self._commit(s, end))
        self.reset()
        return self._joined(parts, s)

    def reset(self) -> None:
        """Forget all frames."""
        self._state = None
        self._guard.repair()

    @property
    def state(self) -> dict[str, np.ndarray]:
        """A copy of all that the stream keeps: arrays for :func:`numpy.savez`.

        Assign it to a stream with the same arguments, which then continues. Empty before the
        first frame.
        """
        self._guard.check()
        return {} if self._state is None else self._state.arrays()

    @state.setter
    def state(self, arrays: Mapping[str, np.ndarray]) -> None:
        if not len(arrays):
            self.reset()
            return
        if "lead" not in arrays:
            raise ValueError("the state has no lead; it is of another kind")
        blank = self._begun(tuple(np.asarray(arrays["lead"]).tolist()))
        self._state = blank.filled(arrays)
        self._guard.repair()

    def __deepcopy__(self, memo: dict[int, Any]) -> MelStream:
        twin = copy.copy(self)  # all else is never changed
        twin._iteration = type(self._iteration)(*self._parts)  # it has memory of its own
        self._guard.check()
        twin._state, twin._guard = copy.deepcopy(self._state, memo), Guard()
        return twin

    # Frames

    def _checked(self, frames: np.ndarray) -> np.ndarray:
        """Return frames of the right shape and kind."""
        n_mels = self.transform.n_mels
        if frames.ndim < 2:
            raise ValueError(
                f"frames have shape {frames.shape}, expected (..., n_mels = {n_mels}, n_frames); a "
                "single frame is frame[:, None]"
            )
        if not np.issubdtype(frames.dtype, np.floating):
            raise ValueError(f"frames must be floating-point; got {frames.dtype}")
        if frames.shape[-2] != n_mels:
            if self._conceal:
                return np.full((*frames.shape[:-2], n_mels, frames.shape[-1]), np.nan, np.float32)
            hint = "; transpose them" if frames.shape[-1] == n_mels else ""
            raise ValueError(
                f"frames have shape {frames.shape}, expected (..., n_mels = {n_mels}, n_frames)"
                + (hint or f"; their number of bands must be {n_mels}")
            )
        return frames

    def _begun(self, lead: tuple[int, ...]) -> StreamState:
        """Return the state before the first frame."""
        return StreamState.blank(
            lead,
            self.transform,
            self._bins,
            capacity=self._capacity,
            n_recent=max(RECENT, self._capacity),
            length=self._window.length,
            committed=self.transform.padding if self._is_zero_outside else 0,
        )

    def _append(self, s: StreamState, mel: np.ndarray, bound: np.ndarray) -> None:
        """Add a frame [shape=(n_streams, n_mels)] to the window."""
        t, power = self.transform, self.transform.power
        mel = mel.copy()
        if t.filters().empty.size:
            mel[:, t.filters().empty] = 0
        largest = mel.max(axis=1) ** (1 / power)
        # Float32 has no normal number for the sound of such a frame: it is silent.
        silent = largest < TINY
        mel[silent], largest[silent] = 0, 0
        s.recent[:, :, :-1] = s.recent[:, :, 1:]
        s.recent[:, :, -1] = 0
        s.recent[0, :, -1] = largest
        s.follow_level(power, fits_mel=self._bins.fits_mel)
        unit = np.ldexp(1.0, s.exponent)
        n = s.n_window
        place = np.s_[:, n]
        s.mel[place] = mel / unit[:, None] ** power
        s.bound[place] = bound
        new = self._starter.start(
            s.mel[place],
            number=s.n_read,
            before=s.C[0][:, n - 1],
            slope=s.slope,
            recent=s.recent,
            unit=unit,
        )
        for arrays, values in ((s.C, new.C), (s.R, new.R), (s.F, new.F)):
            for array, value in zip(arrays, values, strict=True):
                array[place] = value
        s.below[place], s.pivot[place] = new.below, new.pivot
        s.ages[n] = 0
        s.n_window, s.n_read = n + 1, s.n_read + 1

    # Iteration

    def _iterate(self, s: StreamState, end: int | None) -> None:
        """Iterate on the window; `end` is the end of the sound in the padded signal."""
        # The mel says nothing of bins without a filter. What comes there from samples that were
        # given out would be carried on from frame to frame.
        for bins in self._uncovered:
            s.C[bins] = 0
            s.R[bins] = 0
        origin = (s.n_read - s.n_window) * self.transform.hop_length
        stop = None if end is None else end - origin
        self._iteration.run(s, self.n_iter, s.committed - origin, stop)

    # Samples

    def _final(self, n_frames: int) -> int:
        """Return how many samples of the padded signal are final after so many frames."""
        return (n_frames - self.lookahead) * self.transform.hop_length + self._begin

    def _commit(self, s: StreamState, until: int) -> np.ndarray:
        """Return the samples up to a position of the padded signal, which are then fixed."""
        hop, padding = self.transform.hop_length, self.transform.padding
        origin = (s.n_read - s.n_window) * hop
        begin = max(s.committed, padding)
        s.committed = max(s.committed, until)
        samples = np.zeros((len(s.x), max(until - begin, 0)), np.float32)
        known = s.x[:, begin - origin : until - origin] if until > begin else s.x[:, :0]
        samples[:, : known.shape[1]] = known
        samples *= np.ldexp(np.float32(1), s.exponent)[:, None]
        # Frames of committed samples leave, except the newest, which the phase of the next needs.
        gone = (s.committed - origin - self._end) // hop + 1
        s.drop(min(max(gone, 0), s.n_window - 1), hop)
        c = self.transform.preemphasis
        if not c:
            return samples
        filtered, s.memory = scipy.signal.lfilter([1.0], [1.0, -c], samples, zi=s.memory)
        return filtered.astype(np.float32)

    def _joined(self, parts: list[np.ndarray], s: StreamState) -> np.ndarray:
        samples = np.concatenate([np.zeros((len(s.x), 0), np.float32), *parts], axis=1)
        return samples.reshape(*s.lead, samples.shape[1])
