"""The short-time Fourier transform, its least-squares inverse and the projection P_C."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.fft
import scipy.signal

#: Padding modes in which every padded sample is a copy of one sample, or zero. The least-squares
#: inverse is a division only in these modes: padded samples fold back onto their sources.
PAD_MODES = ("constant", "reflect", "edge", "symmetric", "wrap")

#: A sample is seen if the squared windows over it sum to this share of their mean. The inverse then
#: amplifies an error of the spectrogram by at most 1 / sqrt(SEEN) = 7 (17 dB).
SEEN = 0.02


def is_sampled(window: Any) -> bool:
    """Return whether a window is given by its samples, not by name or parameters."""
    if isinstance(window, np.ndarray):
        return True
    return isinstance(window, tuple | list) and not isinstance(next(iter(window), None), str)


def analysis_window(window: Any, *, win_length: int, n_fft: int) -> np.ndarray:
    """Return a window of ``win_length`` samples, centred in ``n_fft`` samples.

    Parameters
    ----------
    window : str, float, tuple or np.ndarray [shape=(win_length,)]
        The samples, "povey" (a symmetric Hann window to the power 0.85, as in
        Kaldi), or a window of :func:`scipy.signal.get_window`. Windows are periodic; a name that
        ends in "_symmetric", such as "hann_symmetric", gives the symmetric one.
    """
    if isinstance(window, str) and window == "povey":
        w = np.hanning(win_length) ** 0.85
    elif is_sampled(window):
        w = np.asarray(window, dtype=np.float64)
        if w.shape != (win_length,):
            raise ValueError(
                f"window has shape {w.shape}; give an array of win_length = {win_length} samples"
            )
    else:
        periodic = not (isinstance(window, str) and window.endswith("_symmetric"))
        name = window if periodic else window.removesuffix("_symmetric")
        try:
            w = scipy.signal.get_window(name, win_length, fftbins=periodic).astype(np.float64)
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"window {window!r} is not known to scipy.signal.get_window ({error})"
            ) from error
    left = (n_fft - win_length) // 2
    return np.pad(w, (left, n_fft - win_length - left))


def hashable_window(window: Any, win_length: int) -> Any:
    """Return the window as a name, a number or a tuple; a function is evaluated."""
    if callable(window):
        window = window(win_length)
    if isinstance(window, np.ndarray):
        window = window.tolist()
    return tuple(window) if isinstance(window, list) else window


def window_text(window: Any) -> str:
    """Return how messages name a window."""
    return f"of {len(window)} given samples" if is_sampled(window) else repr(window)


def sees_all(window: np.ndarray, hop_length: int) -> bool:
    """Return whether frames of this window and hop see every sample away from the edges."""
    square = np.pad(window**2, (0, -len(window) % hop_length)).reshape(-1, hop_length).sum(axis=0)
    return bool(square.min() > 0 and square.min() >= SEEN * square.mean())


class STFT:
    r"""STFT of real signals of one length, with its exact least-squares inverse.

    Frames are columns, as in librosa: a spectrogram has shape ``(..., n_fft // 2 + 1, n_frames)``.
    With :math:`w` the window, :math:`h` the hop and :math:`\tilde x` the padded signal,

    .. math:: X[f, t] = \sum_n w[n]\, \tilde x[n + h t]\, e^{-2 \pi i f n / N}.

    :meth:`inverse` is the Moore-Penrose inverse for the inner product of the full (two-sided)
    spectrum. It overlap-adds the windowed frames and folds each padded sample back onto its source.
    The sum is divided by the squared windows, folded in the same way. :meth:`project` is therefore
    the orthogonal projection onto the consistent spectrograms, also at the edges and for any hop
    that covers the signal. Frame weights :math:`g_t` multiply frame t of X by :math:`g_t`; the same
    properties then hold for the weighted spectrograms.

    A window falls to zero at its ends. Frames that are not centred hardly determine the first and
    last samples, and there the division would make the error of an estimate louder than the sound.
    Samples whose squared windows sum to less than `SEEN` of the mean are therefore zero in the
    signals of the inverse, and the consistent spectrograms are those of such signals. All other
    samples are reconstructed. Centred Hann frames with a hop of up to 3/8 of the window see every
    sample.

    Parameters
    ----------
    n_samples : int > 0
        Length of the signals in samples.
    window : np.ndarray [shape=(n_fft,)]
        Analysis window, zero-padded to the frame length.
    hop_length : int > 0
        Samples between frames, at most the support of the window.
    pad : int >= 0
        Samples added at either end (``n_fft // 2`` for centred frames).
    pad_mode : str
        One of `PAD_MODES`.
    dtype : np.float32 or np.float64
        Precision of the signals.
    weights : np.ndarray [shape=(n_frames,)] or None
        Positive weights g of the frames. None means 1.

    Raises
    ------
    ValueError
        If the signal is too short for one frame, or for an unknown padding mode.

    References
    ----------
    D. W. Griffin and J. S. Lim, "Signal estimation from modified short-time Fourier transform",
    IEEE TASSP 32(2), 1984.
    """

    def __init__(
        self,
        n_samples: int,
        *,
        window: np.ndarray,
        hop_length: int,
        pad: int,
        pad_mode: str = "constant",
        dtype: Any = np.float32,
        weights: np.ndarray | None = None,
    ) -> None:
        self.n_fft = n_fft = len(window)
        self.hop_length = hop_length
        self.n_samples = n_samples
        self.dtype = np.dtype(dtype)
        if n_samples < 1 or n_samples + 2 * pad < n_fft:
            raise ValueError(
                f"a signal of {n_samples} samples is shorter than one frame of n_fft = {n_fft}; "
                "give a longer signal or use center=True"
            )
        self.n_frames = 1 + (n_samples + 2 * pad - n_fft) // hop_length
        self.n_padded = n_fft + hop_length * (self.n_frames - 1)
        self.pad = pad
        # Samples inside a frame: without centring, a tail shorter than a hop is not covered.
        self.n_covered = min(n_samples, self.n_padded - pad)
        self._edge_at, self._edge_from = _copied_edges(n_samples, pad, pad_mode, self.n_padded)

        self.window = window
        self._w = window.astype(self.dtype)[:, None]
        self.weights = None if weights is None else weights.astype(self.dtype)
        ones = np.ones(self.n_frames)
        power = coverage = self._summed_squares(ones)
        if weights is not None:
            power = self._summed_squares(np.square(weights, dtype=np.float64))
        seen = coverage >= SEEN * np.sum(window**2) / hop_length
        inv = np.divide(1.0, power, out=np.zeros_like(power), where=seen)
        self.inv_norm = inv.astype(self.dtype)

    def _summed_squares(self, energy: np.ndarray) -> np.ndarray:
        """Return the sum of the squared windows over each sample, for the energy of each frame."""
        square = np.pad(self.window**2, (0, -self.n_fft % self.hop_length))
        power = np.zeros((self._n_rows, self.hop_length))
        for q, row in enumerate(square.reshape(-1, self.hop_length)):
            power[q : q + self.n_frames] += np.outer(energy, row)
        return self._fold(power.ravel()[: self.n_padded])

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Return the spectrogram ``(..., n_bins, n_frames)`` of signals ``(..., n_samples)``."""
        n_fft, hop, n_frames = self.n_fft, self.hop_length, self.n_frames
        padded = np.zeros((*x.shape[:-1], self._n_rows * hop), dtype=self.dtype)
        padded[..., self.pad : self.pad + self.n_covered] = x[..., : self.n_covered]
        padded[..., self._edge_at] = x[..., self._edge_from]
        # One column per hop: sample n = q hop + i of frame t is row i, column t + q.
        hops = np.ascontiguousarray(
            np.swapaxes(padded.reshape(*x.shape[:-1], self._n_rows, hop), -1, -2)
        )
        frames = np.empty((*x.shape[:-1], n_fft, n_frames), dtype=self.dtype)
        for q, start in enumerate(range(0, n_fft, hop)):
            m = min(hop, n_fft - start)
            rows = slice(start, start + m)
            np.multiply(hops[..., :m, q : q + n_frames], self._w[rows], out=frames[..., rows, :])
        if self.weights is not None:
            frames *= self.weights
        return scipy.fft.rfft(frames, axis=-2, overwrite_x=True)

    def inverse(self, X: np.ndarray) -> np.ndarray:
        """Return the least-squares signals ``(..., n_samples)`` of any spectrograms."""
        n_fft, hop, n_frames = self.n_fft, self.hop_length, self.n_frames
        frames = scipy.fft.irfft(X, n=n_fft, axis=-2)
        frames *= self._w
        if self.weights is not None:
            frames *= self.weights
        hops = np.zeros((*X.shape[:-2], hop, self._n_rows), dtype=self.dtype)
        for q, start in enumerate(range(0, n_fft, hop)):
            m = min(hop, n_fft - start)
            hops[..., :m, q : q + n_frames] += frames[..., start : start + m, :]
        padded = np.swapaxes(hops, -1, -2).reshape(*X.shape[:-2], -1)[..., : self.n_padded]
        x = self._fold(padded)
        x *= self.inv_norm
        return x

    def project(self, X: np.ndarray) -> np.ndarray:
        """Return P_C X, the consistent spectrogram nearest to `X`."""
        return self.forward(self.inverse(X))

    @property
    def _n_rows(self) -> int:
        return self.n_frames - 1 + -(-self.n_fft // self.hop_length)

    @property
    def pad_index(self) -> np.ndarray:
        """Index of the source of each padded sample, -1 for zero [shape=(n_padded,), int64]."""
        index = np.full(self.n_padded, -1)
        index[self.pad : self.pad + self.n_covered] = np.arange(self.n_covered)
        index[self._edge_at] = self._edge_from
        return index

    def _fold(self, padded: np.ndarray) -> np.ndarray:
        """Apply the adjoint of the padding: add every padded sample to its source."""
        x = np.zeros((*padded.shape[:-1], self.n_samples), dtype=padded.dtype)
        x[..., : self.n_covered] = padded[..., self.pad : self.pad + self.n_covered]
        if self._edge_at.size:
            np.add.at(x, (..., self._edge_from), padded[..., self._edge_at])  # type: ignore[arg-type]
        return x


def _copied_edges(
    n_samples: int, pad: int, pad_mode: str, n_padded: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions in the padded signal that copy a sample, and their sources."""
    if pad_mode not in PAD_MODES:
        raise ValueError(f"pad_mode must be one of {', '.join(PAD_MODES)}; got {pad_mode!r}")
    if pad == 0 or pad_mode == "constant":
        return np.empty(0, np.int64), np.empty(0, np.int64)
    index = np.pad(np.arange(n_samples), pad, mode=pad_mode)[:n_padded]  # type: ignore[call-overload]
    at = np.flatnonzero((np.arange(len(index)) < pad) | (np.arange(len(index)) >= pad + n_samples))
    return at, index[at]
