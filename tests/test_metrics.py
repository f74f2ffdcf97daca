"""The metrics, on cases with known values."""

import numpy as np
import pesq
import pystoi
import pytest
import soxr
import yaml

from melexp import metrics
from melexp.discovery import conf_dir, load
from melexp.metrics import available_metrics, score
from melexp.transforms.mel import MelTransform

#: Metrics that need no extra; those of the extra have their own file of tests.
PLAIN = [name for name in available_metrics() if not hasattr(load("melexp.metrics", name), "NEEDS")]


def test_metrics_are_found() -> None:
    assert PLAIN == ["estoi", "lsd", "pesq", "sc", "scm"]
    assert set(available_metrics()) - set(PLAIN) == {
        *("dnsmos", "visqol", "visqol_speech", "zimtohrli"),
    }
    with pytest.raises(ValueError, match="no metric 'snr'; the metrics are dnsmos, estoi, lsd"):
        score("snr", np.ones(9), np.ones(9), transform=MelTransform.preset("paper"))


@pytest.mark.parametrize("metric", ["sc", "scm"])
@pytest.mark.parametrize(("gain", "decibels"), [(0.9, -20.0), (0.0, 0.0), (-1.5, -6.0206)])
def test_spectral_convergence_by_hand(
    speech: np.ndarray, paper: MelTransform, metric: str, gain: float, decibels: float
) -> None:
    """|gain x| - |x| is (|gain| - 1) |x|: 0.1, 1 and 0.5 of the norm."""
    value, reason = score(metric, speech, np.float32(gain) * speech, transform=paper)
    assert value == pytest.approx(decibels, abs=1e-4)
    assert reason == ""


@pytest.mark.parametrize("power", [1.0, 2.0])
@pytest.mark.parametrize(("gain", "decibels"), [(1.0, 0.0), (0.5, 6.0206), (-4.0, 12.0412)])
def test_log_spectral_distance_by_hand(
    speech: np.ndarray, power: float, gain: float, decibels: float
) -> None:
    """A gain moves every band of every frame by as many dB, of a power mel too."""
    loud = (speech + 0.1 * np.random.default_rng(0).standard_normal(len(speech))).astype("f4")
    transform = MelTransform(power=power)
    value = score("lsd", loud, np.float32(gain) * loud, transform=transform).value
    assert value == pytest.approx(decibels, abs=1e-3)


def test_log_spectral_distance_ends_80_db_below_the_maximum(paper: MelTransform) -> None:
    x = np.random.default_rng(0).standard_normal(22050).astype(np.float32)
    silent = score("lsd", x, 0 * x, transform=paper).value
    assert silent == pytest.approx(score("lsd", x, 1e-6 * x, transform=paper).value)
    assert 60 < silent < 80
    later = np.concatenate([x, 1e-6 * x])
    assert score("lsd", later, later[::-1] * 0, transform=paper).value < 0.6 * silent


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_spectral_convergence_from_the_spectrograms(speech: np.ndarray, power: float) -> None:
    transform = MelTransform.preset("paper", power=power)
    rng = np.random.default_rng(0)
    estimate = (speech + 0.02 * rng.standard_normal(len(speech))).astype(np.float32)
    X, Y = (
        np.abs(transform.stft(len(speech), np.float64).forward(s.astype(np.float64)))
        for s in (speech, estimate)
    )
    M, N = transform.basis @ X**power, transform.basis @ Y**power
    for metric, a, b in (("sc", X, Y), ("scm", M, N)):
        expected = 10 * np.log10(((a - b) ** 2).sum() / (a**2).sum())
        assert score(metric, speech, estimate, transform=transform).value == pytest.approx(expected)


def test_spectral_convergence_of_a_copy_is_very_low(
    speech: np.ndarray, paper: MelTransform
) -> None:
    assert score("scm", speech, speech, transform=paper).value < -200


def test_pesq_and_estoi_of_a_copy_are_the_best(speech: np.ndarray, paper: MelTransform) -> None:
    assert score("pesq", speech, speech, transform=paper).value == pytest.approx(4.644, abs=1e-3)
    assert score("estoi", speech, speech, transform=paper).value == pytest.approx(1.0, abs=1e-6)


