"""What a run writes can be read again: anything else is refused first, or cut."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from melexp.commands.doctor import doctor
from melexp.datasets import load_dataset
from melexp.discovery import conf_dir
from melexp.errors import LONGEST, one_line
from melexp.metrics import Score
from melexp.results.parts import line_of, parse
from melexp.results.tables import write_table
from melexp.runs import runner, task
from melexp.runs.hydra_app import register

register()


def go(root: Path, *overrides: str) -> list[str]:
    base = ("method=gla", "limit=1", "checkpoints=[1]", "metric=[scm]", "workers=1")
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return runner.run(compose("config", [*base, *overrides, f"results={root}"]))


@pytest.mark.parametrize("setting", ["seed=18014398509481984", f"method.label={'x' * 10_001}"])
def test_a_setting_that_cannot_be_stored_is_refused_first(tmp_path: Path, setting: str) -> None:
    with pytest.raises(ValueError, match="the results could not be stored"):
        go(tmp_path / "r", setting)
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("wrong", [{"id": ""}, {"id": "x" * 1001}, {"author": "x" * 10_001}])
def test_a_clip_that_cannot_be_stored_is_refused_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, Any]
) -> None:
    clip = dataclasses.replace(load_dataset("demo_speech")[0], **wrong)
    monkeypatch.setattr(runner, "load_dataset", lambda name, **how: [clip])
    with pytest.raises(ValueError, match="the results could not be stored"):
        go(tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_a_long_message_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as that of a method which prints an array."""
    assert len(one_line("x" * 10**7)) == LONGEST

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("x" * 20_000)

    monkeypatch.setattr(task, "solve", fail)
    (line,) = go(tmp_path)
    assert len(line) < LONGEST + 100
    table = write_table(tmp_path, "run")
    assert table["reason"].str.startswith("RuntimeError: xxx").all()
    assert doctor([tmp_path]) == 0


@pytest.mark.parametrize(
    ("score", "reason"),
    [
        (Score(1e305), "the value of scm is 1e+305"),
        (Score.without("y" * 20_000), "y" * 10_000),
        (Score(True), ""),
    ],
    ids=["beyond the numbers of a store", "with a long reason", "that is no float"],
)
def test_a_value_can_be_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, score: Score, reason: str
) -> None:
    monkeypatch.setattr(task, "score", lambda *_, **__: score)
    assert go(tmp_path) == []
    (row,) = write_table(tmp_path, "run").to_dict("records")
    assert row["reason"] == reason
    assert doctor([tmp_path]) == 0


def test_a_line_cuts_its_reasons() -> None:
    row = {"iteration": 1, "metric": "scm", "value": None, "reason": "x" * 20_000, "seconds": 1.0}
    line = line_of({"task": "ab", "clip": "a", "rows": [row]})
    assert len(parse(line[:-1]).rows[0].reason or "") == 10_000
