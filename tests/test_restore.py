"""Restoration of mel-spectrograms: the estimate of the error, and what a restoration gains."""

import numpy as np
import pytest

from melexp import MelError, MelTransform, restore_mel
from melexp.datasets import load_dataset
from melexp.transforms.imperfect import imperfect
from melexp.transforms.restore import estimated_error, logarithm

HIFIGAN = MelTransform.preset("hifigan")
EXPECTED = {
    "blur_frames": MelError(frames=1),
    "blur_bands": MelError(bands=1),
    "blur_both": MelError(frames=1, bands=1),
    "noise_0.3": MelError(noise=0.3),
}


@pytest.fixture(scope="module")
def mels() -> list[np.ndarray]:
    return [HIFIGAN(clip.load(22050)) for clip in load_dataset("demo_speech")[:4]]


@pytest.mark.parametrize("dataset", ["demo_speech", "demo_foley"])
def test_an_exact_mel_is_returned_as_it_is(dataset: str) -> None:
    for clip in load_dataset(dataset):
        mel = HIFIGAN(clip.load(22050))
        assert restore_mel(mel, HIFIGAN) is mel, clip.id


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_the_error_is_estimated(mels: list[np.ndarray], name: str) -> None:
    for mel in mels:
        spoiled = imperfect(mel, HIFIGAN, name=name, seed=0)
        assert estimated_error(spoiled, HIFIGAN) == EXPECTED[name]


@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_restored_mel_is_closer_to_the_exact_one(
    mels: list[np.ndarray], name: str, told: bool
) -> None:
    share = 0.85 if name.startswith("noise") else 0.7
    for mel in mels:
        spoiled = imperfect(mel, HIFIGAN, name=name, seed=0)
        restored = restore_mel(spoiled, HIFIGAN, error=EXPECTED[name] if told else None)
        assert restored.dtype == mel.dtype
        assert np.linalg.norm(restored - mel) < share * np.linalg.norm(spoiled - mel)


@pytest.mark.parametrize("preset", ["paper", "librosa_power", "whisper"])
def test_other_front_ends(preset: str) -> None:
    transform = MelTransform.preset(preset)
    clip = load_dataset("demo_speech")[0]
    mel = transform(clip.load(round(transform.sr)))
    spoiled = imperfect(mel, transform, name="blur_both", seed=0)
    restored = restore_mel(spoiled, transform)
    before, after = (
        np.linalg.norm(logarithm(m, transform) - logarithm(mel, transform))
        for m in (spoiled, restored)
    )
    assert after < 0.8 * before


def test_silence_and_short_mels_are_returned_as_they_are() -> None:
    paper = MelTransform.preset("paper")
    silence = np.zeros((80, 9), np.float32)
    assert restore_mel(silence, paper) is silence
    short = np.ones((80, 1), np.float32)
    assert restore_mel(short, paper) is short


def test_a_negative_part_is_refused(mels: list[np.ndarray]) -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        restore_mel(mels[0], HIFIGAN, error=MelError(noise=-1))
