"""Stores that came from elsewhere: refused in one line, and nothing is changed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from stores import add_job, change_line, older, part
from test_strangers import tree

from melexp.commands.doctor import doctor
from melexp.results import records
from melexp.results.merge import merge
from melexp.results.records import digest, read_json, read_note, write_json
from melexp.results.store import Store
from melexp.results.tables import read_table, write_table

Body = dict[str, Any]


def _note(root: Path) -> Path:
    return next(root.glob("jobs/run/*.json"))


def _task(root: Path) -> Path:
    return sorted(root.glob("tasks/*/*.json"))[0]


def note(change: Callable[[Body], Any]) -> Callable[[Path], None]:
    """Change a note and store it again with a right checksum, under its right name."""

    def attack(root: Path) -> None:
        path = _note(root)
        body = read_json(path)
        change(body)
        path.unlink()
        config = body.get("config", {})
        folder = root / "jobs" / "run"
        write_json(folder / f"{digest(config)}.json", body)

    return attack


def task(change: Callable[[Body], Any]) -> Callable[[Path], None]:
    def attack(root: Path) -> None:
        path = _task(root)
        body = read_json(path)
        change(body)
        write_json(path, body)

    return attack


def raw(find: Callable[[Path], Path], content: bytes) -> Callable[[Path], None]:
    return lambda root: find(root).write_bytes(content) and None


def row(**changes: Any) -> Callable[[Path], None]:
    return task(lambda body: body["rows"][0].update(changes))


def entry(**changes: Any) -> Callable[[Path], None]:
    return note(lambda body: body["tasks"][0].update(changes))


def _replace(find: Callable[[Path], Path], make: Callable[[Path], Any]) -> Callable[[Path], None]:
    def attack(root: Path) -> None:
        path = find(root)
        path.unlink()
        make(path)

    return attack


#: Attacks on folders of older versions, with a file per task and the clips in each note.
HOSTILE: dict[str, Callable[[Path], None]] = {
    **{
        f"no {key}": note(lambda body, key=key: body.pop(key))
        for key in ("config", "method", "seed", "dtype", "checkpoints", "metrics", "tasks")
    },
    "no provenance": note(lambda body: body.pop("provenance")),
    "no clips": note(lambda body: body["provenance"].pop("clips")),
    "clips without a hash": note(lambda body: body["provenance"]["clips"][0].pop("sha256")),
    "hash that is a path": note(lambda b: b["provenance"]["clips"][0].update(sha256="../x")),
    "method without a label": note(lambda body: body["method"].pop("label")),
    "label that is a number": note(lambda body: body["method"].update(label=3)),
    "parameter named like a column": note(lambda body: body["method"].update(value=3)),
    "parameter that is a table": note(lambda body: body["method"].update(rho={"a": 1})),
    "parameter with a bad name": note(lambda body: body["method"].update({"a\nb": 1})),
    "huge number": note(lambda body: body["method"].update(rho=10**400)),
    "no tasks": note(lambda body: body.update(tasks=[])),
    "no checkpoints": note(lambda body: body.update(checkpoints=[])),
    "text as checkpoints": note(lambda body: body.update(checkpoints=["5"])),
    "negative checkpoint": note(lambda body: body.update(checkpoints=[-1])),
    "million checkpoints": note(lambda body: body.update(checkpoints=list(range(10**5)))),
    "too many rows": note(
        lambda b: b.update(checkpoints=list(range(9999)), metrics=[f"m{k}" for k in range(999)])
    ),
    "metric that is a path": note(lambda body: body.update(metrics=["../../x"])),
    "entry without a clip": note(lambda body: body["tasks"][0].pop("clip")),
    "entry without a category": note(lambda body: body["tasks"][0].pop("category")),
    "task that is a path": entry(task="../../../x"),
    "task that is a list": entry(task=["a"]),
    "clip that is null": entry(clip=None),
    "reason that is a list": entry(reason=["x"]),
    "seed that is text": note(lambda body: body.update(seed="0")),
    "dtype of another kind": note(lambda body: body.update(dtype="float16")),
    "note that is a list": raw(_note, b"[]"),
    "note that is deep": raw(_note, b"[" * 10**5 + b"]" * 10**5),
    "note that is empty": raw(_note, b""),
    "note that is not UTF-8": raw(_note, b"\xff\xfe"),
    "note with a wrong checksum": raw(_note, b'{"checksum": "x"}'),
    "note that is a folder": _replace(_note, Path.mkdir),
    "note that is a pipe": _replace(_note, os.mkfifo),
    "note that is a link": _replace(_note, lambda path: path.symlink_to("/etc/hostname")),
    "task that is a link": _replace(_task, lambda path: path.symlink_to("/etc/hostname")),
    "task that is a device": _replace(_task, lambda path: path.symlink_to("/dev/zero")),
    "task that is a pipe": _replace(_task, os.mkfifo),
    "rows that are a dict": task(lambda body: body.update(rows={})),
    "row without a value": task(lambda body: body["rows"][0].pop("value")),
    "row with more columns": row(experiment="other"),
    "value that is text": row(value="1"),
    "value that is a list": row(value=[1]),
    "value that is huge": row(value=10**400),
    "value that is infinite": raw(
        _task, b'{"checksum": "x", "rows": [{"iteration": 5, "metric": "scm", "value": Infinity}]}'
    ),
    "iteration that is text": row(iteration="5"),
    "iteration that is huge": row(iteration=10**30),
    "metric that is a number": row(metric=3),
    "task without a clip": task(lambda body: body.pop("clip")),
    "task of another task": task(lambda body: body.update(task="ab" * 16)),
    "integer of many digits": raw(_task, b'{"checksum": ' + b"9" * 10**5 + b"}"),
}


def line(change: Callable[[Body], Any]) -> Callable[[Path], None]:
    return lambda root: change_line(root, change)


def value(place: int, new: Any) -> Callable[[Path], None]:
    return line(lambda body: body["rows"][0].__setitem__(place, new))


def _clips(root: Path) -> Path:
    return next(root.glob("clips/*.json"))


def clips(content: bytes) -> Callable[[Path], None]:
    """Store other clips under the hash of their content, and name them in the note."""
    name = hashlib.sha256(content).hexdigest()[:32]

    def attack(root: Path) -> None:
        note(lambda body: body.update(clips=name))(root)
        (root / "clips" / f"{name}.json").write_bytes(content)

    return attack


#: Attacks on folders as they are now.
HOSTILE_NOW: dict[str, Callable[[Path], None]] = {
    "line that is a list": raw(part, b"[]\n"),
    "line that is deep": raw(part, b"[" * 10**5 + b"]" * 10**5 + b"\n"),
    "line that is not UTF-8": raw(part, b"\xff\xfe\n"),
    "line with a wrong checksum": raw(part, b'{"checksum":"0123456789abcdef","task":"ab"}\n'),
    "end that is foreign": raw(part, b"no newline"),
    "zeros": raw(part, bytes(10**5)),
    "part that is a link": _replace(part, lambda path: path.symlink_to("/etc/hostname")),
    "part that is a device": _replace(part, lambda path: path.symlink_to("/dev/zero")),
    "part that is a pipe": _replace(part, os.mkfifo),
    "part that is a folder": _replace(part, Path.mkdir),
    "rows that are a dict": line(lambda body: body.update(rows={})),
    "row without a value": line(lambda body: body["rows"][0].pop(2)),
    "row that is short": line(lambda body: body["rows"].append([5])),
    "row with more values": line(lambda body: body["rows"][0].append("other")),
    "value that is text": value(2, "1"),
    "value that is a list": value(2, [1]),
    "value that is huge": value(2, 10**400),
    "value that is above the limit": value(2, 1e301),
    "iteration that is text": value(0, "5"),
    "iteration that is huge": value(0, 10**30),
    "iteration that is negative": value(0, -1),
    "metric that is a number": value(1, 3),
    "metric that is a path": value(1, "../../x"),
    "task that is a path": line(lambda body: body.update(task="../../x")),
    "task without a clip": line(lambda body: body.pop("clip")),
    "line with more fields": line(lambda body: body.update(more=1)),
    "note without clips": note(lambda body: body.pop("clips")),
    "note with fewer tasks": note(lambda body: body["tasks"].pop()),
    "note whose clips are a path": note(lambda body: body.update(clips="../../x")),
    "note of both forms": note(
        lambda body: body["tasks"].append(
            {"task": "a", "dataset": "d", "clip": "a", "category": ""}
        )
    ),
    "reason of no task": note(lambda body: body.update(reasons={"x": "y"})),
    "clips that are missing": lambda root: _clips(root).unlink(),
    "clips of another hash": raw(_clips, b"[]"),
    "clips that are a pipe": _replace(_clips, os.mkfifo),
    "clips that are a dict": clips(b"{}"),
    "clips without a hash": clips(b'[{"dataset": "d", "id": "a"}, {"dataset": "d", "id": "b"}]'),
    "clips that are not UTF-8": clips(b"\xff"),
    "clips that are deep": clips(b"[" * 10**5),
}
ATTACKS = [pytest.param(older, attack, id=f"old-{name}") for name, attack in HOSTILE.items()]
ATTACKS += [pytest.param(Path, attack, id=name) for name, attack in HOSTILE_NOW.items()]


@pytest.mark.parametrize("name", ["a b", "-rf", "a\nb", ".x", "x\u202e"])
def test_an_experiment_of_another_name_is_refused(tmp_path: Path, good: Path, name: str) -> None:
    root = tmp_path / "hostile"
    body = read_json(_note(good))
    body["config"]["experiment"] = name
    write_json(root / "jobs" / name / f"{digest(body['config'])}.json", body)
    before = tree(good)
    with pytest.raises(ValueError, match="is not the note of a job"):
        merge(good, [root])
    assert tree(good) == before


@pytest.fixture
def good(tmp_path: Path) -> Path:
    root = add_job(tmp_path / "good", {"a": ("x", 1.0), "b": ("y", 2.0)}, label="GLA")
    write_table(root, "run")
    return root


@pytest.mark.parametrize(("form", "attack"), ATTACKS)
def test_a_merge_of_a_hostile_store_changes_nothing(
    tmp_path: Path, good: Path, form: Callable[[Path], Path], attack: Callable[[Path], None]
) -> None:
    hostile = form(add_job(tmp_path / "hostile", {"a": ("x", 1.0), "b": ("y", 2.0)}))
    attack(hostile)
    before = tree(good)
    for sources in ([hostile], [good, hostile]):
        for target in (good, tmp_path / "new"):
            with pytest.raises(ValueError, match=r".") as error:
                merge(target, sources)
            assert "\n" not in str(error.value)
            assert str(hostile) in str(error.value)
            assert len(str(error.value)) < 1000
    assert tree(good) == before
    assert not (tmp_path / "new").exists()
    write_table(good, "run")
    assert tree(good) == before


@pytest.mark.parametrize(("form", "attack"), ATTACKS)
def test_doctor_and_the_next_table_survive_a_hostile_file(
    tmp_path: Path,
    form: Callable[[Path], Path],
    attack: Callable[[Path], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The file is moved aside or, if it is a link or no file, left alone; the table is written."""
    root = add_job(tmp_path / "r", {"a": ("x", 1.0), "b": ("y", 2.0)})
    add_job(root, {"a": ("x", 1.0), "b": ("y", 2.0)}, label="GLA", limit=3)
    attack(form(root))
    assert doctor([root]) == 1
    assert "Traceback" not in capsys.readouterr().out
    if not any(root.glob("jobs/run/*.json")):  # both jobs had the clips that are lost
        return
    write_table(root, "run")
    assert "GLA" in set(read_table(root, "run")["label"])


