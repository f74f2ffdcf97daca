"""RTISI-LA: Griffin and Lim's iteration frame by frame, with a fixed magnitude."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.fft

from melexp.methods._base import Peer
from melexp.methods._online import Frames
from melexp.problem import Problem
from melexp.start import check_start


@dataclass(frozen=True, kw_only=True)
class RtisiLa(Peer):
    r"""Real-time iterative spectrogram inversion with look-ahead.

    A buffer holds the newest frame, `lookahead` frames before it, and the earlier ones that they
    overlap, which are final. In each iteration the frames that are not final take the phase of the
    sum of all frames in the buffer, one after the other from the newest to the oldest. Then the
    oldest becomes final. The newest frame is analysed with another window, because later frames
    that would overlap it are missing: with the dual window g' of the frames, the hop h and the
    frame length N,

    .. math:: w(n) = \sum_{k \ge 0} g'(n - k h), \qquad 0 \le n < N .

    In the first iteration, in which the buffer does not have the frame itself, the sum begins with
    k = 1. The paper inverts linear spectrograms; here the magnitude is estimated from the mel.

    Parameters
    ----------
    lookahead : int >= 0
        Number of frames to wait for before a frame is final.
    magnitude : str
        A name in `melexp.start.MAGNITUDES`.

    Raises
    ------
    ValueError
        If a value is out of range.

    References
    ----------
    X. Zhu, G. T. Beauregard and L. L. Wyse, "Real-time signal estimation from modified short-time
    Fourier transform magnitude spectra", IEEE TASLP 15(5), 2007.
    """

    lookahead: int = 6
    magnitude: str = "kl"

    def __post_init__(self) -> None:
        if not self.lookahead >= 0:
            raise ValueError(f"lookahead must not be negative; got {self.lookahead}")
        check_start(self.magnitude, "zero")

    def start(self, problem: Problem) -> Frames:
        return Frames.of(problem, self.magnitude)

    def run(
        self, problem: Problem, rng: np.random.Generator, n_iter: int, start: Any
    ) -> np.ndarray:
        """Return the waveform [shape=(n_samples,)]; `rng` has no effect."""
        given: Frames = start
        Y, hop, before = given.magnitude, given.hop_length, given.overlap
        n_frames, n_fft = len(Y), len(given.window)
        shifted = [np.pad(given.dual, (k * hop, 0))[:n_fft] for k in range(before + 1)]
        newest = np.sum(shifted[1:], axis=0), np.sum(shifted, axis=0)
        frames = np.zeros((before + n_frames + before, n_fft))  # with empty ones around

        def overlapped(t: int) -> np.ndarray:
            """Return the sum of all frames at the place of frame t."""
            total = frames[before + t].copy()
            for k in range(1, before + 1):
                total[: n_fft - k * hop] += frames[before + t - k, k * hop :]
                total[k * hop :] += frames[before + t + k, : n_fft - k * hop]
            return total

        for last in range(n_frames + self.lookahead):
            for iteration in range(max(n_iter, 1)):
                for t in range(min(last, n_frames - 1), max(last - self.lookahead, 0) - 1, -1):
                    window = newest[min(iteration, 1)] if t == last else given.window
                    X = scipy.fft.rfft(overlapped(t) * window)
                    size = np.abs(X)
                    X *= np.divide(Y[t], size, out=np.zeros_like(size), where=size > 0)
                    X[size == 0] = Y[t][size == 0]  # phase zero
                    frames[before + t] = scipy.fft.irfft(X, n=n_fft) * given.dual
        return given.waveform(problem, frames[before : before + n_frames])
