"""The oracle of the other tests, against librosa, scipy and direct minimisation."""

import itertools

import librosa
import numpy as np
import pytest
import scipy.optimize
import scipy.signal
from reference import Reference, magnitude_pair, power_pair

HANN = scipy.signal.get_window("hann", 128)
BASIS = librosa.filters.mel(sr=8000, n_fft=128, n_mels=12, fmax=4000, dtype=np.float64)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape)


@pytest.mark.parametrize("pad_mode", ["constant", "reflect"])
@pytest.mark.parametrize("hop", [32, 50])
def test_stft_is_that_of_librosa(pad_mode: str, hop: int) -> None:
    x = noise(1500)
    reference = Reference(HANN, hop, len(x), pad=64, pad_mode=pad_mode)
    expected = librosa.stft(x, n_fft=128, hop_length=hop, pad_mode=pad_mode)
    np.testing.assert_allclose(reference.stft(x), expected, atol=1e-12)


def test_stft_is_that_of_scipy() -> None:
    x = noise(1500)
    options = {"nperseg": 128, "noverlap": 96, "boundary": None, "padded": False}
    expected = scipy.signal.stft(x, window=HANN, **options)[2] * HANN.sum()
    np.testing.assert_allclose(Reference(HANN, 32, 1500).stft(x), expected, atol=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
def test_istft_is_the_least_squares_inverse(weighted: bool) -> None:
    n, frames = 300, 10
    weights = 10 ** np.random.default_rng(1).uniform(-1, 1, frames) if weighted else None
    reference = Reference(HANN, 32, n, pad=64, weights=weights)
    assert reference.n_frames == frames
    X = noise(65, frames) + 1j * noise(2, 65, frames)[1]
    X[[0, -1]] = X[[0, -1]].real
    double = np.full((65, 1), np.sqrt(2))  # a bin stands for its conjugate too
    double[[0, -1]] = 1
    columns = [(double * reference.stft(x)).ravel() for x in np.eye(n)]
    system = np.stack(columns, axis=1)
    split = np.vstack([system.real, system.imag])
    target = (double * X).ravel()
    expected = np.linalg.lstsq(split, np.append(target.real, target.imag), rcond=None)[0]
    np.testing.assert_allclose(reference.istft(X), expected, atol=1e-9)


@pytest.mark.parametrize("pair", [magnitude_pair, power_pair])
def test_pair_is_the_minimiser(pair) -> None:
    root = np.sqrt if pair is power_pair else np.asarray
    rho_x, rho_y = 0.2, 0.7
    for z, w in itertools.product([0.0, 0.3, 2.0], [-1.0, 0.1, 3.0]):
        penalty = np.array([rho_y]) if pair is power_pair else rho_y
        x, y = (v.item() for v in pair(np.array([z]), np.array([w]), rho_x, penalty))

        def objective(v, z=z, w=w) -> float:
            x, y = v
            return (x - root(y)) ** 2 + rho_x * (x - z) ** 2 + rho_y * (y - w) ** 2

        grid = scipy.optimize.brute(
            objective, [(0, 4), (0, 4)], Ns=81, full_output=True, finish=None
        )[1]
        assert x >= 0
        assert y >= 0
        assert objective((x, y)) <= grid + 1e-12


def test_the_mel_is_fitted_by_least_squares() -> None:
    reference = Reference(HANN, 32, 1500, basis=BASIS)
    M, R, S = np.abs(noise(12, 3)), noise(65, 3), 1 + np.abs(noise(65, 3))
    for fit, size, row in (
        (reference.magnitude_fit(M, 0.3), np.ones_like(S), np.ones_like(M)),
        (reference.power_fit(M, 0.3, S), S, BASIS @ S),
    ):
        slope = BASIS.T @ ((BASIS @ fit(R) - M) / row) + 0.3 * (fit(R) - R) / size
        np.testing.assert_allclose(slope, 0, atol=1e-9)


def test_methods_keep_a_solution() -> None:
    """The spectrogram of a signal with its own magnitude and mel is a fixed point of each."""
    x = noise(1500)
    reference = Reference(HANN, 32, len(x), pad=64, basis=BASIS)
    X = reference.stft(x)
    A = np.abs(X)
    M = BASIS @ A
    ends = [method(A, X, 5) for method in (reference.gla, reference.fgla, reference.admm_gla)]
    ends += [
        method(M, A, X, 5) for method in (reference.ipalm, reference.admm, reference.admm_ramp)
    ]
    for end in ends:
        np.testing.assert_allclose(reference.istft(end), x, atol=1e-9)
