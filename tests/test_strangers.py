"""Folders that melexp did not write: doctor changes nothing in them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from stores import part

from melexp.commands.doctor import doctor
from melexp.discovery import conf_dir
from melexp.results.merge import merge
from melexp.results.store import MARKER, Store
from melexp.results.tables import write_table
from melexp.runs.hydra_app import register
from melexp.runs.runner import run

register()

#: Files of other programs whose names look like ours, by path.
FOREIGN = {
    "tasks/todo.md": "buy milk",
    "tasks/poetry.lock": "package = 1",
    "tasks/ab/poetry.lock": "package = 1",
    "tasks/lines.jsonl": "{}",
    "clips/list.json": "[]",
    "tasks/ab/cd.lock": "not empty, so no lock of melexp",
    "tasks/ab/notes.json": "{}",
    "tasks/ab/.film.mkv.part": "half a film",
    "jobs/backup.sh": "#!/bin/sh",
    "jobs/nightly/backup.json": "{}",
    "a/b/.film.mkv.part": "half a film",
    ".film.mkv.part": "half a film",
    ".x.part": "half",
    ".report.csv.abcdefgh.part": "half, of another program",
    ".yarn.lock": "lock of yarn",
    ".hydra/config.yaml": "a: 1",
    ".hydra/progress-report.txt": "text",
    ".hydra/progress-0123abcd/thesis.tex": "text",
    "paper.csv": "a,b\n1,2\n",
}


def foreign(root: Path) -> Path:
    for name, text in FOREIGN.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def tree(root: Path) -> dict[str, bytes]:
    """Return the content of every file below a folder; a link counts as what it is."""
    return {
        str(p.relative_to(root)): os.readlink(p).encode() if p.is_symlink() else p.read_bytes()
        for p in sorted(root.rglob("*"))
        if p.is_symlink() or p.is_file()
    }


def store(root: Path) -> Path:
    """Write a folder of results with one job of two tasks."""
    made = Store(root)
    made.begin()
    row = {"iteration": 5, "metric": "scm", "value": 1.0, "reason": "", "seconds": 1.0}
    for task in ("aa" * 16, "bb" * 16):
        made.save({"task": task, "clip": task[:2], "rows": [row]})
    entries = [{"task": t * 16, "dataset": "d", "clip": t, "category": "c"} for t in ("aa", "bb")]
    config = {"experiment": "run", "seed": 0}
    body = {"config": config, "method": {"method": "admm", "label": "ADMM"}, "seed": 0}
    body |= {"dtype": "float32", "checkpoints": [5], "metrics": ["scm"], "tasks": entries}
    made.save_job("run", body | {"provenance": {"clips": []}})
    write_table(made, "run")
    return root


@pytest.mark.parametrize("adopt", [False, True])
def test_a_foreign_folder_is_refused(tmp_path: Path, adopt: bool) -> None:
    before = tree(foreign(tmp_path))
    with pytest.raises(ValueError, match="is not a results folder"):
        doctor([tmp_path], adopt=adopt)
    assert tree(tmp_path) == before


def test_foreign_files_in_a_folder_of_results_stay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tree(foreign(store(tmp_path)))
    assert doctor([tmp_path]) == 0
    assert tree(tmp_path) == before
    said = capsys.readouterr().out
    assert f"other: {tmp_path / 'tasks' / 'todo.md'} is not a file of melexp" in said


@pytest.mark.parametrize(
    "linked", ["tasks", "jobs", ".hydra", "damaged", "clips", "part", "run.csv"]
)
def test_links_are_not_followed(tmp_path: Path, linked: str) -> None:
    root, other = store(tmp_path / "results"), tmp_path / "other"
    place = part(root) if linked == "part" else root / linked
    if place.exists():
        place.rename(other)
    else:
        other.mkdir()
        (other / "progress-0123abcd").mkdir()
        (other / "progress-0123abcd" / "x.jsonl").write_text("{}")
    for path in [other, *other.rglob("*")]:  # all of it is damaged, and could be moved
        if path.is_file():
            path.write_text("mine")
    if other.is_dir():
        (other / f".{'ab' * 16}.json.12345678.part").write_text("half")
    place.symlink_to(other)
    if linked not in ("tasks", "part"):
        part(root).write_text("damaged\n")
    before = tree(other) if other.is_dir() else other.read_bytes()
    if linked == "damaged":
        with pytest.raises(ValueError, match="damaged is a link"):
            doctor([root])
    else:
        doctor([root])
    assert (tree(other) if other.is_dir() else other.read_bytes()) == before


def test_a_dry_run_says_all_and_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = store(tmp_path)
    whole = part(root).read_bytes()
    part(root).write_bytes(whole.replace(b"aaaa", b"aaab", 1) + whole[:30])
    (root / "tasks" / f"{'ab' * 16}.lock").touch()
    (root / ".run.csv.abcdefgh.melexp.part").write_text("half")
    (root / "run.csv").write_text("damaged")
    (root / ".hydra" / "progress-0123abcd").mkdir(parents=True)
    before, folders = tree(root), sorted(root.rglob("*"))
    assert doctor([root], dry_run=True) == 1
    said = capsys.readouterr().out
    assert said.count("would be removed") == 4
    assert said.count("would be moved to") == 1
    assert said.count("would be rewritten") == 1
    assert (tree(root), sorted(root.rglob("*"))) == (before, folders)
    assert doctor([root]) == 1
    assert capsys.readouterr().out.count("leftover: ") == 4
    assert doctor([root]) == 0


def test_old_folders_are_adopted_by_their_content(tmp_path: Path) -> None:
    root = store(tmp_path)
    (root / MARKER).unlink()
    with pytest.raises(ValueError, match="use --adopt"):
        doctor([root])
    assert doctor([root], adopt=True, dry_run=True) == 0
    assert not (root / MARKER).exists()
    assert doctor([root], adopt=True) == 0
    assert doctor([root]) == 0


def test_a_task_in_another_folder_is_left_alone(tmp_path: Path) -> None:
    root = store(tmp_path)
    wrong = root / "tasks" / "cc" / f"{'aa' * 16}.json"
    wrong.parent.mkdir()
    wrong.write_text("{}")
    assert doctor([root]) == 0
    assert wrong.exists()


@pytest.mark.parametrize("name", ["run.csv", "run.provenance.json", ".run.lock"])
def test_a_table_replaces_no_file_of_another_program(tmp_path: Path, name: str) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / name).write_text("{}")
    refused = r"(was not written by|is not a lock of) melexp.*; move it"
    with pytest.raises((ValueError, OSError), match=refused):
        merge(mine, [store(tmp_path / "r")])
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose("config", ["limit=1", "checkpoints=[1]", f"results={mine}"])
    with pytest.raises((ValueError, OSError), match=refused):
        run(config)
    assert tree(mine) == {name: b"{}"}


def test_foreign_files_beside_notes_are_no_notes(tmp_path: Path) -> None:
    root = foreign(store(tmp_path / "r"))
    assert merge(root, [store(tmp_path / "other")]) == ["run"]
    assert (root / "jobs" / "nightly" / "backup.json").read_text() == "{}"
