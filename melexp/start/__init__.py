"""Initialisation of the iterations: a magnitude and a phase, each selected by name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from melexp.problem import Problem
from melexp.start.magnitude import MAGNITUDES, kl, magnitude_of, nnls, pinv
from melexp.start.mel_to_magnitude import mel_to_magnitude
from melexp.start.pghi import pghi
from melexp.start.phase import random, spsi, zero
from melexp.start.prior import Guess, Prior, guess_of

__all__ = [
    "MAGNITUDES",
    "PHASES",
    "VERSIONS",
    "Guess",
    "Prior",
    "check_start",
    "guess_of",
    "kl",
    "mel_to_magnitude",
    "nnls",
    "pghi",
    "pinv",
    "random",
    "spsi",
    "start",
    "zero",
]

#: Versions of the starts and of the shipped prior. Increase one if the code or the weights change
#: its values; tasks are then recomputed.
VERSIONS = {"kl": 2, "pghi": 2, "shipped": 4}
PHASES: dict[str, Callable[[np.ndarray, Problem, np.random.Generator], np.ndarray]] = {
    "random": random,
    "zero": zero,
    "spsi": spsi,
    "pghi": pghi,
}


def start(
    problem: Problem,
    rng: np.random.Generator,
    *,
    magnitude: str,
    phase: str,
    prior: Prior | str | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the initial magnitude and spectrogram of a problem.

    Parameters
    ----------
    problem : Problem
    rng : np.random.Generator
        Source of random phases.
    magnitude, phase : str
        Keys of `MAGNITUDES` and `PHASES`.
    prior : callable, "shipped" or None
        Improves the magnitude before the phase is estimated: see `melexp.start.prior`.

    Returns
    -------
    Y : np.ndarray [shape=(n_bins, n_frames)], non-negative
        Magnitude, multiplied by the frame gains of the problem.
    X : np.ndarray [shape=(n_bins, n_frames), complex]
        Y exp(i phase).

    Raises
    ------
    ValueError
        If a name is unknown.
    """
    check_start(magnitude, phase)
    plain = problem.plain
    if prior is None:
        Y = magnitude_of(MAGNITUDES[magnitude](plain), problem.transform.power)
        angle = PHASES[phase](Y, plain, rng)
    else:
        guess = guess_of(prior, problem, magnitude=magnitude)
        Y = guess.magnitude
        if phase == "pghi":
            angle = pghi(Y, plain, rng, corrections=guess.corrections)
        else:
            angle = PHASES[phase](Y, plain, rng)
    angle = angle.astype(problem.dtype, copy=False)
    if problem.frame_gains is not None:
        Y = Y * problem.frame_gains
    if phase in ("random", "zero"):
        # Rounds differently from `_polar`; the stored results were computed with it.
        return Y, Y * np.exp(1j * angle)
    return Y, _polar(Y, angle)


def _polar(magnitude: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Return magnitude times exp(i angle), many times faster than the complex exponential."""
    X = np.empty(angle.shape, np.result_type(angle.dtype, np.complex64))
    np.multiply(magnitude, np.cos(angle), out=X.real)
    np.multiply(magnitude, np.sin(angle), out=X.imag)
    return X


def check_start(magnitude: str, phase: str) -> None:
    """Raise ValueError unless both names are known."""
    for kind, name, known in (("magnitude", magnitude, MAGNITUDES), ("phase", phase, PHASES)):
        if name not in known:
            raise ValueError(f"{kind} must be one of {', '.join(known)}; got {name!r}")
