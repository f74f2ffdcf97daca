"""Facts about the values of a mel-spectrogram, and about its levels under a front end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from melexp.transforms.mel import MelTransform
from melexp.transforms.stft import analysis_window

#: Number of frames that are looked at, and of the runs of neighbours they are taken in.
_FRAMES, _RUNS = 1024, 8
#: Bins further below the largest, in dB, are ignored: they depend on the recorder more than on the
#: sound.
_DEPTH = 60.0
#: Fewer pairs of bins give no reliable median.
_LEAST_PAIRS = 50


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The values of a mel-spectrogram as they are, without any assumption.

    Attributes
    ----------
    shape : tuple of int
        Number of bands and of frames.
    least, largest, mean, deviation : float
        Of the finite values.
    at_least : float
        Share of the values that equal the least one.
    zeros : float
        Share of exact zeros.
    padding : int
        Number of frames at the ends that are zero in every band although other values are lower.
    below, nan : int
        Number of values that are -inf, and of those that are NaN or +inf.
    steps : bool
        Whether the values are whole numbers, or multiples of 1 / 255, from 0 to at most 255.
    levels : int
        Number of different values (of at most 1024 frames).
    band_means, band_deviations : np.ndarray [shape=(n_bands,)]
    likeness : float
        Median correlation of adjacent bands over time; about 0.9 for mels, lower for MFCCs.
    """

    shape: tuple[int, int]
    least: float
    largest: float
    mean: float
    deviation: float
    at_least: float
    zeros: float
    padding: int
    below: int
    nan: int
    steps: bool
    levels: int
    band_means: np.ndarray
    band_deviations: np.ndarray
    likeness: float


class Sound(NamedTuple):
    """Features of a mel-spectrogram under a front end, which real sound has in a narrow range.

    NaN stands for a feature that cannot be computed.
    """

    time: float  #: median difference of adjacent frames, dB
    band: float  #: median difference of adjacent bands without their means, dB
    spread: float  #: standard deviation of the bins within 60 dB of the largest, dB
    share: float  #: share of these bins in the frames that have any
    level: float  #: level of the loudest bin, dB below a sine of full scale
    tilt: float  #: slope of the density of the sound over frequency, dB per octave


def as_array(mel: Any) -> np.ndarray:
    """Return a mel-spectrogram as an array of float32 or float64; takes tensors too."""
    if hasattr(mel, "detach"):
        mel = mel.detach().float().cpu().numpy()
    mel = np.asarray(mel)
    return mel if mel.dtype in (np.float32, np.float64) else mel.astype(np.float32)


def finite(mel: np.ndarray) -> np.ndarray:
    """Return the mel with the least finite value in place of values that are not finite."""
    good = np.isfinite(mel)
    if good.all():
        return mel
    return np.where(good, mel, mel[good].min() if good.any() else 0)


def sample(mel: np.ndarray) -> np.ndarray:
    """Return at most 1024 frames, in runs of neighbours [shape=(n_mels, n_frames)]."""
    n = mel.shape[1]
    if n <= _FRAMES:
        return mel
    length = _FRAMES // _RUNS
    starts = np.linspace(0, n - length, _RUNS).astype(int)
    return mel[:, (starts[:, None] + np.arange(length)).ravel()]


def padding(mel: np.ndarray) -> tuple[int, int]:
    """Return the number of frames at the start and at the end that are zero in every band.

    They count only if other values are negative: elsewhere zero may be silence.
    """
    if mel.size == 0 or not mel.min() < 0:
        return 0, 0
    used = np.flatnonzero((mel != 0).any(axis=0))
    return (int(used[0]), int(mel.shape[1] - 1 - used[-1])) if used.size else (0, 0)


def unpadded(mel: np.ndarray) -> np.ndarray:
    """Return the mel without the frames that `padding` counts."""
    start, end = padding(mel)
    return mel[:, start : mel.shape[1] - end]


def measure(mel: np.ndarray) -> Facts:
    """Return the facts about a mel-spectrogram [shape=(n_mels, n_frames)]."""
    good = np.isfinite(mel)
    below = int(np.isneginf(mel).sum())
    start, end = padding(finite(mel))
    inner = unpadded(finite(mel))
    values = inner.astype(np.float64)
    part = sample(values)
    least, largest = float(values.min()), float(values.max())
    different = np.unique(part).size
    return Facts(
        shape=(mel.shape[0], mel.shape[1]),
        least=least,
        largest=largest,
        mean=float(values.mean()),
        deviation=float(values.std()),
        at_least=float(np.mean(inner == inner.min())),
        zeros=float(np.mean(mel == 0)),
        padding=start + end,
        below=below,
        nan=int(mel.size - good.sum()) - below,
        steps=_in_steps(part),
        levels=different,
        band_means=part.mean(axis=1),
        band_deviations=part.std(axis=1),
        likeness=_likeness(part),
    )


