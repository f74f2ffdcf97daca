"""Metrics of the extra `perceptual`, against the published values of their packages."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from melexp.errors import MissingExtra
from melexp.metrics import check_installed, score
from melexp.transforms.mel import MelTransform

PERCEPTUAL = ["dnsmos", "visqol", "visqol_speech", "zimtohrli"]


@pytest.fixture
def metric(request: pytest.FixtureRequest) -> str:
    """The name of a metric; a skip if its package is missing."""
    try:
        check_installed(request.param)
    except MissingExtra as error:
        pytest.skip(str(error))
    return request.param


def needs(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("metric", names, indirect=True)


def at(sr: float) -> MelTransform:
    return MelTransform(sr=sr, fmax=sr / 2)


def noisy(speech: np.ndarray, level: float) -> np.ndarray:
    noise = np.random.default_rng(0).standard_normal(len(speech))
    return (speech + level * noise).astype(np.float32)


# --- Published values -------------------------------------------------------------------------


@needs("visqol")
def test_visqol_of_a_copy_is_the_published_one(metric: str, speech: np.ndarray) -> None:
    """The conformance case castanets_identity of ViSQOL 3.3.3; it does not depend on the sound."""
    for x in (np.tile(speech, 2), noisy(np.tile(speech, 2), 0.1)):
        assert score(metric, x, x, transform=at(22050)).value == pytest.approx(4.7321, abs=1e-4)


#: Conformance cases of ViSQOL 3.3.3 (C++), with a tolerance. Codecs append
#: samples, which are cut off here; the speech has 48 kHz and is resampled to 16 kHz here.
CASES = {
    "visqol": [
        ("conformance_testdata_subset/strauss48_stereo", "_lp35", 1.3889, 1e-4),
        ("conformance_testdata_subset/glock48_stereo", "_48kbps_aac", 4.3325, 2e-3),
    ],
    "visqol_speech": [("clean_speech/CA01_01", "transcoded_", 3.3130, 2e-2)],
}


@pytest.mark.slow
@needs("visqol", "visqol_speech")
def test_visqol_conforms(metric: str) -> None:
    folder = Path(os.environ.get("VISQOL_TESTDATA", "/nowhere"))
    if not folder.is_dir():
        pytest.skip("set VISQOL_TESTDATA to the folder testdata of github.com/google/visqol")
    for name, change, expected, tolerance in CASES[metric]:
        reference = folder / f"{name}.wav"
        changed = f"{change}{reference.stem}" if change[-1] == "_" else f"{reference.stem}{change}"
        x, sr = soundfile.read(reference, always_2d=True)
        y, _ = soundfile.read(reference.with_name(f"{changed}.wav"), always_2d=True)
        n = min(len(x), len(y))
        value = score(metric, x.mean(1)[:n], y.mean(1)[:n], transform=at(sr)).value
        assert value == pytest.approx(expected, abs=tolerance), name


@needs("zimtohrli")
def test_zimtohrli_has_its_published_values(metric: str) -> None:
    """Those of the tests of its repository: the map from distances to opinions."""
    package = pytest.importorskip("zimtohrli")
    for distance, mos in {0.0: 5.0, 0.001: 4.8009, 0.01: 3.4005, 0.04: 1.5189}.items():
        assert package.mos_from_zimtohrli(distance) == pytest.approx(mos, abs=1e-3)
    x, y = (np.sin(np.linspace(0, 2 * np.pi * hz, 48000)).astype(np.float32) for hz in (5000, 5010))
    assert score(metric, x, x, transform=at(48000)).value == pytest.approx(5.0)
    expected = package.mos_from_zimtohrli(package.Pyohrli().distance(x, y))
    assert score(metric, x, y, transform=at(48000)).value == pytest.approx(expected)


@needs("dnsmos")
def test_dnsmos_is_the_overall_quality_of_its_network(metric: str, speech: np.ndarray) -> None:
    """The polynomial of P.835 on the output of the network, computed here."""
    runtime, package = pytest.importorskip("onnxruntime"), pytest.importorskip("speechmos")
    x = np.tile(speech, 7)[: int(9.01 * 16000)]  # read as 16 kHz
    (path,) = Path(package.__path__[0]).glob("dnsmos_models/sig_bak_ovr.onnx")
    network = runtime.InferenceSession(path)
    raw = network.run(None, {"input_1": x[None]})[0][0, 2]
    expected = -0.06766283 * raw**2 + 1.11546468 * raw + 0.04602535
    assert score(metric, 0 * x, x, transform=at(16000)).value == pytest.approx(expected, abs=1e-5)


# --- The contract -----------------------------------------------------------------------------


@pytest.mark.slow
@needs(*PERCEPTUAL)
def test_more_noise_is_worse(metric: str, speech: np.ndarray) -> None:
    x = np.tile(speech, 2)
    values = [score(metric, x, noisy(x, a), transform=at(22050)).value for a in (0, 0.001, 0.01)]
    assert values == sorted(values, reverse=True)
    assert values[0] > values[-1] + 0.2
    assert all(1 <= value <= 5 for value in values)


SIGNALS = {
    "noise": np.random.default_rng(0).standard_normal(24000),
    "faint": 1e-30 * np.random.default_rng(1).standard_normal(24000),
    "loud": 1e30 * np.random.default_rng(2).standard_normal(24000),
    "impulse": np.eye(1, 24000, 12000)[0],
    "silence": np.zeros(24000),
}


@pytest.mark.slow
@needs(*PERCEPTUAL)
@pytest.mark.parametrize("reference", SIGNALS)
def test_a_score_has_either_a_value_or_a_reason(metric: str, reference: str) -> None:
    for n in (1, 300, 24000):
        x = SIGNALS[reference][-n:].astype(np.float32)
        for name in (reference, "silence"):
            y = SIGNALS[name][-n:].astype(np.float32)
            value, reason = score(metric, x, y, transform=at(22050))
            assert np.isfinite(value) == (reason == ""), (n, name)
            assert "\n" not in reason
            if name == "silence":
                assert "silent" in reason


@needs("visqol", "visqol_speech", "zimtohrli")
def test_short_sound_is_not_passed_on(metric: str, speech: np.ndarray) -> None:
    """Zimtohrli ends the process of fewer than 7 of its frames."""
    shortest = {"zimtohrli": 0.25}.get(metric, 1)
    for n in (10, int(shortest * 22050) - 1):
        value, reason = score(metric, speech[-n:], speech[-n:], transform=at(22050))
        assert np.isnan(value)
        assert reason == f"shorter than {shortest} s"


@pytest.mark.parametrize(
    ("metric", "module"),
    [
        ("dnsmos", "speechmos"),
        ("visqol", "visqol"),
        ("visqol_speech", "ai_edge_litert"),
        ("zimtohrli", "zimtohrli"),
    ],
)
def test_a_missing_package_is_the_reason(
    metric: str, module: str, speech: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    value, reason = score(metric, speech, speech, transform=at(22050))
    assert np.isnan(value)
    assert reason.startswith(f"the metric {metric} needs ")
    assert module in reason
    assert reason.endswith("which is not installed; run: pip install 'melexp[perceptual]'")
