"""ESTOI: extended short-time objective intelligibility."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.fft
from numpy.lib.stride_tricks import sliding_window_view

from melexp.metrics._kept import REFERENCES
from melexp.metrics._score import Score, is_silent
from melexp.transforms.mel import MelTransform

#: Samples of a frame at 10 kHz, half of it between frames, and frames of a segment.
FRAME, HOP, SEGMENT = 256, 128, 30
RATE = 10000
#: Frames of the reference this far below its loudest one are silent.
DYNAMIC_RANGE_DB = 40
_EPS = np.finfo(np.float64).eps


def estoi(reference: np.ndarray, estimate: np.ndarray, *, transform: MelTransform) -> Score:
    """Compute the extended STOI (Jensen & Taal 2016); speech only; higher is better.

    The steps are those of the package pystoi, over all segments at once. pystoi adds noise of 2e-16
    to the segments; here a band without any variation counts as uncorrelated.

    Range: about 0 to 1. Undefined if the reference or the estimate is silent, or if fewer than 30
    frames (0.4 s) of the reference are not silent, for which pystoi returns 1e-5.
    """
    if is_silent(reference) or is_silent(estimate):
        return Score.without("the reference or the estimate is silent")
    too_short = Score.without("fewer than 30 frames of 26 ms that are not silent")
    if len(reference) < 0.39 * transform.sr:  # less than a segment, or even than a frame
        return too_short
    # Numbers that pystoi adds to its denominators are not negligible for very soft sound.
    peak = float(np.abs(reference).max())
    level = peak if peak < 1e-6 else 1.0
    loud, known = REFERENCES.of(_reference, reference, transform.sr, level)
    if known.size == 0:
        return too_short
    bands = _octave_bands(_frames(estimate, transform.sr, level)[loud])
    return Score(float(np.vdot(known, _normalised(bands))) / known[0].size)


class _Reference(NamedTuple):
    """Frames of the reference that are not silent, and its normalised segments."""

    loud: np.ndarray
    segments: np.ndarray


def _reference(y: np.ndarray, sr: float, level: float) -> _Reference:
    frames = _frames(y, sr, level)
    energy = 20 * np.log10(np.linalg.norm(frames, axis=1) + _EPS)
    loud = energy.max() - DYNAMIC_RANGE_DB - energy < 0
    return _Reference(loud, _normalised(_octave_bands(frames[loud])))


def _window() -> np.ndarray:
    return np.hanning(FRAME + 2)[1:-1]


def _frames(y: np.ndarray, sr: float, level: float) -> np.ndarray:
    """Return the windowed frames of a waveform at 10 kHz [shape=(n_frames, FRAME)]."""
    from pystoi.utils import resample_oct

    y = y.astype(np.float64) / level
    if sr != RATE:
        y = resample_oct(y, RATE, sr)
    return sliding_window_view(y, FRAME)[: len(y) - FRAME : HOP] * _window()


def _octave_bands(frames: np.ndarray) -> np.ndarray:
    """Return third-octave band levels of overlapping frames [shape=(15, n_frames - 1)]."""
    from pystoi.stoi import NFFT, OBM

    joined = np.zeros((len(frames) + 1, HOP))
    joined[:-1] += frames[:, :HOP]
    joined[1:] += frames[:, HOP:]
    framed = np.concatenate([joined[:-2], joined[1:-1]], axis=1)
    X = scipy.fft.rfft(framed * _window(), n=NFFT)
    levels: np.ndarray = np.sqrt(OBM @ (np.square(X.real) + np.square(X.imag)).T)
    return levels


def _normalised(bands: np.ndarray) -> np.ndarray:
    """Return all segments, normalised over time and then over bands [shape=(15, 30, n_segments)].

    The last axis is contiguous, so that sums over the others are fast.
    """
    n_segments = bands.shape[1] - SEGMENT + 1
    if n_segments < 1:
        return np.empty((len(bands), SEGMENT, 0))
    segments = sliding_window_view(bands, n_segments, axis=1)
    return _unit(_unit(segments, axis=1), axis=0)


def _unit(a: np.ndarray, *, axis: int) -> np.ndarray:
    """Return vectors along an axis without their mean, at a norm of 1, or 0 if nothing is left."""
    a = a - a.mean(axis=axis, keepdims=True)
    norm = np.sqrt(np.square(a).sum(axis=axis, keepdims=True))
    a *= np.divide(1, norm, out=np.zeros_like(norm), where=norm > _EPS)
    return a
