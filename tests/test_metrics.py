"""The metrics on cases whose value is known."""

import numpy as np
import pytest

from melexp import metrics
from melexp.mel import MelTransform
from melexp.metrics import available_metrics, score


def test_they_are_found() -> None:
    assert available_metrics() == ["estoi", "pesq", "sc", "scm"]
    with pytest.raises(ValueError, match="no metric 'snr'; the metrics are estoi, pesq"):
        score("snr", np.ones(9), np.ones(9), transform=MelTransform())


@pytest.mark.parametrize("metric", ["sc", "scm"])
@pytest.mark.parametrize(("gain", "decibels"), [(0.9, -20.0), (0.0, 0.0), (-1.5, -6.0206)])
def test_spectral_convergence_by_hand(
    speech: np.ndarray, paper: MelTransform, metric: str, gain: float, decibels: float
) -> None:
    """|gain x| - |x| is (|gain| - 1) |x|: 0.1, 1 and 0.5 of the norm."""
    value, reason = score(metric, speech, np.float32(gain) * speech, transform=paper)
    assert value == pytest.approx(decibels, abs=1e-4)
    assert reason == ""


def test_spectral_convergence_of_a_copy_is_very_low(
    speech: np.ndarray, paper: MelTransform
) -> None:
    assert score("scm", speech, speech, transform=paper).value < -200


def test_pesq_and_estoi_of_a_copy_are_the_best(speech: np.ndarray, paper: MelTransform) -> None:
    assert score("pesq", speech, speech, transform=paper).value == pytest.approx(4.644, abs=1e-3)
    assert score("estoi", speech, speech, transform=paper).value == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("metric", ["pesq", "estoi"])
def test_more_noise_is_worse(speech: np.ndarray, paper: MelTransform, metric: str) -> None:
    noise = np.random.default_rng(0).standard_normal(len(speech)).astype(np.float32)
    values = [
        score(metric, speech, speech + level * noise, transform=paper).value
        for level in (0.0, 0.003, 0.02, 0.1)
    ]
    assert values == sorted(values, reverse=True)
    assert values[0] > values[-1] + 0.2


@pytest.mark.parametrize(
    ("metric", "reference", "reason"),
    [
        ("scm", np.zeros(9000), "the reference is silent"),
        ("sc", np.zeros(9000), "the reference is silent"),
        ("pesq", np.zeros(9000), "the reference or the estimate is silent"),
        ("estoi", np.zeros(9000), "the reference or the estimate is silent"),
        ("pesq", np.ones(2000), "shorter than 0.25 s"),
        ("estoi", np.ones(2000), "fewer than 30 frames"),
    ],
)
def test_no_value_has_a_reason(
    paper: MelTransform, metric: str, reference: np.ndarray, reason: str
) -> None:
    estimate = np.random.default_rng(0).standard_normal(len(reference)).astype(np.float32)
    value, why = score(metric, reference.astype(np.float32), estimate, transform=paper)
    assert np.isnan(value)
    assert reason in why


def test_a_failing_metric_gives_its_reason(
    speech: np.ndarray, paper: MelTransform, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_, **__):
        raise ZeroDivisionError("no luck")

    import melexp.metrics.sc as module

    monkeypatch.setattr(module, "sc", broken)
    value, reason = score("sc", speech, speech, transform=paper)
    assert np.isnan(value)
    assert reason == "ZeroDivisionError: no luck"
    value, reason = score("scm", speech, speech * np.nan, transform=paper)
    assert np.isnan(value)
    assert "NaN or infinite" in reason


def test_lengths_must_agree(speech: np.ndarray, paper: MelTransform) -> None:
    with pytest.raises(ValueError, match="waveforms of one length"):
        metrics.score("sc", speech, speech[:-1], transform=paper)
