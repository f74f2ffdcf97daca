"""The finished tasks of a sweep on disk, and the tables made from them.

A folder of results holds::

    tasks/<2 digits>/<task id>.json     one finished task: its key and its rows
    tasks/<2 digits>/<task id>.lock     the claim of the worker that computes it
    jobs/<experiment>/<job id>.json     which tasks a job asked for, with its configuration
    <experiment>.csv                    the tidy table of an experiment, from the two above
    <experiment>.provenance.json        configurations, versions, commits, machines, data hashes,
                                        and the checksum of the table
    damaged/                            files that were moved aside (see `melexp.commands.doctor`)
    .melexp-results                     the marker: melexp has written into this folder

Every file is written aside and renamed, so writes are atomic. Every file carries the checksum of
its content.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

from melexp.errors import printable
from melexp.files.atomic import Unwritable, check_writable, held, move_aside
from melexp.results.identity import Identities, cell
from melexp.results.pairs import pairs
from melexp.results.records import (
    DamagedFile,
    canonical,
    check_name,
    digest,
    is_task,
    read_note,
    read_task,
    write_json,
)

#: Increase it when the meaning of a stored task changes; older tasks are then recomputed.
FORMAT = 1
#: Name of the marker file. `melexp doctor` works in folders with a marker only.
MARKER = ".melexp-results"


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
        """
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

    def path(self, task_id: str) -> Path:
        """Return the file of a finished task."""
        if not is_task(task_id):
            raise DamagedFile(f"{self.root}: {task_id!r} is not a task id")
        return self.root / "tasks" / task_id[:2] / f"{task_id}.json"

    def load(self, task_id: str) -> dict[str, Any] | None:
        """Return a finished task, or None; move a corrupt file aside."""
        return self._read(read_task, self.path(task_id), "the next run that needs it recomputes it")

    def claim(self, task_id: str, *, wait: bool) -> AbstractContextManager[bool]:
        """Lock a task for this worker (see `melexp.files.atomic.held`)."""
        return held(self.path(task_id).with_suffix(".lock"), wait=wait)

    def save(self, task_id: str, body: dict[str, Any]) -> None:
        """Store a finished task."""
        write_json(self.path(task_id), body)

    def writing(self, experiment: str) -> AbstractContextManager[bool]:
        """Lock the notes and the table of an experiment; block until the lock is free."""
        check_name(experiment)
        return held(self.root / f".{experiment}.lock", wait=True)

    def save_job(self, experiment: str, body: dict[str, Any]) -> None:
        """Write the note of a job: its configuration and its tasks. A re-run replaces the note."""
        with self.writing(experiment):
            write_json(self._jobs(experiment) / f"{digest(body['config'])}.json", body)

    def jobs(self, experiment: str) -> list[dict[str, Any]]:
        """Return the jobs of an experiment, in an order that does not depend on when they ran.

        A corrupt note is moved aside; its job is left out.
        """
        paths = sorted(p for p in self._jobs(experiment).glob("*.json") if is_task(p.stem))
        lost = "the table lacks this job until a re-run"
        notes = [self._read(read_note, path, lost) for path in paths]
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

    def _read(
        self, read: Callable[[Path], dict[str, Any]], path: Path, then: str
    ) -> dict[str, Any] | None:
        try:
            return read(path)
        except FileNotFoundError:
            return None
        except DamagedFile as error:
            aside = move_aside(path, self.root / "damaged")
            if aside is not None:
                self.damaged.append(aside)
                print(f"warning: {error}; moved to {aside}, {then}", file=sys.stderr)
            return None

    def rows(
        self, experiment: str, jobs: list[dict[str, Any]] | None = None
    ) -> Iterable[dict[str, Any]]:
        """Yield the tidy rows of an experiment, or of some of its jobs: task, checkpoint, metric.

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
        apart = Identities(jobs)
        seen = set()
        for job in jobs:
            sparse = job.get("metric_checkpoints", {})
            wanted = pairs(job["checkpoints"], job["metrics"], sparse)
            method = {name: cell(value) for name, value in job["method"].items()}
            method |= apart.columns(job)
            for entry in job["tasks"]:
                task = self.load(entry["task"]) or {"rows": []}
                found = {(row["iteration"], row["metric"]): row for row in task["rows"]}
                clip = apart.clip(job, entry["dataset"], entry["clip"])
                for c, m in wanted:
                    # Jobs of one experiment may share tasks, such as jobs with different limits.
                    key = (entry["task"], entry["dataset"], clip, method["label"])
                    if (key, c, m) in seen:
                        continue
                    seen.add((key, c, m))
                    # The task of a missing value failed; the reason is in the note of the job.
                    lost = {"iteration": c, "metric": m, "value": None, "seconds": None}
                    lost["reason"] = printable(entry.get("reason", "not computed"))
                    yield {
                        "experiment": experiment,
                        "dataset": printable(entry["dataset"]),
                        "clip": clip,
                        "category": printable(entry["category"]),
                        **method,
                        "seed": job["seed"],
                        "dtype": job["dtype"],
                        **found.get((c, m), lost),
                    }

    def _jobs(self, experiment: str) -> Path:
        check_name(experiment)
        return self.root / "jobs" / experiment