def test_pesq_is_wide_band_and_stoi_is_extended(speech: np.ndarray, paper: MelTransform) -> None:
    noise = np.random.default_rng(0).standard_normal(len(speech))
    estimate = (speech + 0.01 * noise).astype(np.float32)
    x, y = (soxr.resample(s.astype(np.float64), 22050, 16000) for s in (speech, estimate))
    value = score("pesq", speech, estimate, transform=paper).value
    assert value == pytest.approx(pesq.pesq(16000, x, y, "wb"))
    assert abs(value - pesq.pesq(16000, x, y, "nb")) > 0.05
    value = score("estoi", speech, estimate, transform=paper).value
    assert value == pytest.approx(pystoi.stoi(speech, estimate, 22050, extended=True))
    assert abs(value - pystoi.stoi(speech, estimate, 22050, extended=False)) > 0.02


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
        ("lsd", np.zeros(9000), "the reference is silent"),
        ("pesq", np.zeros(9000), "the reference or the estimate is silent"),
        ("estoi", np.zeros(9000), "the reference or the estimate is silent"),
        ("pesq", np.ones(2000), "shorter than 0.25 s"),
        ("estoi", np.ones(2000), "fewer than 30 frames"),
        ("estoi", np.ones(100), "fewer than 30 frames"),
        ("estoi", np.ones(1), "fewer than 30 frames"),
        ("pesq", np.ones(1), "shorter than 0.25 s"),
    ],
)
def test_an_undefined_score_has_a_reason(
    paper: MelTransform, metric: str, reference: np.ndarray, reason: str
) -> None:
    estimate = np.random.default_rng(0).standard_normal(len(reference)).astype(np.float32)
    value, why = score(metric, reference.astype(np.float32), estimate, transform=paper)
    assert np.isnan(value)
    assert reason in why


def bursts(seconds: float, sr: int) -> np.ndarray:
    """Noise with the shortest pauses that PESQ detects: 49 utterances in 19 s, 51 in 20 s."""
    t = np.arange(int(seconds * sr)) / sr
    noise = 0.1 * np.random.default_rng(0).standard_normal(len(t))
    return (noise * (t % 0.392 < 0.182)).astype(np.float32)


@pytest.mark.slow
def test_pesq_is_not_called_for_long_sound(
    small: MelTransform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 51 utterances the C code writes beyond its arrays; with about 60 it crashes."""
    x = bursts(19.0, small.sr)
    assert score("pesq", x, x, transform=small).value == pytest.approx(4.644, abs=1e-3)

    def overflow(*_: object) -> float:
        pytest.fail("the C code was called")

    monkeypatch.setattr(pesq, "pesq", overflow)
    for seconds in (19.001, 30.0, 180.0):
        x = bursts(seconds, small.sr)
        value, reason = score("pesq", x, x, transform=small)
        assert np.isnan(value)
        assert reason == "longer than 19 s: PESQ has room for 50 utterances only"
    assert score("estoi", x, x, transform=small).value == pytest.approx(1.0, abs=1e-6)
    assert score("scm", x, x, transform=small).value < -200


SIGNALS = {
    "noise": np.random.default_rng(0).standard_normal(12000),
    "constant": np.ones(12000),
    "impulse": np.eye(1, 12000, 6000)[0],
    "sine": np.sin(0.1 * np.arange(12000)),
    "faint": 1e-30 * np.random.default_rng(1).standard_normal(12000),
    "loud": 1e30 * np.random.default_rng(2).standard_normal(12000),
    "late": np.append(np.zeros(11900), np.ones(100)),
    "silence": np.zeros(12000),
}


@pytest.mark.parametrize("metric", PLAIN)
@pytest.mark.parametrize("reference", SIGNALS)
@pytest.mark.parametrize("n", [1, 300, 5513, 12000])
def test_a_score_has_either_a_value_or_a_reason(
    paper: MelTransform, metric: str, reference: str, n: int
) -> None:
    x = SIGNALS[reference][-n:].astype(np.float32)
    for y in (signal[-n:].astype(np.float32) for signal in SIGNALS.values()):
        value, reason = score(metric, x, y, transform=paper)
        assert np.isfinite(value) == (reason == "")
        assert "\n" not in reason


@pytest.mark.parametrize("metric", ["pesq", "estoi"])
def test_a_silent_estimate_has_no_value(
    speech: np.ndarray, paper: MelTransform, metric: str
) -> None:
    value, reason = score(metric, speech, 0 * speech, transform=paper)
    assert np.isnan(value)
    assert reason == "the reference or the estimate is silent"


@pytest.mark.parametrize("metric", available_metrics())
def test_configuration_of_a_metric(metric: str) -> None:
    conf = yaml.safe_load((conf_dir() / "metric" / f"{metric}.yaml").read_text())
    assert set(conf) == {"label", "lower_is_better", "speech_only", "unit", "digits"}
    assert conf["unit"] == ("dB" if metric in ("sc", "scm", "lsd") else "")
    assert conf["lower_is_better"] == (metric in ("sc", "scm", "lsd"))
    assert conf["speech_only"] == (metric in ("pesq", "estoi", "dnsmos", "visqol_speech"))


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
    monkeypatch.setattr(module, "sc", lambda *_, **__: metrics.Score(float("inf")))
    value, reason = score("sc", speech, speech, transform=paper)
    assert np.isnan(value)
    assert reason == "the value of sc is inf"
    value, reason = score("scm", speech, speech * np.nan, transform=paper)
    assert np.isnan(value)
    assert "NaN or infinite" in reason


def test_lengths_must_agree(speech: np.ndarray, paper: MelTransform) -> None:
    with pytest.raises(ValueError, match="waveforms of one length"):
        metrics.score("sc", speech, speech[:-1], transform=paper)
