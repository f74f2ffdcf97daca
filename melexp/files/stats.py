"""Read the mean and deviation that normalise a mel-spectrogram, of all bands or of each band."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from melexp.errors import MissingExtra, one_line
from melexp.files.mels import bounded, read_arrays

#: Names of the arrays in the files of ParallelWaveGAN, scikit-learn and others.
_MEANS = ("mean", "mean_", "mel_mean", "feats_mean", "mu")
_DEVIATIONS = ("scale", "scale_", "std", "mel_std", "feats_std", "deviation", "sigma")
#: Largest file; a band takes a few bytes.
_LARGEST = 2**24


def read_stats(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read statistics from .npy, .npz, .h5 or .safetensors; the content decides the format.

    A .npy file holds mean and deviation as two rows. The other formats hold two arrays, such as
    `mean` and `scale` or `std`, or the sums `count`, `sum` and `sum_square` of ESPnet.

    Parameters
    ----------
    path : Path

    Returns
    -------
    mean, deviation : np.ndarray [shape=() or (n_mels,), float64]

    Raises
    ------
    ValueError
        If the file cannot be used; the message is one line with the file and the reason.
    MissingExtra
        If the package that reads the format is not installed.
    """
    try:
        with path.open("rb") as file:
            arrays = read_arrays(bounded(file, _LARGEST))
        if len(arrays) == 1:  # without names
            (rows,) = arrays.values()
            if rows.ndim == 0 or len(rows) != 2:
                raise ValueError(
                    f"an array must have two rows, mean and deviation; got shape {rows.shape}"
                )
            arrays = {"mean": rows[0], "scale": rows[1]}
        mean, deviation = _mean_and_deviation(arrays)
        if mean.ndim > 1 or deviation.ndim > 1:
            raise ValueError(
                f"mean and deviation must be numbers or one per band; got shapes {mean.shape} and "
                f"{deviation.shape}"
            )
    except MissingExtra:
        raise
    except (ValueError, TypeError) as error:  # also of values that are no numbers
        raise ValueError(f"{path}: {one_line(error)}") from error
    return mean, deviation


def _mean_and_deviation(arrays: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    if {"count", "sum", "sum_square"} <= set(arrays):
        mean = arrays["sum"] / arrays["count"]
        return mean, np.sqrt(arrays["sum_square"] / arrays["count"] - mean * mean)
    mean = next((arrays[name] for name in _MEANS if name in arrays), None)
    deviation = next((arrays[name] for name in _DEVIATIONS if name in arrays), None)
    if deviation is None and "var" in arrays:
        deviation = np.sqrt(arrays["var"])
    if mean is None or deviation is None:
        raise ValueError(
            "there must be arrays 'mean' and 'scale' (or 'std'); the arrays are "
            f"{', '.join(map(str, arrays)) or 'none'}"
        )
    squeezed = [np.squeeze(np.asarray(v, np.float64)) for v in (mean, deviation)]
    return squeezed[0], squeezed[1]
