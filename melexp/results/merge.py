"""Merge folders of results from several machines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from melexp.files.received import inside
from melexp.results.records import is_task, read_note, read_task, write_json
from melexp.results.store import Store
from melexp.results.tables import check_place, write_table


def merge(into: Path, sources: Sequence[Path], *, rtol: float = 0.0) -> list[str]:
    """Merge the finished tasks and jobs of several folders into one; write its tables.

    Parameters
    ----------
    into : Path
        The target folder; it may be new. Its values take precedence.
    sources : sequence of Path
        Folders of results; not changed.
    rtol : float >= 0
        Largest relative difference between two values of one row. Processors and libraries round
        differently, and the iterations amplify it.

    Returns
    -------
    experiments : list of str
        Experiments whose tables were written.

    Raises
    ------
    ValueError
        If a source has no results, a file of a source or of the target is damaged, or two rows of
        one task differ. Everything is read first, so nothing is written then.
    """
    target, writes = Store(into), dict[Path, dict[str, Any]]()
    for source in sources:
        tasks, notes = _files(source, "tasks"), _files(source, "jobs")
        if not notes:
            raise ValueError(
                f"{source} has no jobs/, so it cannot be merged: only a folder that melexp run or "
                "melexp reproduce wrote has them; run the experiments there first"
            )
        for path in tasks:
            place = target.path(path.stem)
            ours, theirs = _either(place, writes, read_task), read_task(path)
            writes[place] = theirs if ours is None else _joined(ours, theirs, source, rtol)
        for experiment in sorted({path.parent.name for path in notes}):
            check_place(target, experiment)
        for path in notes:
            place = target.root / path.relative_to(source)
            ours, theirs = _either(place, writes, read_note), read_note(path)
            if ours is not None and _asked(ours) != _asked(theirs):
                raise ValueError(
                    f"{path} and {place} are the same job with other clips or another version of "
                    "the code; merge into another folder"
                )
            writes[place] = ours or theirs
    for path in _files(into, "jobs"):  # the tables need all of them
        read_note(path)
    target.begin()
    for place, body in writes.items():
        write_json(place, body)
    experiments = sorted({p.parent.name for p in target.notes()})
    for experiment in experiments:
        write_table(into, experiment)
    return experiments


def _files(root: Path, kind: str) -> list[Path]:
    """Return the tasks or jobs of a folder, by the names that melexp gives them."""
    found = sorted((root / kind).glob("*/*.json"))
    return [inside(root, path) for path in found if is_task(path.stem)]


def _either(
    place: Path,
    writes: dict[Path, dict[str, Any]],
    read: Callable[[Path], dict[str, Any]],
) -> dict[str, Any] | None:
    """Return the body to be written: of an earlier source, or of the target."""
    if place in writes:
        return writes[place]
    return read(place) if place.exists() else None


def _asked(note: dict[str, Any]) -> list[str]:
    return sorted(entry["task"] for entry in note["tasks"])


def _joined(
    ours: dict[str, Any], theirs: dict[str, Any], source: Path, rtol: float
) -> dict[str, Any]:
    """Join the rows of both tasks; prefer the rows of the target."""
    have = {(row["iteration"], row["metric"]): row for row in ours["rows"]}
    for row in theirs["rows"]:
        mine = have.setdefault((row["iteration"], row["metric"]), row)
        if not _same(mine["value"], row["value"], rtol):
            raise ValueError(
                f"{source} conflicts in task {theirs['task']} ({theirs['clip']}): "
                f"{row['metric']} after {row['iteration']} iterations is {row['value']} there and "
                f"{mine['value']} here; nothing was merged (--rtol allows for rounding)"
            )
    return ours | {"rows": [have[key] for key in sorted(have)]}


def _same(a: float | None, b: float | None, rtol: float) -> bool:
    if a is None or b is None:
        return a is b
    return bool(np.isclose(a, b, rtol=rtol, atol=0.0))
