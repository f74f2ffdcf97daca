"""The search: it improves on given parameters, resumes, and refuses invalid ranges."""

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from melexp.__main__ import main
from melexp.runs.search import Range, search

RANGES = [Range("lam", 50, 100_000, log=True), Range("rho", 0.01, 1.0, log=True)]
SINGLE = ("method=gla", "limit=1", "checkpoints=[1]", "workers=1")
QUICK = ("dataset=demo_speech", "limit=2", "checkpoints=[20]", "workers=1")


def test_ranges() -> None:
    assert Range.parse("rho=0.01:1:log") == Range("rho", 0.01, 1.0, log=True)
    assert Range.parse("n_iter=50:500") == Range("n_iter", 50, 500)


@pytest.mark.parametrize(
    "text",
    [
        *("rho", "rho=1", "rho=a:b", "rho=2:1", "rho=0:1:log", "rho=1:2:x", "rho=0:inf"),
        *("rho=-1e308:1e308", "n_iter=-5:-2", "n_iter=1:1e23", "n_iter=0.2:0.4:log"),
    ],
)
def test_bad_ranges_are_named(text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Range.parse(text)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("limit=0", "limit must be null or at least 1; got 0"),
        ("foo=1", "Could not override 'foo'"),
        ("method=gla,admm", "Ambiguous value for argument 'method=gla,admm'"),
        ("a=[", "no viable alternative at input"),
        ("dataset=folder", "Missing mandatory value"),
        ("dataset=demo_foley --metric pesq", "pesq is for speech only; demo_foley is no speech"),
        ("--metric ../dataset/esc10", "there is no metric '../dataset/esc10'"),
        ("--range zzz=0:1", "--range zzz: gla has no such number; there are n_iter, frame_weights"),
        ("--range a.b=0:1", "--range a.b: gla has no such number"),
        ("--range name=0:1", "--range name: gla has no such number"),
        ("--range phase=0:1", "--range phase: gla has no such number"),
        ("--range frame_weights=2:3", "frame_weights must be from 0 to 1; got 2."),
        ("--trials 0", "--trials must be 1 or more; got 0"),
        ("--seed -1", "--seed must be from 0 to below 2^31; got -1"),
    ],
)
def test_a_refused_search_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    arguments: str,
    message: str,
) -> None:
    pytest.importorskip("optuna", reason="pip install -c constraints.txt -e '.[optuna]'")
    line = ["search", *SINGLE, "dataset=demo_speech", f"results={tmp_path}", "--metric", "sc"]
    given = ["--range", "n_iter=1:2", "--trials", "1", *arguments.split()]
    monkeypatch.setattr(sys, "argv", ["melexp", *line, *given])
    with pytest.raises(SystemExit, match="2"):
        main()
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert message in said


def test_nothing_to_search(tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="pip install -c constraints.txt -e '.[optuna]'")
    with pytest.raises(ValueError, match="give at least one"):
        search([f"results={tmp_path}"], [], metric="scm", trials=1)


@pytest.mark.long
def test_a_search_improves_on_the_paper_and_resumes(tmp_path: Path) -> None:
    """On two clips and 20 iterations; the first trial has the lambda and rho of the paper."""
    pytest.importorskip("optuna", reason="pip install -c constraints.txt -e '.[optuna]'")
    where = [*QUICK, f"results={tmp_path}"]
    at_paper = [Range("lam", 5000, 5000.001), Range("rho", 0.1, 0.1000001)]
    paper = search(where, at_paper, metric="scm", trials=1, study="paper").best_value
    first = search(where, RANGES, metric="scm", trials=5)  # as if it was stopped there
    first_value = first.best_value
    found = search(where, RANGES, metric="scm", trials=15)
    assert len(found.trials) == 15
    assert found.best_value <= first_value
    assert found.best_value <= paper + 0.1
    again = search(where, RANGES, metric="scm", trials=15)
    assert (again.best_params, len(again.trials)) == (found.best_params, 15)


