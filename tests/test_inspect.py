"""What `melexp.inspect` finds, and when `melexp.invert` warns."""

import importlib
import sys
import time
import warnings
from pathlib import Path

import librosa
import numpy as np
import pandas as pd
import pytest
import yaml

from melexp import MelTransform, Problem, inspect, invert, mel_to_audio, solve
from melexp import __main__ as cli
from melexp.commands.front_end import front_end
from melexp.datasets import load_dataset
from melexp.inspection import MelWarning, doubts, kinds
from melexp.inspection.conventions import bands_of, conventions, equivalent, same_scale
from melexp.inspection.explain import Evidence
from melexp.inspection.facts import as_array, measure
from melexp.methods import make_method

ROOT = Path(__file__).resolve().parents[1]
PRESETS = MelTransform.presets()
#: The presets, that of the longest frames only with --long.
QUICK = [pytest.param(p, marks=[pytest.mark.long] if p == "riffusion" else []) for p in PRESETS]
#: (dB + 80) / 80
DB_TO_1 = {
    "unit": "power_db", "floor": 1e-10, "ref": "max", "range": 80.0, "gain": 1 / 80, "offset": 1.0
}  # fmt: skip


def sound(sr: float, name: str = "demo_speech", place: int = 0) -> np.ndarray:
    return load_dataset(name)[place].load(round(sr))


def mel_of(preset: str, **changes: object) -> np.ndarray:
    transform = MelTransform.preset(preset, **changes)
    return transform(sound(transform.sr))


# --- Explanations -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", QUICK)
def test_the_first_explanation_of_a_preset_is_the_preset(name: str) -> None:
    first = inspect(mel_of(name)).explanations[0]
    assert name in [c.base for c in first.conventions if c.preset]


@pytest.mark.parametrize(
    "name",
    [pytest.param(p, marks=[pytest.mark.long] if k % 3 else []) for k, p in enumerate(PRESETS)],
)
def test_a_preset_is_found_whichever_axis_comes_first(name: str) -> None:
    found = inspect(mel_of(name).T)
    assert found.transposed
    assert found.facts.shape[0] == MelTransform.preset(name).n_mels


def test_orientation_can_be_given() -> None:
    square = mel_of("hifigan")[:, :80]
    assert not inspect(square).transposed
    assert inspect(square.T, orientation="frames-first").transposed
    with pytest.raises(ValueError, match="orientation must be auto"):
        inspect(square, orientation="rows")


@pytest.mark.parametrize(
    ("base", "power", "compression"),
    [
        ("paper", 1, {"unit": "log10", "floor": 1e-10}),
        ("paper", 2, {"unit": "power_db", "floor": 1e-10}),
        ("librosa", 2, {"unit": "power_db", "floor": 1e-10, "range": 80.0}),
        ("librosa", 2, DB_TO_1),
        ("paper", 1, {"unit": "amplitude_db", "floor": 1e-4, "gain": 0.01, "offset": 0.8}),
        ("audioldm", 1, {"unit": "ln", "floor": 0, "epsilon": 0.01}),
    ],
)  # fmt: skip
def test_scales_without_a_preset_are_found(base: str, power: float, compression: dict) -> None:
    t = MelTransform.preset(base, power=power, compression=compression)
    first = inspect(t(sound(t.sr))).explanations[0]
    assert any(equivalent(t, c.transform) for c in first.conventions)


def test_a_number_of_bands_without_a_preset() -> None:
    t = MelTransform.preset("librosa", n_mels=53)
    first = inspect(t(sound(t.sr))).explanations[0]
    assert first.name == "linear power"
    assert first.options() == "--preset librosa --n-mels 53"


def test_normalised_mels_and_mfccs_are_named() -> None:
    mel = mel_of("hifigan", compression={"unit": "ln", "floor": 1e-9})  # which no bin reaches
    means, deviations = mel.mean(axis=1, keepdims=True), mel.std(axis=1, keepdims=True)
    arrays = {
        kinds.OVERALL: (mel - mel.mean()) / mel.std(),
        kinds.PER_BAND: (mel - means) / deviations,
        kinds.SCALED: (mel - mel.min()) / (mel.max() - mel.min()),
        kinds.MFCC: librosa.feature.mfcc(y=sound(22050), n_mfcc=20),
    }
    for (name, remedy), values in arrays.items():
        first = inspect(values).explanations[0]
        assert (first.name, first.remedy, first.options()) == (name, remedy, "")


