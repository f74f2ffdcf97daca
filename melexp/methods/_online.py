"""What methods that see one frame after the other share: windows, magnitudes, the waveform."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from melexp.problem import Problem
from melexp.start.magnitude import MAGNITUDES, magnitude_of


@dataclass(frozen=True)
class Frames:
    """The frames of a problem and the dual of its window.

    Attributes
    ----------
    magnitude : np.ndarray [shape=(n_frames, n_bins), float64]
        Each frame estimated from its own mel.
    window, dual : np.ndarray [shape=(n_fft,)]
        Analysis window, and the synthesis window that restores a signal from its frames.
    hop_length : int
    """

    magnitude: np.ndarray
    window: np.ndarray
    dual: np.ndarray
    hop_length: int

    @classmethod
    def of(cls, problem: Problem, magnitude: str) -> Frames:
        """Return the frames of a problem with a magnitude of that name."""
        Y = magnitude_of(MAGNITUDES[magnitude](problem), problem.transform.power)
        stft = problem.stft
        window, hop = stft.window.astype(np.float64), stft.hop_length
        squares = np.bincount(np.arange(len(window)) % hop, window**2, hop)
        norm = np.divide(1, squares, out=np.zeros(hop), where=squares > 0)
        dual = window * np.resize(norm, len(window))
        return cls(np.ascontiguousarray(Y.T, np.float64), window, dual, hop)

    @property
    def overlap(self) -> int:
        """Number of earlier frames that a frame overlaps."""
        return -(-len(self.window) // self.hop_length) - 1

    def waveform(self, problem: Problem, frames: np.ndarray) -> np.ndarray:
        """Return the waveform of synthesised frames [shape=(n_frames, n_fft)], overlap-added."""
        n_frames, n_fft = frames.shape
        hop, padding = self.hop_length, problem.transform.padding
        y = np.zeros(max((n_frames - 1) * hop + n_fft, padding + problem.n_samples))
        for t, frame in enumerate(frames):
            y[t * hop : t * hop + n_fft] += frame
        y = y[padding : padding + problem.n_samples] * problem.scale
        return problem.transform.deemphasized(y.astype(problem.dtype))
