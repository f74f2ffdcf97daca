"""Examine a mel-spectrogram of unknown origin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from melexp.inspection.conventions import front_ends
from melexp.inspection.explain import Evidence, Explanation, ranked
from melexp.inspection.facts import Facts, Sound, as_array, finite, measure, sound
from melexp.inspection.natural import SCALES, usual
from melexp.transforms.mel import MelTransform

#: Explanations worse than the first by more than this are left out, and those beyond this number.
_RANGE, _MOST = 12.0, 5
#: Differences of the scores of the first two explanations, and the words for them.
_CERTAINTY = ((5.0, "clear"), (2.0, "likely"), (0.0, "open: the next is almost as good"))
_UNITS = {
    "time": "dB between frames",
    "band": "dB between bands",
    "spread": "dB deviation",
    "share": "of the bins within 60 dB of the loudest",
    "level": "dB of full scale",
    "tilt": "dB per octave",
}


@dataclass(frozen=True)
class Inspection:
    """What is known of a mel-spectrogram.

    Attributes
    ----------
    facts : Facts
        The values as they are; bands first.
    transposed : bool
        Whether the given array had its frames first.
    explanations : list of Explanation
        The likeliest first. Their `options` are those of ``melexp invert``.
    sound : Sound or None
        Features of the sound under the first explanation that is a front end.
    """

    facts: Facts
    transposed: bool
    explanations: list[Explanation]
    sound: Sound | None

    @property
    def certainty(self) -> str:
        """How clearly the first explanation is better than the next."""
        scores = [e.score for e in self.explanations[:2]]
        apart = scores[0] - scores[1] if len(scores) > 1 else np.inf
        return next(word for least, word in _CERTAINTY if apart >= least)

    def __str__(self) -> str:
        return self.text()

    def text(self, source: str = "mel.npy") -> str:
        """Return a report of lines; its commands name `source`."""
        f = self.facts
        lines = [
            f"{f.shape[0]} bands, {f.shape[1]} frames"
            + (" (frames first in the file)" if self.transposed else ""),
            f"  values   {f.least:.5g} to {f.largest:.5g}, mean {f.mean:.4g}, deviation "
            f"{f.deviation:.4g}, range {f.largest - f.least:.4g}",
            f"  shares   {100 * f.at_least:.1f} % are the least value, {100 * f.zeros:.1f} % zero",
            f"  bands    means {f.band_means.min():.4g} to {f.band_means.max():.4g}, deviations "
            f"{f.band_deviations.min():.4g} to {f.band_deviations.max():.4g}, correlation of "
            f"neighbours {f.likeness:.2f}",
        ]
        if f.steps:
            lines.append(f"  steps    {f.levels} levels, as in a picture of 8 bits")
        if f.padding:
            lines.append(f"  padding  {f.padding} frames at the ends are zero: cut them off")
        if f.below or f.nan:
            lines.append(f"  invalid  {f.below} values are -inf, {f.nan} are NaN or inf")
        if not self.explanations:
            return "\n".join([*lines, "all values are equal: they fit any front end"])
        lines.append(f"explanations, the likeliest first ({self.certainty}):")
        for place, e in enumerate(self.explanations, 1):
            lines += _explained(place, e, source, self.transposed and _ambiguous(f))
        return "\n".join(lines + self._of_the_sound())

    def _of_the_sound(self) -> list[str]:
        """Return a line per feature of the sound, beside that of speech."""
        front_end = next((e.conventions[0] for e in self.explanations if e.conventions), None)
        if self.sound is None or front_end is None:
            return []
        lines = [f"sound of it as {front_end.scale} (in brackets: speech):"]
        normal = usual(front_end.transform)
        for name, value in self.sound._asdict().items():
            mean, deviation = normal[name]
            low, high = mean - deviation, mean + deviation
            if name in SCALES:
                low, high = mean / deviation, mean * deviation
            if not np.isnan(value):
                lines.append(f"  {name:<7}  {value:.3g} ({low:.3g} to {high:.3g}) {_UNITS[name]}")
        return lines


def _ambiguous(f: Facts) -> bool:
    return f.shape[0] == f.shape[1]


def _explained(place: int, e: Explanation, source: str, frames_first: bool) -> list[str]:
    """Return the lines of an explanation."""
    names = [c.base for c in e.conventions if c.preset]
    bands = dict.fromkeys(c.base for c in e.conventions)
    of = f"preset {', '.join(names)}" if names else f"bands of {', '.join(bands)}"
    why = f" ({'; '.join(e.reasons)})" if e.reasons else ""
    if not e.conventions:
        return [f"  {place}. {e.name}", f"     {e.remedy}"]
    turned = " --orientation frames-first" if frames_first else ""
    return [
        f"  {place}. {e.name}: {of}{why}",
        f"     melexp invert {source} out.wav {e.options()}{turned}",
    ]


def inspect(mel: Any, *, orientation: str = "auto") -> Inspection:
    """Examine a mel-spectrogram, and rank the front ends that may have computed it.

    Parameters
    ----------
    mel : np.ndarray or torch.Tensor [shape=(n_mels, n_frames) or (n_frames, n_mels)]
        Leading axes of length 1 are removed. NaN and infinity are taken for the least value.
    orientation : str
        "auto", "mels-first" or "frames-first". "auto" prefers the axis with the number of bands of
        a preset, then the shorter one.

    Returns
    -------
    inspection : Inspection
        Print it for a report.

    Raises
    ------
    ValueError
        If the array does not have two axes, is empty, or has no finite value.

    See Also
    --------
    melexp.invert : It warns if the values do not look like those of the given front end.

    Examples
    --------
    >>> import numpy as np
    >>> from melexp import MelTransform, inspect
    >>> tones = np.sin(np.arange(44100) ** 2 / 30000).astype(np.float32)
    >>> mel = MelTransform.preset("hifigan")(tones)
    >>> inspect(mel).explanations[0].conventions[0].transform.compression.unit
    'ln'
    """
    array = as_array(mel)
    while array.ndim > 2 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 2 or array.size == 0:
        raise ValueError(
            f"mel has shape {array.shape}; give one mel-spectrogram (n_mels, n_frames)"
        )
    if not np.isfinite(array).any():
        raise ValueError("mel has no finite value; compute it again")
    presets = tuple(MelTransform.presets())
    transposed = _transposed(array.shape, presets, orientation)
    array = array.T if transposed else array
    facts, values = measure(array), finite(array)
    if facts.least == facts.largest:
        return Inspection(facts, transposed, [], None)
    found = ranked(values, presets)
    kept = [e for e in found[:_MOST] if e.score > found[0].score - _RANGE]
    front_end = next((e.conventions[0].transform for e in kept if e.conventions), None)
    levels = None if front_end is None else Evidence(values).levels(front_end)
    heard = None if levels is None or front_end is None else sound(*levels, front_end)
    return Inspection(facts, transposed, kept, heard)


def _transposed(shape: tuple[int, ...], presets: tuple[str, ...], orientation: str) -> bool:
    """Return whether the frames come first."""
    if orientation not in ("auto", "mels-first", "frames-first"):
        raise ValueError(
            f"orientation must be auto, mels-first or frames-first; got {orientation!r}"
        )
    if orientation != "auto":
        return orientation == "frames-first"
    counts = {transform.n_mels for _, transform in front_ends(presets)}
    first, last = (size in counts for size in shape)
    return last if first != last else shape[1] < shape[0]
