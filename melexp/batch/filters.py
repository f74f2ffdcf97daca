"""The mel filter bank in torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from melexp.transforms.filters import MelFilters


class BatchFilters:
    """Apply the mel filter bank to tensors ``(n_clips, ..., n_frames)``.

    E is dense, and its systems are inverted in advance in float64, so that a product is one GPU
    kernel. A tridiagonal solver would need 2 n_mels sequential kernels per iteration, each too
    small to fill a GPU.

    Parameters
    ----------
    filters : MelFilters
    basis : np.ndarray [shape=(n_mels, n_bins)]
    device : torch.device or str
    """

    def __init__(self, filters: MelFilters, basis: np.ndarray, device: Any) -> None:
        self.norm_squared = filters.norm_squared
        self._basis = torch.from_numpy(np.array(basis, np.float64)).to(device)
        self._empty = torch.from_numpy(filters.empty).to(device)
        self._E = self._basis.to(getattr(torch, filters.dtype.name))
        self._solvers: dict[float, Inverse] = {}

    def apply(self, Y: torch.Tensor) -> torch.Tensor:
        """Return E Y: magnitude ``(..., n_bins, n_frames)`` to mel ``(..., n_mels, n_frames)``."""
        return (Y.mT @ self._E.T).mT

    def adjoint(self, M: torch.Tensor) -> torch.Tensor:
        """Return E^T M: mels ``(..., n_mels, n_frames)`` to ``(..., n_bins, n_frames)``."""
        return (M.mT @ self._E).mT

    def solver(self, ridge: float) -> Inverse:
        """Return the solver of (E E^T + ridge I) x = b."""
        if ridge not in self._solvers:
            E = self._basis
            A = E @ E.T + ridge * torch.eye(len(E), dtype=E.dtype, device=E.device)
            self._solvers[ridge] = Inverse(torch.linalg.inv(A).to(self._E.dtype))
        return self._solvers[ridge]

    def weighted_solver(self, S: torch.Tensor, ridge: float) -> Inverses:
        """Return the solver of (E S E^T + ridge diag(E s)) x = b, with S = diag(s) per frame.

        The inverses take n_mels^2 numbers per frame, several times the size of a spectrogram.
        """
        return Inverses(torch.stack([self._weighted_inverse(s, ridge) for s in S]))

    def _weighted_inverse(self, s: torch.Tensor, ridge: float) -> torch.Tensor:
        """Return the inverses of one clip [shape=(n_frames, n_mels, n_mels)]."""
        E, s = self._basis, s.to(self._basis.dtype)
        diagonal = (E * E) @ s + ridge * (E @ s)
        diagonal[self._empty] = 1  # empty filters: any positive number will do
        beside = ((E[:-1] * E[1:]) @ s).mT
        A = torch.diag_embed(diagonal.mT)
        A += torch.diag_embed(beside, 1) + torch.diag_embed(beside, -1)
        return torch.linalg.inv(A).to(self._E.dtype)


class Inverse:
    """Solve A x = b for one A [shape=(n_mels, n_mels)], given its inverse."""

    def __init__(self, inverse: torch.Tensor) -> None:
        self._inverse = inverse

    def solve(self, b: torch.Tensor) -> torch.Tensor:
        """Return the solutions x for b of shape ``(n_clips, n_mels, n_frames)``."""
        return (b.mT @ self._inverse).mT  # symmetric


class Inverses(Inverse):
    """Solve A x = b for an A per frame [shape=(n_clips, n_frames, n_mels, n_mels)]."""

    def solve(self, b: torch.Tensor) -> torch.Tensor:
        return (self._inverse @ b.mT[..., None])[..., 0].mT
