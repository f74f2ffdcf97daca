"""The finished tasks of a sweep on disk, and the notes of its jobs.

A folder of results holds::

    tasks/<machine>-<n>.jsonl           parts: finished tasks, a line each (`melexp.results.parts`)
    tasks/<task id>.lock                the claim of the worker that computes it
    clips/<hash>.json                   a list of clips: names, hashes, credits
    jobs/<experiment>/<job id>.json     which tasks a job asked for, with its configuration
    <experiment>.csv                    the tidy table of an experiment, from the three above
    <experiment>.parquet                the same of a large experiment
    <experiment>.provenance.json        configurations, versions, commits, machines, data hashes,
                                        and the checksum of the table
    damaged/                            what was corrupt (see `melexp.commands.doctor`)
    .melexp-results                     the marker: melexp has written into this folder

Finished tasks are appended to parts. Every other file is written aside and renamed, so writes are
atomic. All carry the checksum of their content. Older versions wrote a file per task,
``tasks/<2 digits>/<task id>.json``, and repeated the clips in each note; both are read as well.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from melexp.files.atomic import Unwritable, check_writable, held, move_aside, write_bytes
from melexp.files.received import inside
from melexp.results.blocks import Block, blocks
from melexp.results.identity import Identities
from melexp.results.index import Index, Stamp
from melexp.results.parts import append, line_of, repair
from melexp.results.records import (
    DamagedFile,
    canonical,
    check_name,
    clips_content,
    clips_of,
    digest,
    is_task,
    modern,
    read_note,
    write_json,
)

#: Increase it when the meaning of a stored task changes; older tasks are then recomputed.
FORMAT = 1
#: Name of the marker file. `melexp doctor` works in folders with a marker only.
MARKER = ".melexp-results"

#: The indexes of this process by folder, so that the jobs of a sweep read each part once.
_indexes: dict[Path, Index] = {}
_reading = threading.RLock()
#: The last list of clips that was stored, with its name and its content.
_listed: tuple[list[dict[str, str]], str, bytes] = ([], "", b"")


class Store:
    """The finished tasks under one folder.

    Parameters
    ----------
    root : str or Path
        The folder of results; created by the first write.

    Attributes
    ----------
    damaged : list of Path
        The files that this object has moved aside.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self.damaged: list[Path] = []

    def begin(self) -> None:
        """Create the folder with its marker, and check that files can be written there.

        Raises
        ------
        Unwritable
            If a file cannot be written.
        ValueError
            If a folder in it is a link that leads out of it: other files would be written there.
        """
        for name in ("tasks", "clips", "jobs", "jobs/*", "damaged", ".hydra"):
            for path in self.root.glob(name):
                inside(self.root, path)
        self.mark()
        check_writable(self.root)

    def mark(self) -> None:
        """Write the marker if it is missing."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with (self.root / MARKER).open("x", encoding="utf-8") as file:
                file.write(
                    "melexp has written results into this folder; see melexp doctor --help\n"
                )
        except FileExistsError:
            if not self.root.is_dir():
                raise ValueError(f"{self.root} is not a folder; name another one") from None
        except OSError as error:
            raise Unwritable.because(error, self.root) from error

    def unmark_if_empty(self) -> None:
        """Remove the marker of a folder without results, after a run that was refused."""
        names = {path.name for path in self.root.iterdir()}
        if self.is_marked and names <= {MARKER, ".hydra"}:
            (self.root / MARKER).unlink()

    @property
    def is_marked(self) -> bool:
        """Whether the folder has the marker."""
        marker = self.root / MARKER
        return marker.is_file() and not marker.is_symlink()

    def index(self) -> Index:
        """Return the finished tasks as of now; move corrupt lines aside.

        All stores of this process with one folder share the index.
        """
        with _reading:
            index = _indexes.setdefault(self.root.resolve(), Index(self.root))
            index.refresh()
            if index.damage:
                self._repair(index)
                index.refresh()
            return index

    def _repair(self, index: Index) -> None:
        damage, index.damage = index.damage, []
        for path, message in damage:
            if path.suffix == ".jsonl":
                found = repair(path, self.root / "damaged")
                aside = found.aside if found else None
            else:
                aside = move_aside(path, self.root / "damaged")
            where = f"moved to {aside}" if aside else "left, because a run writes this file"
            if aside is not None:
                self.damaged.append(aside)
            again = "the next run that needs it recomputes it"
            print(f"warning: {message}; {where}, {again}", file=sys.stderr)

    def load(self, task_id: str) -> dict[str, Any] | None:
        """Return a finished task, with its id and its rows, or None."""
        index = self.index()
        if task_id not in index:
            return None
        return {"task": task_id, "rows": index.rows(task_id)}

    def since(self, stamps: Mapping[str, Stamp]) -> Index:
        """Return the tasks that were finished since an index with these stamps was read."""
        index = _tail(self.root.resolve(), tuple(sorted(stamps.items())))
        with _reading:
            index.refresh()
        return index

    def claim(self, task_id: str, *, wait: bool) -> AbstractContextManager[bool]:
        """Lock a task for this worker (see `melexp.files.atomic.held`)."""
        return held(self.root / "tasks" / f"{task_id}.lock", wait=wait)

    def save(self, *bodies: dict[str, Any]) -> None:
        """Store values of tasks, with at most one flush to the disk.

        Parameters
        ----------
        *bodies : dict
            As of `melexp.results.parts.line_of`; values that are stored already stay.
        """
        append(self.root / "tasks", b"".join(map(line_of, bodies)))

    def writing(self, experiment: str) -> AbstractContextManager[bool]:
        """Lock the notes and the table of an experiment; block until the lock is free."""
        return held(self.lock_of(experiment), wait=True)

    def lock_of(self, experiment: str) -> Path:
        """Return the file of the lock of `writing`."""
        check_name(experiment)
        return self.root / f".{experiment}.lock"

    def save_job(self, experiment: str, body: dict[str, Any]) -> None:
        """Write the note of a job: its configuration and its tasks. A re-run replaces the note.

        Parameters
        ----------
        experiment : str
        body : dict
            As of `melexp.results.records.read_note`.
        """
        check_name(experiment)
        body = modern(body)
        with self.writing(experiment):
            name = self.save_clips(body["clips"])
            path = self._jobs(experiment) / f"{digest(body['config'])}.json"
            write_json(
                path, {k: v for k, v in body.items() if k != "reasons" or v} | {"clips": name}
            )

    def save_clips(self, clips: list[dict[str, str]]) -> str:
        """Write a list of clips, unless it is there; return its name."""
        global _listed
        if clips is not _listed[0]:  # the jobs of a sweep share their list
            _listed = (clips, *clips_content(clips))
        _, name, content = _listed
        path = clips_of(self.root, name)
        with suppress(OSError):
            if path.read_bytes() == content:
                return name
        write_bytes(path, content)
        return name

    def jobs(self, experiment: str) -> list[dict[str, Any]]:
        """Return the jobs of an experiment, in an order that does not depend on when they ran.

        A corrupt note is moved aside; its job is left out.
        """
        paths = sorted(p for p in self._jobs(experiment).glob("*.json") if is_task(p.stem))
        notes = [self._note(path) for path in paths]
        return sorted(
            (note for note in notes if note is not None), key=lambda job: canonical(job["config"])
        )

    def forget_jobs(self, experiment: str) -> None:
        """Remove the notes of an experiment; finished tasks stay."""
        for path in self._jobs(experiment).glob("*.json"):
            if is_task(path.stem):  # as `save_job` names them
                path.unlink()

    def notes(self) -> dict[Path, tuple[int, int]]:
        """Return the notes of all jobs, each with its time stamp and inode.

        A time stamp alone does not show every change: clocks are coarse and may be set back.
        """
        found = {}
        for path in (self.root / "jobs").glob("*/*.json"):
            if not is_task(path.stem):
                continue
            with suppress(FileNotFoundError):  # another run replaces its note
                status = path.stat()
                found[path] = (status.st_mtime_ns, status.st_ino)
        return found

    def _note(self, path: Path) -> dict[str, Any] | None:
        try:
            return read_note(path)
        except FileNotFoundError:
            return None
        except DamagedFile as error:
            aside = move_aside(path, self.root / "damaged")
            if aside is not None:
                self.damaged.append(aside)
                lost = "the table lacks this job until a re-run"
                print(f"warning: {error}; moved to {aside}, {lost}", file=sys.stderr)
            return None

    def blocks(self, experiment: str, jobs: list[dict[str, Any]] | None = None) -> Iterator[Block]:
        """Yield the tidy rows of an experiment, or of some of its jobs, job by job.

        Raises
        ------
        FileNotFoundError
            If the folder has no job of the experiment.
        """
        jobs = self.jobs(experiment) if jobs is None else jobs
        if not jobs:
            raise FileNotFoundError(
                f"{self.root} has no results of {experiment!r}; run: melexp run "
                f"experiment={experiment} results={self.root}"
            )
        return blocks(self.index(), experiment, jobs, Identities(jobs))

    def rows(
        self, experiment: str, jobs: list[dict[str, Any]] | None = None
    ) -> Iterator[dict[str, Any]]:
        """Yield the rows of `blocks` as dicts."""
        for block in self.blocks(experiment, jobs):
            yield from block.rows()

    def _jobs(self, experiment: str) -> Path:
        check_name(experiment)
        return self.root / "jobs" / experiment


@lru_cache(maxsize=1)
def _tail(root: Path, stamps: tuple[tuple[str, Stamp], ...]) -> Index:
    return Index(root, dict(stamps))
