"""Tensors of torch at the border of code for NumPy; torch is not imported here."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np


def is_tensor(x: Any) -> bool:
    """Return whether x is a tensor of torch."""
    torch = sys.modules.get("torch")  # without this import there is no tensor
    return torch is not None and isinstance(x, torch.Tensor)


def to_array(x: Any) -> np.ndarray:
    """Return an array, or the values of a tensor on the host.

    Gradients are not followed. NumPy has no bfloat16: such values become float32, exactly.
    """
    if not is_tensor(x):
        return np.asarray(x)
    x = x.detach().cpu()
    if str(x.dtype) == "torch.bfloat16":
        x = x.float()
    array: np.ndarray = x.numpy()
    return array


def like(array: np.ndarray, x: Any) -> Any:
    """Return the array; as a tensor on the device of x if x is a tensor."""
    if not is_tensor(x):
        return array
    return sys.modules["torch"].from_numpy(np.ascontiguousarray(array)).to(x.device)


def real_dtype(dtype: Any) -> np.dtype:
    """Return the NumPy dtype of a dtype of NumPy or torch.

    Raises
    ------
    ValueError
        If it is neither float32 nor float64.
    """
    name = str(dtype).removeprefix("torch.")
    try:
        known = np.dtype(dtype if name == str(dtype) else name)
    except TypeError:  # such as torch.bfloat16, which NumPy does not have
        known = np.dtype(object)
    if known not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise ValueError(f"dtype must be float32 or float64; got {dtype}")
    return known
