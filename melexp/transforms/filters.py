"""The mel filter bank as an operator, and a solver for its tridiagonal systems."""

from __future__ import annotations

import warnings
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import scipy.sparse
from scipy.linalg.lapack import dpttrs, spttrs


@lru_cache(maxsize=32)
def mel_basis(
    sr: float,
    n_fft: int,
    n_mels: int,
    fmin: float,
    fmax: float | None,
    htk: bool,
    norm: Any,
    mel_triangles: bool,
) -> np.ndarray:
    """Return a mel filter bank [shape=(n_mels, n_fft // 2 + 1), float64]; see `MelTransform`."""
    import librosa.filters  # here, because the import is slow

    if mel_triangles:
        basis = _triangles_in_mel(
            librosa.hz_to_mel(librosa.fft_frequencies(sr=sr, n_fft=n_fft), htk=htk),
            librosa.hz_to_mel(np.array([fmin, sr / 2 if fmax is None else fmax]), htk=htk),
            n_mels,
        )
        basis.setflags(write=False)
        return basis
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # MelTransform reports empty filters
        basis = librosa.filters.mel(
            sr=sr,
            n_fft=n_fft,
            n_mels=n_mels,
            fmin=fmin,
            fmax=fmax,
            htk=htk,
            # Without a norm librosa compiles functions, which takes many seconds once.
            norm="slaney" if norm is None else norm,
            dtype=np.float64,
        )
    if norm is None:
        top = sr / 2 if fmax is None else fmax
        edges = librosa.mel_frequencies(n_mels=n_mels + 2, fmin=fmin, fmax=top, htk=htk)
        basis = basis * ((edges[2:] - edges[:-2]) / 2)[:, None]
    basis.setflags(write=False)
    return basis


def _triangles_in_mel(bins: np.ndarray, ends: np.ndarray, n_mels: int) -> np.ndarray:
    """Return triangles that are straight in mel [shape=(n_mels, n_bins)], as Kaldi's are."""
    width = (ends[1] - ends[0]) / (n_mels + 1)
    centres = ends[0] + width * np.arange(1, n_mels + 1)
    triangles: np.ndarray = np.maximum(0.0, 1.0 - np.abs(bins - centres[:, None]) / width)
    return triangles


class MelFilters:
    r"""Mel filter bank E as a sparse operator.

    Every bin lies in at most two adjacent filters of a triangular bank. E and its transpose thus
    cost two multiplications per bin, and :math:`E E^\top + c I` is tridiagonal.

    Parameters
    ----------
    basis : np.ndarray [shape=(n_mels, n_bins)], non-negative
        Dense filter bank.
    dtype : np.float32 or np.float64
        Precision.

    Raises
    ------
    ValueError
        If a bin lies in more than two filters or in filters that are not adjacent.

    Attributes
    ----------
    band : np.ndarray [shape=(n_bins,), int]
        Lower of the two filters of each bin.
    weights : np.ndarray [shape=(2, n_bins), float64]
        Weights of each bin in the filters `band` and ``band + 1``.
    """

    def __init__(self, basis: np.ndarray, *, dtype: Any = np.float32) -> None:
        self.n_mels, self.n_bins = basis.shape
        self.dtype = np.dtype(dtype)
        self.band = np.minimum(np.argmax(basis > 0, axis=0), max(self.n_mels - 2, 0))
        above = np.minimum(self.band + 1, self.n_mels - 1)
        bins = np.arange(self.n_bins)
        weights = np.stack([basis[self.band, bins], basis[above, bins]])
        if self.n_mels == 1:
            weights[1] = 0
        if not np.isclose(weights.sum(), basis.sum(), rtol=1e-9):
            raise ValueError(
                "the filter bank has a bin that lies in more than two filters or in filters that "
                "are not adjacent; use a triangular filter bank"
            )
        self.weights = weights
        gram = basis.astype(np.float64) @ basis.T.astype(np.float64)
        self._gram_diagonal = np.diag(gram).copy()
        self._gram_beside = np.diag(gram, 1).copy()
        #: Filters without a bin.
        self.empty = np.flatnonzero(basis.max(axis=1) == 0)
        #: ||E||_2^2, the largest eigenvalue of E E^T.
        self.norm_squared = float(np.linalg.eigvalsh(gram)[-1])
        self._E = scipy.sparse.csr_array(basis.astype(self.dtype))
        self._Et = scipy.sparse.csr_array(self._E.T)
        self._solvers: dict[float, TridiagonalSolver] = {}

    def apply(self, Y: np.ndarray) -> np.ndarray:
        """Return E Y: magnitude ``(n_bins, n_frames)`` to mel ``(n_mels, n_frames)``."""
        return self._E @ Y

    def adjoint(self, M: np.ndarray) -> np.ndarray:
        """Return E^T M: mel ``(n_mels, n_frames)`` to ``(n_bins, n_frames)``."""
        return self._Et @ M

    def solver(self, ridge: float) -> TridiagonalSolver:
        """Return the solver of (E E^T + ridge I) x = b."""
        if ridge not in self._solvers:
            self._solvers[ridge] = TridiagonalSolver(
                self._gram_diagonal + ridge, self._gram_beside, dtype=self.dtype
            )
        return self._solvers[ridge]

    @cached_property
    def _squares(self) -> tuple[Any, Any]:
        """Return E * E and the products of adjacent filters, whose combinations form E S E^T."""
        E = self._E.toarray().astype(np.float64)
        return scipy.sparse.csr_array(E * E), scipy.sparse.csr_array(E[:-1] * E[1:])

    def weighted_solver(self, S: np.ndarray, ridge: float) -> TridiagonalSolver:
        """Return the solver of (E S E^T + ridge diag(E s)) x = b, with S = diag(s) per frame.

        Parameters
        ----------
        S : np.ndarray [shape=(n_bins, n_frames)], positive
            The diagonal s of each frame.
        ridge : float > 0
        """
        squares, products = self._squares
        S = S.astype(np.float64)
        diagonal = squares @ S + ridge * (self._E @ S)
        # Any positive number is right for empty filters: the solution there is not used.
        diagonal[self.empty] = 1
        return TridiagonalSolver(diagonal, products @ S, dtype=self.dtype)


