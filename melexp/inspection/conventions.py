"""What a mel-spectrogram may be: the presets, and common scales of values on their bands."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from melexp.transforms.compression import Compression
from melexp.transforms.mel import MelTransform

#: Scales of values that public code uses: power, arguments of the compression, and where from.
_SCALES: list[tuple[float, dict[str, Any] | None, str]] = [
    (1, None, "magnitude"),
    (2, None, "power, as librosa.feature.melspectrogram"),
    (1, {"unit": "ln", "floor": 1e-5}, "Tacotron 2, HiFi-GAN"),
    (1, {"unit": "ln", "floor": 1e-7}, "Vocos"),
    (1, {"unit": "ln", "floor": 0, "epsilon": 0.01}, "VGGish"),
    (2, {"unit": "ln", "floor": 1.1920929e-07}, "Kaldi, torchaudio.compliance"),
    (2, {"unit": "ln", "floor": 1e-10}, "ln of power"),
    (2, {"unit": "ln", "floor": 0, "epsilon": 2**-24}, "NeMo before its normalisation"),
    (2, {"unit": "ln", "floor": 0, "epsilon": 1.0}, "numpy.log1p"),
    (1, {"unit": "log10", "floor": 1e-10}, "ESPnet, Parallel WaveGAN"),
    (1, {"unit": "log10", "floor": 1e-5}, "log10 of magnitude"),
    (2, {"unit": "log10", "floor": 1e-10}, "log10 of power"),
    (2, {"unit": "log10", "floor": 0, "epsilon": 1e-4, "offset": 4.0}, "log10(1 + 10000 M)"),
    (2, {"unit": "log10", "floor": 1e-10, "range": 8.0, "gain": 0.25, "offset": 1.0}, "Whisper"),
    (2, {"unit": "power_db", "floor": 1e-10, "range": 80.0}, "librosa.power_to_db"),
    (2, {"unit": "power_db", "floor": 1e-10}, "torchaudio.transforms.AmplitudeToDB"),
    (
        2,
        {"unit": "power_db", "floor": 1e-10, "ref": "max", "range": 80.0},
        "librosa.power_to_db(ref=np.max)",
    ),
    (2, {"unit": "power_db", "floor": 1e-10, "ref": "max"}, "power_to_db(ref=np.max, top_db=None)"),
    (
        2,
        {
            "unit": "power_db",
            "floor": 1e-10,
            "ref": "max",
            "range": 80.0,
            "gain": 1 / 80,
            "offset": 1.0,
        },
        "(dB + 80) / 80",
    ),
    (
        2,
        {
            "unit": "power_db",
            "floor": 1e-10,
            "ref": "max",
            "range": 80.0,
            "gain": 255 / 80,
            "offset": 255.0,
        },
        "a picture of 8 bits of 80 dB",
    ),
    (1, {"unit": "amplitude_db", "floor": 1e-5}, "20 log10 of magnitude"),
    (1, {"unit": "amplitude_db", "floor": 1e-4, "gain": 0.01, "offset": 0.8}, "Tacotron, 0 to 1"),
    (
        1,
        {"unit": "amplitude_db", "floor": 10 ** (-84 / 20), "gain": 0.01, "offset": 0.84},
        "AutoVC, 0 to 1",
    ),
    (1, {"unit": "amplitude_db", "floor": 1e-4, "gain": 0.02, "offset": 0.6}, "Tacotron, -1 to 1"),
    (1, {"unit": "amplitude_db", "floor": 1e-4, "gain": 0.08, "offset": 2.4}, "Tacotron, -4 to 4"),
    (
        2,
        {
            "unit": "ln",
            "floor": 1.1920929e-07,
            "gain": 1 / (2 * 4.5689974),
            "offset": 4.2677393 / (2 * 4.5689974),
        },
        "AST",
    ),
]
#: Fields that decide the bands; the values of two front ends that agree in them are comparable.
_BANDS = ("sr", "n_fft", "n_mels", "fmin", "fmax", "htk", "norm", "mel_triangles", "preemphasis")


@dataclass(frozen=True)
class Convention:
    """A front end that may have computed a mel-spectrogram.

    Attributes
    ----------
    transform : MelTransform
    base : str
        The preset that has these bands.
    preset : bool
        Whether `transform` is that preset; otherwise only its bands are the preset's.
    of : str
        Where this scale of values is used.
    """

    transform: MelTransform
    base: str
    preset: bool
    of: str

    @property
    def options(self) -> str:
        """Options of ``melexp invert`` that describe the transform."""
        base = MelTransform.preset(self.base)
        words = [f"--preset {self.base}"]
        for name in ("n_mels", "power"):
            value = getattr(self.transform, name)
            if value != getattr(base, name):
                words.append(f"--{name.replace('_', '-')} {value:g}")
        if not base.empty_filters and (self.transform.basis.max(axis=1) == 0).any():
            words.append("--empty-filters")
        if self.transform.compression == base.compression:
            return " ".join(words)
        if self.transform.compression is None:
            return " ".join([*words, "--compression none"])
        default, given = Compression(), dataclasses.asdict(self.transform.compression)
        words.append(f"--compression {given.pop('unit')}")
        for name, value in given.items():
            if value is not None and value != getattr(default, name):
                words.append(f"--{name} {value if isinstance(value, str) else f'{value:.6g}'}")
        return " ".join(words)

    @property
    def scale(self) -> str:
        """The scale of the values in words, such as "ln of magnitude, at least 1e-05"."""
        return scale_of(self.transform)


def scale_of(transform: MelTransform) -> str:
    """Return the scale of the values of a transform in words."""
    named = {1.0: "magnitude", 2.0: "power"}
    of = named.get(float(transform.power), f"magnitude^{transform.power:g}")
    c = transform.compression
    if c is None:
        return f"linear {of}"
    words = [f"{c.unit} of {of}"]
    if c.floor > 0:
        words.append(f"floor {c.floor:.3g}")
    if c.epsilon:
        words.append(f"epsilon {c.epsilon:.3g}")
    if c.ref != 1:
        words.append(f"ref {c.ref}")
    if c.range is not None:
        words.append(f"range {c.range:g}")
    for name, usual in (("gain", 1), ("offset", 0)):
        value = getattr(c, name)
        if np.ndim(value):
            words.append(f"{name} by band")
        elif value != usual:
            words.append(f"{name} {value:.4g}")
    return ", ".join(words)


def bands_of(transform: MelTransform) -> tuple[Any, ...]:
    """Return what decides the bands of a transform: the rate, the frame and the filters."""
    top = transform.sr / 2 if transform.fmax is None else transform.fmax
    return (*(getattr(transform, name) for name in _BANDS if name != "fmax"), float(top))


def equivalent(a: MelTransform, b: MelTransform) -> bool:
    """Return whether the values of a mel-spectrogram cannot tell two front ends apart."""
    return bands_of(a) == bands_of(b) and same_scale(a, b)


def same_scale(a: MelTransform, b: MelTransform) -> bool:
    """Return whether two front ends read the same values as the same levels, or nearly so.

    A shift of all levels by at most 6 dB cannot be told from a louder sound.
    """
    lost = [t.compression is not None and t.compression.ref == "max" for t in (a, b)]
    levels = np.linspace(-40, 20, 7)
    values = 10 ** (levels * a.power / 20)[None]
    if a.compression is not None:
        values = a.compression.compress(values)
    if b.compression is not None:
        try:
            values, floored = b.compression.expand(values)
        except ValueError:
            return False
        if floored is not None:
            return False
    if values.min() <= 0:
        return False
    shift = 20 / b.power * np.log10(values[0]) - levels
    return lost[0] == lost[1] and bool(np.ptp(shift) < 0.5) and (lost[0] or abs(shift[0]) < 6)


@cache
def front_ends(presets: tuple[str, ...]) -> tuple[tuple[str, MelTransform], ...]:
    """Return the names of presets with their transforms."""
    return tuple((name, MelTransform.preset(name)) for name in presets)


@cache
def conventions(n_mels: int, presets: tuple[str, ...]) -> tuple[Convention, ...]:
    """Return the front ends with a number of bands: presets, then other scales on their bands.

    Parameters
    ----------
    n_mels : int > 0
    presets : tuple of str
        Names of the presets to consider, usually `MelTransform.presets()`.

    Returns
    -------
    tuple of Convention
        If no preset has `n_mels` bands, those of librosa with this number stand for them.
    """
    found = [
        Convention(t, name, True, f"preset {name}")
        for name, t in front_ends(presets)
        if t.n_mels == n_mels
    ]
    layouts: dict[Any, tuple[str, MelTransform]] = {}
    for c in found:
        layouts.setdefault(bands_of(c.transform), (c.base, c.transform))
    if not found:
        base = MelTransform.preset("librosa", n_mels=n_mels, empty_filters=True)
        layouts[bands_of(base)] = ("librosa", base)
    for name, layout in layouts.values():
        for power, arguments, of in _SCALES:
            compression = None if arguments is None else Compression(**arguments)
            t = dataclasses.replace(layout, power=power, compression=compression)
            if not any(
                bands_of(c.transform) == bands_of(t) and _equal(c.transform, t) for c in found
            ):
                found.append(Convention(t, name, False, of))
    return tuple(found)


def _equal(a: MelTransform, b: MelTransform) -> bool:
    return (a.power, a.compression) == (b.power, b.compression)
