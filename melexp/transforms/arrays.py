"""Functions of arrays for both NumPy and torch."""

from __future__ import annotations

from typing import Any

import numpy as np


def namespace(x: Any) -> Any:
    """Return the array functions for x: NumPy, or torch under NumPy's names."""
    if isinstance(x, np.ndarray):
        return np
    from array_api_compat import array_namespace  # here, because NumPy alone does not need it

    return array_namespace(x)


def unit_phase(X: np.ndarray, magnitude: np.ndarray | None = None) -> np.ndarray:
    """Return X / |X|, and 1 where X = 0. Pass `magnitude` = |X| if it is already computed."""
    xp = namespace(X)
    magnitude = abs(X) if magnitude is None else magnitude
    # 1 / |X| may overflow below the smallest normal number; the phase is unusable there.
    zero = magnitude < xp.finfo(magnitude.dtype).smallest_normal
    if xp is np and not zero.any():  # on a GPU `any` would wait for the device
        return X * (1 / magnitude)
    return xp.where(zero, 1, X * (1 / xp.where(zero, 1, magnitude)))


def relative_error(reference: Any, estimate: Any) -> Any:
    r"""Return :math:`\|M - \hat M\| / \|M\|` (Frobenius norms over the last two axes).

    Parameters
    ----------
    reference, estimate : np.ndarray or torch.Tensor [shape=(..., n_rows, n_frames)]

    Returns
    -------
    error : float, or np.ndarray or torch.Tensor [shape=(...)]
        NaN for a reference that is zero.
    """
    norm = namespace(reference).linalg.vector_norm if reference.ndim > 2 else np.linalg.norm
    if reference.ndim == 2:
        with np.errstate(invalid="ignore", divide="ignore"):
            return float(norm(reference - estimate) / norm(reference))
    return norm(reference - estimate, axis=(-2, -1)) / norm(reference, axis=(-2, -1))
