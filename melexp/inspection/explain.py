"""Weigh what a mel-spectrogram may be: marks of its values, and likeness to real sound."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from melexp.inspection.conventions import Convention, bands_of, conventions, same_scale
from melexp.inspection.facts import decibels, sample, sound, unpadded
from melexp.inspection.kinds import kinds
from melexp.inspection.natural import fit
from melexp.transforms.mel import MelTransform

#: Negative values of a linear mel down to this share of the largest come from rounding.
ROUNDING = 0.02
#: Values below a floor down to this share of the range come from a model.
_MODEL = 0.05
#: Weights of the marks, in units of a log-likelihood.
IMPOSSIBLE = -30.0  # values that the convention cannot have
_MARK = 6.0  # the least or the largest value is the predicted one to four digits
_ADDED = 0.5  # less, where an epsilon makes equal values unlikely
_MISSED = -5.0  # many values share a least one that the convention does not explain
_CROPPED = -2.0  # the same, where the range of a longer mel explains it
_NEAR = 3.0  # values crowd above the least one that an epsilon allows
_JUST_ABOVE = 2.0  # one value is there
_BANDS = 4.0  # bands that are proportional or empty as the filters say, or not
_PRESET = 2.0  # a preset, not only its bands
#: Scores this close do not decide between front ends with the same scale of values.
_CLOSE = 4.0
#: Score of values in an unknown scale, which cannot be compared with real sound.
_UNKNOWN = -6.0


@dataclass(frozen=True)
class Explanation:
    """A front end, or a kind of array, that explains a mel-spectrogram.

    Attributes
    ----------
    name : str
        Scale of the values in words, or the kind of array.
    score : float
        Log-likelihood up to a constant: larger is better, 5 is a large difference.
    reasons : list of str
    conventions : list of Convention
        Front ends between which the values cannot decide, the likeliest first. Empty for an
        array whose scale is unknown.
    remedy : str
        What to do if no option of the front end describes it.
    """

    name: str
    score: float
    reasons: list[str]
    conventions: list[Convention] = field(default_factory=list)
    remedy: str = ""

    def options(self, near: MelTransform | None = None) -> str:
        """Return options of ``melexp invert``, if possible on the bands of the transform `near`.

        They are empty for an array whose scale is unknown.
        """
        if not self.conventions:
            return ""
        wanted = None if near is None else bands_of(near)
        same = (c for c in self.conventions if bands_of(c.transform) == wanted)
        return next(same, self.conventions[0]).options

    def advice(self, near: MelTransform | None = None) -> str:
        """Return the remedy, or the options to give."""
        return self.remedy or f"give {self.options(near)}"


class Evidence:
    """A mel-spectrogram, and the score of any front end for it.

    Parameters
    ----------
    mel : np.ndarray [shape=(n_mels, n_frames)]
        Finite values.
    """

    def __init__(self, mel: np.ndarray) -> None:
        inner = unpadded(mel)
        self.part = sample(inner)
        self.least, self.largest = float(inner.min()), float(inner.max())
        self.span = max(self.largest - self.least, 1e-12)
        self.at_least = float(np.mean(inner == inner.min()))
        self.clamped = self.at_least * inner.size >= 3
        self._levels: dict[Any, tuple[np.ndarray, np.ndarray] | None] = {}

    def levels(self, t: MelTransform) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the levels in dB, see `decibels`; None if the values are impossible."""
        key = (t.power, t.compression)
        if key not in self._levels:
            try:
                self._levels[key] = decibels(self.part, t, largest=self.largest)
            except ValueError:
                self._levels[key] = None
        return self._levels[key]

    def likeness(self, t: MelTransform) -> float:
        """Return how much the sound of a front end is like real sound; 0 is the best."""
        found = self.levels(t)
        return IMPOSSIBLE if found is None else fit(sound(*found, t), t)

    def marks(self, t: MelTransform) -> Iterator[tuple[float, str]]:
        """Yield the weight and the reason of each mark of the values."""
        lowest, top = limits(t, self.largest)
        near = 1e-4 * self.span
        beyond = ROUNDING * self.largest if t.compression is None else _MODEL * self.span
        if self.least < lowest - beyond:
            low = "are negative" if t.compression is None else f"go below {lowest:.5g}"
            yield IMPOSSIBLE, f"values {low}, down to {self.least:.5g}"
        elif not self.clamped:
            crowded = t.compression is not None and t.compression.floor == 0 and abs(lowest) > near
            if crowded and np.mean(self.part < lowest + 0.01 * self.span) > 0.01:
                yield _NEAR, f"many values are just above {lowest:.5g}"
            elif crowded and self.least < lowest + 0.005 * self.span:
                yield _JUST_ABOVE, f"the least value is just above {lowest:.5g}"
        elif abs(self.least - lowest) <= (0 if t.compression is None else near):
            # Equal values at the lower end come from a floor rather than from an addition.
            added = t.compression is not None and t.compression.floor == 0
            yield _MARK - _ADDED * added, f"the least value is {lowest:.5g}"
        elif self.at_least > 5e-3 and abs(self.least - lowest) > near:
            # A part of a longer mel may lack the largest value, to which the range refers.
            part = t.compression is not None and t.compression.range is not None
            share = f"{100 * self.at_least:.0f} % of the values are {self.least:.5g}"
            yield _CROPPED if part and self.least > lowest else _MISSED, share
        if top is None:
            return
        if abs(self.largest - top) <= near:
            yield _MARK, f"the largest value is {top:.5g}"
        elif self.largest > top:
            yield IMPOSSIBLE, f"values exceed {top:.5g}, up to {self.largest:.5g}"
        else:
            yield _CROPPED, f"no value reaches {top:.5g}"  # or it is a part

    def bands(self, t: MelTransform) -> Iterator[tuple[float, str]]:
        """Yield the marks of the filters: bands that are empty or proportional to the next."""
        found = self.levels(t)
        if found is None or not found[1].any():
            return
        levels, used = found
        empty = t.basis.max(axis=1) == 0
        if empty.any() and (self.part[empty] != self.least).any():
            yield IMPOSSIBLE, "bands have values although their filters are empty"
        elif empty.any():
            yield _BANDS, f"{empty.sum()} bands are empty"
        expected = proportional(t.basis)
        both = used[1:] & used[:-1]
        counts = both.sum(axis=1)
        apart = np.diff(levels, axis=0)
        mean = np.divide(
            apart.sum(axis=1, where=both), counts, out=np.zeros(len(counts)), where=counts > 0
        )
        off = np.abs(apart - mean[:, None]).max(axis=1, where=both, initial=0)
        clear = counts >= 10
        seen = clear & (off < 0.1)
        if (expected & clear).any():
            fits = bool(seen[expected & clear].mean() > 0.5)
            yield (
                (_BANDS if fits else -_BANDS),
                (f"{expected.sum()} bands are {'' if fits else 'not '}proportional to the next"),
            )
        elif seen.sum() > 2:
            yield -_BANDS, f"{seen.sum()} bands are proportional to the next"


