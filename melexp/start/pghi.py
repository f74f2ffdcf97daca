"""Phase gradient heap integration (PGHI)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from melexp.problem import Problem
from melexp.start.phase import window_delay


def pghi(
    magnitude: np.ndarray,
    problem: Problem,
    rng: np.random.Generator,
    *,
    tol: float = 3e-3,
    floor: float = 1e-9,
    corrections: np.ndarray | None = None,
) -> np.ndarray:
    r"""Estimate a phase by integrating the gradient that the magnitude implies.

    For the Gaussian window :math:`e^{-\pi n^2 / \gamma}`, the logarithm L of the magnitude
    determines the gradient of the phase. For other windows this holds approximately, with the
    nearest Gaussian (:func:`gaussian_width`). From bin f and frame t, the phase grows to the next
    frame and to the next bin by

    .. math::
        \Delta_t = 2 \pi \frac{h f}{N} + \frac{h N}{\gamma} \frac{\partial L}{\partial f},
        \qquad
        \Delta_f = -2 \pi \frac{c}{N} - \frac{\gamma}{h N} \frac{\partial L}{\partial t},

    where h is the hop, N = n_fft and c the centre of the window, because the phase of `STFT` refers
    to the first sample of a frame. The trapezoidal rule integrates these increments. Integration
    starts at the largest magnitude and always continues from the largest magnitude reached so far.
    Each island of bins above `tol` starts with phase zero; the bins below get a random phase.

    Magnitudes within about 0.0015 nepers of each other may be visited in any order.

    Parameters
    ----------
    magnitude : np.ndarray [shape=(n_bins, n_frames)], non-negative
    problem : Problem
    rng : np.random.Generator
        Generator of the random phases.
    tol : float in (0, 1)
        Threshold relative to the largest magnitude; the phase below is random.
    floor : float in (0, tol]
        Smallest magnitude in the logarithm, relative to the largest magnitude.
    corrections : np.ndarray [shape=(2, n_bins, n_frames)] or None
        Added to the increments to the next frame and to the next bin, in radians.

    Returns
    -------
    angle : np.ndarray [shape=(n_bins, n_frames)]
        In radians.

    References
    ----------
    Z. Průša, P. Balazs and P. L. Søndergaard, "A noniterative method for reconstruction of phase
    from STFT magnitude", IEEE/ACM TASLP 25(5), 2017.
    """
    from melexp.start._kernels import integrate  # here, as it imports the compiler

    stft, magnitude = problem.stft, np.ascontiguousarray(magnitude)
    n_bins = len(magnitude)
    peak = float(magnitude.max(initial=0))
    if peak == 0:
        return rng.uniform(-np.pi, np.pi, magnitude.shape)
    # Bins above the highest non-zero bin need no phase.
    top = min(int(np.flatnonzero(magnitude.any(axis=1))[-1]) + 2, n_bins)
    log = np.maximum(magnitude[:top], magnitude.dtype.type(floor * peak))
    np.log(log, out=log)
    least = log.dtype.type(np.log(tol * peak))
    # Random phases for all bins; only faint bins keep them. 256 levels suffice.
    chance = rng.integers(256, size=log.shape, dtype=np.uint8)
    angle = np.zeros_like(magnitude)
    np.multiply(chance, log.dtype.type(2 * np.pi / 256), out=angle[:top])
    step = stft.hop_length / stft.n_fft
    gamma = gaussian_width(stft.window)
    turns = stft.hop_length * np.arange(top) % stft.n_fft / stft.n_fft
    integrate(
        log,
        least,
        step * stft.n_fft**2 / gamma,
        -gamma / (step * stft.n_fft**2),
        (2 * np.pi * turns).astype(log.dtype),
        window_delay(stft.window),
        top == n_bins and stft.n_fft % 2 == 0,
        angle[:top],
        None if corrections is None else corrections[:, :top].astype(log.dtype),
    )
    return angle


def gaussian_width(window: np.ndarray) -> float:
    r"""Fit the Gaussian :math:`e^{-\pi n^2 / \gamma}` to a window in least squares.

    The window is scaled to a peak of 1, and the Gaussian is centred on its centre of gravity. The
    sum runs over three window lengths. A Hann window of L samples has gamma = 0.2562 L^2; the
    reference of :func:`pghi` gives 0.25645, computed on a grid.

    Parameters
    ----------
    window : np.ndarray [shape=(n_fft,)]

    Returns
    -------
    gamma : float
        In samples squared.
    """
    return _gaussian_width(np.ascontiguousarray(window, dtype=np.float64).tobytes())


@lru_cache(maxsize=32)
def _gaussian_width(data: bytes) -> float:
    w = np.frombuffer(data)
    w = w / w.max()
    n = np.arange(-len(w), 2 * len(w)) - np.dot(np.arange(len(w)), w * w) / np.dot(w, w)
    square = np.pi * n * n
    target = np.pad(w, len(w))

    def misfit(log_gamma: float) -> float:
        return float(np.sum((target - np.exp(-square * np.exp(-log_gamma))) ** 2))

    # Golden section; the misfit has one minimum between a spike and a constant.
    low, high = np.log(len(w) ** 2 * 1e-5), np.log(len(w) ** 2 * 4.0)
    ratio = (np.sqrt(5) - 1) / 2
    for _ in range(60):
        a, b = high - ratio * (high - low), low + ratio * (high - low)
        if misfit(a) < misfit(b):
            high = b
        else:
            low = a
    return float(np.exp((low + high) / 2))
