"""Lengths of waveforms that do not match the number of frames: padded or cut."""

from __future__ import annotations

from typing import Any

import numpy as np

from melexp.transforms.mel import MelTransform
from melexp.transforms.tensors import is_tensor


def lengths_of(n_frames: int, *, n_fft: int, hop_length: int, padding: int) -> range:
    """Return the lengths in samples of the waveforms that have this number of frames."""
    first = n_fft + hop_length * (n_frames - 1) - 2 * padding
    least = max(1, first)
    return range(least, max(first + hop_length, least + 1))


def nearest_length(length: int | None, n_frames: int, transform: MelTransform) -> int | None:
    """Return the length to invert to; the waveform is then cut or padded to `length`.

    Parameters
    ----------
    length : int or None
        Length in samples that is asked for.
    n_frames : int
    transform : MelTransform

    Returns
    -------
    nearest : int or None
        The nearest length with `n_frames` frames, if it is within a hop; otherwise `length`, which
        `melexp.Problem` refuses.
    """
    if length is None:
        return None
    hop = transform.hop_length
    own = lengths_of(n_frames, n_fft=transform.n_fft, hop_length=hop, padding=transform.padding)
    nearest = min(max(length, own.start), own.stop - 1)
    return nearest if abs(length - nearest) <= hop else length


def with_length(y: Any, length: int | None) -> Any:
    """Return the waveforms, cut or padded with zeros at the end; None leaves them as they are.

    Parameters
    ----------
    y : np.ndarray or torch.Tensor [shape=(..., n_samples)]
    length : int or None
    """
    n = y.shape[-1]
    if length is None or length == n:
        return y
    if length < n:
        return y[..., :length]
    shape = (*y.shape[:-1], length)
    padded = y.new_zeros(shape) if is_tensor(y) else np.zeros(shape, y.dtype)
    padded[..., :n] = y
    return padded