def test_a_new_preset_joins_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "sr": 16000,
        "n_fft": 512,
        "hop_length": 128,
        "n_mels": 37,
        "compression": {"unit": "log10", "floor": 1e-7, "gain": 3.0, "offset": 5.0},
    }
    mine = MelTransform(**given)
    mel = mine(sound(16000))
    assert "--preset librosa" in inspect(mel).explanations[0].options()
    (tmp_path / "conf" / "mel").mkdir(parents=True)
    (tmp_path / "conf" / "mel" / "mine.yaml").write_text(yaml.safe_dump(given))
    monkeypatch.setenv("MELEXP_PATH", str(tmp_path))
    assert inspect(mel).explanations[0].options() == "--preset mine"


def test_filters_tell_front_ends_with_one_scale_apart() -> None:
    for name, other in (("torchaudio", "librosa"), ("librosa", "torchaudio")):
        bases = [c.base for c in inspect(mel_of(name)).explanations[0].conventions]
        assert name in bases
        assert other not in bases


@pytest.mark.parametrize(("n_mels", "n"), [(20, 40), (80, 6), (128, 6), (400, 2)])
def test_options_describe_their_convention(
    n_mels: int, n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = []
    monkeypatch.setattr(
        importlib.import_module("melexp.commands.invert_files"),
        "run",
        lambda source, output, options: (
            described.append(front_end(options.transform, options.compression)) or 0
        ),
    )
    for convention in conventions(n_mels, tuple(PRESETS))[:n]:
        words = ["melexp", "invert", "mel.npy", "out.wav", *convention.options.split()]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit, match="0"):
            cli.main()
        assert bands_of(described[-1]) == bands_of(convention.transform)
        assert described[-1].power == convention.transform.power
        assert same_scale(described[-1], convention.transform)
        values = np.geomspace(1e-7, 10, 9)[None]
        expected, found = (t.compression for t in (convention.transform, described[-1]))
        if expected is None:
            assert found is None
        else:
            wanted = expected.compress(values)
            np.testing.assert_allclose(found.compress(values), wanted, rtol=1e-4, atol=1e-6)


def test_equivalent_front_ends() -> None:
    preset = MelTransform.preset
    assert equivalent(preset("hifigan"), preset("tacotron2"))
    assert equivalent(preset("hifigan"), preset("hifigan", hop_length=200, center=True, pad=None))
    assert not equivalent(preset("hifigan"), preset("hifigan", fmax=7600.0))
    assert not equivalent(preset("paper"), preset("librosa_power"))
    assert not equivalent(preset("whisper"), preset("hifigan"))


# --- Facts ------------------------------------------------------------------------------------


def test_facts() -> None:
    mel = mel_of("hifigan", compression={"unit": "ln", "floor": 0.01})
    facts = measure(np.pad(mel, ((0, 0), (2, 5))))
    assert facts.shape == (80, mel.shape[1] + 7)
    assert facts.padding == 7
    assert facts.least == pytest.approx(np.log(0.01), abs=1e-5)
    assert facts.at_least == pytest.approx(np.mean(mel == mel.min()))
    assert facts.mean == pytest.approx(mel.mean(), abs=1e-4)
    assert facts.band_means == pytest.approx(mel.mean(axis=1), abs=1e-4)
    assert not facts.steps
    broken = mel.copy()
    broken[0, :3], broken[1, 0] = -np.inf, np.nan
    assert (measure(broken).below, measure(broken).nan) == (3, 1)
    assert measure(np.round(np.clip(20 * (mel + 5), 0, 255))).steps


def test_zeros_of_a_linear_mel_are_no_padding() -> None:
    assert measure(np.pad(mel_of("paper"), ((0, 0), (2, 5)))).padding == 0


