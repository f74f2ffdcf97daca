"""The score: the value of a metric, or the reason for its absence."""

from __future__ import annotations

import math
import sys
from typing import NamedTuple

import numpy as np
import soxr

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


def at_rate(rate: int, transform: MelTransform, *signals: np.ndarray) -> list[np.ndarray]:
    """Return waveforms at a sampling rate in Hz, in float64; all are resampled in the same way."""
    return [soxr.resample(y.astype(np.float64), transform.sr, rate) for y in signals]


def at_full_scale(rate: int, transform: MelTransform, *signals: np.ndarray) -> list[np.ndarray]:
    """Return waveforms as `at_rate`, clipped to [-1, 1] as in a sound file."""
    return [y.clip(-1, 1) for y in at_rate(rate, transform, *signals)]