def test_iterations_are_searched_and_quality_maximised(tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="pip install -c constraints.txt -e '.[optuna]'")
    found = search(
        [*QUICK[:1], "limit=1", "workers=1", f"results={tmp_path}"],
        [Range("n_iter", 1, 9), *RANGES],
        metric="pesq",
        trials=3,
    )
    assert found.direction.name == "MAXIMIZE"
    assert {type(t.params["n_iter"]) for t in found.trials} == {int}
    assert (tmp_path / "search.csv").exists()


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of two trials."""
    pytest.importorskip("optuna", reason="pip install -c constraints.txt -e '.[optuna]'")
    folder = tmp_path_factory.mktemp("searched")
    search([*SINGLE, f"results={folder}"], [Range("n_iter", 1, 9)], metric="sc", trials=2)
    return folder


def edited(operation: int, **changes: Any) -> Callable[[list[bytes]], bytes]:
    """Return a damage: change the first line of an operation of Optuna."""

    def damage(lines: list[bytes]) -> bytes:
        bodies = [json.loads(line) for line in lines]
        next(body for body in bodies if body["op_code"] == operation).update(changes)
        return b"".join(json.dumps(body).encode() + b"\n" for body in bodies)

    return damage


def distributed(name: str, **limits: Any) -> Callable[[list[bytes]], bytes]:
    return edited(5, distribution=json.dumps({"name": name, "attributes": limits}))


@pytest.mark.parametrize(
    ("damage", "resumes"),
    [
        (lambda lines: b"".join(lines)[:-10], True),  # as a kill leaves it
        (lambda lines: b"".join(lines)[:-1], True),
        (lambda lines: b"".join(lines[:2]) + b"garbage\n" + b"".join(lines[2:]), False),
        (lambda lines: b"\xff\xfe\x00\n", False),
        (lambda lines: b"[]\n", False),
        (lambda lines: b"null\n", False),
        (lambda lines: b'{"op_code": 99}\n', False),
        (lambda lines: b"[" * 10**5 + b"\n", False),
        *(
            (edited(6, values=values), False)
            for values in (None, ["x"], ["1.5"], [[1]], {"a": 1}, [], [1, 2], [1.0, 2.0])
        ),
        *((edited(6, values=[value]), False) for value in (float("nan"), float("inf"), True)),
        (edited(0, directions=[1, 2]), False),
        (edited(0, directions=[]), False),
        (edited(5, param_value_internal=1e9), False),
        (edited(5, param_value_internal="x"), False),
        (distributed("FloatDistribution", low=1.0, high=9.0, log=False, step=None), False),
        (distributed("CategoricalDistribution", choices=[1, 2, 3, 4, 5, 6, 7, 8, 9]), False),
    ],
)
def test_damaged_journals_are_one_line(
    searched: Path, tmp_path: Path, damage: Callable[[list[bytes]], bytes], resumes: bool
) -> None:
    where, ranges = [*SINGLE, f"results={tmp_path}"], [Range("n_iter", 1, 9)]
    shutil.copytree(searched, tmp_path, dirs_exist_ok=True)
    journal = tmp_path / "studies" / "search.log"
    journal.write_bytes(damage(journal.read_bytes().splitlines(keepends=True)))
    before = journal.read_bytes()
    if resumes:
        assert len(search(where, ranges, metric="sc", trials=3).trials) >= 3
        return
    with pytest.raises(ValueError, match="is damaged") as error:
        search(where, ranges, metric="sc", trials=3)
    assert "\n" not in str(error.value)
    assert journal.read_bytes() == before


def test_a_study_keeps_its_direction_and_its_place(tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="pip install -c constraints.txt -e '.[optuna]'")
    where = [*SINGLE, f"results={tmp_path / 'r'}"]
    search(where, [Range("n_iter", 1, 9)], metric="sc", trials=1)
    with pytest.raises(ValueError, match="was created to minimize a metric, not to maximize"):
        search(where, [Range("n_iter", 1, 9)], metric="pesq", trials=1)
    journal = tmp_path / "r" / "studies" / "search.log"
    journal.rename(tmp_path / "mine.log")
    journal.symlink_to(tmp_path / "mine.log")
    with pytest.raises(ValueError, match="is a link that leads out"):
        search(where, [Range("n_iter", 1, 9)], metric="sc", trials=1)


def test_a_lock_that_a_killed_process_left_is_no_hindrance(searched: Path, tmp_path: Path) -> None:
    shutil.copytree(searched, tmp_path, dirs_exist_ok=True)
    (tmp_path / "studies" / "search.log.lock").symlink_to("search.log")  # of an older version
    (tmp_path / "studies" / ".search.log.lock").touch()
    began = time.monotonic()
    where = [*SINGLE, f"results={tmp_path}"]
    assert len(search(where, [Range("n_iter", 1, 9)], metric="sc", trials=3).trials) == 3
    assert time.monotonic() - began < 20
    assert not (tmp_path / "studies" / ".search.log.lock").exists()


def test_a_journal_that_is_a_pipe_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="pip install -c constraints.txt -e '.[optuna]'")
    (tmp_path / "studies").mkdir()
    os.mkfifo(tmp_path / "studies" / "search.log")
    with pytest.raises(ValueError, match=r"search\.log is damaged \(it is not a plain file\)"):
        search([*SINGLE, f"results={tmp_path}"], [Range("n_iter", 1, 9)], metric="sc", trials=1)
