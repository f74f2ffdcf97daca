"""The tidy table of an experiment: collect it from finished tasks, write, check and read it.

A table of up to `LARGE` rows is a CSV file. A larger one is a Parquet file, if the extra
``parquet`` is installed; it is written job by job and sorted within each job only.
"""

from __future__ import annotations

import hashlib
import io
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import numpy as np
import pandas as pd

from melexp.errors import one_line
from melexp.files.atomic import check_lock, write_bytes
from melexp.files.received import inside
from melexp.results import parquet
from melexp.results.blocks import Block, fixed
from melexp.results.columns import FIRST, LAST, NAMES, to_csv, unmarked
from melexp.results.identity import Identities
from melexp.results.pairs import pairs
from melexp.results.records import (
    DamagedFile,
    check_name,
    content_of,
    digest,
    read_provenance,
    write_json,
)
from melexp.results.store import Store

#: Largest size of a CSV table in bytes: some millions of rows.
LARGEST = 2**30
#: Number of rows above which a table is a Parquet file.
LARGE = 2**20


@dataclass(frozen=True)
class Content:
    """The content of a table, before it is written.

    Attributes
    ----------
    suffix : str
        ``.csv`` or ``.parquet``.
    write : callable
        Writes it into an open binary file.
    state : str
        Hash of what the content depends on.
    notes : list of dict
    table : pd.DataFrame or None
        None for a large table.
    """

    suffix: str
    write: Callable[[BinaryIO], Any]
    state: str
    notes: list[dict[str, Any]]
    table: pd.DataFrame | None = None


def check_place(store: Store, experiment: str) -> None:
    """Check that the table of an experiment would replace no file of another program.

    Raises
    ------
    ValueError
        If its path is taken by another file.
    Unwritable
        If the path of its lock is.
    """
    check_lock(store.lock_of(experiment))
    files = [store.root / f"{experiment}{suffix}" for suffix in (".csv", ".parquet")]
    paths = [*files, provenance_of(store.root, experiment)]
    taken = [path for path in paths if path.exists()]
    if not taken or any(path.parent.name == experiment for path in store.notes()):
        return
    try:
        read_provenance(paths[-1])
    except (FileNotFoundError, DamagedFile):
        raise ValueError(
            f"{taken[0]} was not written by melexp; move it, or use another experiment or results"
        ) from None


def write_table(results: str | Path | Store, experiment: str) -> pd.DataFrame:
    """Write an experiment's table as `update_table` does, and return it."""
    store = results if isinstance(results, Store) else Store(results)
    table = update_table(store, experiment)
    return read_table(store.root, experiment) if table is None else table


def update_table(store: Store, experiment: str) -> pd.DataFrame | None:
    """Write an experiment's table from the finished tasks, and its provenance beside it.

    A large table is not written again if nothing has changed. Only a small table is returned.
    """
    # If two runs end at once, the later one must read the notes of the earlier one.
    with store.writing(experiment):
        content = collect(store, experiment)
        put_table(store, experiment, content)
    store.mark()
    for line in Identities(content.notes).said:
        print(f"warning: {table_of(store.root, experiment)}: {line}", file=sys.stderr)
    return content.table


def collect(store: Store, experiment: str) -> Content:
    """Return the content of an experiment's table."""
    notes = store.jobs(experiment)
    size = sum(len(note["tasks"]) * len(_pairs(note)) for note in notes)
    state = digest([_identity(note) for note in notes] + [sorted(store.index().stamps.items())])
    if size > LARGE and parquet.is_installed():
        apart = Identities(notes)
        settings = pd.DataFrame([fixed(experiment, note, apart) for note in notes])

        def write(file: BinaryIO) -> None:
            parquet.write(file, store.blocks(experiment, notes), settings)

        return Content(".parquet", write, state, notes)
    table = frame(list(store.blocks(experiment, notes)))
    parameters = sorted(set(table.columns) - set(FIRST) - set(LAST))
    by = [*FIRST[:-1], *parameters, "seed", "iteration", "metric"]
    table = table.sort_values(by, key=_sortable)
    text = to_csv(table)
    return Content(".csv", lambda file: file.write(text.encode()), state, notes, table)


def _pairs(note: dict[str, Any]) -> list[tuple[int, str]]:
    return pairs(note["checkpoints"], note["metrics"], note.get("metric_checkpoints", {}))


def _identity(note: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in note.items() if key not in ("provenance", "clips")}


def frame(blocks: Sequence[Block]) -> pd.DataFrame:
    """Return the rows of some jobs as a table, in the order of the jobs."""
    settings = pd.DataFrame([block.fixed for block in blocks])
    parts = [block.columns() for block in blocks]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    job = np.repeat(np.arange(len(blocks)), [len(block) for block in blocks])
    table = pd.concat([settings.take(job).reset_index(drop=True), pd.DataFrame(columns)], axis=1)
    return table[[*FIRST, *sorted(set(table.columns) - {*FIRST, *LAST}), *LAST]]


def _sortable(column: pd.Series) -> pd.Series:
    """Return a column as it is, or as text if it mixes numbers and text."""
    if column.dtype != object or len({isinstance(x, str) for x in column.dropna()}) < 2:
        return column
    return column.map(str, na_action="ignore")


