"""Stacking of arrays of different lengths into one padded tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch


def stack(arrays: Sequence[np.ndarray], device: Any, *, fill: float = 0) -> torch.Tensor:
    """Stack arrays that differ in their last axis into one tensor, padded to the longest.

    Spectrograms lie frame by frame in memory, which suits the FFT. The order of the axes is that
    of the arrays; the order of the strides is not.

    Parameters
    ----------
    arrays : sequence of np.ndarray [shape=(..., n)]
    device : torch.device or str
    fill : float
        Value past the end of the shorter arrays.

    Returns
    -------
    tensor : torch.Tensor [shape=(len(arrays), ..., longest n)]
    """
    longest = max(a.shape[-1] for a in arrays)
    first = np.asarray(arrays[0])
    stacked = np.full((len(arrays), longest, *first.shape[:-1]), fill, first.dtype)
    for row, array in zip(stacked, arrays, strict=True):
        row[: array.shape[-1]] = np.moveaxis(array, -1, 0)
    return torch.from_numpy(stacked).to(device).movedim(1, -1)
