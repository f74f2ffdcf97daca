"""Priors of the magnitude: what a mel-spectrogram leaves open, learned from sounds.

A prior is a function of a magnitude that fits the mel, and of the problem. It returns a better
magnitude. A method with a prior starts there, and may hold the magnitude while it iterates: see
:class:`melexp.methods._guided.Guided`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np

from melexp.problem import Problem
from melexp.start import network
from melexp.start.magnitude import MAGNITUDES, magnitude_of
from melexp.start.pghi import pghi
from melexp.transforms.arrays import relative_error

#: The weights of the shipped network, from ``tools/prior``.
WEIGHTS = Path(__file__).with_name("prior.npz")
#: Error of the root of a magnitude, relative to the root, at which a bin is held half as firmly.
HALF = 0.15
#: Largest inconsistency of the guess relative to that of the magnitude it was made from.
MARGIN = 1.0


@dataclass(frozen=True)
class Guess:
    """What a prior knows of a sound.

    Attributes
    ----------
    magnitude : np.ndarray [shape=(n_bins, n_frames)], non-negative
        The magnitude of the STFT, at the level of the magnitude that the prior was given.
    confidence : np.ndarray [shape=(n_bins, n_frames)] or float, from 0 to 1
        How firmly a bin is held, relative to the weight of the method.
    corrections : np.ndarray [shape=(2, n_bins, n_frames)] or None
        Added to the phase increments of :func:`melexp.start.pghi`, in radians.
    """

    magnitude: np.ndarray
    confidence: Any = 1.0
    corrections: np.ndarray | None = None


#: ``prior(magnitude, problem)`` returns a `Guess`, or the magnitude alone.
Prior: TypeAlias = Callable[[np.ndarray, Problem], "Guess | np.ndarray"]


def shipped(magnitude: np.ndarray, problem: Problem) -> Guess:
    """Return the guess of the shipped network, or the magnitude where that would not help.

    The network corrects the magnitude by a factor, and the two phase increments of each bin. It
    estimates the error that remains. Its guess is used if it passes `guarded`.

    Parameters
    ----------
    magnitude : np.ndarray [shape=(n_bins, n_frames)], non-negative
        A magnitude that fits the mel: the network was trained on that of :func:`melexp.start.kl`.
    problem : Problem

    Returns
    -------
    guess : Guess
    """
    return guarded(of_network(magnitude, problem), magnitude, problem)


def of_network(magnitude: np.ndarray, problem: Problem) -> Guess:
    """Return the guess of the shipped network, as `shipped` but without the test."""
    out = network.forward(_weights(), network.planes(problem, magnitude))
    floor = network.FLOOR * network.level_of(magnitude)
    better = (magnitude + floor) * np.exp(np.clip(out[0], -3, 3))
    better = refitted(better.astype(magnitude.dtype), problem)
    squared_error = np.exp(2 * np.clip(out[1] - 1, -20, 20))
    return Guess(better, HALF**2 / (HALF**2 + squared_error), out[2:])


def guarded(guess: Guess, magnitude: np.ndarray, problem: Problem) -> Guess:
    r"""Return a guess if its spectrogram is more consistent than that of a magnitude.

    The spectrogram X has the phase of :func:`melexp.start.pghi`, with the corrections of the guess
    if `with_better_phase` keeps them. Its inconsistency :math:`\|X - P_C X\| / \|X\|` needs no
    knowledge of the sound. A magnitude nearer to the truth usually has a smaller one.

    Parameters
    ----------
    guess : Guess
    magnitude : np.ndarray [shape=(n_bins, n_frames)], non-negative
        The magnitude to fall back to, with a confidence of 0.
    problem : Problem

    Returns
    -------
    guess : Guess
    """
    kept, after = with_better_phase(guess, problem)
    before, _ = start_errors(magnitude, None, problem)
    return kept if after < MARGIN * before else Guess(magnitude, 0.0)


def with_better_phase(guess: Guess, problem: Problem) -> tuple[Guess, float]:
    """Return a guess with its corrections only if its start then fits the mel better.

    Parameters
    ----------
    guess : Guess
    problem : Problem

    Returns
    -------
    guess : Guess
    inconsistency : float
        As of `start_errors`.
    """
    plain = replace(guess, corrections=None)
    inconsistency, mel_error = start_errors(guess.magnitude, None, problem)
    if guess.corrections is None:
        return guess, inconsistency
    corrected = start_errors(guess.magnitude, guess.corrections, problem)
    return (guess, corrected[0]) if corrected[1] < mel_error else (plain, inconsistency)


def start_errors(
    A: np.ndarray, corrections: np.ndarray | None, problem: Problem
) -> tuple[float, float]:
    """Return what a magnitude with the phase of `pghi` lacks as a start; both need no truth.

    Parameters
    ----------
    A : np.ndarray [shape=(n_bins, n_frames)], non-negative
    corrections : np.ndarray or None
        See :class:`Guess`.
    problem : Problem

    Returns
    -------
    inconsistency : float
        Relative distance from the nearest STFT, from 0 to 1; NaN for a magnitude of zero.
    mel_error : float
        Relative distance of the mel of that STFT from the mel of the problem; NaN for silence.
    """
    angle = pghi(A, problem, np.random.default_rng(0), corrections=corrections)
    X = (A * np.exp(1j * angle)).astype(np.result_type(problem.dtype, np.complex64))
    nearest = problem.stft.project(X)
    mel = problem.filters.apply(problem.transform.spectrum(nearest))
    return relative_error(X, nearest), relative_error(problem.mel, mel)


def refitted(A: np.ndarray, problem: Problem, *, n_iter: int = 2) -> np.ndarray:
    r"""Scale a magnitude so that it fits the mel, and keep its fine structure.

    The spectrum :math:`S = A^p` is updated by
    :math:`S \leftarrow S \circ E^\top (M / E S) / E^\top 1`, which decreases the Kullback-Leibler
    divergence of M and E S.

    Parameters
    ----------
    A : np.ndarray [shape=(n_bins, n_frames)], non-negative
    problem : Problem
    n_iter : int >= 0
        Number of updates.

    Returns
    -------
    A : np.ndarray [shape=(n_bins, n_frames)], non-negative
        Zero in bins without a filter.
    """
    E, power = problem.filters, problem.transform.power
    total = E.weights.sum(axis=0).astype(A.dtype)[:, None]
    used = total > 0
    S = np.where(used, problem.transform.spectrum(A), 0)
    for _ in range(n_iter):
        ratio = problem.mel / (E.apply(S) + A.dtype.type(1e-9))
        S *= E.adjoint(ratio) / np.where(used, total, 1)
    return magnitude_of(S, power)


@cache
def _weights() -> dict[str, np.ndarray]:
    with np.load(WEIGHTS, allow_pickle=False) as stored:
        return dict(stored)


_GUESSES: WeakKeyDictionary[Problem, dict[Any, Guess]] = WeakKeyDictionary()


def guess_of(prior: Prior | str, problem: Problem, *, magnitude: str) -> Guess:
    """Return the guess of a prior for a problem without weights, computed once.

    Parameters
    ----------
    prior : callable or "shipped"
    problem : Problem
    magnitude : str
        Key of :data:`melexp.start.MAGNITUDES`: the magnitude that the prior improves.

    Returns
    -------
    guess : Guess

    Raises
    ------
    ValueError
        If the prior returns arrays of another shape, or values that are not finite or negative.
    """
    plain = problem.plain
    known = _GUESSES.setdefault(plain, {})
    if (prior, magnitude) not in known:
        A = magnitude_of(MAGNITUDES[magnitude](plain), plain.transform.power)
        function: Any = shipped if prior == "shipped" else prior
        known[prior, magnitude] = _checked(function(A, plain), A)
    return known[prior, magnitude]


def _checked(found: Any, A: np.ndarray) -> Guess:
    """Return a guess in the precision of A; raise ValueError if it does not fit A."""
    guess = found if isinstance(found, Guess) else Guess(found)
    values, sure = np.asarray(guess.magnitude, A.dtype), np.asarray(guess.confidence, A.dtype)
    for name, x, shapes in (
        ("magnitude", values, (A.shape,)),
        ("confidence", sure, (A.shape, ())),
    ):
        if x.shape not in shapes:
            raise ValueError(
                f"the prior returned a {name} of shape {x.shape}; return one of shape (n_bins, "
                f"n_frames) = {A.shape}"
            )
        if not (np.isfinite(x).all() and x.min(initial=0) >= 0):
            raise ValueError(
                f"the prior returned a {name} that is negative or not finite (least: "
                f"{x.min(initial=0):.3g}); return finite values from 0 on"
            )
    if sure.max(initial=0) > 1:
        raise ValueError(
            f"the prior returned a confidence of {sure.max():.3g}; return values from 0 to 1"
        )
    corrections = guess.corrections
    if corrections is not None and np.shape(corrections) != (2, *A.shape):
        raise ValueError(
            f"the prior returned corrections of shape {np.shape(corrections)}; return "
            f"(2, n_bins, n_frames) = {(2, *A.shape)}"
        )
    return Guess(values, np.broadcast_to(sure, A.shape), corrections)