#: Largest number of columns for which sweeps column by column are faster than row operations.
_NARROW = 16


class TridiagonalSolver:
    """Solve A x = b for a symmetric positive definite tridiagonal A and many columns b.

    A = L D L^T is factorised once, in float64. Each solution takes one forward and one backward
    sweep (the Thomas algorithm) of row operations over all columns, or column by column for few.

    Parameters
    ----------
    diagonal : np.ndarray [shape=(n,) or (n, n_columns)]
        Diagonal of A. With a second axis, A differs by column.
    beside : np.ndarray [shape=(n - 1,) or (n - 1, n_columns)]
        Sub-diagonal of A.
    dtype : np.float32 or np.float64
        Precision of the solutions.

    Raises
    ------
    ValueError
        If A is not positive definite.
    """

    def __init__(self, diagonal: np.ndarray, beside: np.ndarray, *, dtype: Any) -> None:
        d = np.array(diagonal, dtype=np.float64)
        low = np.zeros((len(d) - 1, *d.shape[1:]))
        for k in range(len(low)):
            low[k] = beside[k] / d[k]
            d[k + 1] -= low[k] * beside[k]
        if not (d > 0).all():
            raise ValueError("the mel system is singular; use a ridge above zero")
        self.low = low
        self.inv_d = 1.0 / d
        self._low = low.astype(dtype)
        self._inv_d = self.inv_d.astype(dtype).reshape(len(d), -1)
        self._few: Any = None
        if d.ndim == 1 and len(d) > 1:
            solve = spttrs if np.dtype(dtype) == np.float32 else dpttrs
            self._few = solve, d.astype(dtype), self._low

    @property
    def factors(self) -> tuple[np.ndarray, np.ndarray]:
        """Sub-diagonal of L (the last row is 0), and 1 / D."""
        return np.concatenate(
            [self._low, np.zeros((1, *self._low.shape[1:]), self._low.dtype)]
        ), self._inv_d

    def solve(self, b: np.ndarray) -> np.ndarray:
        """Return the solution x for b of shape ``(n_mels, n_frames)``; `b` is not changed."""
        if self._few is not None and b.shape[1] <= _NARROW:
            solve, d, below = self._few
            return np.ascontiguousarray(solve(d, below, b)[0])
        x = b.copy()
        low = self._low
        for k in range(len(low)):
            x[k + 1] -= low[k] * x[k]
        x *= self._inv_d
        for k in reversed(range(len(low))):
            x[k] -= low[k] * x[k + 1]
        return x
