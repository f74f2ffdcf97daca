"""Merge folders of results from several machines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from melexp.files.received import inside
from melexp.results.index import Index, stored
from melexp.results.parts import LARGEST_LINE, Finished, Value, append, flush, line_of
from melexp.results.records import DamagedFile, is_task, read_note
from melexp.results.store import Store
from melexp.results.tables import check_place, update_table

Note = dict[str, Any]

#: Bytes of lines that are written at once.
_BUNCH = 2**24


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
    target, merged = Store(into), Index(into)
    merged.refresh()
    if merged.damage:
        raise DamagedFile(f"{merged.damage[0].message}; run: melexp doctor {into}")
    notes, plan = dict[Path, Note](), Plan()
    for source in sources:
        found = _notes(source)
        if not found:
            raise ValueError(
                f"{source} has no jobs/, so it cannot be merged: only a folder that melexp run or "
                "melexp reproduce wrote has them; run the experiments there first"
            )
        _take_tasks(source, merged, plan, rtol)
        for path in found:
            place = target.root / path.relative_to(source)
            ours = notes.get(place) or (read_note(place) if place.exists() else None)
            theirs = read_note(path)
            if ours is not None and sorted(ours["tasks"]) != sorted(theirs["tasks"]):
                raise ValueError(
                    f"{path} and {place} are the same job with other clips or another version of "
                    "the code; merge into another folder"
                )
            if ours is None:
                notes[place] = theirs
    for path in _notes(into):  # the tables need all of them
        read_note(path)
    for experiment in sorted({place.parent.name for place in notes}):
        check_place(target, experiment)
    target.begin()
    for bunch in plan.bunches():
        append(into / "tasks", bunch)
    flush(into / "tasks")  # before a note names these tasks
    for place, note in notes.items():
        target.save_job(place.parent.name, note)
    del merged, notes
    experiments = sorted({p.parent.name for p in target.notes()})
    for experiment in experiments:
        update_table(target, experiment)
    return experiments


def _notes(root: Path) -> list[Path]:
    """Return the notes of a folder, by the names that melexp gives them."""
    found = sorted((root / "jobs").glob("*/*.json"))
    return [inside(root, path) for path in found if is_task(path.stem)]


@dataclass
class Plan:
    """What to append to the target: ranges of complete lines of parts, and further lines."""

    ranges: list[tuple[Path, int, int]] = field(default_factory=list)
    lines: list[bytes] = field(default_factory=list)

    def add(self, path: Path, begin: int, end: int) -> None:
        """Add a line; neighbours become one range."""
        if self.ranges and self.ranges[-1][0] == path and self.ranges[-1][2] == begin:
            begin = self.ranges.pop()[1]
        self.ranges.append((path, begin, end))

    def bunches(self) -> Iterator[bytes]:
        """Yield all lines, many at once."""
        for path, begin, end in self.ranges:
            with path.open("rb") as file:
                while begin < end:
                    file.seek(begin)
                    block = file.read(min(end - begin, _BUNCH + LARGEST_LINE))
                    block = block[: block.rindex(b"\n") + 1]
                    yield block
                    begin += len(block)
        for n in range(0, len(self.lines), 1000):
            yield b"".join(self.lines[n : n + 1000])


def _take_tasks(source: Path, merged: Index, plan: Plan, rtol: float) -> None:
    """Add what a source has more than the index to the index and to the plan.

    Raises
    ------
    ValueError
        If a line is damaged, or a value differs.
    """
    own: set[str] = set()  # new tasks may have several lines
    for path, begin, end, one in stored(source):
        if one.task not in merged or one.task in own:
            own.add(one.task)
            merged.add(one)
            if end > begin:
                plan.add(path, begin, end)
            else:
                plan.lines.append(_line(one, one.rows))
        elif not merged.holds(one):
            rows = _further(merged, one, source, rtol)
            if rows:
                plan.lines.append(_line(one, rows))
                merged.add(Finished(checksum="", task=one.task, clip=one.clip, rows=rows))


def _line(one: Finished, rows: Sequence[Value]) -> bytes:
    values = [msgspec.structs.asdict(row) for row in rows]
    return line_of({"task": one.task, "clip": one.clip, "rows": values})


def _further(merged: Index, one: Finished, source: Path, rtol: float) -> list[Value]:
    """Return the values that the index lacks; raise ValueError if others differ."""
    have = {(row["iteration"], row["metric"]): row["value"] for row in merged.rows(one.task)}
    further = []
    for row in one.rows:
        pair = (row.iteration, row.metric)
        if pair not in have:
            further.append(row)
        elif not _same(have[pair], row.value, rtol):
            raise ValueError(
                f"{source} conflicts in task {one.task} ({one.clip}): "
                f"{row.metric} after {row.iteration} iterations is {row.value} there and "
                f"{have[pair]} here; nothing was merged (--rtol allows for rounding)"
            )
    return further


def _same(a: float | None, b: float | None, rtol: float) -> bool:
    if a is None or b is None:
        return a is b
    return bool(np.isclose(a, b, rtol=rtol, atol=0.0))
