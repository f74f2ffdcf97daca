"""The tidy table of an experiment: collect it from finished tasks, write, check and read it."""

from __future__ import annotations

import hashlib
import io
import sys
from pathlib import Path
from typing import Any, TextIO

import pandas as pd

from melexp.errors import one_line
from melexp.files.atomic import write_text
from melexp.files.received import inside
from melexp.results.columns import FIRST, LAST, NAMES, to_csv, unmarked
from melexp.results.identity import Identities
from melexp.results.records import DamagedFile, check_name, content_of, read_provenance, write_json
from melexp.results.store import Store

#: Largest size of a table in bytes: some millions of rows.
LARGEST = 2**30


def check_place(store: Store, experiment: str) -> None:
    """Check that the table of an experiment would replace no file of another program.

    Raises
    ------
    ValueError
        If its path is taken by another file.
    """
    paths = [store.root / f"{experiment}.csv", provenance_of(store.root, experiment)]
    taken = [path for path in paths if path.exists()]
    if not taken or any(path.parent.name == experiment for path in store.notes()):
        return
    try:
        read_provenance(paths[1])
    except (FileNotFoundError, DamagedFile):
        raise ValueError(
            f"{taken[0]} was not written by melexp; move it, or use another experiment or results"
        ) from None


def write_table(results: str | Path | Store, experiment: str) -> pd.DataFrame:
    """Write ``<experiment>.csv`` from the finished tasks, and its provenance beside it."""
    store = results if isinstance(results, Store) else Store(results)
    # If two runs end at once, the later one must read the notes of the earlier one.
    with store.writing(experiment):
        table, text, notes = collect(store, experiment)
        put_table(store, experiment, text, notes)
    store.mark()
    for line in Identities(notes).said:
        print(f"warning: {store.root / experiment}.csv: {line}", file=sys.stderr)
    return table


def collect(store: Store, experiment: str) -> tuple[pd.DataFrame, str, list[dict[str, Any]]]:
    """Return an experiment's table, its text, and the notes of its jobs."""
    notes = store.jobs(experiment)
    table = pd.DataFrame(list(store.rows(experiment, notes)))
    parameters = sorted(set(table.columns) - set(FIRST) - set(LAST))
    table = table[[*FIRST, *parameters, *LAST]]
    by = [*FIRST[:-1], *parameters, "seed", "iteration", "metric"]
    table = table.sort_values(by, key=_sortable)
    return table, to_csv(table), notes


def _sortable(column: pd.Series) -> pd.Series:
    """Return a column as it is, or as text if it mixes numbers and text."""
    if column.dtype != object or len({isinstance(x, str) for x in column.dropna()}) < 2:
        return column
    return column.map(str, na_action="ignore")


def put_table(store: Store, experiment: str, text: str, notes: list[dict[str, Any]]) -> None:
    """Write the output of `collect`. Hold `Store.writing(experiment)` around both calls."""
    write_text(store.root / f"{experiment}.csv", text)
    apart = Identities(notes)
    clips = {
        f"{clip['dataset']}/{apart.clip(note, clip['dataset'], clip['id'])}": clip
        for note in notes
        for clip in note["provenance"]["clips"]
    }
    jobs = [
        {
            "config": note["config"],
            "provenance": {k: v for k, v in note["provenance"].items() if k != "clips"},
        }
        for note in notes
    ]
    write_json(
        provenance_of(store.root, experiment),
        {"experiment": experiment, "table": table_checksum(text.encode())}
        | {"jobs": jobs, "clips": clips},
    )


def provenance_of(results: str | Path, experiment: str) -> Path:
    """Return the provenance file of an experiment's table."""
    return Path(results) / f"{experiment}.provenance.json"


def table_checksum(content: bytes) -> str:
    """Return the hash of a table's file, independent of its line endings."""
    return hashlib.sha256(content.replace(b"\r\n", b"\n")).hexdigest()


def check_table(results: str | Path, experiment: str) -> None:
    """Compare a table with the checksum in its provenance.

    Raises
    ------
    DamagedFile
        If the table, or its provenance, is corrupt.
    """
    root, provenance = Path(results), provenance_of(results, experiment)
    path = inside(root, root / f"{experiment}.csv")
    if not inside(root, provenance).exists():
        return
    if read_provenance(provenance)["table"] != table_checksum(content_of(path, LARGEST)):
        raise DamagedFile(f"{path} does not match its checksum in {provenance.name}")


def read_table(results: str | Path | TextIO, experiment: str) -> pd.DataFrame:
    """Read the table of an experiment, from a folder of results or from text.

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
    path = Path(results) / f"{experiment}.csv"
    if not path.exists():
        raise FileNotFoundError(
            f"{path} is missing; run: melexp run experiment={experiment} results={results}"
        )
    check_table(results, experiment)
    try:
        return _parsed(content_of(path, LARGEST).decode())
    except ValueError as error:
        raise DamagedFile(f"{path} is not a table of results ({one_line(error)})") from error


def _parsed(text: str) -> pd.DataFrame:
    """Parse a table; names are never numbers or missing values: a clip may be called NA."""
    table = pd.read_csv(io.StringIO(text), float_precision="round_trip")
    if missing := [column for column in (*FIRST, *LAST) if column not in table]:
        raise ValueError(f"it has no column {', '.join(missing)}")
    for column in ("seed", "iteration"):
        if not pd.api.types.is_integer_dtype(table[column].dtype):
            raise ValueError(f"the column {column} does not hold whole numbers")
    for column in ("value", "seconds"):
        if not pd.api.types.is_numeric_dtype(table[column].dtype):
            raise ValueError(f"the column {column} holds text")
    # Read separately, because pandas 3 takes the result of a converter for a missing value.
    names = [column for column in NAMES if column in table]
    plain = pd.read_csv(io.StringIO(text), usecols=names, dtype=str, keep_default_na=False)
    table[names] = plain[names]  # by name: usecols keeps the order of the file
    return unmarked(table)
