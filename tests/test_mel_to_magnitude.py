"""`mel_to_magnitude`: the magnitude of a mel-spectrogram, whatever the power of the mel."""

import numpy as np
import pytest

from melexp import mel_to_magnitude
from melexp.problem import Problem
from melexp.start import MAGNITUDES
from melexp.transforms.mel import MelTransform


def true_magnitude(y: np.ndarray, transform: MelTransform) -> np.ndarray:
    return np.abs(transform.stft(len(y)).forward(y))


def relative(reference: np.ndarray, estimate: np.ndarray) -> float:
    return float(np.linalg.norm(reference - estimate) / np.linalg.norm(reference))


@pytest.mark.parametrize(
    ("method", "power", "bound"),
    [
        ("kl", 1.0, 0.10),
        ("nnls", 1.0, 0.15),
        ("pinv", 1.0, 0.21),
        ("kl", 2.0, 0.16),
        ("nnls", 2.0, 0.09),
        ("pinv", 2.0, 0.33),
    ],
)
def test_is_near_the_true_magnitude(
    method: str, bound: float, power: float, speech: np.ndarray
) -> None:
    transform = MelTransform.preset("paper", power=power)
    estimate = mel_to_magnitude(transform(speech), transform, method=method)
    truth = true_magnitude(speech, transform)
    assert estimate.shape == truth.shape
    assert estimate.dtype == np.float32
    assert estimate.min() >= 0
    assert relative(truth, estimate) < bound


@pytest.mark.parametrize("power", [1.0, 2.0])
@pytest.mark.parametrize("method", MAGNITUDES)
def test_follows_the_level_of_the_mel(method: str, power: float, speech: np.ndarray) -> None:
    transform = MelTransform.preset("paper", power=power)
    once = mel_to_magnitude(transform(speech), transform, method=method)
    louder = mel_to_magnitude(transform(8 * speech), transform, method=method)
    assert relative(8 * once, louder) < 1e-4


@pytest.mark.parametrize("method", MAGNITUDES)
def test_is_the_square_root_of_the_power_that_explains_a_power_mel(
    method: str, speech: np.ndarray
) -> None:
    transform = MelTransform.preset("paper", power=2.0)
    mel = transform(speech)
    problem = Problem(mel, transform)
    power = MAGNITUDES[method](problem) * problem.scale**2
    estimate = mel_to_magnitude(mel, transform, method=method)
    np.testing.assert_allclose(estimate**2, power, rtol=1e-5, atol=1e-9 * power.max())


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_nnls_explains_the_mel(power: float, speech: np.ndarray) -> None:
    transform = MelTransform.preset("paper", power=power)
    mel = transform(speech)
    estimate = mel_to_magnitude(mel, transform, method="nnls", dtype=np.float64)
    assert estimate.dtype == np.float64
    assert relative(mel, transform.basis @ transform.spectrum(estimate)) < 1e-2


def test_takes_a_compressed_mel(speech: np.ndarray) -> None:
    transform = MelTransform.preset("hifigan")
    y = speech[: len(speech) // 256 * 256]
    estimate = mel_to_magnitude(transform(y), transform, length=len(y))
    assert relative(true_magnitude(y, transform), estimate) < 0.10


def test_gives_each_member_of_a_stack_by_itself(small: MelTransform) -> None:
    rng = np.random.default_rng(0)
    mel = small(rng.standard_normal((2, 3, 1000)) * np.array([1, 10, 100])[:, None])
    stack = mel_to_magnitude(mel, small)
    assert stack.shape == (2, 3, 65, mel.shape[-1])
    for i in np.ndindex(2, 3):
        np.testing.assert_array_equal(stack[i], mel_to_magnitude(mel[i], small))


def test_of_silence_is_zero(small: MelTransform) -> None:
    assert not mel_to_magnitude(np.zeros((12, 5), np.float32), small).any()


@pytest.mark.parametrize(
    ("mel", "options", "message"),
    [
        (np.ones((12, 5)), {"method": "gla"}, "method must be one of pinv, nnls, kl; got 'gla'"),
        (np.ones(12), {}, r"mel must have shape \(\.\.\., n_mels, n_frames\); got \(12,\)"),
        (np.ones((0, 12, 5)), {}, r"mel is empty: it has shape \(0, 12, 5\)"),
        (np.ones((5, 12)), {}, "transpose it"),
        (-np.ones((12, 5)), {}, "mel has negative values"),
        (np.ones((12, 5)), {"length": 5}, "length = 5 gives"),
        (np.ones((12, 5)), {"dtype": np.float16}, "dtype must be float32 or float64"),
    ],
)
def test_refuses(
    mel: np.ndarray, options: dict[str, object], message: str, small: MelTransform
) -> None:
    with pytest.raises(ValueError, match=message):
        mel_to_magnitude(mel, small, **options)  # type: ignore[arg-type]
