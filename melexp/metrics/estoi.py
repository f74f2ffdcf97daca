"""ESTOI: extended short-time objective intelligibility."""

from __future__ import annotations

import warnings

import numpy as np

from melexp.metrics._score import Score, is_silent
from melexp.transforms.mel import MelTransform


def estoi(reference: np.ndarray, estimate: np.ndarray, *, transform: MelTransform) -> Score:
    """Compute the extended STOI (Jensen & Taal 2016); speech only; higher is better.

    Range: about 0 to 1. Undefined if the reference or the estimate is silent, or if fewer than 30
    frames (0.4 s) of the reference are not silent, for which pystoi returns 1e-5.
    """
    import pystoi

    if is_silent(reference) or is_silent(estimate):
        return Score.without("the reference or the estimate is silent")
    too_short = Score.without("fewer than 30 frames of 26 ms that are not silent")
    if len(reference) < 0.39 * transform.sr:  # pystoi fails on less than a frame
        return too_short
    # pystoi adds 2e-16 to its denominators, which is not negligible for very soft sound.
    peak = float(np.abs(reference).max())
    level = peak if peak < 1e-6 else 1.0
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Not enough STFT frames", category=RuntimeWarning)
        try:
            value = pystoi.stoi(
                reference.astype(np.float64) / level,
                estimate.astype(np.float64) / level,
                transform.sr,
                True,
            )
        except RuntimeWarning:
            return too_short
    return Score(float(value))
