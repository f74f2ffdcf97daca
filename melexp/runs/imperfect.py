"""The mel-spectrogram that a run inverts: that of the clip, or an imperfect one."""

from __future__ import annotations

from typing import Any

import numpy as np

from melexp.inversion.solve import solve
from melexp.methods import make_method
from melexp.problem import Problem
from melexp.transforms.imperfect import IMPERFECTIONS, imperfect
from melexp.transforms.mel import MelTransform

#: The mel-spectrogram of the sound that a vocoder made. It needs the package of the vocoder.
VOCODED = "vocoded"
#: The vocoder of `VOCODED`.
VOCODER = "hifigan"


def check_imperfection(name: str) -> None:
    """Raise ValueError for an unknown imperfection, MissingExtra if it needs a package."""
    if name == VOCODED:
        make_method(VOCODER).check_installed()
    elif name and name not in IMPERFECTIONS:
        names = ", ".join([*IMPERFECTIONS, VOCODED])
        raise ValueError(f"there is no imperfection {name!r}; the imperfections are {names}")


def given_mel(
    reference: np.ndarray, transform: MelTransform, *, imperfection: str, seed: Any
) -> np.ndarray:
    """Return the mel-spectrogram to invert [shape=(n_mels, n_frames)].

    Parameters
    ----------
    reference : np.ndarray [shape=(n_samples,)]
        The clip.
    transform : MelTransform
    imperfection : str
        One of `melexp.transforms.imperfect.IMPERFECTIONS`, `VOCODED`, or empty.
    seed : int or sequence of int
        Seed of the random errors. It depends on the clip, so all methods get the same mel.
    """
    mel = transform(reference)
    if not imperfection:
        return mel
    if imperfection != VOCODED:
        return imperfect(mel, transform, name=imperfection, seed=seed)
    problem = Problem(mel, transform, length=len(reference))
    (point,) = solve(make_method(VOCODER), problem, checkpoints=[1])
    return transform(point.signal)