def test_a_damaged_note_of_the_target_stops_a_merge(tmp_path: Path, good: Path) -> None:
    target = add_job(tmp_path / "target", {"a": ("x", 1.0)})
    HOSTILE["no clips"](older(target))
    before = tree(target)
    with pytest.raises(ValueError, match="is not the note of a job"):
        merge(target, [good])
    assert tree(target) == before


@pytest.mark.parametrize("name", ["jobs", "jobs/run", "clips", "tasks", "damaged", ".hydra"])
def test_nothing_is_written_through_a_link(tmp_path: Path, good: Path, name: str) -> None:
    root, other = add_job(tmp_path / "received", {"a": ("x", 1.0)}), tmp_path / "other"
    place = root / name
    place.mkdir(exist_ok=True)
    place.rename(other)
    place.symlink_to(other)
    before = tree(other)
    for write in (lambda: merge(root, [good]), lambda: Store(root).begin()):
        with pytest.raises(ValueError, match=f"{place}.* is a link that leads out of {root};"):
            write()
    assert tree(other) == before
    (tmp_path / "link").symlink_to(good)  # the folder itself may be a link
    assert merge(tmp_path / "link", [good]) == ["run"]


def test_a_large_file_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.json"
    with path.open("wb") as file:
        file.truncate(records.LARGEST + 1)  # sparse
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail("was read"))
    with pytest.raises(records.DamagedFile, match="more than the limit"):
        read_json(path)


def test_the_note_of_a_run_fits_the_schema_with_all_its_fields(tmp_path: Path) -> None:
    root = add_job(tmp_path, {"a": ("x", 1.0)})
    body = read_note(_note(root))
    fields = set(records.Note.__struct_fields__)
    assert fields - {"metric_checkpoints"} == body.keys()  # this one only if it is set
