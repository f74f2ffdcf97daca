"""Progress events of the jobs of a sweep, passed through files.

Each process appends one JSON line per event to its own file. An environment variable names the
folder of these files, and the process that started the sweep reads them all. Files work with every
launcher, from a loop to the nodes of a cluster.
"""

from __future__ import annotations

import json
import os
import platform
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: Environment variable that names the folder; if it is not set, no event is written.
VARIABLE = "MELEXP_PROGRESS"


def tell(event: str, **what: Any) -> None:
    """Append an event to the file of this process.

    Parameters
    ----------
    event : str
        "job" (with `label`, `tasks` and `stored`, the number of tasks that need no work), "task"
        (with `label`, `name`, `seconds` and `reason`, which is empty after a success) or "end".
    **what
        The fields of the event.
    """
    folder = os.environ.get(VARIABLE)
    if not folder or not Path(folder).is_dir():
        return
    path = Path(folder) / f"{platform.node()}-{os.getpid()}.jsonl"
    # The display must not end a run: on a full disk it shows less.
    with suppress(OSError), path.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"event": event, **what}) + "\n")


class Events:
    """The events of a folder, each read once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read: dict[Path, int] = {}

    def new(self) -> list[dict[str, Any]]:
        """Return the events since the last call; an incomplete line is left for the next."""
        events = []
        for path in sorted(self.folder.glob("*.jsonl")):
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                whole = file.read().rpartition(b"\n")[0]
            self._read[path] = self._read.get(path, 0) + len(whole) + bool(whole)
            for line in whole.splitlines():
                with suppress(ValueError):  # truncated by a full disk or a kill
                    events.append(json.loads(line))
        return events


@dataclass
class Tally:
    """The state of a sweep, computed from its events.

    Attributes
    ----------
    jobs : int or None
        Number of jobs; None if it is not known.
    begun, ended : int
        Number of jobs that have begun and ended.
    asked, done : Counter
        Tasks of the jobs that have begun, by label of the method. A failed task counts as done.
    stored : int
        Number of tasks that had a stored result.
    failures : list of str
        A line for each failed task, with its reason.
    computed, seconds : Counter
        Number of computed tasks and their total wall time, by label of the method.
    """

    jobs: int | None = None
    begun: int = 0
    ended: int = 0
    asked: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    stored: int = 0
    failures: list[str] = field(default_factory=list)
    computed: Counter[str] = field(default_factory=Counter)
    seconds: Counter[str] = field(default_factory=Counter)

    def take(self, event: dict[str, Any]) -> None:
        """Count one event."""
        label = event.get("label", "")
        if event["event"] == "job":
            self.begun += 1
            self.asked[label] += event["tasks"]
            self.done[label] += event["stored"]
            self.stored += event["stored"]
        elif event["event"] == "task":
            self.done[label] += 1
            self.computed[label] += event["seconds"] > 0
            self.seconds[label] += event["seconds"]
            if event["reason"]:
                self.failures.append(f"{event['name']}: {event['reason']}")
        else:
            self.ended += 1

    @property
    def tasks(self) -> int:
        """Number of tasks; a job that has not begun counts as the mean of the others."""
        known = self.asked.total()
        return known + round(self._unbegun() * known / max(self.begun, 1))

    @property
    def is_exact(self) -> bool:
        """Whether the number of tasks of every job is known."""
        return self.jobs is not None and self.begun >= self.jobs

    def remaining(self, elapsed: float) -> float | None:
        """Estimate the remaining wall time in seconds; None before the first computed task.

        A task is assumed to take the mean time of its method, or of all methods if its own has
        none yet. The number of parallel tasks is assumed to stay the same.

        Parameters
        ----------
        elapsed : float
            Seconds since the first event.
        """
        spent, n = sum(self.seconds.values()), self.computed.total()
        if not n or spent <= 0 or elapsed <= 0:
            return None
        mean = spent / n
        work = sum(
            (asked - self.done[label])
            * (self.seconds[label] / self.computed[label] if self.computed[label] else mean)
            for label, asked in self.asked.items()
        )
        work += (self.tasks - self.asked.total()) * mean
        return work * elapsed / spent

    def _unbegun(self) -> int:
        return max((self.jobs or 0) - self.begun, 0)
