"""ViSQOL in its audio mode: perceived similarity of any sound."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from melexp.metrics._score import Score, at_rate, is_silent
from melexp.transforms.mel import MelTransform

NEEDS = ("perceptual", "visqol", "libsvm")
RATE = 48000


def visqol(reference: np.ndarray, estimate: np.ndarray, *, transform: MelTransform) -> Score:
    """Compute the MOS-LQO of ViSQOL v3 (Chinen et al. 2020), audio mode; higher is better.

    Gammatone spectrograms are aligned and compared by patches. A support vector machine maps their
    similarity to a mean opinion score (package visqol-python).

    Range: 1 to 4.73, the value of a copy. Computed at 48 kHz. Undefined if the reference or the
    estimate is silent, or shorter than a second.
    """
    return moslqo(reference, estimate, transform, "audio", RATE)


def moslqo(
    reference: np.ndarray, estimate: np.ndarray, transform: MelTransform, mode: str, rate: int
) -> Score:
    """Return the score of a mode, "audio" or "speech", at its sampling rate in Hz."""
    if is_silent(reference) or is_silent(estimate):
        return Score.without("the reference or the estimate is silent")
    if len(reference) < transform.sr:
        return Score.without("shorter than 1 s")
    x, y = at_rate(rate, transform, reference, estimate)
    return Score(float(_model(mode).measure_from_arrays(x, y, rate).moslqo))


@cache
def _model(mode: str) -> Any:
    from visqol import VisqolApi

    model = VisqolApi()
    # Without the lattice network, the speech mode would fall back to a fit that is 1 to 2 too high.
    model.create(mode=mode, use_lattice_model=mode == "speech")
    return model
