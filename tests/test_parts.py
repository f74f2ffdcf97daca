"""Parts, the index of finished tasks, and large tables."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from stores import add_job, finished, older, part

from melexp.commands.doctor import doctor
from melexp.results import tables
from melexp.results.export import UNUSED, latex
from melexp.results.index import Index
from melexp.results.merge import merge
from melexp.results.parts import LARGEST_LINE, append, line_of, lines, parse, repair
from melexp.results.records import DamagedFile
from melexp.results.statistics import at_last, summary
from melexp.results.store import Store
from melexp.results.tables import read_table, update_table, write_table

ROW = {"iteration": 5, "metric": "scm", "value": -1.5, "reason": "", "seconds": 0.5}


def body(task: str = "ab", **changes: Any) -> dict[str, Any]:
    return {"task": task, "clip": "c", "rows": [ROW | changes]}


# --- Parts --------------------------------------------------------------------------------------


def test_a_line_holds_what_was_written() -> None:
    rows = [ROW, ROW | {"metric": "sc", "value": None, "reason": "süß", "seconds": None}]
    line = line_of({"task": "ab", "clip": "ü", "rows": rows})
    assert line.endswith(b"\n")
    one = parse(line[:-1])
    assert (one.task, one.clip) == ("ab", "ü")
    assert [(r.iteration, r.metric, r.value, r.reason, r.seconds) for r in one.rows] == [
        tuple(row.values()) for row in rows
    ]


def test_a_line_that_is_too_long_is_refused_and_skipped(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="too many to store"):
        line_of({"task": "ab", "clip": "c", "rows": [ROW | {"reason": "x" * 10_000}] * 2**11})
    path = tmp_path / "x"
    path.write_bytes(b"x" * (3 * LARGEST_LINE) + b"\nshort\n")
    with path.open("rb") as file:
        (first, second) = lines(file)
    assert (first[1], second[0]) == (3 * LARGEST_LINE + 1,) * 2
    assert second[2] == b"short"


def test_a_torn_line_is_removed_by_the_next_writer(tmp_path: Path) -> None:
    append(tmp_path / "tasks", line_of(body("ab")))
    whole = part(tmp_path).read_bytes()
    for end in (5, 30, len(whole) - 1):
        part(tmp_path).write_bytes(whole + whole[:end])
        assert list(finished(tmp_path)) == ["ab"]
        append(tmp_path / "tasks", line_of(body("cd")))
        assert part(tmp_path).read_bytes() == whole + line_of(body("cd"))
    assert len(list((tmp_path / "tasks").iterdir())) == 1


@pytest.mark.parametrize("kind", ["link", "folder", "pipe", "foreign end"])
def test_a_writer_avoids_what_is_not_a_part(tmp_path: Path, kind: str) -> None:
    append(tmp_path / "tasks", line_of(body()))
    path, mine = part(tmp_path), tmp_path / "mine"
    mine.write_text("mine")
    path.unlink()
    if kind == "link":
        path.symlink_to(mine)
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.write_text("mine")
    append(tmp_path / "tasks", line_of(body()))
    assert path.with_name(path.name.replace("-0.", "-1.")).read_bytes() == line_of(body())
    assert mine.read_text() == "mine"


def test_a_repaired_part_keeps_its_good_lines(tmp_path: Path) -> None:
    good = [line_of(body(task)) for task in ("ab", "cd", "ef")]
    append(tmp_path / "tasks", b"".join(good))
    path = part(tmp_path)
    path.write_bytes(good[0] + good[1].replace(b"scm", b"sc_") + good[2] + good[0][:20])
    index = Index(tmp_path)
    index.refresh()
    assert set(index) == {"ab", "ef"}
    assert "1 damaged lines; the line at byte" in index.damage[0].message
    found = repair(path, tmp_path / "damaged")
    assert found == (2, 1, True, tmp_path / "damaged" / path.name)
    assert path.read_bytes() == good[0] + good[2]
    assert (tmp_path / "damaged" / path.name).read_bytes() == good[1].replace(b"scm", b"sc_")[:-1]
    append(tmp_path / "tasks", good[1])
    index.refresh()
    assert set(index) == {"ab", "cd", "ef"}


def test_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    code = (
        "import sys; from melexp.results.store import Store\n"
        "row = {'iteration': 1, 'metric': 'sc', 'value': 1.0, 'reason': '', 'seconds': 1.0}\n"
        "for n in range(100):\n"
        "    Store(sys.argv[1]).save({'task': f'{sys.argv[2]}{n:03d}', 'clip': 'c', 'rows': [row]})"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, tmp_path, str(k)]) for k in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert sorted(Store(tmp_path).index()) == [f"{k}{n:03d}" for k in range(3) for n in range(100)]
    assert len(list((tmp_path / "tasks").iterdir())) <= 3


# --- The index ----------------------------------------------------------------------------------


def test_further_values_of_a_task_are_a_further_line(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.save(body())
    index = store.index()
    assert index.lacking(["ab", "cd"], [(5, "scm"), (9, "scm")]) == {
        0: [(9, "scm")],
        1: [(5, "scm"), (9, "scm")],
    }
    before = dict(index.stamps)
    store.save(body(iteration=9, value=None, reason="silent"))
    assert [row["iteration"] for row in store.load("ab")["rows"]] == [5, 9]
    assert store.since(before).pairs("ab") == {(9, "scm")}
    matrix = store.index().matrix(["cd", "ab"], [(5, "scm"), (7, "scm"), (9, "scm")])
    np.testing.assert_array_equal(matrix.value, [[np.nan] * 3, [-1.5, np.nan, np.nan]])
    np.testing.assert_array_equal(matrix.reason[:, 1], [-1, -1])
    assert store.index().reasons[matrix.reason[1, 2]] == "silent"


def test_a_store_of_an_older_version_is_read_and_converted(tmp_path: Path) -> None:
    root = add_job(tmp_path / "r", {"a": ("x", 1.0), "b": ("y", 2.0)})
    now = write_table(root, "run")
    older(root)
    assert doctor([root]) == 0
    pd.testing.assert_frame_equal(write_table(root, "run"), now)
    merge(tmp_path / "new", [root])
    pd.testing.assert_frame_equal(read_table(tmp_path / "new", "run"), read_table(root, "run"))
    assert not list((tmp_path / "new").glob("tasks/??"))
    Store(root).save({"task": next(iter(Store(root).index())), "clip": "a", "rows": [ROW]})
    assert len(Store(root).index()) == 2


# --- Large tables -------------------------------------------------------------------------------


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose table is written as a large one, and its small form beside it."""
    pytest.importorskip("pyarrow", reason="pip install -c constraints.txt -e '.[parquet]'")
    root = tmp_path / "large"
    for n, label in enumerate(("ADMM", "GLA")):
        clips = {f"clip {k}": (f"{k}", k * (n + 1.0)) for k in range(5)}
        add_job(root, clips, label=label, limit=n)
    write_table(root, "run")
    merge(tmp_path / "small", [root])
    monkeypatch.setattr(tables, "LARGE", 4)
    update_table(Store(root), "run")
    return root


