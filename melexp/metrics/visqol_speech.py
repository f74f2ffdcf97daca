"""ViSQOL in its speech mode: perceived similarity of speech."""

from __future__ import annotations

import numpy as np

from melexp.metrics import visqol
from melexp.metrics._score import Score
from melexp.transforms.mel import MelTransform

NEEDS = (*visqol.NEEDS, "ai_edge_litert")
RATE = 16000


def visqol_speech(reference: np.ndarray, estimate: np.ndarray, *, transform: MelTransform) -> Score:
    """Compute the MOS-LQO of ViSQOL v3 (Chinen et al. 2020), speech mode; higher is better.

    As `visqol`, on patches with speech, and with a lattice network as the map to a mean opinion
    score.

    Range: 1 to 5. Computed at 16 kHz. Undefined if the reference or the estimate is silent, or
    shorter than a second.
    """
    return visqol.moslqo(reference, estimate, transform, "speech", RATE)
