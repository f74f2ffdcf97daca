"""When finished tasks reach the disk."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from stores import add_job, finished, part

from melexp.discovery import conf_dir
from melexp.results import parts
from melexp.results.merge import merge
from melexp.results.parts import line_of
from melexp.results.store import Store
from melexp.runs.config import register
from melexp.runs.runner import run

ROW = {"iteration": 5, "metric": "scm", "value": -1.5, "reason": "", "seconds": 0.5}
register()


def body(task: str) -> dict[str, object]:
    return {"task": task, "clip": "c", "rows": [ROW]}


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> dict[int, list[int]]:
    """Sizes at each flush to the disk, by inode; only the first line of a part flushes itself."""
    found: dict[int, list[int]] = {}

    def sync(handle: int) -> None:
        status = os.fstat(handle)
        if stat.S_ISREG(status.st_mode):  # not that of a folder
            found.setdefault(status.st_ino, []).append(status.st_size)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(parts, "FLUSH_EVERY", 1e9)
    return found


@pytest.fixture
def unsaved(monkeypatch: pytest.MonkeyPatch, synced: dict[int, list[int]]) -> list[int]:
    """Bytes of parts that were not on the disk when a note was written, for each note."""
    found: list[int] = []
    save = Store.save_job

    def save_job(store: Store, experiment: str, note: dict[str, object]) -> None:
        status = part(store.root).stat()
        found.append(status.st_size - synced[status.st_ino][-1])
        save(store, experiment, note)

    monkeypatch.setattr(Store, "save_job", save_job)
    return found


def test_quick_tasks_share_a_flush(tmp_path: Path, synced: dict[int, list[int]]) -> None:
    store = Store(tmp_path)
    for n in range(50):
        store.save(body(f"{n:02x}"))
    size = len(line_of(body("00")))
    assert list(synced.values()) == [[size]]
    assert len(list(finished(tmp_path))) == 50
    parts.flush(tmp_path / "tasks")
    assert list(synced.values()) == [[size, 50 * size]]


@pytest.mark.skipif(not parts.HAS_LOCKS, reason="one part per process without locks")
def test_each_part_has_its_own_flush(tmp_path: Path, synced: dict[int, list[int]]) -> None:
    store = Store(tmp_path)
    store.save(body("aa"))
    with part(tmp_path).open("rb") as other:  # another worker writes the part
        assert parts.lock(other.fileno())
        store.save(body("bb"))
    store.save(body("cc"))
    size = len(line_of(body("aa")))
    assert list(synced.values()) == [[size], [size]]
    assert len(list(finished(tmp_path))) == 3


def test_merged_tasks_are_flushed_before_their_note(tmp_path: Path, unsaved: list[int]) -> None:
    for n in range(2):
        clips = {f"{n} {k}": (f"{n} {k}", 1.0) for k in range(3)}
        add_job(tmp_path / str(n), clips, limit=n)
    assert all(unsaved)  # the fixture sees what is missing
    unsaved.clear()
    merge(tmp_path / "merged", [tmp_path / "0", tmp_path / "1"])
    assert unsaved == [0, 0]


def test_the_tasks_of_a_job_are_flushed_before_its_note(tmp_path: Path, unsaved: list[int]) -> None:
    small = ["limit=3", "checkpoints=[1]", "workers=1", "metric=[scm]", f"results={tmp_path}"]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose("config", small)
    assert run(config) == []
    assert len(list(finished(tmp_path))) == 3
    assert unsaved == [0]
