"""Tests of `mel_to_magnitude`: against the true magnitude, for every estimator and kind of mel."""

import numpy as np
import pytest

from melexp import MelTransform, Problem
from melexp.datasets import load_dataset
from melexp.start import MAGNITUDES, kl, mel_to_magnitude, nnls

#: Largest relative error of the magnitude of an embedded clip, by method and power of the mel.
#: Measured: 0.197, 0.138, 0.088 (power 1) and 0.313, 0.077, 0.150 (power 2).
LARGEST_ERROR = {
    ("pinv", 1): 0.22,
    ("nnls", 1): 0.16,
    ("kl", 1): 0.1,
    ("pinv", 2): 0.35,
    ("nnls", 2): 0.1,
    ("kl", 2): 0.18,
}


@pytest.fixture(scope="module")
def clip() -> np.ndarray:
    """Load the first second of an embedded clip."""
    return load_dataset("demo_speech")[0].load(22050)[:22050]


def truth(y: np.ndarray, transform: MelTransform) -> np.ndarray:
    return np.abs(transform.stft(len(y), y.dtype).forward(y))


def error(estimate: np.ndarray, true: np.ndarray) -> float:
    return float(np.linalg.norm(estimate - true) / np.linalg.norm(true))


@pytest.mark.parametrize(("method", "power"), LARGEST_ERROR)
def test_true_magnitude(clip: np.ndarray, method: str, power: int) -> None:
    transform = MelTransform(power=float(power))
    magnitude = mel_to_magnitude(transform(clip), transform, method=method)
    assert magnitude.dtype == np.float32
    assert (magnitude >= 0).all()
    true = truth(clip, transform)
    true[transform.basis.max(axis=0) == 0] = 0  # no filter covers these bins
    assert magnitude.shape == true.shape
    assert error(magnitude, true) < LARGEST_ERROR[method, power]
    assert np.linalg.norm(magnitude) == pytest.approx(np.linalg.norm(true), rel=0.05)


@pytest.mark.parametrize("method", MAGNITUDES)
@pytest.mark.parametrize("power", [1.0, 2.0])
def test_level_follows_the_mel(clip: np.ndarray, method: str, power: float) -> None:
    transform = MelTransform(power=power)
    y = clip.astype(np.float64)
    soft, loud = (
        mel_to_magnitude(transform(gain * y), transform, method=method, dtype=np.float64)
        for gain in (1.0, 1024.0)  # a power of two: the scaled problems are identical
    )
    np.testing.assert_allclose(loud, 1024 * soft, rtol=1e-9)


@pytest.mark.parametrize("method", MAGNITUDES)
@pytest.mark.parametrize("power", [1.0, 2.0])
def test_mel_of_the_magnitude_is_the_mel(clip: np.ndarray, method: str, power: float) -> None:
    transform = MelTransform(power=power)
    mel = transform(clip)
    magnitude = mel_to_magnitude(mel, transform, method=method)
    assert error(transform.basis @ magnitude**power, mel) < 0.1


@pytest.mark.parametrize(("function", "method"), [(kl, "kl"), (nnls, "nnls")])
def test_estimators_return_the_quantity_of_the_filter_bank(clip, function, method) -> None:
    for power in (1, 2):
        transform = MelTransform(power=float(power))
        mel = transform(clip)
        problem = Problem(mel, transform)
        magnitude = mel_to_magnitude(mel, transform, method=method)
        expected = function(problem) ** (1 / power) * np.float32(problem.scale)
        np.testing.assert_allclose(magnitude, expected, rtol=1e-5)


@pytest.mark.parametrize("preset", ["hifigan", "whisper", "librosa_db"])
def test_compressed_mel(clip: np.ndarray, preset: str) -> None:
    transform = MelTransform.preset(preset)
    magnitude = mel_to_magnitude(transform(clip), transform)
    true = truth(clip, transform)
    if transform.compression.ref == "max":  # the level is lost
        true = true / np.sqrt(transform.linear(clip).max())
    assert error(magnitude, true) < 0.25
    assert np.linalg.norm(magnitude) == pytest.approx(np.linalg.norm(true), rel=0.05)


def test_stack(clip: np.ndarray) -> None:
    transform = MelTransform(power=2.0)
    y = np.stack([clip, 0.1 * clip[::-1], np.zeros_like(clip)])
    mel = np.stack([transform(y), transform(0.5 * y)])
    magnitude = mel_to_magnitude(mel, transform)
    assert magnitude.shape == (2, 3, 513, mel.shape[-1])
    assert not magnitude[:, 2].any()
    for i in range(2):
        for j in range(3):
            one = mel_to_magnitude(mel[i, j], transform)
            np.testing.assert_array_equal(magnitude[i, j], one)


def test_mel_is_not_changed(clip: np.ndarray) -> None:
    transform = MelTransform()
    mel = transform(clip)
    before = mel.copy()
    mel_to_magnitude(mel, transform)
    np.testing.assert_array_equal(mel, before)


def test_errors(clip: np.ndarray) -> None:
    transform = MelTransform()
    mel = transform(clip)
    with pytest.raises(ValueError, match="method must be one of pinv, nnls, kl; got 'nmf'"):
        mel_to_magnitude(mel, transform, method="nmf")
    with pytest.raises(ValueError, match=r"length = 100 gives 1 frames, but mel has 87"):
        mel_to_magnitude(mel, transform, length=100)
    with pytest.raises(ValueError, match="dtype must be float32 or float64"):
        mel_to_magnitude(mel, transform, dtype=np.float16)
    with pytest.raises(ValueError, match="mel has negative values"):
        mel_to_magnitude(np.log10(mel + 1e-5), transform)
    for bad in (np.float32(1), mel[:, 0], mel.T, mel[:, :0]):
        with pytest.raises(ValueError, match="mel has shape"):
            mel_to_magnitude(bad, transform)
