"""The front end that the options of ``melexp invert`` describe, and its description in one line."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from melexp.files.stats import read_stats
from melexp.transforms.compression import Compression
from melexp.transforms.mel import MelTransform

#: Options that describe a normalisation by levels: see `Compression.from_levels`.
_LEVELS = ("min_level_db", "ref_level_db", "max_norm", "symmetric")
#: Options of a normalisation after the compression: see `Compression.normalized`.
_NORMALIZATION = ("mean", "std", "stats")


def front_end(arguments: dict[str, Any], details: dict[str, Any]) -> MelTransform:
    """Return the transform that the options describe.

    Without a preset, options that are not given have the defaults of `MelTransform`, which are
    librosa's.

    Parameters
    ----------
    arguments : dict
        The given arguments of `MelTransform`, and `preset`.
    details : dict
        The given arguments of `Compression`, its unit as `compression`, and the options of a
        normalisation.

    Raises
    ------
    ValueError
        If the options are invalid or do not fit together.
    """
    changes = dict(arguments)
    preset = changes.pop("preset", None)
    base = {} if preset is None else MelTransform.preset(preset).settings()
    if changes.get("center"):
        changes.setdefault("pad", None)
    if details:
        given = base.get("compression")
        of_preset = None if given is None else Compression(**given)
        changes["compression"] = _compression(of_preset, details)
    return MelTransform(**{**base, **changes})


def _compression(base: Compression | None, details: dict[str, Any]) -> Compression | None:
    """Return the compression that options make of the preset's."""
    details = dict(details)
    unit = details.pop("compression", None)
    levels = {name: details.pop(name) for name in _LEVELS if name in details}
    normalization = {name: details.pop(name) for name in _NORMALIZATION if name in details}
    if levels:
        if unit is not None or details:
            raise ValueError(
                f"--{_dashed(next(iter(levels)))} describes the whole compression; leave out "
                f"--{_dashed(next(iter(details), 'compression'))}"
            )
        made: Compression | None = Compression.from_levels(**levels)
    elif unit == "none":
        made = None
    elif unit:
        made = Compression(unit=unit, **details)
    elif details and base is None:
        raise ValueError(f"--{_dashed(next(iter(details)))} needs --compression")
    else:
        made = base and dataclasses.replace(base, **details)
    if not normalization:
        return made
    made = made or Compression(unit="power", floor=0.0)
    if "stats" in normalization:
        if len(normalization) > 1:
            raise ValueError("--stats holds mean and deviation; leave out --mean and --std")
        return made.normalized(*read_stats(Path(normalization["stats"])))
    return made.normalized(normalization.get("mean", 0.0), normalization.get("std", 1.0))


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def describe(transform: MelTransform) -> str:
    """Return a front end in one line, for output and for the comment of a sound file."""
    t = transform
    window = "given samples" if isinstance(t.window, tuple) and len(t.window) > 3 else t.window
    top = t.sr / 2 if t.fmax is None else t.fmax
    parts = [
        f"sr {t.sr:g}",
        f"n_fft {t.n_fft}",
        f"hop {t.hop_length}",
        *([] if t.win_length is None else [f"window of {t.win_length}"]),
        *([] if t.window == "hann" else [f"window {window}"]),
        f"{t.n_mels} bands {t.fmin:g} to {top:g} Hz",
        f"{'HTK' if t.htk else 'Slaney'} mel, norm {'none' if t.norm is None else t.norm}",
        *(["triangles in mel"] if t.mel_triangles else []),
        f"power {t.power:g}",
        *([f"pre-emphasis {t.preemphasis:g}"] if t.preemphasis else []),
        "centred" if t.center else f"not centred, {t.padding} padded",
        _described(t.compression),
    ]
    return ", ".join(parts)


def _described(compression: Compression | None) -> str:
    if compression is None:
        return "linear"
    c = compression
    parts = [f"exponent {c.exponent:g}" if c.unit == "power" else c.unit]
    parts += [f"floor {c.floor:g}"] if c.floor and c.ref != "max" else []
    parts += [f"epsilon {c.epsilon:g}"] if c.epsilon else []
    ref = c.ref if isinstance(c.ref, str) else f"{c.ref:g}"
    parts += [] if c.ref == 1 else [f"ref {ref}"]
    parts += [] if c.range is None else [f"range {c.range:g}"]
    for name in ("gain", "offset"):
        value = getattr(c, name)
        if isinstance(value, tuple):
            parts.append(f"{name} by band")
        elif value != (1 if name == "gain" else 0):
            parts.append(f"{name} {value:g}")
    return " ".join(parts)
