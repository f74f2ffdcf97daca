"""The least-norm start equals the pseudo-inverse of NumPy."""

import numpy as np
import pytest

from melexp.problem import Problem
from melexp.start import MAGNITUDES
from melexp.transforms.mel import MelTransform

#: Presets whose n_fft is above 10,000: their singular values take seconds.
WIDE = {"audio_diffusion", "riffusion"}


@pytest.mark.parametrize(
    "preset",
    [
        pytest.param(name, marks=[pytest.mark.long] if name in WIDE else [])
        for name in MelTransform.presets()
    ],
)
def test_pinv_is_that_of_numpy(preset: str) -> None:
    """By the tridiagonal solver where the filters are independent, by the SVD elsewhere."""
    transform = MelTransform.preset(preset, compression=None)
    rng = np.random.default_rng(0)
    mel = transform.basis @ rng.random((transform.basis.shape[1], 3)) ** 2
    problem = Problem(mel, transform, dtype=np.float64)
    expected = np.maximum(np.linalg.pinv(transform.basis, rcond=1e-12) @ problem.mel, 0)
    found = MAGNITUDES["pinv"](problem)
    assert np.linalg.norm(found - expected) < 1e-5 * np.linalg.norm(expected)


@pytest.mark.parametrize("preset", ["paper", "librosa", "riffusion"])
def test_pinv_needs_no_svd_for_independent_filters(
    preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    transform = MelTransform.preset(preset, compression=None)
    problem = Problem(np.ones((transform.n_mels, 4), np.float32), transform)

    def refuse(*_: object, **__: object) -> None:
        pytest.fail("a dense pseudo-inverse was computed")

    monkeypatch.setattr(np.linalg, "pinv", refuse)
    assert np.isfinite(MAGNITUDES["pinv"](problem)).all()
