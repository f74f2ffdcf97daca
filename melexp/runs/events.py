"""What the jobs of a sweep tell while they run, wherever they run.

Each job appends a line per event to a file of its own in one folder, which the environment names;
the process that started the sweep reads them all. They are files because those are what every
launcher has in common, from a loop to the nodes of a cluster.
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

#: The variable that names the folder; without it nothing is told.
VARIABLE = "MELEXP_PROGRESS"


def tell(event: str, **what: Any) -> None:
    """Return append an event to this process's file.

    The events are ``job`` (`label`, `tasks`, `stored`: how many of them need no work), ``task``
    (`label`, `seconds`, `reason`: "" where it has a result, and `name`) and ``end``.
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
                with suppress(ValueError):  # a full disk, or a kill, has cut it
                    events.append(json.loads(line))
        return events


@dataclass
class Tally:
    """The state of a sweep, as its events tell.

    Attributes
    ----------
    jobs : int or None
        How many jobs it has; None if that is not known.
    begun, ended : int
        Jobs.
    asked, done : Counter
        Tasks of the jobs that have begun, by the method's label; done are also those that failed.
    stored : int
        Tasks that were there already.
    failures : list of str
        A line for each task that failed, with its reason.
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
        """All tasks; a job that has not begun counts as the mean of those that have."""
        known = self.asked.total()
        return known + round(self._unbegun() * known / max(self.begun, 1))

    @property
    def is_exact(self) -> bool:
        """Whether every job has told how many tasks it has."""
        return self.jobs is not None and self.begun >= self.jobs

    def remaining(self, elapsed: float) -> float | None:
        """Return seconds to the end, from the cost of the tasks so far; None before the first.

        Each method's tasks cost what they cost until now (one that has not begun: the mean of
        all), and as many run side by side as until now.

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
