"""Large tables: numbers are kept or refused, never changed, and a hostile file is one line."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stores import add_job

from melexp.results import parquet, tables
from melexp.results.records import DamagedFile, read_note
from melexp.results.store import Store
from melexp.results.tables import read_table, write_table

pa = pytest.importorskip("pyarrow", reason="pip install -c constraints.txt -e '.[parquet]'")
pq = pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a large table of two rows, without its provenance."""
    monkeypatch.setattr(tables, "LARGE", 0)
    root = add_job(tmp_path / "r", {"a": ("x", 1.0), "b": ("y", 2.0)})
    write_table(root, "run")
    (root / "run.provenance.json").unlink()
    return root


def put(root: Path, name: str, values: Any) -> None:
    """Replace or add a column of the table."""
    table = pq.read_table(root / "run.parquet")
    if name in table.column_names:
        table = table.set_column(table.column_names.index(name), name, values)
    else:
        table = table.append_column(name, values)
    pq.write_table(table, root / "run.parquet")


@pytest.mark.parametrize("seed", [2**31 - 1, 2**31, 2**32 + 7, 2**53])
def test_whole_numbers_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(tables, "LARGE", 0)
    store = Store(add_job(tmp_path, {"a": ("x", 1.0)}))
    note = read_note(next(tmp_path.glob("jobs/run/*.json")))
    note |= {"seed": seed, "config": note["config"] | {"seed": seed}, "checkpoints": [seed]}
    store.save_job("run", note)
    table = write_table(store, "run")
    assert sorted(table["seed"]) == [0, seed]
    assert sorted(table["iteration"]) == [5, seed]


def test_numbers_of_other_widths_are_kept(large: Path) -> None:
    put(large, "iteration", pa.array([1, 2**40], pa.uint64()))
    put(large, "value", pa.array([1, 2], pa.int8()))
    put(large, "seconds", pa.nulls(2))
    table = read_table(large, "run")
    assert list(table["iteration"]) == [1, 2**40]
    assert list(table["value"]) == [1.0, 2.0]
    assert table["seconds"].isna().all()


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("iteration", pa.array([1.5, 2.0]), "the column iteration holds double"),
        ("iteration", pa.array([1.0, np.nan]), "the column iteration holds double"),
        ("iteration", pa.array([1, None]), "a value of the column iteration is missing"),
        ("iteration", pa.array([1, 2**64 - 1], pa.uint64()), "not in range"),
        ("seed", pa.array(["1", "2"]), "the column seed holds string"),
        ("seed", pa.array([True, False]), "the column seed holds bool"),
        ("value", pa.array(["1", "2"]), "the column value holds string"),
        ("value", pa.array([True, False]), "the column value holds bool"),
        ("value", pa.array([{"a": 1.0}] * 2), "the column value holds struct"),
        ("value", pa.array([1, 2], pa.timestamp("s")), "the column value holds timestamp"),
        ("seconds", pa.array([[1.0]] * 2), "the column seconds holds list"),
        ("label", pa.array([None, None], pa.string()), "a value of the column label is missing"),
        ("label", pa.nulls(2), "the column label holds null"),
        ("dataset", pa.array([1, 2]), "the column dataset holds int64"),
        ("metric", pa.array([1, 2]), "the column metric holds int64"),
        ("rho", pa.array([1, 2], pa.timestamp("s")), "the column rho holds timestamp"),
        ("more", pa.array([[1]] * 2), "the column more holds list"),
    ],
)
def test_columns_of_another_kind_are_refused(
    large: Path, name: str, values: Any, message: str
) -> None:
    put(large, name, values)
    with pytest.raises(DamagedFile, match=message) as error:
        read_table(large, "run")
    assert "\n" not in str(error.value)
    assert str(large / "run.parquet") in str(error.value)


def twice(table: Any) -> Any:
    return table.append_column("label", table["label"])


def wide(table: Any) -> Any:
    cells = pa.repeat(True, len(table))
    return pa.table([*table.columns, *[cells] * 90], [*table.column_names, *map(str, range(90))])


@pytest.mark.parametrize(
    ("change", "message"), [(twice, "two columns have the same name"), (wide, "limit of 200 cells")]
)
def test_a_table_of_too_many_columns_is_refused(
    large: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Any], Any], message: str
) -> None:
    monkeypatch.setattr(parquet, "LARGEST_CELLS", 200)
    file = io.BytesIO((large / "run.parquet").read_bytes())
    pq.write_table(change(pq.read_table(file)), large / "run.parquet")
    with pytest.raises(DamagedFile, match=message):
        read_table(large, "run")
