"""The harmonics of a magnitude: a comb at the multiples of the pitch, for the learned prior."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from melexp.transforms.mel import MelTransform

#: Candidates of the pitch in Hz: the range, and the relative step.
LOWEST, HIGHEST, STEP = 60.0, 600.0, 0.005
#: Frequencies in Hz whose harmonics estimate the pitch; the weight falls to 0 over the upper half.
BAND = (50.0, 3000.0)
#: How much the best candidate outweighs the others.
SHARPNESS = 40.0
#: Lower limit of magnitudes relative to the level of a frame.
FLOOR = 1e-3


@dataclass(frozen=True)
class Combs:
    """The combs of all candidates of the pitch, for one front end.

    Attributes
    ----------
    cosines : np.ndarray [shape=(n_candidates, n_bins), float32]
        1 at the multiples of the candidate, -1 halfway between them.
    weights : np.ndarray [shape=(n_bins,), float32]
        How much a bin says about the pitch; their sum is 1.
    """

    cosines: np.ndarray
    weights: np.ndarray

    @classmethod
    def of(cls, transform: MelTransform) -> Combs:
        """Return the combs of a front end."""
        frequency = transform.sr / transform.n_fft * np.arange(transform.n_fft // 2 + 1)
        n = int(np.log(HIGHEST / LOWEST) / STEP)
        pitches = LOWEST * np.exp(STEP * np.arange(n + 1))
        low, high = BAND
        weights = np.clip(2 * (1 - frequency / high), 0, 1) * (frequency >= low)
        cosines = np.cos(2 * np.pi * frequency / pitches[:, None])
        return cls(
            cosines.astype(np.float32), (weights / max(weights.sum(), 1e-9)).astype(np.float32)
        )

    def expected(self, A: np.ndarray, smooth: np.ndarray, level: np.ndarray) -> np.ndarray:
        """Return the mean of the combs of each frame, weighted by the probability of each pitch.

        The probability is the softmax of how well a comb fits the fine structure of the magnitude.

        Parameters
        ----------
        A, smooth : np.ndarray [shape=(n_bins, n_frames)], non-negative
            The magnitude, and its mean over the mel bands.
        level : np.ndarray [shape=(n_frames,)], positive
            The level of each frame.

        Returns
        -------
        comb : np.ndarray [shape=(n_bins, n_frames), float32], from -1 to 1
            Near 0 where the pitch is unknown, and at high frequencies where it is not exact.
        """
        fine = np.log((A / level + FLOOR) / (smooth / level + FLOOR)).astype(np.float32)
        np.clip(fine, -2, 2, out=fine)
        fine *= self.weights[:, None]
        fit = self.cosines @ fine
        probability = np.exp(SHARPNESS * (fit - fit.max(axis=0)))
        probability /= probability.sum(axis=0)
        return self.cosines.T @ probability