def test_silence_and_odd_shapes() -> None:
    assert inspect(np.zeros((80, 20))).explanations == []
    assert "all values are equal" in str(inspect(np.full((80, 20), -11.5)))
    assert inspect(mel_of("hifigan")[None]).facts.shape[0] == 80
    for shape in ((80,), (2, 80, 20), (80, 0)):
        with pytest.raises(ValueError, match="give one mel-spectrogram"):
            inspect(np.zeros(shape))
    with pytest.raises(ValueError, match="no finite value"):
        inspect(np.full((80, 20), np.nan))


def test_tensors_are_taken() -> None:
    torch = pytest.importorskip("torch")
    mel = mel_of("hifigan")
    tensor = torch.tensor(mel, dtype=torch.bfloat16, requires_grad=True)
    assert as_array(tensor).dtype == np.float32
    assert inspect(tensor).explanations[0].options() == "--preset hifigan"


# --- Doubts -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", QUICK)
def test_right_settings_raise_no_doubt(name: str) -> None:
    t = MelTransform.preset(name)
    for dataset, place in (("demo_speech", 1), ("demo_foley", 0), ("demo_foley", 9)):
        mel = t(sound(t.sr, dataset, place))
        assert doubts(mel, t) == []
        assert doubts(mel[:, 40:60], t) == []
    assert doubts(t(np.zeros(int(t.sr), np.float32)), t) == []


@pytest.mark.parametrize("name", ["paper", "librosa", "hifigan"])
def test_a_tone_raises_no_doubt(name: str) -> None:
    """It is unlike real sound in every scale."""
    t = MelTransform.preset(name)
    tone = np.sin(2 * np.pi * 440 / t.sr * np.arange(int(t.sr)))
    assert doubts(t(tone.astype(np.float32)), t) == []


def claimed(mel: np.ndarray, preset: str, **changes: object) -> str:
    """Return the doubts about a mel of a claimed front end."""
    return "; ".join(doubts(mel, MelTransform.preset(preset, **changes)))


def test_librosa_taken_for_a_magnitude() -> None:  # row 1 of a list of reports
    found = claimed(mel_of("librosa"), "paper", n_fft=2048, hop_length=512, n_mels=128)
    assert "not look like linear magnitude, but linear power: give --preset librosa" in found


def test_normalised_values_taken_for_others() -> None:
    mel = mel_of("hifigan", compression={"unit": "ln", "floor": 1e-9})
    assert "scaled to its own least" in claimed((mel - mel.min()) / np.ptp(mel), "paper")
    assert "--mean and --std" in claimed((mel - mel.mean()) / mel.std(), "hifigan")
    assert "--range 80 --gain 0.0125 --offset 1" in claimed(
        (mel_of("librosa_db") + 80) / 80, "librosa"
    )
    log10 = mel_of("hifigan", compression={"unit": "log10", "floor": 1e-10})
    assert "--compression log10 --floor 1e-10" in claimed(log10, "hifigan")


def test_linear_and_logarithm_confused() -> None:
    assert "give --preset hifigan" in claimed(mel_of("hifigan"), "paper")
    assert "give --preset paper" in claimed(mel_of("paper"), "hifigan")
    assert "give --preset librosa_power" in claimed(mel_of("librosa_power"), "paper")


def test_a_logarithm_without_a_floor() -> None:
    linear = mel_of("paper")
    with np.errstate(divide="ignore"):
        mel = np.log(np.where(linear < 1e-4, 0, linear))
    assert doubts(mel, MelTransform.preset("hifigan")) == []
    with pytest.warns(MelWarning, match=f"{np.isneginf(mel).sum()} infinite values"):
        invert(mel, MelTransform.preset("hifigan"), n_iter=0)
    mel[0, 0] = np.nan
    assert doubts(mel, MelTransform.preset("hifigan")) == []


def test_mfccs_taken_for_a_mel() -> None:
    mfcc = librosa.feature.mfcc(y=sound(22050), n_mfcc=20)
    for preset in ("paper", "hifigan"):
        assert "an MFCC is not a mel-spectrogram" in claimed(mfcc, preset, n_mels=20)


def test_slightly_negative_values() -> None:
    mel = mel_of("paper")
    mel[:3, :4] = -1e-7
    assert doubts(mel, MelTransform.preset("paper")) == []
    with pytest.warns(MelWarning, match=r"small negative values \(least: -1e-07\)"):
        invert(mel, MelTransform.preset("paper"), n_iter=0)


