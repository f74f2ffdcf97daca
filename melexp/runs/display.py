"""Progress display of a sweep: live on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import re
import shutil
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from melexp.files.atomic import held, is_in_use
from melexp.runs.events import VARIABLE, Events, Tally

#: Seconds between two reads of the events, and minimum seconds between two plain lines.
LOOK, LINE = 0.25, 10.0
#: Number of failures in the live display; the summary at the end names all of them.
SHOWN = 5


@contextmanager
def shown(results: Path, *, jobs: int | None = None, quiet: bool = False) -> Iterator[Tally]:
    """Show the progress of the jobs that run in this context, in this and in child processes.

    Parameters
    ----------
    results : Path
        The results folder. The events pass through a temporary folder in it.
    jobs : int or None
        Number of jobs, if known.
    quiet : bool
        Count the events and show nothing.

    Yields
    ------
    Tally
        Complete when the context has ended.
    """
    folder = results.resolve() / ".hydra" / f"progress-{uuid.uuid4().hex[:8]}"
    before = os.environ.get(VARIABLE)
    # The lock tells doctor that the folder is in use.
    with held(folder.with_suffix(".lock"), wait=True):
        folder.mkdir()
        os.environ[VARIABLE] = str(folder)
        display = _Display(Events(folder), Tally(jobs), Console(file=sys.stderr), quiet=quiet)
        try:
            with display:
                yield display.tally
        finally:
            os.environ.pop(VARIABLE)
            if before is not None:
                os.environ[VARIABLE] = before
            shutil.rmtree(folder, ignore_errors=True)


def leftover_progress(results: Path) -> list[Path]:
    """Return the folders and locks of events that no process uses; links are left out."""
    parent = results / ".hydra"
    if parent.is_symlink() or not parent.is_dir():
        return []
    return [
        path
        for path in sorted(parent.iterdir())
        if re.fullmatch(r"progress-[0-9a-f]{8}(\.lock)?", path.name)
        and not path.is_symlink()
        and not is_in_use(path.with_suffix(".lock"))
        and (path.suffix or all(p.suffix == ".jsonl" and p.is_file() for p in path.iterdir()))
    ]


def remove_progress(path: Path) -> bool:
    """Remove a folder or lock of `leftover_progress`; return whether it is gone."""
    with held(path.with_suffix(".lock"), wait=False) as ours:  # its release removes the lock
        if ours and not path.suffix:
            shutil.rmtree(path, ignore_errors=True)
    return not path.exists()


class _Display:
    """A thread that reads the events and shows the progress."""

    def __init__(self, events: Events, tally: Tally, console: Console, *, quiet: bool) -> None:
        self.events, self.tally, self.console = events, tally, console
        self.live = None
        if console.is_terminal and not quiet:
            self.live = Live(console=console, auto_refresh=False, transient=True)
        self.quiet = quiet
        self.began: float | None = None
        self.last_line = time.monotonic()
        self.reported = 0  # number of failures printed so far
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        if self.live:
            self.live.start()
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        self._look()
        if self.live:
            self.live.stop()

    def _watch(self) -> None:
        while not self._end.wait(LOOK):
            self._look()

    def _look(self) -> None:
        for event in self.events.new():
            self.began = self.began or time.monotonic()
            self.tally.take(event)
        if self.quiet or self.began is None:
            return
        if self.live:
            self.live.update(self._picture(), refresh=True)
            return
        for line in self.tally.failures[self.reported :]:
            self._say(f"failed: {line}")
        self.reported = len(self.tally.failures)
        if time.monotonic() - self.last_line >= LINE:
            self.last_line = time.monotonic()
            self._say(self._line())

    def _say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def _line(self) -> str:
        """Return a line such as ``tasks 12/56, jobs 2/7, 1 failed, 0:00:40 left``."""
        tally = self.tally
        about = "" if tally.is_exact or tally.jobs is None else "about "
        parts = [f"tasks {tally.done.total()}/{about}{tally.tasks}"]
        if tally.jobs is None or tally.jobs > 1:
            parts.append(f"jobs {tally.ended}" + (f"/{tally.jobs}" if tally.jobs else ""))
        if tally.failures:
            parts.append(f"{len(tally.failures)} failed")
        left = tally.remaining(time.monotonic() - (self.began or 0))
        if left is not None:
            parts.append(f"{timedelta(seconds=round(left))} left")
        return ", ".join(parts)

    def _picture(self) -> RenderableType:
        bar = ProgressBar(total=max(self.tally.tasks, 1), completed=self.tally.done.total())
        row = Table.grid(padding=(0, 1), expand=True)
        row.add_column(ratio=1)
        row.add_column(no_wrap=True)
        row.add_row(bar, self._line())
        lines = [Text(f"  {line}", style="red") for line in self.tally.failures[-SHOWN:]]
        more = len(self.tally.failures) - SHOWN
        if more > 0:
            lines.insert(0, Text(f"  {more} earlier failures", style="red"))
        return Group(row, *lines)
