"""Where the iterations start: a full-band magnitude and a phase, each by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np

from melexp.problem import Problem
from melexp.start.magnitude import kl, nnls, pinv
from melexp.start.pghi import pghi
from melexp.start.phase import random, spsi, zero

__all__ = ["MAGNITUDES", "PHASES", "kl", "nnls", "pghi", "pinv", "random", "spsi", "start", "zero"]

F = TypeVar("F")

MAGNITUDES: dict[str, Callable[[Problem], np.ndarray]] = {"pinv": pinv, "nnls": nnls, "kl": kl}
PHASES: dict[str, Callable[[np.ndarray, Problem, np.random.Generator], np.ndarray]] = {
    "random": random,
    "zero": zero,
    "spsi": spsi,
    "pghi": pghi,
}


def start(
    problem: Problem, rng: np.random.Generator, *, magnitude: str, phase: str
) -> tuple[np.ndarray, np.ndarray]:
    """Magnitude Y [shape=(n_bins, n_frames)] and complex spectrogram X = Y exp(i phase)."""
    Y = _named(MAGNITUDES, magnitude, "magnitude")(problem)
    if problem.transform.power == 2:
        Y = np.sqrt(Y)
    angle = _named(PHASES, phase, "phase")(Y, problem, rng).astype(problem.dtype, copy=False)
    if phase in ("random", "zero"):
        # Its last bits differ from those of `_polar`, and results were published with it.
        return Y, Y * np.exp(1j * angle)
    return Y, _polar(Y, angle)


def _polar(magnitude: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Magnitude times exp(i angle); many times faster than the complex exponential."""
    X = np.empty(angle.shape, np.result_type(angle.dtype, np.complex64))
    np.multiply(magnitude, np.cos(angle), out=X.real)
    np.multiply(magnitude, np.sin(angle), out=X.imag)
    return X


def _named(table: dict[str, F], name: str, kind: str) -> F:
    if name not in table:
        raise ValueError(f"{kind} must be one of {', '.join(table)}; got {name!r}")
    return table[name]
