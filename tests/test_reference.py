"""The oracle of the other tests, against librosa and direct minimisation."""

import itertools

import librosa
import numpy as np
import pytest
import scipy.optimize
from reference import Reference, magnitude_pair, power_pair, ramp

E = librosa.filters.mel(sr=8000, n_fft=64, n_mels=8, dtype=np.float64)


@pytest.mark.parametrize(("padding", "mode"), [("zeros", "constant"), ("reflect", "reflect")])
def test_its_stft_is_that_of_librosa(padding: str, mode: str) -> None:
    x = np.random.default_rng(0).standard_normal(1000)
    oracle = Reference(64, 16, len(x), E, padding)
    theirs = librosa.stft(x, n_fft=64, hop_length=16, pad_mode=mode)
    np.testing.assert_allclose(oracle.stft(x), theirs, atol=1e-12)
    np.testing.assert_allclose(oracle.istft(theirs), x, atol=1e-12)


def test_its_projection_is_orthogonal() -> None:
    rng = np.random.default_rng(0)
    oracle = Reference(64, 16, 500, E, "reflect")
    X = np.fft.rfft(rng.standard_normal((oracle.n_frames, 64))).T
    Z = oracle.project(X)
    np.testing.assert_allclose(oracle.project(Z), Z, atol=1e-12)
    twice = np.full(33, 2.0)  # the weights of the bins in the two-sided spectrum
    twice[[0, -1]] = 1
    inner = np.sum(twice[:, None] * np.real((X - Z) * np.conj(Z)))
    assert abs(inner) < 1e-9 * np.linalg.norm(X) ** 2


@pytest.mark.parametrize("weighted", [False, True])
def test_istft_is_the_least_squares_inverse(weighted: bool) -> None:
    rng = np.random.default_rng(0)
    n, n_frames = 200, 13
    weights = 10 ** rng.uniform(-1, 1, n_frames) if weighted else None
    oracle = Reference(64, 16, n, E, weights=weights)
    assert oracle.n_frames == n_frames
    X = np.fft.rfft(rng.standard_normal((n_frames, 64))).T
    twice = np.full((33, 1), np.sqrt(2))
    twice[[0, -1]] = 1
    system = np.stack([(twice * oracle.stft(x)).ravel() for x in np.eye(n)], axis=1)
    target = (twice * X).ravel()
    expected = np.linalg.lstsq(
        np.vstack([system.real, system.imag]), np.append(target.real, target.imag), rcond=None
    )[0]
    np.testing.assert_allclose(oracle.istft(X), expected, atol=1e-9)


@pytest.mark.parametrize("pair", [magnitude_pair, power_pair])
def test_pair_is_the_minimiser(pair) -> None:
    root = np.sqrt if pair is power_pair else np.asarray
    a, b = 0.2, 0.7
    for z, w in itertools.product([0.0, 0.3, 2.0], [-1.0, 0.1, 3.0]):

        def objective(v, z=z, w=w) -> float:
            return (v[0] - root(v[1])) ** 2 + a * (v[0] - z) ** 2 + b * (v[1] - w) ** 2

        x, y = (v.item() for v in pair(np.array([z]), np.array([w]), a, np.array([b])))
        grid = scipy.optimize.brute(
            objective, [(0, 4), (0, 4)], Ns=81, full_output=True, finish=None
        )[1]
        assert x >= 0
        assert y >= 0
        assert objective((x, y)) <= grid + 1e-12


def test_the_mel_is_fitted_by_least_squares() -> None:
    rng = np.random.default_rng(0)
    oracle = Reference(64, 16, 1000, E)
    M, R = np.abs(rng.standard_normal((8, 3))), rng.standard_normal((33, 3))
    S = 1 + np.abs(rng.standard_normal((33, 3)))
    for fit, size, row in (
        (oracle.magnitude_fit(M, 0.3), 1, 1),
        (oracle.power_fit(M, 0.3, S), S, E @ S),
    ):
        slope = E.T @ ((E @ fit(R) - M) / row) + 0.3 * (fit(R) - R) / size
        np.testing.assert_allclose(slope, 0, atol=1e-9)


def test_methods_keep_a_solution() -> None:
    """The spectrogram of a signal is a fixed point for its own magnitude and mel."""
    x = np.random.default_rng(0).standard_normal(1000)
    oracle = Reference(64, 16, len(x), E)
    X = oracle.stft(x)
    A, M = np.abs(X), E @ np.abs(X)
    for end in (
        oracle.fgla(A, X, [0.9] * 5),
        oracle.admm_gla(A, X, [0.1] * 5),
        oracle.ipalm(M, A, X, [0.5] * 5, 5000.0)[0],
        oracle.admm(M, A, X, ramp(5), 2e-5)[0],
    ):
        np.testing.assert_allclose(oracle.istft(end), x, atol=1e-9)
