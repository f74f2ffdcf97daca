"""Zimtohrli: perceived similarity near the just-noticeable difference."""

from __future__ import annotations

import numpy as np

from melexp.metrics._score import Score, at_full_scale, is_silent
from melexp.transforms.mel import MelTransform

NEEDS = ("perceptual", "zimtohrli")
RATE = 48000
#: Shortest sound in seconds. For fewer than 7 of its frames (0.083 s in all), the C++ code of
#: zimtohrli 0.2.1 writes beyond its arrays and ends the process.
SHORTEST = 0.25


def zimtohrli(reference: np.ndarray, estimate: np.ndarray, *, transform: MelTransform) -> Score:
    """Compute the mean opinion score of Zimtohrli; higher is better.

    An auditory filter bank, an alignment in time and a similarity give a distance, which the
    package zimtohrli maps to a mean opinion score (github.com/google/zimtohrli). It is meant for
    differences that are hardly audible, and it depends on the level: full scale is 78 dB SPL.

    Range: 1 to 5 for a copy. Computed at 48 kHz, on samples clipped to [-1, 1]. Undefined if the
    reference or the estimate is silent, or shorter than 0.25 s (`SHORTEST`).
    """
    from zimtohrli import mos_from_signals

    if is_silent(reference) or is_silent(estimate):
        return Score.without("the reference or the estimate is silent")
    if len(reference) < SHORTEST * transform.sr:
        return Score.without(f"shorter than {SHORTEST} s")
    return Score(float(mos_from_signals(*at_full_scale(RATE, transform, reference, estimate))))
