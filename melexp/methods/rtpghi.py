"""RTPGHI: the phase from the gradient of the magnitude, frame by frame and without iterations."""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any

import numpy as np
import scipy.fft

from melexp.methods._base import Peer
from melexp.methods._online import Frames
from melexp.problem import Problem
from melexp.start import check_start
from melexp.start.pghi import gaussian_width
from melexp.start.phase import window_delay


@dataclass(frozen=True, kw_only=True)
class Rtpghi(Peer):
    """Real-time phase gradient heap integration.

    The increments are those of :func:`melexp.start.pghi`. The phase of a frame is integrated from
    the frame before it and within the frame, from the largest magnitude on. The derivative in time
    needs the next frame; without look-ahead it is the backward difference of second order. The
    paper inverts linear spectrograms; here the magnitude is estimated from the mel.

    Parameters
    ----------
    lookahead : 0 or 1
        Number of frames after a frame that its phase depends on.
    tol : float in (0, 1)
        Bins below this share of the largest magnitude of a frame and the one before get a random
        phase.
    magnitude : str
        A name in `melexp.start.MAGNITUDES`.

    Raises
    ------
    ValueError
        If a value is out of range.

    References
    ----------
    Z. Průša and P. L. Søndergaard, "Real-time spectrogram inversion using phase gradient heap
    integration", DAFx 2016.
    """

    lookahead: int = 1
    tol: float = 1e-6
    magnitude: str = "kl"

    def __post_init__(self) -> None:
        if self.lookahead not in (0, 1):
            raise ValueError(f"lookahead must be 0 or 1; got {self.lookahead}")
        if not 0 < self.tol < 1:
            raise ValueError(f"tol must be between 0 and 1; got {self.tol}")
        check_start(self.magnitude, "zero")

    def start(self, problem: Problem) -> Frames:
        return Frames.of(problem, self.magnitude)

    def run(
        self, problem: Problem, rng: np.random.Generator, n_iter: int, start: Any
    ) -> np.ndarray:
        """Return the waveform [shape=(n_samples,)]; `n_iter` has no effect."""
        given: Frames = start
        Y, n_fft = given.magnitude, len(given.window)
        n_bins, scale = Y.shape[1], given.hop_length * n_fft / gaussian_width(given.window)
        delay = window_delay(given.window)
        log = np.log(np.maximum(Y, max(Y.max(initial=0) * 1e-15, np.finfo(float).tiny)))
        in_time = self._slopes_in_time(log)
        advance = 2 * np.pi * (given.hop_length * np.arange(n_bins) % n_fft) / n_fft
        to_next = advance + scale * np.gradient(log, axis=1)
        to_above = -delay - in_time / scale
        angle = np.zeros(n_bins)
        frames = np.zeros((len(Y), n_fft))
        for t, here in enumerate(Y):
            before, last = (Y[t - 1], t - 1) if t else (np.zeros(n_bins), 0)
            along = (to_next[last] + to_next[t]) / 2
            chance = rng.uniform(0, 2 * np.pi, n_bins)
            angle = _integrated(here, before, angle, along, to_above[t], chance, self.tol)
            frames[t] = scipy.fft.irfft(here * np.exp(1j * angle), n=n_fft) * given.dual
        return given.waveform(problem, frames)

    def _slopes_in_time(self, log: np.ndarray) -> np.ndarray:
        """Return d log / d frame [shape=(n_frames, n_bins)]."""
        if self.lookahead:
            return np.gradient(log, axis=0) if len(log) > 1 else np.zeros_like(log)
        one, two = (np.concatenate([log[:1]] * k + [log])[: len(log)] for k in (1, 2))
        return (3 * log - 4 * one + two) / 2


def _integrated(
    here: np.ndarray,
    before: np.ndarray,
    angle: np.ndarray,
    along: np.ndarray,
    to_above: np.ndarray,
    chance: np.ndarray,
    tol: float,
) -> np.ndarray:
    """Return the phase of a frame from the `angle` of the frame before it.

    `along` is the increment from the frame before, `to_above` that to the next bin.
    """
    least = tol * max(here.max(), before.max())
    todo, phase = here > least, chance.copy()
    left = int(todo.sum())
    heap = [(-size, int(f), True) for f, size in enumerate(before) if size > least]
    heap.sort()
    while left:
        if not heap:  # an island that no known phase touches: it begins with phase zero
            first = int(np.where(todo, here, 0).argmax())
            phase[first], todo[first] = 0.0, False
            left -= 1
            heap = [(-here[first], first, False)]
        _, f, is_before = heappop(heap)
        if is_before:
            reached = [(f, angle[f] + along[f])] if todo[f] else []
        else:
            reached = [
                (g, phase[f] + (g - f) * (to_above[f] + to_above[g]) / 2)
                for g in (f - 1, f + 1)
                if 0 <= g < len(here) and todo[g]
            ]
        for g, value in reached:
            phase[g], todo[g] = value, False
            left -= 1
            heappush(heap, (-here[g], g, False))
    return phase
