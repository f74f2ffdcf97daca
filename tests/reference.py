"""The oracle: STFT and methods written as their equations, in float64, slow and independent.

Nothing here uses the package. Each method returns its spectrogram after n iterations, before the
last projection, so that `Reference.istft` of it is the waveform.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


def phase(X: np.ndarray) -> np.ndarray:
    """Return X / |X|, and 1 where X is zero."""
    size = np.abs(X)
    return np.where(size > 0, X / np.where(size > 0, size, 1), 1)


class Reference:
    """STFT, projection and methods for signals of one length, with a Hann window.

    Parameters
    ----------
    n_fft, hop, n_samples : int
        Frame length, hop and signal length, in samples.
    E : np.ndarray [shape=(n_mels, n_bins)]
        Filter bank.
    padding : str
        "reflect" or "zeros" for centred frames; "none" for frames that are not centred.
    weights : np.ndarray [shape=(n_frames,)] or None
        Factor of each frame.
    """

    def __init__(
        self,
        n_fft: int,
        hop: int,
        n_samples: int,
        E: np.ndarray,
        padding: str = "zeros",
        weights: np.ndarray | None = None,
    ) -> None:
        self.n_fft, self.hop, self.n_samples, self.E = n_fft, hop, n_samples, E
        self.window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
        index, half = np.arange(n_samples), n_fft // 2
        if padding == "reflect":
            index = np.pad(index, half, mode="reflect")
        elif padding == "zeros":
            index = np.pad(index, half, constant_values=-1)
        self.n_frames = 1 + max(0, len(index) - n_fft) // hop
        length = n_fft + hop * (self.n_frames - 1)
        index = np.pad(index, (0, max(0, length - len(index))), constant_values=-1)
        #: Sample that each padded sample copies; -1 for a zero.
        self.index = index[:length]
        weights = np.ones(self.n_frames) if weights is None else weights
        self.windows = np.asarray(weights)[:, None] * self.window
        total = self.fold(self.overlap_add(self.windows**2))
        self.inv_norm = np.divide(1, total, out=np.zeros(n_samples), where=total > 1e-8)

    def overlap_add(self, frames: np.ndarray) -> np.ndarray:
        out = np.zeros(self.n_fft + self.hop * (self.n_frames - 1))
        for t, frame in enumerate(frames):
            out[t * self.hop : t * self.hop + self.n_fft] += frame
        return out

    def fold(self, padded: np.ndarray) -> np.ndarray:
        out = np.zeros(self.n_samples)
        np.add.at(out, self.index[self.index >= 0], padded[self.index >= 0])
        return out

    def istft(self, X: np.ndarray) -> np.ndarray:
        frames = np.fft.irfft(X.T, n=self.n_fft) * self.windows
        return self.inv_norm * self.fold(self.overlap_add(frames))

    def stft(self, x: np.ndarray) -> np.ndarray:
        padded = np.where(self.index >= 0, x[self.index], 0)
        starts = self.hop * np.arange(self.n_frames)[:, None]
        return np.fft.rfft(padded[starts + np.arange(self.n_fft)] * self.windows).T

    def project(self, X: np.ndarray) -> np.ndarray:
        return self.stft(self.istft(X))

    # --- Methods with a fixed magnitude A ---------------------------------------------------------

    def gla(self, A: np.ndarray, X: np.ndarray, n: int) -> np.ndarray:
        """Griffin-Lim."""
        return self.fgla(A, X, n, momentum=0.0)

    def fgla(self, A: np.ndarray, X: np.ndarray, n: int, *, momentum: float = 0.99) -> np.ndarray:
        """Griffin-Lim with momentum."""
        C, T = X, X
        for _ in range(n):
            new = self.project(A * phase(T))
            C, T = new, new + momentum * (new - C)
        return C

    def admm_gla(self, A: np.ndarray, X: np.ndarray, n: int, *, rho: Any = 0.1) -> np.ndarray:
        """Griffin-Lim-like phase recovery by ADMM: X + U; rho may differ by iteration."""
        P, U = X, np.zeros_like(X)
        for r in np.broadcast_to(rho, n):
            Z = (r * P + self.project(P)) / (1 + r)
            U = P - Z
            P = A * phase(Z - U) + U
        return P

    # --- Methods with the mel-spectrogram M -------------------------------------------------------

    def ipalm(
        self, M: np.ndarray, Y: np.ndarray, X: np.ndarray, n: int, **params: Any
    ) -> np.ndarray:
        """Inertial alternating minimisation."""
        return self.ipalm_pair(M, Y, X, n, **params)[0]

    def ipalm_pair(
        self, M: np.ndarray, Y: np.ndarray, X: np.ndarray, n: int,
        *, lam: float = 5000.0, inertia: float | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
        """Return X and Y of `ipalm`; the inertia of iteration k is (k - 1) / (k + 2)."""
        lipschitz = 1 + lam * np.linalg.norm(self.E, 2) ** 2
        X_old, Y_old = X, Y
        for k in range(1, n + 1):
            a = (k - 1) / (k + 2) if inertia is None else inertia
            ahead, Y_ahead = X + a * (X - X_old), Y + a * (Y - Y_old)
            X, X_old = self.project(Y * phase(ahead)), X
            slope = (Y_ahead - np.abs(X)) + lam * self.E.T @ (self.E @ Y_ahead - M)
            Y, Y_old = np.maximum(0, Y_ahead - slope / lipschitz), Y
        return X, Y

    def admm(
        self, M: np.ndarray, Y: np.ndarray, X: np.ndarray, n: int,
        *, lam: float = 5000.0, rho: float = 0.1,
    ) -> np.ndarray:  # fmt: skip
        """ADMM with one penalty: X + U."""
        return self.splitting(M, Y, X, [(rho, rho)] * n, ridge=rho / lam)[0]

    def admm_ramp(
        self, M: np.ndarray, Y: np.ndarray, X: np.ndarray, n: int,
        *, rho_x: float = 0.001, rho_x_last: float = 0.3, rho_y: float = 0.01,
        rho_y_last: float = 0.3, ratio: float = 50000.0, ramp: int | None = None,
    ) -> np.ndarray:  # fmt: skip
        """ADMM with geometrically growing penalties: X + U."""
        ramp = n if ramp is None else ramp
        s = [min(1.0, k / (ramp - 1)) if ramp > 1 else 1.0 for k in range(n)]
        penalties = [
            (rho_x * (rho_x_last / rho_x) ** a, rho_y * (rho_y_last / rho_y) ** a) for a in s
        ]
        return self.splitting(M, Y, X, penalties, ridge=1 / ratio)[0]

    def splitting(
        self, M: np.ndarray, Y: np.ndarray, X: np.ndarray,
        penalties: Sequence[tuple[float, float]], *, ridge: float,
        envelope: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
        """ADMM in its variables X, Y, Z, W and scaled duals U, V, none eliminated: X + U, Y + V.

        Y is a magnitude. With an `envelope` [shape=(n_bins, n_frames)] it is a power, and squared
        differences of powers are relative to the envelope.
        """
        U, V = np.zeros_like(X), np.zeros_like(Y)
        fit = self.magnitude_fit(M, ridge)
        if envelope is not None:
            fit = self.power_fit(M, ridge, envelope)
        P, R = X + U, Y + V
        for a, b in penalties:
            Z, W = self.project(P), fit(R)
            U, V = P - Z, R - W
            z, w = np.abs(Z - U), W - V
            if envelope is None:
                x, Y = magnitude_pair(z, w, rho_x, rho_y)
            else:
                x, Y = power_pair(z, w, rho_x, rho_y / envelope)
            X = x * phase(Z - U)
        return X + U, Y + V

    def magnitude_fit(self, M: np.ndarray, ridge: float) -> Callable[[np.ndarray], np.ndarray]:
        """Return the minimiser of ||M - E W||^2 + ridge ||W - R||^2 as a function of R."""
        E = self.E
        inverse = np.linalg.inv(E @ E.T + ridge * np.eye(len(E)))
        return lambda R: R + E.T @ inverse @ (M - E @ R)

    def power_fit(
        self, M: np.ndarray, ridge: float, envelope: np.ndarray
    ) -> Callable[[np.ndarray], np.ndarray]:
        """Return the minimiser of sum (M - E W)^2 / (E S) + ridge sum (W - R)^2 / S."""

        def fit(R: np.ndarray) -> np.ndarray:
            W = np.empty_like(R)
            for t, s in enumerate(envelope.T):
                weighted = self.E.T / (self.E @ s)
                system = weighted @ self.E + np.diag(ridge / s)
                W[:, t] = np.linalg.solve(system, weighted @ M[:, t] + ridge * R[:, t] / s)
            return W

        return fit


def magnitude_pair(
    z: np.ndarray, w: np.ndarray, rho_x: float, rho_y: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return x, y >= 0 that minimise (x - y)^2 + rho_x (x - z)^2 + rho_y (y - w)^2."""
    # Without bounds: (1 + rho_x) x - y = rho_x z and (1 + rho_y) y - x = rho_y w.
    system = np.array([[1 + rho_x, -1], [-1, 1 + rho_y]])
    x, y = np.linalg.solve(system, np.stack([rho_x * z.ravel(), rho_y * w.ravel()]))
    x, y = x.reshape(z.shape), y.reshape(z.shape)
    return np.where(y < 0, rho_x * z / (1 + rho_x), x), np.maximum(y, 0)


def power_pair(
    z: np.ndarray, w: np.ndarray, rho_x: float, rho_y: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return x, y >= 0 that minimise (x - sqrt y)^2 + rho_x (x - z)^2 + rho_y (y - w)^2."""
    b = np.zeros(z.shape)
    for at in np.ndindex(z.shape):
        b[at] = best_root(z[at], w[at], rho_x, rho_y[at])
    return (b + rho_x * z) / (1 + rho_x), b**2


def best_root(z: float, w: float, rho_x: float, rho_y: float) -> float:
    """Return the b = sqrt y of `power_pair`, from the roots of the cubic of its derivative."""
    c = rho_x / (1 + rho_x)

    def objective(b: float) -> float:
        return c * (b - z) ** 2 + rho_y * (b**2 - w) ** 2

    h = c / (2 * rho_y)
    roots = np.roots([1, 0, h - w, -h * z])
    real = [float(r.real) for r in roots if abs(r.imag) < 1e-7 * (1 + abs(r)) and r.real > 0]
    return min([0.0, *real], key=objective)
