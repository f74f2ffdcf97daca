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
