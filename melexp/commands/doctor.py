"""The work of ``melexp doctor``: verify results and recordings, and clean up after a crash."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from melexp.datasets._registry import cache_folder, move_damaged, registered
from melexp.files.atomic import held, move_aside, remove_leftover
from melexp.results.store import DamagedFile, Store, read_note, read_task
from melexp.results.tables import (
    check_table,
    collect,
    provenance_of,
    put_table,
    read_provenance,
    table_checksum,
)
from melexp.runs.display import remove_leftover_progress


def doctor(results: Sequence[Path], *, cache: bool = False) -> int:
    """Verify every checksum of results folders and of the cache of recordings.

    A corrupt or foreign file is reported and moved into ``damaged/`` in its folder. Tables are
    rewritten from the tasks, and partial files of killed runs are removed. Files of a live run are
    left alone.

    Parameters
    ----------
    results : sequence of Path
        Results folders.
    cache : bool
        Verify the cache of recordings too.

    Returns
    -------
    status : int
        0, or 1 if a file was corrupt, foreign or missing.

    Raises
    ------
    ValueError
        If no folder is given, or a folder is not a results folder.
    """
    if not results and not cache:
        raise ValueError("there is no folder to verify; give a results folder or --cache")
    checks = [_Results(folder) for folder in results] + ([_Cache()] if cache else [])
    return max(check.run() for check in checks)


class _Check:
    """The findings in one folder, printed and counted."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.verified = self.damaged = self.removed = 0
        self.advice: dict[str, None] = {}  # an ordered set

    def bad(self, message: str, path: Path | None = None, advice: str = "") -> None:
        """Report a fault and move its file aside."""
        if path is not None:
            aside = move_aside(path, self.root / "damaged")
            message += f"; moved to {aside}" if aside else ""
        print(f"bad: {message}")
        self.damaged += 1
        if advice:
            self.advice[advice] = None

    def leftover(self, path: Path) -> None:
        """Report the removal of a leftover."""
        print(f"leftover: {path} removed")
        self.removed += 1

    def summary(self) -> int:
        """Print the counts and return the exit code."""
        print(
            f"{self.root}: {self.verified} files verified, {self.damaged} bad, "
            f"{self.removed} leftovers removed"
        )
        for advice in self.advice:
            print(f"next: {advice}")
        return int(self.damaged > 0)


class _Results(_Check):
    """The check of a results folder."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.store = Store(root)
        marks = ("tasks", "jobs", ".hydra", "*.provenance.json", ".*.part", ".*.lock")
        if not any(any(root.glob(mark)) for mark in marks):
            raise ValueError(
                f"{root} is not a results folder: it has neither tasks nor tables; name the "
                "folder that melexp run wrote"
            )
        self.again = f"re-run the commands that wrote {root}: they compute the missing tasks only"

    def run(self) -> int:
        self._clear()
        for path in _files(self.root / "tasks"):
            place = self.root / "tasks" / path.stem[:2] / f"{path.stem}.json"
            self._verify(path, read_task, place, path.with_suffix(".lock"))
        for path in _files(self.root / "jobs"):
            experiment = path.parent.name
            place = self.root / "jobs" / experiment / path.name
            self._verify(path, read_note, place, self.root / f".{experiment}.lock")
        for experiment in sorted({*_tables(self.root), *self._noted()}):
            if not self._table_fault(experiment):
                self.verified += 2
                continue
            with self.store.writing(experiment):  # a run may be between writing the two files
                self._rewrite_table(experiment)
        return self.summary()

    def _noted(self) -> list[str]:
        return [p.name for p in (self.root / "jobs").glob("*") if any(p.glob("*.json"))]

    def _clear(self) -> None:
        """Remove the partial files and locks that no live process holds."""
        for path in remove_leftover_progress(self.root):
            self.leftover(path)
        for path in _files(self.root, ".*.part"):
            if remove_leftover(path):
                self.leftover(path)
        for folder in ("", "tasks", ".hydra"):
            for path in sorted((self.root / folder).glob("**/*.lock" if folder else ".*.lock")):
                with held(path, wait=False) as ours:  # releasing the lock removes its file
                    if ours:
                        self.leftover(path)

    def _verify(
        self, path: Path, read: Callable[[Path], dict[str, Any]], place: Path, lock: Path
    ) -> None:
        if path.suffix in (".lock", ".part"):  # of a live run
            return
        if _fault(path, read, place) is None:
            self.verified += 1
            return
        # A worker that holds the task will replace it; a note is written quickly.
        with held(lock, wait=read is read_note) as ours:
            message = _fault(path, read, place)
            if ours and message is not None:
                self.bad(message, path, self.again)

    def _table_fault(self, experiment: str) -> str:
        """Return the fault of a table or of its provenance, or ""."""
        table, provenance = self.root / f"{experiment}.csv", provenance_of(self.root, experiment)
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
        unreadable = provenance.exists() and _fault(provenance, read_provenance, provenance)
        if experiment not in self._noted():
            advice = f"restore {table} and {provenance.name}, or re-run {experiment}"
            self.bad(fault, provenance if unreadable else table, advice)
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

    def __init__(self) -> None:
        super().__init__(cache_folder())

    def run(self) -> int:
        known = registered()
        folders = sorted({relative.partition("/")[0] for relative in known})
        paths = [path for folder in folders for path in _files(self.root / folder)]
        with ExitStack() as locks:
            # Another process that holds a lock is downloading a file, which may be incomplete.
            idle = True
            for path in paths:
                if path.suffix == ".lock":
                    idle &= locks.enter_context(held(path, wait=False))
            for path in paths:
                relative = path.relative_to(self.root).as_posix()
                if path.suffix == ".lock" or (path.name.startswith("tmp") and not idle):
                    continue
                if path.name.startswith("tmp"):
                    path.unlink()
                    self.leftover(path)
                elif relative not in known:
                    self.bad(f"{path} is not in the registry", path)
                elif moved := move_damaged(self.root, relative, known[relative]):
                    self.bad(moved, advice="the next run downloads it again")
                else:
                    self.verified += 1
        return self.summary()


def _tables(root: Path) -> list[str]:
    """Return the experiments with a table."""
    return [path.name.removesuffix(".provenance.json") for path in root.glob("*.provenance.json")]


def _files(folder: Path, pattern: str = "*") -> list[Path]:
    """Return the files below a folder, except those in ``damaged/``."""
    return [
        path
        for path in sorted(folder.rglob(pattern))
        if path.is_file() and "damaged" not in path.relative_to(folder).parts
    ]


def _fault(path: Path, read: Callable[[Path], dict[str, Any]], place: Path) -> str | None:
    """Return the fault of a file, or None."""
    if path != place:
        return f"{path} does not belong in its folder"
    try:
        read(path)
    except FileNotFoundError:  # removed in the meantime
        return None
    except DamagedFile as error:
        return str(error)
    return None
