"""Doubts that a mel-spectrogram is what it is said to be."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from melexp.errors import MelWarning
from melexp.inspection.conventions import same_scale, scale_of
from melexp.inspection.explain import IMPOSSIBLE, ROUNDING, Evidence, ranked
from melexp.inspection.facts import as_array, finite, padding
from melexp.transforms.mel import MelTransform

#: A score below this asks for a comparison with other front ends.
_UNLIKELY = -8.0
#: Another front end is named only above this, unless the values are impossible: a tone or a click
#: is unlike real sound in every scale.
_LIKELY_ENOUGH = -12.0
#: Another front end must be better by this; a normalisation, whose sound is not judged, by more.
_MARGIN, _WIDE_MARGIN = 6.0, 9.0
#: Number of members of a batch that are examined.
_MEMBERS = 8


def warn(mels: Any, transform: MelTransform, *, stacklevel: int = 3) -> None:
    """Warn once, with a `MelWarning`, of the doubts about the first doubtful member of a batch.

    Parameters
    ----------
    mels : np.ndarray or torch.Tensor [shape=(n, n_mels, n_frames)]
    transform : MelTransform
        The front end that is said to have computed them.
    stacklevel : int
        As in :func:`warnings.warn`, seen from here.
    """
    real = mels.dtype.kind == "f" if isinstance(mels, np.ndarray) else mels.is_floating_point()
    for mel in mels[: _MEMBERS if real else 0]:  # other numbers are an error of the inversion
        if found := doubts(as_array(mel), transform):
            warnings.warn("; ".join(found), MelWarning, stacklevel=stacklevel)
            return


def doubts(mel: np.ndarray, transform: MelTransform) -> list[str]:
    """Return what speaks against a front end, a line each with the remedy; usually nothing.

    Parameters
    ----------
    mel : np.ndarray [shape=(n_mels, n_frames)]
    transform : MelTransform
        The front end that is said to have computed it.

    Returns
    -------
    doubts : list of str
        Empty for a mel that cannot be inverted at all, such as one with NaN or another number of
        bands. The inversion raises an error for it.
    """
    if mel.shape[0] != transform.n_mels or mel.size == 0:
        return []
    found = []
    below = np.isneginf(mel)
    if not (np.isfinite(mel) | below).all():
        return []
    mel = finite(mel)
    linear = transform.compression is None
    if linear and -ROUNDING * mel.max() <= mel.min() < 0:
        mel = np.maximum(mel, 0)  # the inversion does so, too, with a warning
    if not linear and (zero := sum(padding(mel))):
        found.append(
            f"{zero} frames at the ends are zero in every band, which is loud on a logarithmic "
            "scale: they are padding, cut them off"
        )
    with np.errstate(all="ignore"):  # levels far from those of sound overflow in other scales
        return found + _of_the_scale(mel, transform, floorless=bool(below.any()))


def _of_the_scale(mel: np.ndarray, transform: MelTransform, *, floorless: bool) -> list[str]:
    """Return the doubt about the scale of the values, if any.

    Parameters
    ----------
    mel : np.ndarray [shape=(n_mels, n_frames)]
        Finite values.
    transform : MelTransform
    floorless : bool
        Whether values below the floor are no reason.
    """
    evidence = Evidence(mel)
    marks = [] if floorless else list(evidence.marks(transform))
    against = [why for weight, why in marks if weight <= IMPOSSIBLE]
    levels = evidence.levels(transform)
    silent = levels is not None and not levels[1].any()
    score = evidence.likeness(transform) + sum(weight for weight, _ in marks)
    if evidence.least == evidence.largest or (not against and (silent or score > _UNLIKELY)):
        return []
    why = f" ({against[0]})" if against else ""
    for other in ranked(mel, tuple(MelTransform.presets())):
        if other.conventions and same_scale(other.conventions[0].transform, transform):
            continue
        margin = _MARGIN if other.conventions else _WIDE_MARGIN
        if other.score > score + margin and (against or other.score > _LIKELY_ENOUGH):
            return [
                f"the values do not look like {scale_of(transform)}{why}, but {other.name}: "
                f"{other.advice(transform)}"
            ]
        break
    return [f"the values do not look like {scale_of(transform)}{why}"] if against else []
