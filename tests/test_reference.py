"""The oracle against librosa and scipy."""

import librosa
import numpy as np
import pytest
from reference import Reference

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
