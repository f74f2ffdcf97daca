"""PESQ: perceptual evaluation of speech quality, wide-band."""

from __future__ import annotations

import numpy as np
import soxr

from melexp.mel import MelTransform
from melexp.metrics._score import Score, is_silent

RATE = 16000


def pesq(reference: np.ndarray, estimate: np.ndarray, *, transform: MelTransform) -> Score:
    """Wide-band PESQ (ITU-T P.862.2) at 16 kHz; speech only; higher is better.

    Range: 1.04 to 4.64. Both signals are resampled in the same way. Without a value where the
    reference or the estimate is silent, shorter than a quarter of a second, or has no utterance.
    """
    import pesq as itu

    if is_silent(reference) or is_silent(estimate):
        return Score.without("the reference or the estimate is silent")
    # The C code reads beyond shorter signals; PESQ itself says so of less than 1/4 s.
    if len(reference) < transform.sr / 4:
        return Score.without("shorter than 0.25 s")
    x, y = (
        soxr.resample(signal.astype(np.float64), transform.sr, RATE)
        for signal in (reference, estimate)
    )
    try:
        return Score(float(itu.pesq(RATE, x, y, "wb")))
    except itu.NoUtterancesError:
        return Score.without("PESQ finds no utterance")
