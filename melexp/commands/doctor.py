"""The work of ``melexp doctor``: verify results and recordings, and clean up after a crash."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from melexp.datasets._clip import sha256_of
from melexp.datasets._registry import cache_folder, lock_of, move_damaged, registered
from melexp.files.atomic import PART, held, is_in_use, move_aside, remove_leftover
from melexp.results.records import DamagedFile, read_note, read_provenance, read_task
from melexp.results.store import MARKER, Store
from melexp.results.tables import (
    check_table,
    collect,
    provenance_of,
    put_table,
    table_checksum,
)
from melexp.runs.display import leftover_progress, remove_progress

#: Names that melexp writes, each in one place; doctor touches no other file. `mkstemp` makes the
#: eight characters.
_ID, _NAME, _RANDOM = r"[0-9a-f]+", r"\w[\w.-]*", r"[a-z0-9_]{8}"
_TASK = re.compile(rf"{_ID}\.json")
#: Older versions wrote parts of tasks without the program's name; an id makes them ours too.
_PART_OF_TASK = re.compile(rf"\.{_ID}\.json\.{_RANDOM}(\.melexp)?\.part")
_PART = re.compile(rf"\..+\.{_RANDOM}{re.escape(PART)}|\.probe-\d+{re.escape(PART)}")
_LOCK_OF_TASK = re.compile(rf"{_ID}\.lock")
#: What `_clear` has left among tasks and jobs: files of a live run.
_AT_WORK = re.compile(rf"{_LOCK_OF_TASK.pattern}|{_PART_OF_TASK.pattern}")
_LOCK = re.compile(rf"\.{_NAME}\.lock")
_DOWNLOAD = re.compile(rf"tmp{_RANDOM}")


def doctor(
    results: Sequence[Path], *, cache: bool = False, adopt: bool = False, dry_run: bool = False
) -> int:
    """Verify every checksum of results folders and of the cache of recordings.

    A corrupt file is reported and moved into ``damaged/`` in its folder. Tables are rewritten from
    the tasks, and partial files of killed runs are removed. Files of a live run are left alone, and
    so is every file with a name that melexp does not write. Links are reported and not followed.

    Parameters
    ----------
    results : sequence of Path
        Results folders, with the marker that every run writes.
    cache : bool
        Verify the cache of recordings too.
    adopt : bool
        Write the marker into a folder of an older version, which is known by a valid file.
    dry_run : bool
        Print what would be done, and change nothing.

    Returns
    -------
    status : int
        0, or 1 if a file was corrupt or missing, or is a link.

    Raises
    ------
    ValueError
        If no folder is given, or a folder is not a results folder.
    """
    if not results and not cache:
        raise ValueError("there is no folder to verify; give a results folder or --cache")
    checks: list[_Check] = [_Results(folder, adopt=adopt, dry_run=dry_run) for folder in results]
    checks += [_Cache(dry_run=dry_run)] if cache else []
    return max(check.run() for check in checks)


class _Check(ABC):
    """The findings in one folder, printed and counted."""

    def __init__(self, root: Path, *, dry_run: bool) -> None:
        self.root, self.dry_run = root, dry_run
        self.verified = self.damaged = self.removed = self.others = 0
        self.advice: dict[str, None] = {}  # an ordered set

    @abstractmethod
    def run(self) -> int:
        """Check the folder; return the exit code."""

    def bad(self, message: str, path: Path | None = None, advice: str = "") -> None:
        """Report a fault and move its file aside."""
        if path is not None and self.dry_run:
            message += f"; would be moved to {self.root / 'damaged'}"
        elif path is not None:
            aside = move_aside(path, self.root / "damaged")
            message += f"; moved to {aside}" if aside else ""
        print(f"bad: {message}")
        self.damaged += 1
        if advice:
            self.advice[advice] = None

    def leftover(self, path: Path, remove: Callable[[Path], bool]) -> None:
        """Remove a leftover and report it."""
        if self.dry_run or remove(path):
            print(f"leftover: {path} {'would be removed' if self.dry_run else 'removed'}")
            self.removed += 1

    def inside(self, folder: Path) -> Iterator[Path]:
        """Yield the entries of a folder, sorted; report links instead of following them."""
        if folder.is_symlink() and folder != self.root:
            self.bad(f"{folder} is a link, which is not followed", advice=_NO_LINKS)
        elif folder.is_dir():
            for path in sorted(folder.iterdir()):
                if path.is_symlink():
                    self.bad(f"{path} is a link, which is not followed", advice=_NO_LINKS)
                else:
                    yield path

    def other(self, path: Path) -> None:
        """Report a file that melexp does not write."""
        print(f"other: {path} is not a file of melexp, left alone")
        self.others += 1

    def summary(self) -> int:
        """Print the counts and return the exit code."""
        others = f", {self.others} others left alone" if self.others else ""
        print(
            f"{self.root}: {self.verified} files verified, {self.damaged} bad, "
            f"{self.removed} leftovers {'to remove' if self.dry_run else 'removed'}{others}"
        )
        for advice in self.advice:
            print(f"next: {advice}")
        return int(self.damaged > 0)


_NO_LINKS = "replace the links by the files, or name the folder that they lead to"


class _Results(_Check):
    """The check of a results folder."""

    def __init__(self, root: Path, *, adopt: bool, dry_run: bool) -> None:
        super().__init__(root, dry_run=dry_run)
        self.store = Store(root)
        self.again = f"re-run the commands that wrote {root}: they compute the missing tasks only"
        if self.store.is_marked:
            return
        if not adopt:
            raise ValueError(
                f"{root} is not a results folder: it has no file {MARKER}; if an older version of "
                "melexp wrote it, use --adopt"
            )
        if not self._has_valid_file():
            raise ValueError(
                f"{root} is not a results folder: it has no valid file of a task, job or table; "
                "name the folder that melexp run wrote"
            )
        if not dry_run:
            self.store.mark()

    def run(self) -> int:
        self._clear()
        for folder in self._folders("tasks"):
            for path in self.inside(folder):
                if _TASK.fullmatch(path.name) and path.stem[:2] == folder.name:
                    self._verify(path, read_task, path.with_suffix(".lock"))
                elif not _AT_WORK.fullmatch(path.name):
                    self.other(path)
        for folder in self._folders("jobs"):
            for path in self.inside(folder):
                if _TASK.fullmatch(path.name):
                    self._verify(path, read_note, self.root / f".{folder.name}.lock")
                elif not _AT_WORK.fullmatch(path.name):
                    self.other(path)
        for experiment in sorted({*self._tables(), *self._noted()}):
            if not self._table_fault(experiment):
                self.verified += 2
            elif self.dry_run:
                self._rewrite_table(experiment)
            else:
                with self.store.writing(experiment):  # a run may be writing the two files
                    self._rewrite_table(experiment)
        return self.summary()

    def _has_valid_file(self) -> bool:
        """Return whether the folder has a file that only melexp can have written."""
        found = [
            *((read_task, path) for path in self.root.glob("tasks/??/*.json")),
            *((read_note, path) for path in self.root.glob("jobs/*/*.json")),
            *((read_provenance, path) for path in self.root.glob("*.provenance.json")),
        ]
        return any(_fault(path, read) is None for read, path in found)

    def _folders(self, name: str) -> Iterator[Path]:
        """Yield the folders of tasks or of jobs."""
        for folder in self.inside(self.root / name):
            if folder.is_dir() and re.fullmatch(
                "[0-9a-f]{1,2}" if name == "tasks" else _NAME, folder.name
            ):
                yield folder
            else:
                self.other(folder)

    def _noted(self) -> list[str]:
        return [
            folder.name
            for folder in (self.root / "jobs").glob("*")
            if re.fullmatch(_NAME, folder.name)
            and not folder.is_symlink()
            and any(_TASK.fullmatch(path.name) for path in folder.glob("*.json"))
        ]

    def _tables(self) -> list[str]:
        """Return the experiments with a table."""
        names = [
            p.name.removesuffix(".provenance.json") for p in self.root.glob("*.provenance.json")
        ]
        return [name for name in names if re.fullmatch(_NAME, name)]

    def _clear(self) -> None:
        """Remove the partial files and locks that no live process holds."""
        for path in leftover_progress(self.root):
            self.leftover(path, remove_progress)
        places: list[tuple[Path, re.Pattern[str], re.Pattern[str] | None]]
        places = [(self.root, _PART, _LOCK)]
        places += [(path, _PART_OF_TASK, _LOCK_OF_TASK) for path in _plain(self.root / "tasks")]
        places += [(path, _PART_OF_TASK, None) for path in _plain(self.root / "jobs")]
        for folder, parts, locks in places:
            for path in sorted(folder.iterdir()):
                if path.is_symlink() or not path.is_file() or is_in_use(path):
                    continue
                if parts.fullmatch(path.name):
                    self.leftover(path, remove_leftover)
                elif locks and locks.fullmatch(path.name) and path.stat().st_size == 0:
                    self.leftover(path, _remove_lock)

    def _verify(self, path: Path, read: Callable[[Path], dict[str, Any]], lock: Path) -> None:
        if _fault(path, read) is None:
            self.verified += 1
            return
        if self.dry_run:
            self.bad(str(_fault(path, read)), path, self.again)
            return
        # A worker that holds the task will replace it; a note is written quickly.
        with held(lock, wait=read is read_note) as ours:
            message = _fault(path, read)
            if ours and message is not None:
                self.bad(message, path, self.again)

    def _table_fault(self, experiment: str) -> str:
        """Return the fault of a table or of its provenance, or ""."""
        table, provenance = self.root / f"{experiment}.csv", provenance_of(self.root, experiment)
        for path in (table, provenance):
            if path.is_symlink():
                return f"{path} is a link, which is not followed"
        if not table.exists() or not provenance.exists():
            return f"{provenance if table.exists() else table} is missing"
        try:
            check_table(self.root, experiment)
        except DamagedFile as error:
            return str(error)
        return ""

    def _rewrite_table(self, experiment: str) -> None:
        """Rewrite a table and its provenance from the tasks, if these exist."""
        table, provenance = self.root / f"{experiment}.csv", provenance_of(self.root, experiment)
        fault = self._table_fault(experiment)
        if not fault:
            return
        if table.is_symlink() or provenance.is_symlink():
            self.bad(fault, advice=_NO_LINKS)
            return
        unreadable = provenance.exists() and _fault(provenance, read_provenance)
        if experiment not in self._noted():
            advice = f"restore {table} and {provenance.name}, or re-run {experiment}"
            path = provenance if unreadable else table
            self.bad(fault, path if path.exists() else None, advice)
            return
        if self.dry_run:
            print(f"would be rewritten from the tasks: {table} and {provenance.name} ({fault})")
            return
        _, text, notes = collect(self.store, experiment)
        # A run that was killed between the two files leaves a correct table.
        expected = table_checksum(text.encode())
        if table.exists() and table_checksum(table.read_bytes()) != expected:
            self.bad(f"{table} does not match its tasks", table)
        if unreadable:
            self.bad(unreadable, provenance)
        put_table(self.store, experiment, text, notes)
        print(f"rewritten from the tasks: {table} and {provenance.name}")


class _Cache(_Check):
    """The check of the cache of recordings."""

    def __init__(self, *, dry_run: bool) -> None:
        super().__init__(cache_folder(), dry_run=dry_run)

    def run(self) -> int:
        known = registered()
        locks = {lock_of(self.root / relative) for relative in known}
        folders = sorted({(self.root / relative).parent for relative in known})
        paths = [path for folder in folders for path in self.inside(folder) if path.is_file()]
        with ExitStack() as held_locks:
            # Another process that holds a lock is downloading a file, which may be incomplete.
            idle = True
            for path in locks.intersection(paths):
                if self.dry_run:
                    idle &= not is_in_use(path)
                else:
                    idle &= held_locks.enter_context(held(path, wait=False))
            for path in paths:
                relative = path.relative_to(self.root).as_posix()
                if path in locks:
                    continue
                if relative in known:
                    self._verify(relative, known[relative])
                elif not _DOWNLOAD.fullmatch(path.name):
                    self.other(path)
                elif idle:
                    self.leftover(path, _remove_download)
        return self.summary()

    def _verify(self, relative: str, sha256: str) -> None:
        path, moved = self.root / relative, ""
        if not self.dry_run:
            moved = move_damaged(self.root, relative, sha256)
        elif sha256_of(path) != sha256:
            moved = f"{path} does not match its SHA-256; would be moved to {self.root / 'damaged'}"
        if moved:
            self.bad(moved, advice="the next run downloads it again")
        else:
            self.verified += 1


def _plain(folder: Path) -> list[Path]:
    """Return the subfolders of a folder, none of them a link."""
    if folder.is_symlink() or not folder.is_dir():
        return []
    return [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.is_symlink()]


def _remove_lock(path: Path) -> bool:
    with held(path, wait=False) as ours:  # releasing the lock removes its file
        return ours


def _remove_download(path: Path) -> bool:
    path.unlink(missing_ok=True)
    return True


def _fault(path: Path, read: Callable[[Path], dict[str, Any]]) -> str | None:
    """Return the fault of a file, or None."""
    try:
        read(path)
    except FileNotFoundError:  # removed in the meantime
        return None
    except DamagedFile as error:
        return str(error)
    return None
