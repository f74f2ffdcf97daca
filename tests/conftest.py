"""What the tests share: how hypothesis draws, a short clip, small transforms, the real clips."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from melexp.datasets import load_dataset
from melexp.mel import MelTransform

ROOT = Path(__file__).resolve().parents[1]

# The same examples on every machine and in every run, however slow it is.
settings.register_profile("ci", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("ci")


@pytest.fixture(scope="session")
def speech() -> np.ndarray:
    """One second of an embedded utterance at 22.05 kHz [shape=(22050,), float32]."""
    samples = load_dataset("demo_speech")[0].load(22050)[:22050]
    samples.setflags(write=False)
    return samples


@pytest.fixture(scope="session")
def paper() -> MelTransform:
    """The transform of the paper."""
    return MelTransform()


@pytest.fixture(scope="session")
def small() -> MelTransform:
    """A transform that is quick to invert."""
    return MelTransform(sr=8000, n_fft=128, hop_length=32, n_mels=12, fmax=4000)


@pytest.fixture
def real_data(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of real clips, as the data sets' mirror; where there is none, a skip."""
    folder = Path(os.environ.get("MELEXP_DATA_MIRROR") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip("no recordings: set MELEXP_DATA_MIRROR to a folder that holds them")
    monkeypatch.setenv("MELEXP_DATA_MIRROR", str(folder))
    return folder
