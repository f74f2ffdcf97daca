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
    """A frame-by-frame STFT and the methods on it.

    Parameters
    ----------
    window : np.ndarray [shape=(n_fft,)]
    hop : int
    n_samples : int
    pad : int
        Samples added at each end.
    pad_mode : str
        "constant" (zeros) or a mode of `numpy.pad`.
    weights : np.ndarray [shape=(n_frames,)] or None
        Factor of each frame.
    basis : np.ndarray [shape=(n_mels, n_bins)] or None
        Mel filter bank, for the methods that use the mel-spectrogram.
    """

    def __init__(
        self,
        window: np.ndarray,
        hop: int,
        n_samples: int,
        *,
        pad: int = 0,
        pad_mode: str = "constant",
        weights: np.ndarray | None = None,
        basis: np.ndarray | None = None,
    ) -> None:
        self.window, self.hop, self.n_fft = np.asarray(window, float), hop, len(window)
        self.E, self.n_samples = basis, n_samples
        # The sample at each place of the padded signal; -1 is a zero.
        index = np.arange(n_samples)
        if pad_mode == "constant":
            index = np.pad(index, pad, constant_values=-1)
        elif pad:
            index = np.pad(index, pad, mode=pad_mode)
        self.n_frames = 1 + max(0, len(index) - self.n_fft) // hop
        length = self.n_fft + hop * (self.n_frames - 1)
        self.index = np.pad(index, (0, max(0, length - len(index))), constant_values=-1)[:length]
        self.weights = np.ones(self.n_frames) if weights is None else np.asarray(weights, float)

    def places(self, t: int) -> tuple[np.ndarray, np.ndarray]:
        """Return where frame t has samples, and their indices."""
        index = self.index[t * self.hop : t * self.hop + self.n_fft]
        return index >= 0, index[index >= 0]

    def stft(self, x: np.ndarray) -> np.ndarray:
        """Return the STFT of x [shape=(n_bins, n_frames)]."""
        X = np.empty((self.n_fft // 2 + 1, self.n_frames), complex)
        for t in range(self.n_frames):
            inside, index = self.places(t)
            frame = np.zeros(self.n_fft)
            frame[inside] = x[index]
            X[:, t] = np.fft.rfft(frame * self.window * self.weights[t])
        return X

    def istft(self, X: np.ndarray) -> np.ndarray:
        """Return the signal whose STFT is nearest to X; zero where no frame has a sample."""
        total, norm = np.zeros((2, self.n_samples))
        for t in range(self.n_frames):
            inside, index = self.places(t)
            window = self.window * self.weights[t]
            frame = np.fft.irfft(X[:, t], self.n_fft) * window
            np.add.at(total, index, frame[inside])
            np.add.at(norm, index, window[inside] ** 2)
        return np.divide(total, norm, out=np.zeros_like(total), where=norm > 1e-8)

    def project(self, X: np.ndarray) -> np.ndarray:
        """Return the nearest consistent spectrogram."""
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

        Y is a magnitude, or a power if there is an `envelope` [shape=(n_bins, n_frames)], to which
        the squared differences of powers are relative. `ridge` is the ratio rho_y / lambda.
        """
        U, V = np.zeros_like(X), np.zeros_like(Y)
        fit = (
            self.magnitude_fit(M, ridge) if envelope is None else self.power_fit(M, ridge, envelope)
        )
        for rho_x, rho_y in penalties:
            Z = self.project(X + U)
            W = fit(Y + V)
            U, V = U + X - Z, V + Y - W
            z, w = np.abs(Z - U), W - V
            if envelope is None:
                x, Y = magnitude_pair(z, w, rho_x, rho_y)
            else:
                x, Y = power_pair(z, w, rho_x, rho_y / envelope)
            X = x * phase(Z - U)
        return X + U, Y + V

    def magnitude_fit(self, M: np.ndarray, ridge: float) -> Callable[[np.ndarray], np.ndarray]:
        """Return the minimiser of ||M - E W||^2 + ridge ||W - R||^2 as a function of R."""
        inverse = np.linalg.inv(self.E.T @ self.E + ridge * np.eye(self.E.shape[1]))
        return lambda R: inverse @ (self.E.T @ M + ridge * R)

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
