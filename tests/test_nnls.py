"""The compiled steps of `nnls` against its equations in NumPy."""

import dataclasses

import numpy as np
import pytest

from melexp import MelTransform, Problem
from melexp.start import nnls, pinv


def accelerated(problem: Problem, n_iter: int) -> np.ndarray:
    """Return `n_iter` iterations of FISTA with restarts, in float64."""
    E, M = problem.transform.basis, problem.mel.astype(np.float64)
    step = 1 / np.linalg.norm(E, 2) ** 2
    A = B = pinv(problem).astype(np.float64)
    t = 1.0
    for _ in range(n_iter):
        A_new = np.maximum(B + step * E.T @ (M - E @ B), 0)
        if np.vdot(B - A_new, A_new - A) > 0:
            t = 1.0
        t_new = (1 + np.sqrt(1 + 4 * t * t)) / 2
        A, B, t = A_new, A_new + (t - 1) / t_new * (A_new - A), t_new
    return A


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_iter", [0, 1, 2, 30])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"n_mels": 1},
        {"n_mels": 2},
        {"n_mels": 60, "empty_filters": True},
        {"fmin": 900.0, "fmax": 3000.0},
        {"power": 2.0},
        {"norm": None, "htk": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("n_frames", [1, 8, 37])
def test_steps_are_those_of_the_equations(
    small: MelTransform, changes: dict, n_iter: int, n_frames: int, dtype: type
) -> None:
    transform = dataclasses.replace(small, **changes)
    # A mel that no magnitude has exactly, so that the bound and the restarts matter.
    rng = np.random.default_rng(n_frames)
    mel = rng.exponential(size=(transform.n_mels, n_frames)) * rng.exponential(size=n_frames)
    mel[transform.filters().empty] = 0
    problem = Problem(mel.astype(dtype), transform, dtype=dtype)
    found, expected = nnls(problem, n_iter=n_iter, tol=0), accelerated(problem, n_iter)
    tolerance = 1e-10 if dtype is np.float64 else 2e-5
    assert found.dtype == dtype
    assert np.linalg.norm(found - expected) <= tolerance * np.linalg.norm(expected)


def test_it_ends_at_the_tolerance(small: MelTransform) -> None:
    mel = np.random.default_rng(0).exponential(size=(small.n_mels, 20)).astype(np.float32)
    problem = Problem(mel, small)
    long = nnls(problem, n_iter=5000, tol=1e-3)
    ends = [k for k in range(300) if np.array_equal(nnls(problem, n_iter=k, tol=0), long)]
    (k,) = ends
    before, last = (nnls(problem, n_iter=n, tol=0) for n in (k - 1, k))
    assert np.linalg.norm(last - before) <= 1.001e-3 * np.linalg.norm(last)


def test_silence_stays_silent(small: MelTransform) -> None:
    problem = Problem(np.zeros((small.n_mels, 5), np.float32), small)
    assert not nnls(problem).any()
