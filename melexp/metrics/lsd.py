"""LSD: log-spectral distance on the mel-spectrogram."""

from __future__ import annotations

import numpy as np

from melexp.metrics._kept import ESTIMATE, REFERENCES
from melexp.metrics._score import Score, is_silent, mel_of, mel_of_reference
from melexp.transforms.mel import MelTransform

#: Values below this level, relative to the maximum of the reference, count as equal to it.
FLOOR_DB = -80.0


def lsd(reference: np.ndarray, estimate: np.ndarray, *, transform: MelTransform) -> Score:
    r"""Compute the log-spectral distance (Gray & Markel 1976) of the mel in dB; lower is better.

    .. math:: \frac{1}{T} \sum_t \sqrt{\frac{1}{K} \sum_k
        \left(\frac{20}{p} \log_{10} \frac{M_{kt}}{N_{kt}}\right)^2}

    M and N are the linear mel-spectrograms of the reference and of the estimate. Both are floored
    80 dB below the maximum of M. Bands without a filter are left out. Every frame counts alike, so
    quiet frames weigh more than in SCM.

    Range: 0 dB for a copy, and above. Undefined for a silent reference.
    """
    if is_silent(reference):
        return Score.without("the reference is silent")
    used = transform.basis.any(axis=1)
    M = REFERENCES.of(mel_of_reference, reference, transform)[used]
    N = mel_of(ESTIMATE, estimate, transform)[used]
    floor = M.max() * 10 ** (FLOOR_DB / 20 * transform.power)
    if not floor > 0:
        return Score.without("the mel-spectrogram of the reference is zero")
    ratio = np.maximum(M, floor) / np.maximum(N, floor)
    distance = 20 / transform.power * np.log10(ratio)
    return Score(float(np.sqrt(np.mean(distance**2, axis=0)).mean()))
