"""The iterations on the window of a stream, in NumPy or in the compiled engine."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from melexp.inversion.stream_state import StreamState
from melexp.inversion.stream_window import Window, solve_tridiagonal
from melexp.methods import Bins
from melexp.transforms.mel import MelTransform


class Iteration:
    """Iterations on a window of frames whose first samples are fixed.

    Parameters
    ----------
    transform : MelTransform
    bins : Bins
        Declaration of the method's iteration.
    coefficients : np.ndarray [shape=(n_ages, n_coefficients), float32]
        Coefficients by the age of a frame; the last ones hold for older frames.
    window : Window
    """

    def __init__(
        self, transform: MelTransform, bins: Bins, coefficients: np.ndarray, window: Window
    ) -> None:
        self._transform, self._bins = transform, bins
        self._coefficients, self._window = coefficients, window

    def run(self, s: StreamState, n_iter: int, fixed: int, stop: int | None) -> None:
        """Iterate on the frames of a state and make its signal, in place.

        Parameters
        ----------
        s : StreamState
        n_iter : int > 0
        fixed : int
            Number of samples of the signal that are fixed.
        stop : int or None
            Sample from which on the signal is zero.
        """
        n, window = s.n_window, self._window
        source, estimate, update = self._bins.on_arrays
        C, R, F = (tuple(a[:, :n] for a in arrays) for arrays in (s.C, s.R, s.F))
        mel, bound = s.mel[:, :n], s.bound[:, :n]
        filters, n_bins = self._transform.filters(), s.C.shape[-1]
        below, pivot = s.below[:, :n].copy(), s.pivot[:, :n].copy()
        has_bounds = bool(bound.any())
        ages, last = s.ages[:n], len(self._coefficients) - 1
        for _ in range(n_iter):
            rows = self._coefficients[np.minimum(ages, last)]
            c = tuple(column[:, None] for column in rows.T)
            window.inverse(source(C, R, F, c), s.x, fixed, stop)
            z, d = window.forward(s.x, n), None
            if self._bins.fits_mel:
                guess = estimate(C, R, F, c)
                error = mel - filters.apply(guess.reshape(-1, n_bins).T).T.reshape(mel.shape)
                if has_bounds:
                    error[bound & (error > 0)] = 0
                x = solve_tridiagonal(below, pivot, error).reshape(-1, error.shape[-1])
                d = np.ascontiguousarray(filters.adjoint(x.T).T).reshape(guess.shape)
            C, R = update(C, R, F, z, d, c)
            ages += 1
        for arrays, values in ((s.C, C), (s.R, R)):
            for array, value in zip(arrays, values, strict=True):
                array[:, :n] = value
        window.inverse(C[0], s.x, fixed, stop)


class FastIteration(Iteration):
    """The same in the compiled engine, with the memory of one state."""

    _state: StreamState | None = None

    def run(self, s: StreamState, n_iter: int, fixed: int, stop: int | None) -> None:
        if self._state is not s:
            self._bind(s)
        n = s.n_window
        if self._bins.fits_mel:
            np.subtract(1, s.bound, out=self._exact, dtype=np.float32)
            np.divide(1, s.pivot, out=self._inverse)
        if stop is not None:
            self._engine.end()
        self._engine.run(n, s.ages, n_iter, fixed, lambda: self._window.scale(n, stop))
        s.ages[:n] += n_iter

    def _bind(self, s: StreamState) -> None:
        from melexp.fast.windows import WindowEngine  # here, because importing LLVM is slow

        window, filters = self._window, self._transform.filters()
        n_streams, n_frames = s.mel.shape[:2]
        if self._state is None or n_streams != len(self._state.mel):
            self._engine = WindowEngine(
                self._bins,
                self._coefficients,
                n_fft=window.n_fft,
                hop_length=window.hop_length,
                window=window.window,
                band=filters.band,
                weights=filters.weights,
                n_mels=filters.n_mels,
                n_streams=n_streams,
                n_frames=n_frames,
            )
        self._exact, self._inverse = np.ones_like(s.mel), np.ones_like(s.mel)
        fits = (s.mel, self._exact, s.below, self._inverse) if self._bins.fits_mel else ()
        self._engine.bind(list(s.C), list(s.R), list(s.F), fits, s.x)
        self._state = s


def iteration(engine: str, transform: MelTransform, *arguments: Any) -> Iteration:
    """Return the iterations in the engine of that name; see :class:`Iteration`.

    Raises
    ------
    ValueError
        If the name is unknown, or the fast engine cannot be used.
    """
    if engine not in ("auto", "fast", "portable"):
        raise ValueError(f"engine must be auto, fast or portable; got {engine!r}")
    reason = None if engine == "portable" else _why_not_fast(transform)
    if reason and engine == "fast":
        raise ValueError(f"the fast engine cannot be used: {reason}; use engine='auto'")
    if reason:
        logging.getLogger("melexp").info("portable engine: %s", reason)
    chosen = Iteration if reason or engine == "portable" else FastIteration
    return chosen(transform, *arguments)


def _why_not_fast(transform: MelTransform) -> str | None:
    from melexp.fast import LaneEngine

    if transform.power not in (1, 2):
        return f"the fast engine supports power 1 and 2, not {transform.power:g}"
    if transform.hop_length > (transform.win_length or transform.n_fft):
        return "the hop is longer than the window"
    return LaneEngine.unsupported(transform.n_fft)
