"""The start `nnls` against an independent solver, and its properties."""

import numpy as np
import pytest
import scipy.optimize

from melexp.problem import Problem
from melexp.start import nnls
from melexp.transforms.mel import MelTransform

LAYOUTS = {
    "slaney": {},
    "htk without norm": {"htk": True, "norm": None},
    "part of the band": {"fmin": 500.0, "fmax": 3000.0},
    "more mels than bins": {
        "n_mels": 200,
        "empty_filters": True,
    },  # some filters are empty, others coincide
    "one mel": {"n_mels": 1},
    "power": {"power": 2.0},
}


def problem(mel: np.ndarray | None = None, dtype: type = np.float64, **layout: object) -> Problem:
    """A problem with a mel that no magnitude has, unless one is given."""
    base = {"sr": 8000, "n_fft": 256, "hop_length": 64, "n_mels": 20}
    transform = MelTransform(**{**base, **layout})  # type: ignore[arg-type]
    if mel is None:
        mel = np.random.default_rng(0).standard_normal((transform.n_mels, 19)) ** 4
    return Problem(mel, transform, dtype=dtype)


def slow(p: Problem, frame: int) -> np.ndarray:
    """Solve a frame with SciPy: the ridge as further rows of the least squares problem."""
    E = p.transform.basis
    rows = np.vstack([E, np.sqrt(1e-5) * np.linalg.norm(E, 2) * np.eye(E.shape[1])])
    target = np.concatenate([p.mel[:, frame], np.zeros(E.shape[1])])
    solution: np.ndarray = scipy.optimize.nnls(rows, target)[0]
    return solution


@pytest.mark.filterwarnings("ignore:.*filter.*:UserWarning")
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_equals_an_independent_solver(layout: dict[str, object]) -> None:
    p = problem(**layout)
    A = nnls(p, tol=1e-10)
    for frame in (0, 7, 8, 18):
        expected = slow(p, frame)
        assert np.abs(A[:, frame] - expected).max() < 1e-7 * expected.max()


def test_frames_are_solved_alone_and_in_float32() -> None:
    p = problem()
    A = nnls(p)
    for frame in (0, 17):
        alone = problem(p.mel[:, frame : frame + 1] * 1e-3)  # scaled to its maximum
        scale = p.mel[:, frame].max()
        np.testing.assert_allclose(nnls(alone)[:, 0] * scale, A[:, frame], atol=1e-5)
    single = nnls(problem(p.mel, dtype=np.float32))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, A, atol=1e-5 * A.max())


def test_silent_frames_are_silent() -> None:
    mel = np.random.default_rng(1).random((20, 5))
    mel[:, [0, 3]] = 0
    A = nnls(problem(mel))
    assert not A[:, [0, 3]].any()
    assert A[:, [1, 2, 4]].any(axis=0).all()


@pytest.mark.filterwarnings("ignore:.*filter.*:UserWarning")
def test_a_mel_without_a_bin_is_left_out() -> None:
    empty = problem(n_mels=200, empty_filters=True).filters.empty
    mel = np.zeros((200, 3))
    mel[empty[0]] = 1
    assert not nnls(problem(mel, n_mels=200, empty_filters=True), n_iter=3).any()


def test_every_frame_is_solved_within_the_given_evaluations() -> None:
    """Noise of all levels, to the default tolerance; fewer evaluations would not do."""
    rng = np.random.default_rng(2)
    p = problem(np.exp(rng.uniform(-12, 0, (20, 200))))
    np.testing.assert_allclose(nnls(p), nnls(p, n_iter=2000, tol=1e-6))
    assert not np.allclose(nnls(p, n_iter=2), nnls(p))
