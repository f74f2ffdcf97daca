"""Arrays whose scale no front end fixes: normalised mel-spectrograms, and MFCCs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

#: A mean within this of 0, and a deviation within this of 1, come from this array itself.
_EXACT = 0.02
#: Ends of the values after a scaling to the least and the largest.
_ENDS = ((0.0, 1.0), (-1.0, 1.0), (-4.0, 4.0), (0.0, 4.0), (0.0, 255.0))
#: More bands than this are no MFCCs.
_MOST_COEFFICIENTS = 64


class Kind(NamedTuple):
    """A kind of array, its weight as a log-likelihood, and what to do."""

    name: str
    weight: float
    remedy: str


PER_BAND = (
    "normalised by the mean and deviation of each band",
    "give the file of these numbers with --stats and the options of the front end",
)
OVERALL = (
    "normalised by one mean and deviation",
    "give these numbers with --mean and --std and the options of the front end",
)
SCALED = (
    "scaled to its own least and largest value",
    "undo it first with the least and the largest value before the scaling, or give --gain and "
    "--offset with the options of the front end",
)
MFCC = (
    "MFCCs, the cosine transform of a log mel-spectrogram",
    "an MFCC is not a mel-spectrogram: use melexp.mfcc_to_audio in Python",
)


def kinds(part: np.ndarray, least: float, largest: float, at_least: float) -> Iterator[Kind]:
    """Yield the kinds that the values may be of.

    Parameters
    ----------
    part : np.ndarray [shape=(n_mels, n_frames)]
        Values without padding.
    least, largest : float
        Of the whole array.
    at_least : float
        Share of the values at the least one.
    """
    means, deviations = part.mean(axis=1), part.std(axis=1)
    live = deviations > 1e-6 * max(largest - least, 1e-12)
    if live.sum() < 2 or part.shape[1] < 2:
        return
    if least < 0 and _is_mfcc(part, means, deviations):
        yield Kind(MFCC[0], 25.0, MFCC[1])
    if any(np.allclose((least, largest), ends, rtol=0, atol=1e-5) for ends in _ENDS):
        yield Kind(SCALED[0], 12.0 if at_least * part.size < 3 else 3.0, SCALED[1])
    if least >= 0:
        return
    mean, deviation = float(part.mean()), float(part.std())
    centred = np.abs(means[live]) < _EXACT
    scaled = np.abs(deviations[live] - 1) < _EXACT
    # Statistics of other sounds leave a mean near 0 and a deviation near 1.
    many = least < -0.5
    if (centred & scaled).mean() > 0.9:
        yield Kind(PER_BAND[0], 28.0, PER_BAND[1])
    elif many:
        typical = float(np.median(deviations[live]))
        weight = 4.0 - _distance(means[live].std() / 0.2, mean / 0.8, np.log(typical) / 0.35)
        yield Kind(PER_BAND[0], weight, PER_BAND[1])
    if abs(mean) < _EXACT and abs(deviation - 1) < _EXACT:
        yield Kind(OVERALL[0], 20.0, OVERALL[1])
    elif many:
        weight = 3.0 - _distance(mean / 0.7, np.log(deviation) / 0.35)
        yield Kind(OVERALL[0], weight, OVERALL[1])


def _distance(*deviations: float) -> float:
    """Return half the sum of squares, as in the logarithm of a normal density."""
    return 0.5 * float(np.sum(np.square(deviations)))


def _is_mfcc(part: np.ndarray, means: np.ndarray, deviations: np.ndarray) -> bool:
    """Return whether the first row stands out, and the others shrink and are unlike each other."""
    if not 4 <= len(part) <= _MOST_COEFFICIENTS:
        return False
    half = len(part) // 2
    stands_out = abs(means[0]) > 3 * np.median(np.abs(means[1:]))
    return bool(stands_out and deviations[0] > 2.5 * np.median(deviations[half:]))
