"""Initial phases for a given magnitude, as angles in radians."""

from __future__ import annotations

import numpy as np

from melexp.problem import Problem


def random(magnitude: np.ndarray, problem: Problem, rng: np.random.Generator) -> np.ndarray:
    """Draw phases uniformly on the circle, independently of the precision of the magnitude."""
    return rng.uniform(-np.pi, np.pi, magnitude.shape)


def zero(magnitude: np.ndarray, problem: Problem, rng: np.random.Generator) -> np.ndarray:
    """Return phase zero everywhere."""
    return np.zeros(magnitude.shape)


def spsi(magnitude: np.ndarray, problem: Problem, rng: np.random.Generator) -> np.ndarray:
    r"""Estimate the phase by single-pass spectrogram inversion: one sinusoid per spectral peak.

    A parabola through three logarithms locates the peaks of a frame between the bins. The phase of
    a peak is the phase of its bin in the previous frame plus :math:`2 \pi h f / N`, with the hop h
    and the located peak f. All bins between the adjacent valleys take this phase, up to the linear
    phase of the window's delay. The result is deterministic; `rng` is not used.

    Parameters
    ----------
    magnitude : np.ndarray [shape=(n_bins, n_frames)], non-negative
    problem : Problem
    rng : np.random.Generator
        Not used.

    Returns
    -------
    angle : np.ndarray [shape=(n_bins, n_frames)]

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
    """Return the phase lag between adjacent bins due to the centre of the window, in radians."""
    power = window**2
    centre = np.dot(np.arange(len(window)), power) / power.sum()
    return float(2 * np.pi * centre / len(window))


def _peak_of_each_bin(magnitude: np.ndarray) -> np.ndarray:
    """Return the peak to which each bin belongs [shape=(n_bins, n_frames), int64]."""
    n_bins = len(magnitude)
    is_peak = _peaks(magnitude)
    owner = np.where(is_peak, np.arange(n_bins)[:, None], -1)
    above = owner.copy()
    for f in range(1, n_bins):  # downhill with rising frequency
        falls = (owner[f] < 0) & (magnitude[f] <= magnitude[f - 1])
        owner[f] = np.where(falls, owner[f - 1], owner[f])
    for f in reversed(range(n_bins - 1)):  # downhill with falling frequency
        falls = (above[f] < 0) & (magnitude[f] <= magnitude[f + 1])
        above[f] = np.where(falls, above[f + 1], above[f])
    owner = np.where(owner < 0, above, owner)
    return np.where(owner < 0, np.arange(n_bins)[:, None], owner)


def _peaks(magnitude: np.ndarray) -> np.ndarray:
    inside = (magnitude[1:-1] > magnitude[:-2]) & (magnitude[1:-1] >= magnitude[2:])
    return np.pad(inside, ((1, 1), (0, 0)))


def _located(magnitude: np.ndarray) -> np.ndarray:
    """Return the interpolated positions of peaks in bins; elsewhere the index of the bin."""
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