def test_a_large_table_holds_the_same(large: Path) -> None:
    assert not (large / "run.csv").exists()
    table, small = read_table(large, "run"), read_table(large.parent / "small", "run")
    assert list(table) == list(small)
    order = ["clip", "label"]
    plain = table.astype({c: small[c].dtype for c in table if c != "reason"})
    pd.testing.assert_frame_equal(
        plain.drop(columns="reason").sort_values(order).reset_index(drop=True),
        small.drop(columns="reason").sort_values(order).reset_index(drop=True),
    )
    assert latex(table) == latex(small) == latex(read_table(large, "run", without=UNUSED))
    pd.testing.assert_frame_equal(summary(at_last(table)[0]), summary(at_last(small)[0]))


def test_a_latex_table_takes_a_bounded_memory() -> None:
    """A row of a large table takes 23 bytes; its summary may take 35 more."""
    n = 2**18
    names = pd.Categorical(["a"]).repeat(n)
    table = pd.DataFrame({name: names for name in ("dataset", "label", "dtype")})
    table["clip"] = pd.Categorical.from_codes(np.arange(n, dtype=np.int16) % 100, range(100))
    rho, metric = np.arange(n) // 800 % 4, np.arange(n) // 100 % 2
    table["rho"] = pd.Categorical.from_codes(rho.astype(np.int8), range(4))
    table["iteration"] = np.arange(n, dtype=np.int32) // 200 % 4
    table["metric"] = pd.Categorical.from_codes(metric.astype(np.int8), ["sc", "scm"])
    table["value"] = np.arange(n) / n
    latex(table[:800])  # imports
    tracemalloc.start()
    try:
        text = latex(table)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert text.count("rho=") == 4
    assert peak < 35 * n


def test_a_large_table_is_written_again_only_if_tasks_changed(large: Path) -> None:
    path, store = large / "run.parquet", Store(large)
    before = path.stat().st_mtime_ns
    update_table(store, "run")
    assert path.stat().st_mtime_ns == before
    store.save(body("ef"))
    update_table(store, "run")
    assert path.stat().st_mtime_ns > before


def test_doctor_finds_a_damaged_large_table(large: Path) -> None:
    path = large / "run.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedFile, match=r"run\.parquet does not match its checksum"):
        read_table(large, "run")
    assert doctor([large]) == 1
    assert len(read_table(large, "run")) == 10
    assert doctor([large]) == 0


def test_a_parquet_file_of_the_user_stays(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "LARGE", 2**20)
    (large / "run.parquet").write_bytes(b"mine")
    update_table(Store(large), "run")
    assert (large / "run.parquet").read_bytes() == b"mine"
    assert len(read_table(large, "run")) == 10


def test_a_foreign_parquet_file_is_no_table(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pip install -c constraints.txt -e '.[parquet]'")
    (tmp_path / "run.parquet").write_bytes(b"PAR1" + bytes(100) + b"PAR1")
    with pytest.raises(DamagedFile, match="is not a table of results"):
        read_table(tmp_path, "run")
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "run.parquet")
    with pytest.raises(DamagedFile, match="it has no column experiment"):
        read_table(tmp_path, "run")