def _in_steps(values: np.ndarray) -> bool:
    """Return whether the values are those of a picture of 8 bits."""
    if values.min() < 0 or values.max() > 255 or values.max() == 0:
        return False
    scale = 1 if values.max() > 1 else 255
    return bool(np.allclose(values * scale, np.round(values * scale), atol=1e-3))


def _likeness(values: np.ndarray) -> float:
    """Return the median correlation of adjacent bands over time; NaN for constant ones."""
    centred = values - values.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(centred, axis=1)
    products = (centred[1:] * centred[:-1]).sum(axis=1)
    used = norms[1:] * norms[:-1] > 0
    return (
        float(np.median(products[used] / (norms[1:] * norms[:-1])[used])) if used.any() else np.nan
    )


def decibels(
    mel: np.ndarray, transform: MelTransform, *, largest: float
) -> tuple[np.ndarray, np.ndarray]:
    """Expand a mel-spectrogram to levels in dB.

    Parameters
    ----------
    mel : np.ndarray [shape=(n_mels, n_frames)]
        Finite values.
    transform : MelTransform
    largest : float
        Largest value of the whole mel-spectrogram.

    Returns
    -------
    levels : np.ndarray [shape=(n_mels, n_frames)]
        20 log10 of the magnitude, in dB.
    used : np.ndarray [shape=(n_mels, n_frames), bool]
        Bins above the floor and within 60 dB of the largest.

    Raises
    ------
    ValueError
        If the values are too large for the compression.
    """
    floored, linear = None, mel
    if transform.compression is not None:
        linear, floored = transform.compression.expand(mel, largest=largest)
    used = linear > 0
    if floored is not None:
        used &= ~floored
    levels = np.full(mel.shape, -np.inf)
    np.log10(linear, out=levels, where=used)
    levels *= 20 / transform.power
    used &= levels > levels.max(initial=-np.inf) - _DEPTH
    return np.where(used, levels, 0.0), used


def sound(levels: np.ndarray, used: np.ndarray, transform: MelTransform) -> Sound:
    """Return the features of levels in dB, see `decibels`."""
    rows = used.sum(axis=1)
    means = np.divide(levels.sum(axis=1, where=used), rows, out=np.zeros(len(rows)), where=rows > 0)
    flat = levels - means[:, None]
    time = np.abs(np.diff(levels, axis=1))[used[:, 1:] & used[:, :-1]]
    band = np.abs(np.diff(flat, axis=0))[used[1:] & used[:-1]]
    nan = float("nan")
    enough = time.size >= _LEAST_PAIRS and band.size >= _LEAST_PAIRS
    peaks = np.where(used, levels, -np.inf).max(axis=1) - full_scale(transform)
    lost = transform.compression is not None and transform.compression.ref == "max"
    return Sound(
        time=float(np.median(time)) if enough else nan,
        band=float(np.median(band)) if enough else nan,
        spread=float(levels[used].std()) if enough else nan,
        share=float(used[:, used.any(axis=0)].mean()) if used.any() else nan,
        level=nan if lost or not used.any() else float(np.nanmax(peaks)),
        tilt=_tilt(means, rows, transform) if enough else nan,
    )


def _tilt(means: np.ndarray, rows: np.ndarray, transform: MelTransform) -> float:
    """Return the slope over frequency of the density in the bands above 300 Hz, dB per octave."""
    E = transform.basis
    sums = E.sum(axis=1)
    filled = (sums > 0) & (rows > 0)
    frequency = np.arange(E.shape[1]) * transform.sr / transform.n_fft
    centre = np.divide(E @ frequency, sums, out=np.zeros_like(sums), where=filled)
    filled &= centre > 300
    if filled.sum() < 5:
        return float("nan")
    density = means[filled] - 20 / transform.power * np.log10(sums[filled])
    return float(np.polyfit(np.log2(centre[filled]), density, 1)[0])


def full_scale(transform: MelTransform) -> np.ndarray:
    """Return the level of each band for a sine of amplitude 1 at its centre, in dB.

    Bands of empty filters have infinity.
    """
    win = transform.n_fft if transform.win_length is None else transform.win_length
    window = analysis_window(transform.window, win_length=win, n_fft=transform.n_fft)
    gain = transform.basis.max(axis=1)
    level = np.full(len(gain), np.inf)
    np.log10(gain, out=level, where=gain > 0)
    return level * (20 / transform.power) + 20 * np.log10(window.sum() / 2)