def test_padding_of_a_logarithm() -> None:
    mel = np.pad(mel_of("hifigan"), ((0, 0), (0, 9)))
    found = doubts(mel, MelTransform.preset("hifigan"))
    assert len(found) == 1
    assert "9 frames at the ends are zero" in found[0]


def test_values_below_the_floor_by_a_model_are_accepted() -> None:
    rng = np.random.default_rng(0)
    mel = mel_of("hifigan")
    assert claimed(mel + 0.1 * rng.standard_normal(mel.shape), "hifigan") == ""


# --- Warnings of invert -----------------------------------------------------------------------


def test_invert_warns_once() -> None:
    t = MelTransform.preset("paper")
    mels = np.stack([mel_of("librosa_power")] * 2)
    with pytest.warns(MelWarning, match="give --preset librosa_power") as seen:
        invert(mels, t, n_iter=0)
    assert len(seen) == 1
    assert seen[0].filename == __file__
    with pytest.warns(MelWarning) as seen:
        invert(mels[0], t, n_iter=0, segment=2.0)
    assert len(seen) == 1


def test_invert_warns_of_the_second_of_a_batch() -> None:
    t = MelTransform.preset("hifigan")
    mel = mel_of("hifigan")
    padded = mel.copy()
    padded[:, -20:] = 0
    with pytest.warns(MelWarning, match="20 frames at the ends are zero"):
        invert(np.stack([mel, padded]), t, n_iter=0)


def test_right_settings_solve_and_errors_do_not_warn() -> None:
    t = MelTransform.preset("paper")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        invert(mel_of("paper"), t, n_iter=0)
        mel_to_audio(mel_of("librosa"), sr=22050, n_iter=0)
        problem = Problem(mel_of("librosa_power"), t)
        list(solve(make_method("gla"), problem, checkpoints=[0]))
        with pytest.raises(ValueError, match="transpose it"):
            invert(mel_of("paper").T, t)
        with pytest.raises(ValueError, match="must be floating-point"):
            invert(mel_of("paper").astype(complex), t)


def test_the_check_takes_less_than_five_milliseconds() -> None:
    for name in ("paper", "hifigan", "librosa_db", "whisper"):
        t = MelTransform.preset(name)
        mel = t(np.resize(sound(t.sr), int(5 * t.sr)))
        doubts(mel, t)
        spent = []
        for _ in range(20):
            began = time.process_time()
            doubts(mel, t)
            spent.append(time.process_time() - began)
        assert min(spent) < 5e-3, name


# --- The committed study ----------------------------------------------------------------------


def test_committed_results() -> None:
    confusion = pd.read_csv(ROOT / "results" / "inspect" / "confusion.csv")
    shares = {}
    for dataset, rows in confusion.groupby("dataset"):
        assert rows["mels"].sum() >= 300
        assert rows["truth"].nunique() >= 25
        shares[dataset] = rows.loc[rows["right"], "mels"].sum() / rows["mels"].sum()
    assert shares["librispeech"] >= 0.94
    assert shares["esc10"] >= 0.88
    assert confusion.loc[confusion["right"], "mels"].sum() >= 0.9 * confusion["mels"].sum()
    warned = pd.read_csv(ROOT / "results" / "inspect" / "warnings.csv")
    right = warned[warned["truth"] == warned["claimed"]]
    assert right["warned"].sum() <= 0.01 * right["mels"].sum()
    # The inversion corrects these two itself, with a warning of its own.
    corrected = warned["truth"].isin(["hifigan without a floor", "paper slightly negative"])
    wrong = warned[(warned["truth"] != warned["claimed"]) & ~corrected]
    assert wrong["warned"].sum() >= 0.97 * wrong["mels"].sum()


def test_a_gain_for_each_band_raises_no_error() -> None:
    transform = MelTransform.preset("hifigan")
    assert transform.compression is not None
    by_band = transform.compression.normalized(np.linspace(-5, -3, 80), np.linspace(1, 2, 80))
    evidence = Evidence(by_band.compress(np.random.default_rng(0).random((80, 50)) + 1e-3))
    changed = MelTransform.preset("hifigan", compression=by_band)
    assert isinstance(list(evidence.marks(changed)), list)
