"""Phase estimates for a given magnitude, in radians."""

from __future__ import annotations

import numpy as np

from melexp.problem import Problem


def random(magnitude: np.ndarray, problem: Problem, rng: np.random.Generator) -> np.ndarray:
    """Draw phases uniformly from the circle; a seed gives the same phases in either precision."""
    return rng.uniform(-np.pi, np.pi, magnitude.shape)


def zero(magnitude: np.ndarray, problem: Problem, rng: np.random.Generator) -> np.ndarray:
    """Return zero phase for all bins."""
    return np.zeros(magnitude.shape)


def spsi(magnitude: np.ndarray, problem: Problem, rng: np.random.Generator) -> np.ndarray:
    r"""Treat every spectral peak as a sinusoid (single-pass spectrogram inversion).

    A parabola through the logarithms of three bins locates each peak of a frame between the bins.
    The phase of a peak is the phase of its bin in the previous frame plus :math:`2 \pi h f / N`,
    where h is the hop and f the position of the peak. All bins down to the valleys on either side
    get this phase, plus the linear phase of the window's delay.

    Parameters
    ----------
    magnitude : np.ndarray [shape=(n_bins, n_frames)], non-negative
    problem : Problem
    rng : np.random.Generator
        Not used: the method is deterministic.

    Returns
    -------
    angle : np.ndarray [shape=(n_bins, n_frames)]
        Phase in radians.

    References
    ----------
    G. T. Beauregard, M. Harish and L. Wyse, "Single pass spectrogram inversion", IEEE DSP 2015.
    """
    n_fft, hop = problem.stft.n_fft, problem.stft.hop_length
    n_bins, n_frames = magnitude.shape
    owner = _peak_of_each_bin(magnitude)
    advance = 2 * np.pi * hop / n_fft * _located(magnitude)
    angle = np.zeros(magnitude.shape)
    for t in range(1, n_frames):
        peak = owner[:, t]
        angle[:, t] = np.remainder(angle[peak, t - 1] + advance[peak, t], 2 * np.pi)
    return angle - window_delay(problem.stft.window) * np.arange(n_bins)[:, None]


def window_delay(window: np.ndarray) -> float:
    """Return the phase lag per bin due to the window's centre of gravity, in radians."""
    power = window**2
    centre = np.dot(np.arange(len(window)), power) / power.sum()
    return float(2 * np.pi * centre / len(window))


def _peak_of_each_bin(magnitude: np.ndarray) -> np.ndarray:
    """Return the bin of the peak that each bin belongs to [shape=(n_bins, n_frames), int64]."""
    n_bins = len(magnitude)
    is_peak = _peaks(magnitude)
    owner = np.where(is_peak, np.arange(n_bins)[:, None], -1)
    above = owner.copy()
    for f in range(1, n_bins):  # descend towards higher frequencies
        falls = (owner[f] < 0) & (magnitude[f] <= magnitude[f - 1])
        owner[f] = np.where(falls, owner[f - 1], owner[f])
    for f in reversed(range(n_bins - 1)):  # descend towards lower frequencies
        falls = (above[f] < 0) & (magnitude[f] <= magnitude[f + 1])
        above[f] = np.where(falls, above[f + 1], above[f])
    owner = np.where(owner < 0, above, owner)
    return np.where(owner < 0, np.arange(n_bins)[:, None], owner)


def _peaks(magnitude: np.ndarray) -> np.ndarray:
    """Return True for each bin that is a local maximum of its frame."""
    inside = (magnitude[1:-1] > magnitude[:-2]) & (magnitude[1:-1] >= magnitude[2:])
    return np.pad(inside, ((1, 1), (0, 0)))


def _located(magnitude: np.ndarray) -> np.ndarray:
    """Return the interpolated position of each peak in bins; for other bins, their own index."""
    tiny = np.finfo(magnitude.dtype).tiny
    log = np.log(np.maximum(magnitude, tiny), dtype=np.float64)
    below, middle, above = log[:-2], log[1:-1], log[2:]
    curvature = 2 * middle - below - above
    shift = np.divide(
        0.5 * (above - below), curvature, out=np.zeros_like(middle), where=curvature > 0
    )
    at = np.repeat(np.arange(len(magnitude), dtype=np.float64)[:, None], magnitude.shape[1], axis=1)
    at[1:-1] += np.where(_peaks(magnitude)[1:-1], shift, 0)
    return at