def proportional(basis: np.ndarray) -> np.ndarray:
    """Return which filters have the same single bin as the next [shape=(n_mels - 1,), bool]."""
    single = (basis > 0).sum(axis=1) == 1
    peak = basis.argmax(axis=1)
    same: np.ndarray = single[1:] & single[:-1] & (peak[1:] == peak[:-1])
    return same


def limits(t: MelTransform, largest: float) -> tuple[float, float | None]:
    """Return the lowest value of a front end given the largest, and the largest if it is fixed."""
    c = t.compression
    if c is None:
        return 0.0, None
    if np.ndim(c.gain) or np.ndim(c.offset) or c.gain < 0:
        # The limits differ by band, or the values are upside down, with their floor at the top.
        return -np.inf, None
    lowest, top = -np.inf, None
    if c.ref == "max":
        top = float(c.compress(np.ones((1, 1)))[0, 0])
    else:
        lowest = float(c.compress(np.zeros((1, 1)))[0, 0])
    if c.range is not None:
        lowest = max(lowest, (largest if top is None else top) - c.range * c.gain)
    return lowest, top


def ranked(mel: np.ndarray, presets: tuple[str, ...]) -> list[Explanation]:
    """Return the explanations of a mel-spectrogram, the likeliest first.

    Parameters
    ----------
    mel : np.ndarray [shape=(n_mels, n_frames)]
        Finite values.
    presets : tuple of str
    """
    evidence = Evidence(mel)
    scored = []
    for c in conventions(mel.shape[0], presets):
        marks = [*evidence.marks(c.transform), *evidence.bands(c.transform)]
        score = evidence.likeness(c.transform) + sum(weight for weight, _ in marks)
        scored.append((score + _PRESET * c.preset, [why for _, why in marks], c))
    scored.sort(key=lambda item: -item[0])
    found: list[Explanation] = []
    for score, reasons, c in scored:
        for known in found:
            first = known.conventions[0].transform
            if known.score - score < _CLOSE and same_scale(first, c.transform):
                known.conventions.append(c)
                break
        else:
            found.append(Explanation(c.scale, score, reasons, [c]))
    found += [
        Explanation(kind.name, _UNKNOWN + kind.weight, [], remedy=kind.remedy)
        for kind in kinds(evidence.part, evidence.least, evidence.largest, evidence.at_least)
    ]
    return sorted(found, key=lambda e: -e.score)
