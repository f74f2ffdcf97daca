"""The finished tasks of a folder in memory: columns of numbers, and where each task has its own.

A value takes about 20 bytes and a task about 200, so a million tasks of 16 values take 0.6 GB.
"""

from __future__ import annotations

import gc
import os
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from melexp.files.received import inside
from melexp.results.pairs import Pair
from melexp.results.parts import (
    HEAD,
    Finished,
    is_torn,
    line_of,
    lines,
    parse,
    parts_of,
)
from melexp.results.records import DamagedFile, is_task, read_task


class Stamp(NamedTuple):
    """How far a part was read, and what tells whether it has changed."""

    offset: int
    inode: int
    modified: int  # ns


class Damage(NamedTuple):
    """A line of a part, or a file of an older version, that is corrupt."""

    path: Path
    message: str


class Matrix(NamedTuple):
    """Values of some tasks; an axis of tasks and one of pairs of iteration and metric.

    Attributes
    ----------
    value, seconds : np.ndarray [shape=(n_tasks, n_pairs), float64]
        NaN for None.
    reason : np.ndarray [shape=(n_tasks, n_pairs), int32]
        Places in `Index.reasons`; -1 where nothing is stored.
    """

    value: np.ndarray
    seconds: np.ndarray
    reason: np.ndarray


class Index:
    """The finished tasks of a folder, as far as they were read.

    Parameters
    ----------
    root : Path
        A folder of results.
    since : dict or None
        How far each part was read elsewhere, by name: only what follows is read.

    Attributes
    ----------
    damage : list of Damage
        What was corrupt.
    reasons : list of str
        The distinct reasons of missing values.
    """

    def __init__(self, root: Path, since: dict[str, Stamp] | None = None) -> None:
        self.root = root
        self.since = since
        self._clear()

    def _clear(self) -> None:
        self.stamps: dict[str, Stamp] = dict(self.since or {})
        self.damage: list[Damage] = []
        self.reasons: list[str] = [""]
        self._reasons = {"": 0}
        self._old: dict[Path, int] | None = None if self.since is None else {}
        self._place: dict[str, int] = {}  # the last line of each task
        self._before: dict[int, int] = {}  # the line of the same task before a line
        self._layouts: dict[tuple[Pair, ...], int] = {}
        self._layout = array("i")
        self._start = array("q")
        self._value, self._seconds, self._reason = array("d"), array("d"), array("i")

    def __len__(self) -> int:
        return len(self._place)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the ids of the tasks."""
        return iter(self._place)

    def __contains__(self, task: str) -> bool:
        return task in self._place

    def refresh(self) -> None:
        """Read what was written since the last call; all of it, if a part was replaced."""
        changed = [p for p in parts_of(self.root / "tasks", plain=True) if self._has_changed(p)]
        if any(self._is_other(path) for path in changed) or self._older_changed():
            self._clear()
            changed = parts_of(self.root / "tasks", plain=True)
        with _without_gc():
            if self._old is None:
                self._read_older()
            for path in changed:
                self._read(path)

    def pairs(self, task: str) -> set[Pair]:
        """Return the pairs of iteration and metric that a task has."""
        layouts = list(self._layouts)
        found: set[Pair] = set()
        for line in self._lines(task):
            found.update(layouts[self._layout[line]])
        return found

    def lacking(self, tasks: Sequence[str], wanted: Sequence[Pair]) -> dict[int, list[Pair]]:
        """Return the wanted pairs that tasks lack, by the place of the task; complete ones not."""
        found = {}
        layout = self._layouts.get(tuple(wanted), -1)
        for n, task in enumerate(tasks):
            line = self._place.get(task)
            if line is not None and self._layout[line] == layout:  # nearly always
                continue
            have = self.pairs(task)
            if lacking := [pair for pair in wanted if pair not in have]:
                found[n] = lacking
        return found

    def rows(self, task: str) -> list[dict[str, Any]]:
        """Return the values of a task as dicts with the fields of `Value`, sorted."""
        found: dict[Pair, dict[str, Any]] = {}
        layouts = list(self._layouts)
        for line in self._lines(task):
            start = self._start[line]
            for n, pair in enumerate(layouts[self._layout[line]], start):
                value, seconds = self._value[n], self._seconds[n]
                found[pair] = {
                    "iteration": pair[0],
                    "metric": pair[1],
                    "value": None if value != value else value,
                    "reason": self.reasons[self._reason[n]],
                    "seconds": None if seconds != seconds else seconds,
                }
        return [found[pair] for pair in sorted(found)]

    def holds(self, one: Finished) -> bool:
        """Return whether the values of a line are those of the task's only line here."""
        line = self._place[one.task]
        layout = self._layouts.get(tuple([(row.iteration, row.metric) for row in one.rows]))
        if layout != self._layout[line] or line in self._before:
            return False
        start = self._start[line]
        mine = self._value[start : start + len(one.rows)]
        return mine.tolist() == [row.value for row in one.rows]

    def matrix(self, tasks: Sequence[str], wanted: Sequence[Pair]) -> Matrix:
        """Return the wanted values of some tasks."""
        layouts, starts = np.asarray(self._layout), np.asarray(self._start)
        own_layouts = list(self._layouts)
        where = np.full((len(tasks), len(wanted)), -1, np.int64)
        line = np.array([self._place.get(task, -1) for task in tasks], np.int64)
        while (stored := np.flatnonzero(line >= 0)).size:
            for layout in np.unique(layouts[line[stored]]):
                chosen = stored[layouts[line[stored]] == layout]
                place = _places(own_layouts[layout], wanted)
                new = np.where(place >= 0, starts[line[chosen]][:, None] + place, -1)
                where[chosen] = np.where(where[chosen] < 0, new, where[chosen])
            line = np.array([self._before.get(n, -1) for n in line.tolist()], np.int64)
        if not (where >= 0).any():
            nan = np.full(where.shape, np.nan)
            return Matrix(nan, nan, np.full(where.shape, -1, np.int32))
        is_lost = where < 0
        value, seconds = np.asarray(self._value)[where], np.asarray(self._seconds)[where]
        reason = np.asarray(self._reason)[where]
        value[is_lost], seconds[is_lost], reason[is_lost] = np.nan, np.nan, -1
        return Matrix(value, seconds, reason)

    def _lines(self, task: str) -> list[int]:
        """Return the lines of a task, the first one first."""
        found, line = [], self._place.get(task)
        while line is not None:
            found.append(line)
            line = self._before.get(line)
        return found[::-1]

    def _has_changed(self, path: Path) -> bool:
        stamp, status = self.stamps.get(path.name), _status(path)
        return status is not None and (
            stamp is None
            or (stamp.offset, stamp.inode, stamp.modified)
            != (status.st_size, status.st_ino, status.st_mtime_ns)
        )

    def _is_other(self, path: Path) -> bool:
        """Return whether what was read of a part has changed, as when it was repaired."""
        stamp, status = self.stamps.get(path.name), _status(path)
        if stamp is None or status is None or path.name in (self.since or {}):
            return False
        same_size = status.st_size == stamp.offset and status.st_mtime_ns != stamp.modified
        return status.st_ino != stamp.inode or status.st_size < stamp.offset or same_size

    def _read(self, path: Path) -> None:
        stamp = self.stamps.get(path.name)
        offset = stamp.offset if stamp else 0
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if stamp and (status.st_ino != stamp.inode or status.st_size < offset):
                offset = 0  # repaired since
            bad, first = 0, ""
            for _, end, line in lines(file, offset):
                if end > status.st_size:  # written since; left for the next call
                    break
                try:
                    self.add(parse(line))
                except DamagedFile as error:
                    bad, first = bad + 1, first or f"the line at byte {offset} {error}"
                offset = end
        self.stamps[path.name] = Stamp(offset, status.st_ino, status.st_mtime_ns)
        if bad:
            self.damage.append(Damage(path, f"{path}: {bad} damaged lines; {first}"))

    def add(self, one: Finished) -> None:
        """Add the values of a line."""
        rows = one.rows
        layout = tuple([(row.iteration, row.metric) for row in rows])
        line = len(self._start)
        self._start.append(len(self._value))
        self._layout.append(self._layouts.setdefault(layout, len(self._layouts)))
        nan = float("nan")
        self._value.extend([nan if row.value is None else row.value for row in rows])
        self._seconds.extend([nan if row.seconds is None else row.seconds for row in rows])
        self._reason.extend([self._number(row.reason) if row.reason else 0 for row in rows])
        before = self._place.setdefault(one.task, line)
        if before != line:
            self._before[line] = before
            self._place[one.task] = line

    def _number(self, reason: str) -> int:
        number = self._reasons.setdefault(reason, len(self.reasons))
        if number == len(self.reasons):
            self.reasons.append(reason)
        return number

    def _older_changed(self) -> bool:
        return bool(self._old) and self._old != self._older()

    def _older(self) -> dict[Path, int]:
        """Return the files of tasks that older versions wrote, with their time stamps."""
        found = {path: _status(path) for path in older_files(self.root)}
        return {path: status.st_mtime_ns for path, status in found.items() if status}

    def _read_older(self) -> None:
        self._old = self._older()
        for path in self._old:
            try:
                body = read_task(path)
            except FileNotFoundError:
                continue
            except DamagedFile as error:
                self.damage.append(Damage(path, str(error)))
                continue
            self.add(finished(body))


