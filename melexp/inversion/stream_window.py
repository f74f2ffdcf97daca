"""The frames of a stream that touch samples not yet given out, and the overlap-add over them."""

from __future__ import annotations

from functools import cache

import numpy as np
import scipy.fft
from scipy.linalg.lapack import dpttrs, spttrs

from melexp.transforms.stft import SEEN


class Window:
    """STFT of a few frames whose first samples are fixed; all streams side by side.

    Spectra have shape ``(n_streams, n_frames, n_bins)``, signals ``(n_streams, length)``. Samples
    count from the first sample of the first frame.

    Parameters
    ----------
    window : np.ndarray [shape=(n_fft,)]
        Analysis window.
    hop_length : int > 0
    n_frames : int > 0
        Largest number of frames.
    """

    def __init__(self, window: np.ndarray, hop_length: int, n_frames: int) -> None:
        self.n_fft, self.hop_length = len(window), hop_length
        self.window, self._w = window, window.astype(np.float32)
        self._rows = -(-self.n_fft // hop_length)
        #: Length of the signal of `n_frames` frames, in whole hops.
        self.length = (n_frames - 1 + self._rows) * hop_length
        square = np.zeros(self._rows * hop_length)
        square[: self.n_fft] = window**2

        @cache
        def inv_norm(n: int) -> np.ndarray:
            power = np.zeros((n - 1 + self._rows, hop_length))
            for q, row in enumerate(square.reshape(self._rows, hop_length)):
                power[q : q + n] += row
            flat = power.ravel()
            seen = flat >= SEEN * square.sum() / hop_length
            inverse = np.divide(1.0, flat, out=np.zeros_like(flat), where=seen)
            return inverse.astype(np.float32)

        self._inv_norm = inv_norm

    def scale(self, n: int, stop: int | None) -> np.ndarray:
        """Return the factors of the overlap-added samples of `n` frames, 0 from `stop` on."""
        scale: np.ndarray = self._inv_norm(n)
        return scale if stop is None else scale[: max(stop, 0)]

    def inverse(self, X: np.ndarray, x: np.ndarray, fixed: int, stop: int | None) -> None:
        """Overwrite the samples of `x` from `fixed` on by the least-squares signal of X.

        Samples from `stop` on are zero: the sound ends there.
        """
        n_streams, n = X.shape[:2]
        n_fft, hop = self.n_fft, self.hop_length
        frames = scipy.fft.irfft(X, n=n_fft, axis=-1, overwrite_x=False)
        frames *= self._w
        hops = np.zeros((n_streams, n - 1 + self._rows, hop), np.float32)
        for q, start in enumerate(range(0, n_fft, hop)):
            m = min(hop, n_fft - start)
            hops[:, q : q + n, :m] += frames[..., start : start + m]
        added = hops.reshape(n_streams, -1)
        end = added.shape[1] if stop is None else max(min(added.shape[1], stop), fixed)
        np.multiply(added[:, fixed:end], self._inv_norm(n)[fixed:end], out=x[:, fixed:end])
        x[:, end:] = 0

    def forward(self, x: np.ndarray, n: int) -> np.ndarray:
        """Return the spectra of the first `n` frames of `x`."""
        shape = (len(x), n, self.n_fft)
        strides = (x.strides[0], self.hop_length * x.itemsize, x.itemsize)
        frames = np.lib.stride_tricks.as_strided(x, shape, strides, writeable=False)
        spectra: np.ndarray = scipy.fft.rfft(frames * self._w, axis=-1, overwrite_x=True)
        return spectra


def solve_tridiagonal(below: np.ndarray, pivot: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Solve L D L^T x = b of many frames [shape=(n_streams, n_frames, n_mels)] in one sweep.

    The systems of the frames follow each other; `below` ends with 0 in each, so they are separate.

    Parameters
    ----------
    below : np.ndarray
        Sub-diagonal of L.
    pivot : np.ndarray
        D.
    b : np.ndarray
    """
    solve = spttrs if b.dtype == np.float32 else dpttrs
    x, _ = solve(pivot.ravel(), below.ravel()[:-1], b.reshape(-1, 1))
    return x.reshape(b.shape)
