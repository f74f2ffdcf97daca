"""DNSMOS: predicted opinion of speech, without a reference."""

from __future__ import annotations

import numpy as np

from melexp.metrics._score import Score, at_full_scale, is_silent
from melexp.transforms.mel import MelTransform

NEEDS = ("perceptual", "speechmos", "onnxruntime")
RATE = 16000


def dnsmos(reference: np.ndarray, estimate: np.ndarray, *, transform: MelTransform) -> Score:
    """Compute the overall quality of DNSMOS P.835 (Reddy et al. 2022); speech; higher is better.

    A network predicts the opinion of listeners from the estimate alone (package speechmos). It is
    blind to the resemblance to the reference. Sound shorter than 9.01 s is repeated.

    Range: 1.1 to 3.9; clean read speech has 3.0 to 3.5. Computed at 16 kHz, on samples clipped to
    [-1, 1]. Undefined for a silent estimate.
    """
    from speechmos import dnsmos as package

    if is_silent(estimate):
        return Score.without("the estimate is silent")
    (y,) = at_full_scale(RATE, transform, estimate)
    if y.size == 0:
        return Score.without("shorter than a sample at 16 kHz")
    return Score(float(package.run(y, RATE)["ovrl_mos"]))
