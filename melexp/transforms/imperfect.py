"""Imperfect mel-spectrograms, as models and files make them: known errors, with a seed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter1d

from melexp.transforms.mel import MelTransform
from melexp.transforms.restore import from_logarithm, logarithm

Error = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def quantized(log_mel: np.ndarray, rng: np.random.Generator, *, bits: int) -> np.ndarray:
    """Round to ``2 ** bits`` equally spaced levels from the least to the largest value."""
    low, high = log_mel.min(), log_mel.max()
    step = (high - low) / (2**bits - 1) or 1.0
    return low + step * np.round((log_mel - low) / step)


def noisy(log_mel: np.ndarray, rng: np.random.Generator, *, deviation: float) -> np.ndarray:
    """Add independent Gaussian noise of a standard deviation, in natural logarithms."""
    return log_mel + rng.normal(0, deviation, log_mel.shape)


def blurred(
    log_mel: np.ndarray, rng: np.random.Generator, *, frames: float = 0, bands: float = 0
) -> np.ndarray:
    """Convolve with a Gaussian whose standard deviations are in frames and in bands."""
    for sigma, axis in ((bands, 0), (frames, 1)):
        if sigma:
            log_mel = gaussian_filter1d(log_mel, sigma, axis=axis, mode="nearest")
    return log_mel


def low_rank(log_mel: np.ndarray, rng: np.random.Generator, *, rank: int) -> np.ndarray:
    """Keep the mean of each band and the first principal components over frames."""
    mean = log_mel.mean(axis=1, keepdims=True)
    U, s, V = np.linalg.svd(log_mel - mean, full_matrices=False)
    return np.asarray((U[:, :rank] * s[:rank]) @ V[:rank] + mean)


def dropped(log_mel: np.ndarray, rng: np.random.Generator, *, share: float) -> np.ndarray:
    """Set a share of the frames, at random, to the least value."""
    lost = rng.random(log_mel.shape[1]) < share
    return np.where(lost, log_mel.min(), log_mel)


def repeated(log_mel: np.ndarray, rng: np.random.Generator, *, share: float) -> np.ndarray:
    """Replace a share of the frames, at random, by the last frame before that is kept."""
    kept = rng.random(log_mel.shape[1]) >= share
    kept[0] = True
    return log_mel[:, np.maximum.accumulate(np.where(kept, np.arange(kept.size), 0))]


def wrong_gains(log_mel: np.ndarray, rng: np.random.Generator, *, db: float) -> np.ndarray:
    """Scale each band by a random gain of a standard deviation in dB."""
    return log_mel + rng.normal(0, db, (len(log_mel), 1)) * np.log(10) / 20


#: The errors by name. The standard deviations of the blur are one frame and one band.
IMPERFECTIONS: dict[str, Error] = {
    "8bit": partial(quantized, bits=8),
    "noise_0.1": partial(noisy, deviation=0.1),
    "noise_0.3": partial(noisy, deviation=0.3),
    "blur_frames": partial(blurred, frames=1),
    "blur_bands": partial(blurred, bands=1),
    "blur_both": partial(blurred, frames=1, bands=1),
    "rank_20": partial(low_rank, rank=20),
    "rank_10": partial(low_rank, rank=10),
    "rank_5": partial(low_rank, rank=5),
    "dropped": partial(dropped, share=0.1),
    "repeated": partial(repeated, share=0.1),
    "gains": partial(wrong_gains, db=3),
}


def imperfect(mel: np.ndarray, transform: MelTransform, *, name: str, seed: Any) -> np.ndarray:
    """Return a mel-spectrogram with an error.

    The errors act on the natural logarithm of its magnitudes, floored 120 dB below the maximum.

    Parameters
    ----------
    mel : np.ndarray [shape=(n_mels, n_frames)]
        As `transform` makes it.
    transform : MelTransform
    name : str
        One of `IMPERFECTIONS`.
    seed : int or sequence of int
        Seed of the random errors, as :func:`numpy.random.default_rng` takes it.

    Returns
    -------
    mel : np.ndarray [shape=(n_mels, n_frames)]

    Raises
    ------
    ValueError
        For an unknown name.
    """
    if name not in IMPERFECTIONS:
        raise ValueError(
            f"there is no imperfection {name!r}; the imperfections are {', '.join(IMPERFECTIONS)}"
        )
    log_mel = logarithm(mel, transform)
    if log_mel is None:
        return mel
    changed = IMPERFECTIONS[name](log_mel, np.random.default_rng(seed))
    return from_logarithm(changed, transform).astype(mel.dtype)
