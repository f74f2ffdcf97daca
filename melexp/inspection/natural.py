"""How real sound looks in a mel-spectrogram of any front end: a table, and the distance to it."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from melexp.inspection.facts import Sound
from melexp.transforms.mel import MelTransform

#: Features that scale with the logarithm; their logarithms are compared.
SCALES = ("time", "band", "spread", "share")
#: No feature counts more than this many deviations: some real sound is unusual in one of them.
_MOST = 4.0
#: Weight of a level below the usual: a recording may be quiet, but not louder than full scale.
_QUIET = 0.5
#: Likeness where every bin is on the floor, which is worse than that of usual sound.
_SILENT = -12.0


def traits(transform: MelTransform) -> np.ndarray:
    """Return what the features of real sound depend on: 1 and three logarithms [shape=(4,)].

    They are those of window over hop, of the window over 25 ms, and of the bands over 80.
    """
    win = transform.n_fft if transform.win_length is None else transform.win_length
    return np.array(
        [
            1.0,
            np.log2(win / transform.hop_length),
            np.log2(win / transform.sr / 0.025),
            np.log2(transform.n_mels / 80),
        ]
    )


def comparable(sound: Sound) -> dict[str, float]:
    """Return the features by name, the positive ones as logarithms; without those unknown."""
    values = {
        name: float(np.log(max(value, 1e-3))) if name in SCALES else value
        for name, value in sound._asdict().items()
    }
    return {name: value for name, value in values.items() if not np.isnan(value)}


def fit(sound: Sound, transform: MelTransform) -> float:
    """Return the log-likelihood of the features as those of speech or of other sound.

    It is 0 at the mean of speech, and at the worst about -40. The table `natural.json` has the
    expected features of speech as weights of the `traits`, and for each class of sound the mean
    difference from it and the deviation. ``studies/inspection.py`` measured them.
    """
    rows, known = table(), traits(transform)
    found = comparable(sound)
    if not found:
        return _SILENT
    likelihoods = []
    for kind in ("speech", "other"):
        total = 0.0
        for name, value in found.items():
            row = rows[name]
            expected = float(known @ np.array(row["weights"])) + row[kind]["mean"]
            z = (value - expected) / row[kind]["deviation"]
            if name == "level" and z < 0:
                z *= _QUIET
            total -= 0.5 * min(abs(z), _MOST) ** 2
            total -= float(np.log(row[kind]["deviation"] / row["speech"]["deviation"]))
        likelihoods.append(total)
    return float(np.logaddexp.reduce(likelihoods))


def usual(transform: MelTransform) -> dict[str, tuple[float, float]]:
    """Return the mean of each feature of speech and its deviation; a factor for positive ones."""
    known, found = traits(transform), {}
    for name, row in table().items():
        mean = float(known @ np.array(row["weights"])) + row["speech"]["mean"]
        deviation = row["speech"]["deviation"]
        if name in SCALES:
            mean, deviation = float(np.exp(mean)), float(np.exp(deviation))
        found[name] = (mean, deviation)
    return found


@cache
def table() -> dict[str, Any]:
    """Return the rows of `natural.json` by feature."""
    text = Path(__file__).with_name("natural.json").read_text(encoding="utf-8")
    rows: dict[str, Any] = json.loads(text)["features"]
    return rows
