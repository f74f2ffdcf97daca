"""Imperfect mel-spectrograms: what each error does, its seed, and runs that invert them."""

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir

from melexp.discovery import conf_dir
from melexp.errors import MissingExtra
from melexp.methods import hifigan
from melexp.report.views import views
from melexp.results.tables import write_table
from melexp.runs import runner
from melexp.runs.config import register
from melexp.runs.imperfect import VOCODED, given_mel
from melexp.runs.runner import run
from melexp.transforms.imperfect import IMPERFECTIONS, imperfect
from melexp.transforms.mel import MelTransform
from melexp.transforms.restore import logarithm

register()
PRESETS = ["paper", "hifigan", "librosa_power", "whisper"]


@pytest.fixture(scope="module")
def sound() -> np.ndarray:
    rng = np.random.default_rng(0)
    return (0.1 * rng.standard_normal(22050) * np.linspace(0, 1, 22050)).astype(np.float32)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", sorted(IMPERFECTIONS))
def test_an_error_keeps_the_layout_and_follows_its_seed(
    sound: np.ndarray, preset: str, name: str
) -> None:
    transform = MelTransform.preset(preset)
    mel = transform(sound)
    first, again, other = (imperfect(mel, transform, name=name, seed=s) for s in (1, 1, 2))
    assert first.shape == mel.shape
    assert first.dtype == mel.dtype
    assert np.isfinite(first).all()
    assert not np.array_equal(first, mel)
    np.testing.assert_array_equal(first, again)
    is_random = name.startswith("noise") or name in ("dropped", "repeated", "gains")
    assert np.array_equal(first, other) != is_random


@pytest.mark.parametrize(("name", "deviation"), [("noise_0.1", 0.1), ("noise_0.3", 0.3)])
def test_noise_has_its_deviation_in_natural_logarithms(
    sound: np.ndarray, name: str, deviation: float
) -> None:
    transform = MelTransform.preset("paper")
    mel = transform(sound)[:, 10:]  # louder than the floor
    error = logarithm(imperfect(mel, transform, name=name, seed=0), transform)
    error -= logarithm(mel, transform)
    assert error.std() == pytest.approx(deviation, rel=0.05)


def test_8_bits_leave_256_levels(sound: np.ndarray) -> None:
    transform = MelTransform.preset("hifigan")
    mel = transform(sound)
    rounded = imperfect(mel, transform, name="8bit", seed=0)
    assert len(np.unique(rounded.round(4))) <= 256
    assert abs(rounded - mel).max() <= np.ptp(mel) / 255 / 2 + 1e-5


@pytest.mark.parametrize("rank", [20, 10, 5])
def test_a_low_rank_has_that_many_components_over_frames(sound: np.ndarray, rank: int) -> None:
    transform = MelTransform.preset("paper")
    low = imperfect(transform(sound), transform, name=f"rank_{rank}", seed=0)
    values = logarithm(low, transform)
    singular = np.linalg.svd(values - values.mean(axis=1, keepdims=True), compute_uv=False)
    assert singular[rank] < 1e-3 * singular[0] < singular[rank - 1]


def test_a_repeated_frame_is_the_one_before(sound: np.ndarray) -> None:
    transform = MelTransform.preset("paper")
    mel = transform(sound)
    repeated = imperfect(mel, transform, name="repeated", seed=0)
    same = np.isclose(repeated, mel, rtol=1e-5).all(axis=0)
    before = np.isclose(repeated[:, 1:], repeated[:, :-1], rtol=1e-5).all(axis=0)
    assert (same[1:] | before).all()
    assert 0.02 < 1 - same.mean() < 0.25


def test_silence_stays_as_it_is() -> None:
    transform = MelTransform.preset("paper")
    mel = np.zeros((80, 5), np.float32)
    np.testing.assert_array_equal(imperfect(mel, transform, name="8bit", seed=0), mel)


def test_an_unknown_error_is_refused(sound: np.ndarray) -> None:
    transform = MelTransform.preset("paper")
    with pytest.raises(ValueError, match="no imperfection 'none'; the imperfections are 8bit"):
        imperfect(transform(sound), transform, name="none", seed=0)


# --- Runs -------------------------------------------------------------------------------------


def go(results: Path, *overrides: str) -> list[str]:
    quick = ("limit=2", "workers=1", "metric=[scm,sc]", "checkpoints=[2]", "method=gla")
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose("config", [*quick, f"results={results}", *overrides])
    return run(config)


def test_a_run_inverts_the_imperfect_mel_and_scores_against_the_original(tmp_path: Path) -> None:
    assert go(tmp_path) == []
    assert go(tmp_path, "imperfection=noise_0.3") == []
    table = write_table(tmp_path, "run").reset_index()
    table["imperfection"] = table["imperfection"].fillna("exact")
    means = table[table["metric"] == "scm"].groupby("imperfection")["value"].mean()
    assert means["noise_0.3"] > means["exact"] + 1
    (view,) = views(tmp_path)
    assert set(view.labels) == {
        "NNLS + GLA (imperfection=none)",
        "NNLS + GLA (imperfection=noise_0.3)",
    }


def test_a_run_with_an_unknown_imperfection_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no imperfection 'blur'; the imperfections .*vocoded"):
        go(tmp_path, "imperfection=blur")


def test_vocoded_mels_are_left_out_without_the_vocoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(hifigan.Hifigan, "needs", ("peers", "no_such_package"))
    runner._say_left_out.cache_clear()
    assert go(tmp_path, "imperfection=vocoded") == []
    assert "left out: the peer Hifigan needs no_such_package" in capsys.readouterr().err


def test_a_vocoded_mel_is_that_of_the_vocoders_sound(sound: np.ndarray) -> None:
    try:
        hifigan.Hifigan().check_installed()
    except MissingExtra as error:
        pytest.skip(str(error))
    transform = MelTransform.preset("hifigan")
    mel = given_mel(sound, transform, imperfection="vocoded", seed=0)
    assert mel.shape == transform(sound).shape
    assert 0 < abs(mel - transform(sound)).mean() < 1.5


def test_the_table_names_the_winner_and_marks_a_significant_lead() -> None:
    script = Path(__file__).resolve().parents[1] / "experiments" / "imperfect.py"
    spec = importlib.util.spec_from_file_location("experiment_imperfect", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert {*IMPERFECTIONS, VOCODED, "exact"} == set(module.ORDER)
    quality = {("A", None): 3.0, ("B", None): 2.0, ("A", "8bit"): 2.0, ("B", "8bit"): 2.1}
    rows = [
        {"dataset": "d", "clip": f"{n}", "label": label, "seed": 0, "seconds": 1.0}
        | {"imperfection": error, "metric": "pesq"}
        | {"value": value + n / 10 + (n % 2 if label == "B" and error else 0)}
        for (label, error), value in quality.items()
        for n in range(8)
    ]
    drawing = module.draw(pd.DataFrame(rows))
    text = drawing.texts["imperfect.md"]
    assert "| mel | PESQ: A | PESQ: B |" in text
    assert "| exact | **3.35**\\* | 2.35 |" in text
    assert "| 8bit | 2.35 | **2.95**" in text
    assert list(drawing.drawn["metric"].unique()) == ["pesq"]
