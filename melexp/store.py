"""The finished tasks of a sweep on disk, and the tables made from them.

A folder of results holds::

    tasks/<2 digits>/<task id>.json     one finished task: its key and its rows
    tasks/<2 digits>/<task id>.lock     the claim of the worker that computes it
    jobs/<experiment>/<job id>.json     which tasks a job asked for, with its configuration
    <experiment>.csv                    the tidy table of an experiment, from the two above
    <experiment>.provenance.json        configurations, versions, commits, machines, data hashes

Every file is written aside and renamed, so it is there as a whole or not at all, and carries the
checksum of what it says.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

#: Raise it when the meaning of a stored task changes: older files are then recomputed.
FORMAT = 1


class DamagedFile(ValueError):
    """A stored file whose content does not match its checksum."""


def canonical(value: Any) -> str:
    """JSON text that is the same for equal values."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(value: Any) -> str:
    """Content hash of a JSON value."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:32]


def check_name(experiment: str) -> None:
    """Raise ValueError unless it can name files in the folder of results, and none elsewhere."""
    if not re.fullmatch(r"\w[\w.-]*", experiment):
        raise ValueError(
            "experiment names files, so it must be of letters, digits, '_', '-' and '.' only; got "
            f"{experiment!r}"
        )


def write_text(path: Path, text: str) -> None:
    """Write a text file as a whole or not at all."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(aside, 0o644)
        os.replace(aside, path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise


def write_json(path: Path, body: dict[str, Any]) -> None:
    """Write a JSON file with its checksum, as a whole or not at all."""
    write_text(path, json.dumps({"checksum": digest(body), **body}, indent=1, ensure_ascii=False))


def read_json(path: Path) -> dict[str, Any]:
    """Read what `write_json` wrote.

    Raises
    ------
    DamagedFile
        If it is truncated or changed.
    """
    try:
        body: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        checksum = body.pop("checksum")
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, AttributeError, TypeError) as error:
        raise DamagedFile(f"{path} is not a file of this store ({error})") from error
    if checksum != digest(body):
        raise DamagedFile(f"{path} does not match its checksum")
    return body


class Store:
    """The finished tasks under one folder.

    Parameters
    ----------
    root : str or Path
        The folder of results; made when first written to.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def path(self, task_id: str) -> Path:
        """File of a finished task; a note of other people's making may call one anything."""
        if not re.fullmatch("[0-9a-f]+", task_id):
            raise DamagedFile(f"{self.root}: {task_id!r} is no task")
        return self.root / "tasks" / task_id[:2] / f"{task_id}.json"

    def load(self, task_id: str) -> dict[str, Any] | None:
        """A finished task, or None; a damaged file is moved aside and counts as not finished."""
        path = self.path(task_id)
        try:
            return read_json(path)
        except FileNotFoundError:
            return None
        except DamagedFile as error:
            aside = self.root / "damaged" / path.name
            aside.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, aside)
            print(f"warning: {error}; moved to {aside}, it will be recomputed")
            return None

    @contextmanager
    def claim(self, task_id: str, *, wait: bool) -> Iterator[bool]:
        """Hold a task against every other worker that uses this folder.

        The kernel holds the claim and lets go of it when the worker ends, however it ends: a
        file that a killed worker left claims nothing.

        Parameters
        ----------
        task_id : str
        wait : bool
            Wait while another worker has it, instead of leaving it to that one.

        Yields
        ------
        bool
            Whether the task is ours.
        """
        path = self.path(task_id).with_suffix(".lock")
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        try:
            lock.acquire(timeout=-1 if wait else 0)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            # Before it is released: who opened the file meanwhile sees that it is gone.
            path.unlink(missing_ok=True)
            lock.release()

    def save(self, task_id: str, body: dict[str, Any]) -> None:
        """Store a finished task."""
        write_json(self.path(task_id), body)

    def save_job(self, experiment: str, body: dict[str, Any]) -> None:
        """Note which tasks a job asked for; the same job again replaces its note."""
        write_json(self._jobs(experiment) / f"{digest(body['config'])}.json", body)

    def jobs(self, experiment: str) -> list[dict[str, Any]]:
        """The jobs of an experiment, in an order that does not depend on when they ran."""
        paths = self._jobs(experiment).glob("*.json")
        return sorted((read_json(p) for p in paths), key=lambda job: canonical(job["config"]))

    def forget_jobs(self, experiment: str) -> None:
        """Start an experiment's table anew; finished tasks stay."""
        for path in self._jobs(experiment).glob("*.json"):
            path.unlink()

    def notes(self) -> dict[Path, int]:
        """The notes of all jobs, each with the time at which it was last written."""
        return {p: p.stat().st_mtime_ns for p in (self.root / "jobs").glob("*/*.json")}

    def rows(
        self, experiment: str, jobs: list[dict[str, Any]] | None = None
    ) -> Iterable[dict[str, Any]]:
        """The tidy rows of an experiment, or of some of its jobs: per task, checkpoint and metric.

        Raises
        ------
        FileNotFoundError
            If no job of that experiment has finished here.
        """
        jobs = self.jobs(experiment) if jobs is None else jobs
        if not jobs:
            raise FileNotFoundError(
                f"{self.root} has no results of {experiment!r}; run: melexp run "
                f"experiment={experiment} results={self.root}"
            )
        seen = set()
        for job in jobs:
            wanted = sorted((c, m) for c in job["checkpoints"] for m in job["metrics"])
            for entry in job["tasks"]:
                task = self.load(entry["task"]) or {"rows": []}
                found = {(row["iteration"], row["metric"]): row for row in task["rows"]}
                for c, m in wanted:
                    # Jobs of one experiment may ask for the same, as with another limit.
                    key = (entry["task"], entry["dataset"], entry["clip"], job["method"]["label"])
                    if (key, c, m) in seen:
                        continue
                    seen.add((key, c, m))
                    # What is not there failed: its reason stands in the job's note.
                    lost = {"iteration": c, "metric": m, "value": None, "seconds": None}
                    lost["reason"] = entry.get("reason", "not computed")
                    yield {
                        "experiment": experiment,
                        "dataset": entry["dataset"],
                        "clip": entry["clip"],
                        "category": entry["category"],
                        **job["method"],
                        "seed": job["seed"],
                        "dtype": job["dtype"],
                        **found.get((c, m), lost),
                    }

    def _jobs(self, experiment: str) -> Path:
        check_name(experiment)
        return self.root / "jobs" / experiment
