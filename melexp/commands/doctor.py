"""The work of ``melexp doctor``: verify results and recordings, and clean up after a crash."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

from melexp.commands.doctor_check import NO_LINKS, Check
from melexp.datasets._clip import sha256_of
from melexp.datasets._registry import cache_folder, lock_of, move_damaged, registered
from melexp.files.atomic import PART, held, is_in_use, remove_leftover
from melexp.results.index import older_files
from melexp.results.parts import NAME, lines, parse, parts_of, repair
from melexp.results.records import (
    DamagedFile,
    content_of,
    read_clips,
    read_note,
    read_provenance,
    read_task,
)
from melexp.results.store import MARKER, Store
from melexp.results.tables import (
    Content,
    check_table,
    collect,
    provenance_of,
    put_table,
    table_of,
)
from melexp.runs.display import leftover_progress, remove_progress

#: Names that melexp writes, each in one place; doctor touches no other file. `mkstemp` makes the
#: eight characters.
_ID, _NAME, _RANDOM = r"[0-9a-f]+", r"\w[\w.-]*", r"[a-z0-9_]{8}"
_TASK = re.compile(rf"{_ID}\.json")
#: Older versions wrote parts of tasks without the program's name; an id makes them ours too.
_PART_OF_TASK = re.compile(
    rf"\.{_ID}\.json\.{_RANDOM}(\.melexp)?\.part|\.{NAME.pattern}\.{_RANDOM}{re.escape(PART)}"
)
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
    checks: list[Check] = [_Results(folder, adopt=adopt, dry_run=dry_run) for folder in results]
    checks += [_Cache(dry_run=dry_run)] if cache else []
    return max(check.run() for check in checks)


class _Results(Check):
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
        for path in self.inside(self.root / "tasks"):
            if NAME.fullmatch(path.name):
                self._verify_part(path)
            elif path.is_dir() and re.fullmatch("[0-9a-f]{1,2}", path.name):
                self._verify_older(path)
            elif not _AT_WORK.fullmatch(path.name):
                self.other(path)
        for path in self.inside(self.root / "clips"):
            if _TASK.fullmatch(path.name):
                self._verify(path, read_clips, None)
            elif not _AT_WORK.fullmatch(path.name):
                self.other(path)
        for folder in self.inside(self.root / "jobs"):
            if not folder.is_dir() or not re.fullmatch(_NAME, folder.name):
                self.other(folder)
                continue
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
            *((_read_part, path) for path in parts_of(self.root / "tasks", plain=True)),
            *((read_task, path) for path in older_files(self.root)),
            *((read_note, path) for path in self.root.glob("jobs/*/*.json")),
            *((read_provenance, path) for path in self.root.glob("*.provenance.json")),
        ]
        return any(_fault(path, read) is None for read, path in found)

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
        tasks = self.root / "tasks"
        places = [(self.root, _PART, _LOCK), (tasks, _PART_OF_TASK, _LOCK_OF_TASK)]
        places += [(path, _PART_OF_TASK, _LOCK_OF_TASK) for path in _plain(tasks)]
        places += [(path, _PART_OF_TASK, None) for path in _plain(self.root / "jobs")]
        places += [(self.root / "clips", _PART_OF_TASK, None), (self.root / "damaged", _PART, None)]
        for folder, parts, locks in places:
            is_there = folder.is_dir() and not (folder.is_symlink() and folder != self.root)
            for path in sorted(folder.iterdir()) if is_there else ():
                if path.is_symlink() or not path.is_file() or is_in_use(path):
                    continue
                if parts.fullmatch(path.name):
                    self.leftover(path, remove_leftover)
                elif locks and locks.fullmatch(path.name) and path.stat().st_size == 0:
                    self.leftover(path, _remove_lock)

    def _verify_part(self, path: Path) -> None:
        """Verify each line of a part; move bad ones aside and remove a torn last one."""
        if not path.is_file():
            self.bad(f"{path} is a folder, device or pipe", path, self.again)
            return
        found = repair(path, self.root / "damaged", dry_run=self.dry_run)
        if found is None:  # a live run writes it for longer than a line takes
            return
        self.tasks += found.good
        self.verified += not found.bad
        would = "would be " if self.dry_run else ""
        if found.torn:
            print(f"leftover: torn last line of {path} {would}removed")
            self.removed += 1
        if found.bad:
            where = found.aside or self.root / "damaged"
            self.bad(f"{path}: {found.bad} damaged lines; {would}moved to {where}")
            self.advice[self.again] = None

    def _verify_older(self, folder: Path) -> None:
        """Verify the files of tasks that an older version wrote."""
        for path in self.inside(folder):
            if _TASK.fullmatch(path.name) and path.stem[:2] == folder.name:
                self._verify(path, read_task, path.with_suffix(".lock"))
            elif not _AT_WORK.fullmatch(path.name):
                self.other(path)

    def _verify(self, path: Path, read: Callable[[Path], Any], lock: Path | None) -> None:
        if _fault(path, read) is None:
            self.verified += 1
            return
        if self.dry_run:
            self.bad(str(_fault(path, read)), path, self.again)
            return
        # A worker that holds the task will replace it; a note is written quickly.
        with held(lock, wait=read is read_note) if lock else nullcontext(True) as ours:
            message = _fault(path, read)
            if ours and message is not None:
                self.bad(message, path, self.again)

    def _table_fault(self, experiment: str) -> str:
        """Return the fault of a table or of its provenance, or ""."""
        table, provenance = table_of(self.root, experiment), provenance_of(self.root, experiment)
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
        table, provenance = table_of(self.root, experiment), provenance_of(self.root, experiment)
        fault = self._table_fault(experiment)
        if not fault:
            return
        if table.is_symlink() or provenance.is_symlink():
            self.bad(fault, advice=NO_LINKS)
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
        content = collect(self.store, experiment)
        if table.exists() and not _is_right(table, content):
            self.bad(f"{table} does not match its tasks", table)
        if unreadable:
            self.bad(unreadable, provenance)
        put_table(self.store, experiment, content)
        table = table_of(self.root, experiment)
        print(f"rewritten from the tasks: {table} and {provenance.name}")


class _Cache(Check):
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


def _is_right(table: Path, content: Content) -> bool:
    """Return whether a table has its content: a killed run may have left no provenance of it."""
    if table.suffix != content.suffix:
        return True  # an older, smaller table
    content.write(expected := io.BytesIO())
    try:
        return content_of(table, len(expected.getvalue())) == expected.getvalue()
    except DamagedFile:
        return False


def _read_part(path: Path) -> None:
    """Raise DamagedFile unless the first line of a part is a finished task."""
    with path.open("rb") as file:
        for _, _, line in lines(file):
            parse(line)
            return
    raise DamagedFile(f"{path} has no line")


def _fault(path: Path, read: Callable[[Path], Any]) -> str | None:
    """Return the fault of a file, or None."""
    try:
        read(path)
    except FileNotFoundError:  # removed in the meantime
        return None
    except DamagedFile as error:
        return str(error)
    return None
