"""Tests of the research scripts in studies/: they run with the current code."""

import importlib.util
import sys
from functools import cache
from itertools import islice
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from melexp import MelTransform, Problem
from melexp.datasets import load_dataset
from melexp.inspection import natural
from melexp.start import start

STUDIES = sorted((Path(__file__).resolve().parents[1] / "studies").glob("*.py"))


@cache
def load(name: str) -> ModuleType:
    path = next(path for path in STUDIES if path.stem == name)
    spec = importlib.util.spec_from_file_location(f"study_{name}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def y() -> np.ndarray:
    return np.random.default_rng(0).standard_normal(6000)


@pytest.fixture(scope="module")
def problem(y: np.ndarray) -> Problem:
    transform = MelTransform.preset("paper", n_fft=256, hop_length=64, n_mels=20)
    return Problem(transform(y), transform, length=len(y), dtype=np.float64)


@pytest.mark.parametrize("name", [path.stem for path in STUDIES])
def test_help(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    study = load(name)
    monkeypatch.setattr("sys.argv", [name, "--help"])
    with pytest.raises(SystemExit, match="0"):
        study.main()
    assert "usage:" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["limits", "starts", "faint", "schedules", "layouts"])
def test_first_runs_of_beyond(name: str, problem: Problem, y: np.ndarray) -> None:
    for _, x in islice(load("beyond").STUDIES[name](problem, y, 4), 2):
        assert x.shape == y.shape
        assert np.isfinite(x).all()


def test_modified_updates_without_their_term_are_admm_ramp(problem: Problem) -> None:
    beyond, prior = load("beyond"), load("prior")
    Y, X = start(problem, np.random.default_rng(0), magnitude="kl", phase="pghi")
    expected = beyond.from_start(problem, 8, Y, beyond.unit_phase(X))
    np.testing.assert_allclose(beyond.guided(problem, Y, X, 8, 0.0), expected, atol=1e-9)
    np.testing.assert_allclose(prior.held(problem, Y, X, 8, Y, 0.0), expected, atol=1e-9)


def test_terms_of_the_modified_updates_have_an_effect(problem: Problem) -> None:
    beyond, prior = load("beyond"), load("prior")
    Y, X = start(problem, np.random.default_rng(0), magnitude="kl", phase="pghi")
    guided = [beyond.guided(problem, Y, X, 8, pull) for pull in (0.0, 0.5)]
    held = [prior.held(problem, Y, X, 8, 0.5 * Y, mu) for mu in (0.0, 0.1)]
    assert np.abs(guided[1] - guided[0]).max() > 1e-3
    assert np.abs(held[1] - held[0]).max() > 1e-3


def test_mels_of_the_inspection_are_of_their_front_ends() -> None:
    study, clips = load("inspection"), load_dataset("demo_speech")[:2]
    mels = study.mels_of(clips[0], study.statistics(clips))
    transforms = study.front_ends()
    assert len(transforms) + len(study.KINDS) > 30
    assert set(mels) >= {*transforms, *study.KINDS, *(truth for truth, _ in study.WRONG)}
    assert {claim for _, claim in study.WRONG} <= set(study.claims())
    for name, t in transforms.items():
        assert mels[name].shape[0] == t.n_mels
    normalised = mels["band means of the mel"]
    np.testing.assert_allclose(normalised.mean(axis=1), 0, atol=1e-4)
    np.testing.assert_allclose(normalised.std(axis=1), 1, atol=1e-4)
    assert (mels["paper slightly negative"] < 0).any()
    assert np.isneginf(mels["hifigan without a floor"]).any()
    assert (mels["least to largest"].min(), mels["least to largest"].max()) == (0, 1)


@pytest.mark.long
def test_answers_of_the_inspection_are_counted() -> None:
    study = load("inspection")
    answers, warned = study.inspected("demo_speech", load_dataset("demo_speech")[:1])
    assert answers["mels"].sum() == len(study.front_ends()) + len(study.KINDS)
    assert answers.loc[answers["right"], "mels"].mean() == 1
    right = warned["truth"] == warned["claimed"]
    assert warned.loc[right, "warned"].sum() == 0
    assert len(warned[~right]) == len(study.WRONG)
    assert "first explanations are right" in study.summary(answers, warned)


@pytest.mark.long
def test_the_table_of_natural_sound_is_measured() -> None:
    study, clips = load("inspection"), load_dataset("demo_speech")[:4]
    others = {"speech": load_dataset("demo_speech")[4:6], "other": load_dataset("demo_foley")[:3]}
    found, stored = study.trained(clips, others), natural.table()
    assert found.keys() == stored.keys()
    hifigan = natural.traits(MelTransform.preset("hifigan"))
    for name in ("time", "band", "spread"):
        measured, expected = (hifigan @ np.array(t[name]["weights"]) for t in (found, stored))
        assert measured == pytest.approx(expected, abs=0.4)