def put_table(store: Store, experiment: str, content: Content) -> None:
    """Write the output of `collect`. Hold `Store.writing(experiment)` around both calls."""
    path = store.root / f"{experiment}{content.suffix}"
    before = _stored(store, experiment)
    checksum = before.get("table", "")
    if not (content.table is None and before.get("state") == content.state and _is(path, checksum)):
        for other in {".csv", ".parquet"} - {content.suffix}:
            if _is(path.with_suffix(other), checksum):  # not a file of the user
                path.with_suffix(other).unlink()
        write_bytes(path, content.write)
        checksum = file_checksum(path)
    apart = Identities(content.notes)
    clips = {
        f"{clip['dataset']}/{apart.clip(clip)}": clip
        for listed in {id(note["clips"]): note["clips"] for note in content.notes}.values()
        for clip in listed
    }
    jobs = [{"config": note["config"], "provenance": note["provenance"]} for note in content.notes]
    write_json(
        provenance_of(store.root, experiment),
        {"experiment": experiment, "table": checksum}
        | ({"state": content.state} if content.table is None else {})
        | {"jobs": jobs, "clips": clips},
    )


def _stored(store: Store, experiment: str) -> dict[str, Any]:
    try:
        return read_provenance(provenance_of(store.root, experiment))
    except (FileNotFoundError, DamagedFile):
        return {}


def _is(path: Path, checksum: str) -> bool:
    """Return whether a file is the table with a checksum."""
    try:
        return bool(checksum) and file_checksum(path) == checksum
    except (FileNotFoundError, DamagedFile):
        return False


def provenance_of(results: str | Path, experiment: str) -> Path:
    """Return the provenance file of an experiment's table."""
    return Path(results) / f"{experiment}.provenance.json"


def table_of(results: str | Path, experiment: str) -> Path:
    """Return the file of an experiment's table, CSV unless there is a Parquet file only."""
    path = Path(results) / f"{experiment}.csv"
    large = path.with_name(f"{experiment}.parquet")
    return large if large.exists() and not path.exists() else path


def table_checksum(content: bytes) -> str:
    """Return the hash of a table's file, independent of its line endings."""
    return hashlib.sha256(content.replace(b"\r\n", b"\n")).hexdigest()


def file_checksum(path: Path) -> str:
    """Return `table_checksum` of a CSV file, or the hash of a Parquet file.

    Raises
    ------
    DamagedFile
        If it is no plain file, or a CSV file is larger than `LARGEST`.
    """
    if path.suffix == ".csv":
        return table_checksum(content_of(path, LARGEST))
    digest = hashlib.sha256()
    with parquet.opened(path) as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def check_table(results: str | Path, experiment: str) -> None:
    """Compare a table with the checksum in its provenance.

    Raises
    ------
    DamagedFile
        If the table, or its provenance, is corrupt.
    """
    root, provenance = Path(results), provenance_of(results, experiment)
    path = inside(root, table_of(root, experiment))
    if not inside(root, provenance).exists():
        return
    if read_provenance(provenance)["table"] != file_checksum(path):
        raise DamagedFile(f"{path} does not match its checksum in {provenance.name}")


def read_table(
    results: str | Path | TextIO, experiment: str, *, without: Collection[str] = ()
) -> pd.DataFrame:
    """Read the table of an experiment, from a folder of results or from text.

    In a large table the columns of names and parameters are categorical.

    Parameters
    ----------
    results : str, Path or text file
    experiment : str
    without : collection of str
        Columns of a large table that are not needed. They are not read, which saves memory.

    Raises
    ------
    FileNotFoundError
        If there is no table; the message names the command that makes it.
    DamagedFile
        If the table or its provenance does not match its checksum.
    """
    if not isinstance(results, str | Path):
        return _parsed(results.read())
    check_name(experiment)
    path = table_of(results, experiment)
    if not path.exists():
        raise FileNotFoundError(
            f"{path} is missing; run: melexp run experiment={experiment} results={results}"
        )
    check_table(results, experiment)
    try:
        if path.suffix == ".parquet":
            return _checked(parquet.read(path, without=without), without)
        return _parsed(content_of(path, LARGEST).decode())
    except ValueError as error:
        raise DamagedFile(f"{path} is not a table of results ({one_line(error)})") from error


def _parsed(text: str) -> pd.DataFrame:
    """Parse a table; names are never numbers or missing values: a clip may be called NA."""
    table = _checked(pd.read_csv(io.StringIO(text), float_precision="round_trip"))
    # Read separately, because pandas 3 takes the result of a converter for a missing value.
    names = [column for column in NAMES if column in table]
    plain = pd.read_csv(io.StringIO(text), usecols=names, dtype=str, keep_default_na=False)
    table[names] = plain[names]  # by name: usecols keeps the order of the file
    return unmarked(table)


def _checked(table: pd.DataFrame, without: Collection[str] = ()) -> pd.DataFrame:
    """Return a table; raise ValueError if a column lacks or has another kind of value."""
    asked = [column for column in (*FIRST, *LAST) if column not in without]
    if missing := [column for column in asked if column not in table]:
        raise ValueError(f"it has no column {', '.join(missing)}")
    for column in {"seed", "iteration"}.intersection(asked):
        if not pd.api.types.is_integer_dtype(table[column].dtype):
            raise ValueError(f"the column {column} does not hold whole numbers")
    for column in {"value", "seconds"}.intersection(asked):
        if not pd.api.types.is_numeric_dtype(table[column].dtype):
            raise ValueError(f"the column {column} holds text")
    return table
