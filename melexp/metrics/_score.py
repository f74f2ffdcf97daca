"""The score: the value of a metric, or the reason for its absence."""

from __future__ import annotations

import math
import sys
from typing import NamedTuple

import numpy as np
import soxr

from melexp.metrics._kept import REFERENCES, Shelf
from melexp.transforms.mel import MelTransform


class Score(NamedTuple):
    """Value of a metric, or NaN and a reason if the metric is undefined."""

    value: float
    reason: str = ""

    @classmethod
    def without(cls, reason: str) -> Score:
        """Return a score without a value, because of `reason`."""
        return cls(float("nan"), reason)


def spectral_convergence(reference: np.ndarray, estimate: np.ndarray) -> Score:
    """Return 20 log10(||reference - estimate|| / ||reference||) of two spectrograms, in dB."""
    norm = float(np.linalg.norm(reference))
    if norm == 0:
        return Score.without("the reference is silent")
    error = float(np.linalg.norm(reference - estimate))
    return Score(20 * math.log10(max(error / norm, sys.float_info.min)))


def is_silent(reference: np.ndarray) -> bool:
    """Return whether all samples of a waveform are zero."""
    return not np.any(reference)


def magnitude(y: np.ndarray, transform: MelTransform, emphasized: bool) -> np.ndarray:
    """Return the magnitude of the STFT of a waveform [shape=(n_bins, n_frames), float64].

    In float32, the SCM of a power mel below -50 dB would change by 1e-4 dB.

    Parameters
    ----------
    y : np.ndarray [shape=(n_samples,)]
    transform : MelTransform
    emphasized : bool
        Apply the pre-emphasis of the transform first.
    """
    y = y.astype(np.float64)
    stft = transform.stft(len(y), np.float64)
    X = stft.forward(transform.emphasized(y) if emphasized else y)
    result: np.ndarray = np.sqrt(np.square(X.real) + np.square(X.imag))  # faster than abs
    return result


def mel_of(shelf: Shelf, y: np.ndarray, transform: MelTransform) -> np.ndarray:
    """Return the linear mel-spectrogram [shape=(n_mels, n_frames), float64] of a waveform.

    Its magnitude comes from the shelf. Without pre-emphasis it is the one that SC compares.
    """
    A = shelf.of(magnitude, y, transform, transform.preemphasis > 0)
    return transform.filters(np.float64).apply(transform.spectrum(A))


def mel_of_reference(y: np.ndarray, transform: MelTransform) -> np.ndarray:
    """Return `mel_of` a reference."""
    return mel_of(REFERENCES, y, transform)


def resampled(y: np.ndarray, sr: float, rate: int) -> np.ndarray:
    """Return a waveform at another sampling rate in Hz, in float64."""
    result: np.ndarray = soxr.resample(y.astype(np.float64), sr, rate)
    return result


def at_rate(
    rate: int, transform: MelTransform, reference: np.ndarray, estimate: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return reference and estimate at a sampling rate in Hz; both are resampled alike."""
    return (
        REFERENCES.of(resampled, reference, transform.sr, rate),
        resampled(estimate, transform.sr, rate),
    )


def at_full_scale(rate: int, transform: MelTransform, *signals: np.ndarray) -> list[np.ndarray]:
    """Return waveforms at a sampling rate in Hz, clipped to [-1, 1] as in a sound file."""
    return [resampled(y, transform.sr, rate).clip(-1, 1) for y in signals]
