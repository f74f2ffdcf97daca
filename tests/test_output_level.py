"""The level of the sound that `melexp invert` writes."""

import numpy as np
import pytest

from melexp.commands.invert import leveled


def test_level() -> None:
    loud, soft = np.array([0.5, -2.0], np.float32), np.array([0.5, -0.25], np.float32)
    y, _, note = leveled(loud, "auto", "PCM_16")
    assert np.abs(y).max() == pytest.approx(1, abs=1e-4)
    assert np.abs(y).max() < 1
    assert "-6.0 dB" in note
    assert leveled(soft, "auto", "PCM_16").note == ""
    assert leveled(loud, "auto", "FLOAT") == (pytest.approx(loud), 1.0, "")
    y, _, note = leveled(loud, "keep", "PCM_16")
    np.testing.assert_array_equal(y, loud)
    assert "1 samples clip" in note
    y, _, _ = leveled(soft, "0.9", "PCM_16")
    assert np.abs(y).max() == pytest.approx(0.9, abs=1e-3)
    y, _, _ = leveled(soft, "auto", "PCM_16", level_unknown=True)
    assert np.abs(y).max() == pytest.approx(0.9, abs=1e-3)
    assert not leveled(np.zeros(3, np.float32), "auto", "PCM_16", level_unknown=True)[0].any()
