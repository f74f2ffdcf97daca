"""Few frames of a longer mel-spectrogram: what comes before and after them is not known."""

import warnings

import numpy as np
import pytest

from melexp import MelTransform, invert
from melexp.datasets import load_dataset


@pytest.mark.slow
@pytest.mark.parametrize(
    ("preset", "n_frames"),
    [
        ("librosa", 8),
        *(pytest.param("librosa_power", n, marks=pytest.mark.long) for n in (8, 16)),
        pytest.param("paper", 8, marks=pytest.mark.long),
        ("paper", 24),
    ],
)
def test_the_default_fits_short_mels_better_than_librosa(preset: str, n_frames: int) -> None:
    """In SCM, on average over parts of speech and foley."""
    transform = MelTransform.preset(preset)
    rng = np.random.default_rng(0)
    length = transform.hop_length * (n_frames - 1)
    errors: dict[str, list[float]] = {"admm_ramp": [], "librosa": []}
    for clip in [*load_dataset("demo_speech")[:6], *load_dataset("demo_foley")[:6]]:
        mel = transform(clip.load(22050))
        first = int(rng.integers(max(1, mel.shape[1] - n_frames)))
        part = mel[:, first : first + n_frames]
        if part.shape[1] < n_frames or part.max() < 1e-2 * mel.max():
            continue
        for method, found in errors.items():
            n_iter = 100 if method == "admm_ramp" else 32
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                y = invert(part, transform, method=method, n_iter=n_iter, length=length)
            found.append(float(np.linalg.norm(part - transform(y)) / np.linalg.norm(part)))
    assert len(errors["librosa"]) > 6
    decibels = {method: np.mean(20 * np.log10(found)) for method, found in errors.items()}
    assert decibels["admm_ramp"] < decibels["librosa"]
