"""The tidy table of an experiment: collect it from finished tasks, write, check and read it."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any, TextIO

import pandas as pd

from melexp.files.atomic import write_text
from melexp.results.columns import FIRST, LAST, NAMES
from melexp.results.store import DamagedFile, Store, read_json, write_json


def write_table(results: str | Path | Store, experiment: str) -> pd.DataFrame:
    """Write ``<experiment>.csv`` from the finished tasks, and its provenance beside it."""
    store = results if isinstance(results, Store) else Store(results)
    # If two runs end at once, the later one must read the notes of the earlier one.
    with store.writing(experiment):
        table, text, notes = collect(store, experiment)
        put_table(store, experiment, text, notes)
    return table


def collect(store: Store, experiment: str) -> tuple[pd.DataFrame, str, list[dict[str, Any]]]:
    """Return an experiment's table, its text, and the notes of its jobs."""
    notes = store.jobs(experiment)
    table = pd.DataFrame(list(store.rows(experiment, notes)))
    parameters = sorted(set(table.columns) - set(FIRST) - set(LAST))
    table = table[[*FIRST, *parameters, *LAST]]
    table = table.sort_values([*FIRST[:-1], *parameters, "seed", "iteration", "metric"])
    return table, table.to_csv(index=False, lineterminator="\n"), notes


def put_table(store: Store, experiment: str, text: str, notes: list[dict[str, Any]]) -> None:
    """Write the output of `collect`. Hold `Store.writing(experiment)` around both calls."""
    write_text(store.root / f"{experiment}.csv", text)
    jobs = [{key: note[key] for key in ("config", "provenance")} for note in notes]
    clips = {
        f"{clip['dataset']}/{clip['id']}": clip
        for job in jobs
        for clip in job["provenance"].pop("clips")
    }
    write_json(
        provenance_of(store.root, experiment),
        {"experiment": experiment, "table": table_checksum(text.encode())}
        | {"jobs": jobs, "clips": clips},
    )


def provenance_of(results: str | Path, experiment: str) -> Path:
    """Return the provenance file of an experiment's table."""
    return Path(results) / f"{experiment}.provenance.json"


def read_provenance(path: Path) -> dict[str, Any]:
    """Read the provenance of an experiment's table.

    Raises
    ------
    DamagedFile
        If the file is corrupt, or belongs to another table.
    """
    body = read_json(path)
    if f"{body.get('experiment')}.provenance.json" != path.name:
        raise DamagedFile(f"{path} is not the provenance of this table")
    return body


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
    path, provenance = Path(results) / f"{experiment}.csv", provenance_of(results, experiment)
    if not provenance.exists():
        return
    if read_provenance(provenance).get("table") != table_checksum(path.read_bytes()):
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
    path = Path(results) / f"{experiment}.csv"
    if not path.exists():
        raise FileNotFoundError(
            f"{path} is missing; run: melexp run experiment={experiment} results={results}"
        )
    check_table(results, experiment)
    return _parsed(path.read_text(encoding="utf-8"))


def _parsed(text: str) -> pd.DataFrame:
    """Parse a table; names are never numbers or missing values: a clip may be called NA."""
    table = pd.read_csv(io.StringIO(text), float_precision="round_trip")
    # Read separately, because pandas 3 takes the result of a converter for a missing value.
    names = [column for column in NAMES if column in table]
    plain = pd.read_csv(io.StringIO(text), usecols=names, dtype=str, keep_default_na=False)
    table[names] = plain[names]  # by name: usecols keeps the order of the file
    return table
