"""The magnitude alone: its level, powers, stacks and errors."""

import dataclasses

import numpy as np
import pytest

from melexp import MelTransform, mel_to_magnitude


def error(estimate: np.ndarray, truth: np.ndarray) -> float:
    return float(20 * np.log10(np.linalg.norm(estimate - truth) / np.linalg.norm(truth)))


@pytest.mark.parametrize("power", [1.0, 2.0])
@pytest.mark.parametrize(("method", "bound"), [("kl", -10.0), ("nnls", -8.0), ("pinv", -7.0)])
@pytest.mark.parametrize("level", [1e-3, 1.0, 1e3])
def test_it_is_the_magnitude_at_the_level_of_the_sound(
    speech: np.ndarray, power: float, method: str, bound: float, level: float
) -> None:
    transform = MelTransform(power=power)
    x = np.float32(level) * speech
    truth = np.abs(transform.stft(len(x)).forward(x))
    made = mel_to_magnitude(transform(x), transform, method=method, length=len(x))
    assert made.shape == truth.shape
    assert made.dtype == np.float32
    assert made.min() >= 0
    assert error(made, truth) < bound


def test_stacks_and_compressed_mels(speech: np.ndarray) -> None:
    hifigan = MelTransform.preset("hifigan")
    mels = hifigan(np.stack([speech, speech[::-1].copy()]))
    made = mel_to_magnitude(mels, hifigan, dtype=np.float64)
    assert made.dtype == np.float64
    linear = dataclasses.replace(hifigan, compression=None)
    for one, mel, x in zip(made, mels, (speech, speech[::-1]), strict=True):
        np.testing.assert_array_equal(one, mel_to_magnitude(mel, hifigan, dtype=np.float64))
        truth = np.abs(linear.stft(len(x)).forward(x.astype(np.float32)))
        assert error(one, truth) < -10


def test_bad_arguments_are_refused(small: MelTransform) -> None:
    mel = small(np.ones(2000, np.float32))
    with pytest.raises(ValueError, match="method must be one of pinv, nnls, kl; got 'nmf'"):
        mel_to_magnitude(mel, small, method="nmf")
    with pytest.raises(ValueError, match="mel must have shape"):
        mel_to_magnitude(mel[0], small)
    with pytest.raises(ValueError, match="negative values"):
        mel_to_magnitude(-mel, small)
