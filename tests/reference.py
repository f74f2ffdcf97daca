"""The oracle of the tests: every equation as it is written, in float64, with numpy.fft.

Slow, and independent of the package.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def phase(z: np.ndarray) -> np.ndarray:
    size = np.abs(z)
    return np.where(size > 0, z / np.where(size > 0, size, 1), 1)


def error(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


class Reference:
    """STFT, projection and methods for signals of one length, with a Hann window.

    `padding` of centred frames is "reflect" or "zeros"; "none" leaves the frames uncentred.
    """

    def __init__(
        self, n_fft: int, hop: int, n_samples: int, E: np.ndarray, padding: str = "zeros"
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
        total = self.fold(self.overlap_add(np.tile(self.window**2, (self.n_frames, 1))))
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
        frames = np.fft.irfft(X.T, n=self.n_fft) * self.window
        return self.inv_norm * self.fold(self.overlap_add(frames))

    def stft(self, x: np.ndarray) -> np.ndarray:
        padded = np.where(self.index >= 0, x[self.index], 0)
        starts = self.hop * np.arange(self.n_frames)[:, None]
        return np.fft.rfft(padded[starts + np.arange(self.n_fft)] * self.window).T

    def project(self, X: np.ndarray) -> np.ndarray:
        return self.stft(self.istft(X))

    def admm(
        self,
        M: np.ndarray,
        Y: np.ndarray,
        X: np.ndarray,
        penalties: Sequence[tuple[float, float]],
        ridge: float,
    ) -> tuple[np.ndarray, np.ndarray]:
        """X, Y, Z, W, U and V, none of them eliminated; returns P = X + U and R = Y + V."""
        E, U, V = self.E, np.zeros_like(X), np.zeros_like(Y)
        inverse = np.linalg.inv(E @ E.T + ridge * np.eye(len(E)))
        P, R = X + U, Y + V
        for a, b in penalties:
            Z = self.project(P)
            W = R + E.T @ inverse @ (M - E @ R)
            U, V = P - Z, R - W
            z, w, q = np.abs(Z - U), W - V, 1 / (a + b + a * b)
            Y = q * ((1 + a) * b * w + a * z)
            x = q * ((1 + b) * a * z + b * w)
            x, Y = np.where(Y < 0, a * z / (1 + a), x), np.maximum(Y, 0)
            X = x * phase(Z - U)
            P, R = X + U, Y + V
        return P, R

    def ipalm(
        self, M: np.ndarray, Y: np.ndarray, X: np.ndarray, inertia: Sequence[float], lam: float
    ) -> tuple[np.ndarray, np.ndarray]:
        lipschitz = 1 + lam * np.linalg.norm(self.E, 2) ** 2
        X_old, Y_old = X, Y
        for a in inertia:
            ahead, Y_ahead = X + a * (X - X_old), Y + a * (Y - Y_old)
            X, X_old = self.project(Y * phase(ahead)), X
            slope = Y_ahead - np.abs(X) + lam * self.E.T @ (self.E @ Y_ahead - M)
            Y, Y_old = np.maximum(0, Y_ahead - slope / lipschitz), Y
        return X, Y

    def fgla(self, A: np.ndarray, X: np.ndarray, momentum: Sequence[float]) -> np.ndarray:
        """Griffin-Lim if all momenta are zero."""
        C, T = X, X
        for a in momentum:
            new = self.project(A * phase(T))
            C, T = new, new + a * (new - C)
        return C

    def admm_gla(self, A: np.ndarray, X: np.ndarray, rho: Sequence[float]) -> np.ndarray:
        """From Z and U to X, then to the next Z and U; returns P = X + U."""
        P = X
        for r in rho:
            Z = (r * P + self.project(P)) / (1 + r)
            U = P - Z
            P = A * phase(Z - U) + U
        return P