def older_files(root: Path) -> list[Path]:
    """Return the files of tasks that older versions wrote, sorted."""
    found = sorted(root.glob("tasks/??/*.json"))
    return [p for p in found if is_task(p.stem) and p.parent.name == p.stem[:2]]


def stored(root: Path) -> Iterator[tuple[Path, int, int, Finished]]:
    """Yield all finished tasks of a folder that may come from elsewhere.

    Yields
    ------
    path : Path
    begin, end : int
        Place of the line in its part; 0 and 0 for a file of an older version.
    one : Finished

    Raises
    ------
    ValueError
        If a line or a file is damaged, or is a link.
    """
    for path in parts_of(root / "tasks"):
        if not path.is_file() or path.is_symlink():
            raise DamagedFile(f"{path} is a link or no plain file; replace it by the file")
        with path.open("rb") as file:
            end = 0
            for begin, end, line in lines(file):
                try:
                    one = parse(line)
                except DamagedFile as error:
                    raise DamagedFile(f"{path}: the line at byte {begin} {error}") from error
                yield path, begin, end, one
            file.seek(end)
            if not is_torn(file.read(len(HEAD))):
                raise DamagedFile(f"{path} ends with what melexp does not write")
    for path in older_files(root):
        yield inside(root, path), 0, 0, finished(read_task(path))


def finished(body: dict[str, Any]) -> Finished:
    """Return the values of a task in a file of its own."""
    return parse(line_of(body)[:-1])


def _places(layout: tuple[Pair, ...], wanted: Sequence[Pair]) -> np.ndarray:
    """Return the place of each wanted pair in a layout, or -1."""
    place = {pair: n for n, pair in enumerate(layout)}
    return np.array([place.get(pair, -1) for pair in wanted], np.int64)


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except FileNotFoundError:
        return None


@contextmanager
def _without_gc() -> Iterator[None]:
    """Pause the collector of cycles: it would visit millions of new objects in vain."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
