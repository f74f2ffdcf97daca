"""The oracle of the tests: the equations of the STFT and of the methods, in float64.

It is slow and independent of the package.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np


def phase(z: np.ndarray) -> np.ndarray:
    size = np.abs(z)
    return np.where(size > 0, z / np.where(size > 0, size, 1), 1)


def error(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


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

    def admm(
        self,
        M: np.ndarray,
        Y: np.ndarray,
        X: np.ndarray,
        penalties: Sequence[tuple[float, float]],
        ridge: float,
        envelope: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return P = X + U and R = Y + V; no variable is eliminated.

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
            pair = (
                magnitude_pair(z, w, a, b)
                if envelope is None
                else power_pair(z, w, a, b / envelope)
            )
            X, Y = pair[0] * phase(Z - U), pair[1]
            P, R = X + U, Y + V
        return P, R

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
        """Return the spectrogram of fast Griffin-Lim; of Griffin-Lim if all momenta are zero."""
        C, T = X, X
        for a in momentum:
            new = self.project(A * phase(T))
            C, T = new, new + a * (new - C)
        return C

    def admm_gla(self, A: np.ndarray, X: np.ndarray, rho: Sequence[float]) -> np.ndarray:
        """Return P = X + U."""
        P = X
        for r in rho:
            Z = (r * P + self.project(P)) / (1 + r)
            U = P - Z
            P = A * phase(Z - U) + U
        return P


def ramp(n: int, length: int | None = None) -> list[tuple[float, float]]:
    """Return the default penalties of `admm_ramp` for n iterations, which grow over `length`."""
    last = max((length or n) - 1, 1)
    s = [min(1.0, k / last) for k in range(n)]
    return [(0.001 * 300**a, 0.01 * 30**a) for a in s]


def magnitude_pair(
    z: np.ndarray, w: np.ndarray, a: float, b: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return x, y >= 0 that minimise (x - y)^2 + a (x - z)^2 + b (y - w)^2."""
    q = 1 / (a + b + a * b)
    y = q * ((1 + a) * b * w + a * z)
    x = q * ((1 + b) * a * z + b * w)
    return np.where(y < 0, a * z / (1 + a), x), np.maximum(y, 0)


def power_pair(
    z: np.ndarray, w: np.ndarray, a: float, b: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return x, y >= 0 that minimise (x - sqrt y)^2 + a (x - z)^2 + b (y - w)^2."""
    root = np.array([best_root(*each, a, c) for *each, c in np.broadcast(z, w, b)]).reshape(z.shape)
    return (root + a * z) / (1 + a), root**2


def best_root(z: float, w: float, a: float, b: float) -> float:
    """Return sqrt y of `power_pair`: the best root of the derivative, or 0."""
    c = a / (1 + a)
    roots = np.roots([2 * b, 0, c - 2 * b * w, -c * z])
    real = roots.real[np.abs(roots.imag) < 1e-9 * (1 + np.abs(roots))]
    found = np.concatenate([[0.0], real[real > 0]])
    return float(found[np.argmin(c * (found - z) ** 2 + b * (found**2 - w) ** 2)])
