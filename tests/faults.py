"""Helpers of the fault injection tests: compare a run with an undisturbed one."""

from __future__ import annotations

import contextlib
import io
import shutil
import signal
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pytest
from crashing import Ended, Forge
from stores import finished

from melexp.commands.doctor import doctor
from melexp.results.store import Store
from melexp.results.tables import read_table

RUN = ("run", "method=admm", "limit=4", "checkpoints=[1,2]", "metric=[scm,sc]", "workers=1")
SWEEP = ("run", "-m", "method=admm,gla", "limit=3", "checkpoints=[1,2]", "metric=[scm,sc]")
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
TORTURE = pytest.mark.torture


@dataclass
class Tried:
    """The counts of one kind of fault; `wrong` lists the failures."""

    fault: str
    tried: int = 0
    lost: int = 0
    changed: int = 0
    unclear: int = 0
    wrong: list[str] = field(default_factory=list)

    def check(self) -> None:
        print(f"{self.fault} | {self.tried} | {self.lost} | {self.changed} | {self.unclear}")
        assert not self.wrong, "\n".join(self.wrong)


class Bench:
    """Results folders of disturbed runs, beside the folder of an undisturbed run."""

    def __init__(self, folder: Path, forge: Forge, *arguments: str) -> None:
        self.folder, self.forge, self.log = folder, forge, folder / "log"
        self.arguments, self.n = arguments, 0
        self.reference = folder / "undisturbed"
        assert self.run(self.reference).status == 0
        self.table = values(self.reference)
        self.tasks = set(contents(self.reference))

    def new(self, *, filled: bool = False) -> Path:
        """Return a new results folder, if `filled` with the files of the undisturbed run."""
        self.n += 1
        root = self.folder / str(self.n)
        if filled:
            shutil.copytree(self.reference, root)
        return root

    def run(self, root: Path, **options: object) -> Ended:
        return self.forge.run(*self.arguments, f"results={root}", log=self.log, **options)

    def start(self, root: Path, log: Path | None = None) -> int:
        return self.forge.start(*self.arguments, f"results={root}", log=log or self.log)

    def resume(self, root: Path, tried: Tried, what: str) -> None:
        """After any fault in `root`: `heal` it, re-run, and compare."""
        before = self.heal(root, tried, what)
        ended = self.run(root)
        self.compare(root, tried, what, ended)
        after = contents(root)
        for name, content in before.items():
            if after.get(name) != content:
                tried.lost += 1
                tried.wrong.append(f"{what}: {name} was done, and was computed again")

    def heal(self, root: Path, tried: Tried, what: str) -> dict[str, bytes]:
        """Run doctor; return the finished tasks."""
        tried.tried += 1
        before = contents(root)
        if Store(root).is_marked:  # not if the run was refused before it stored anything
            with contextlib.redirect_stdout(said := io.StringIO()):
                status = doctor([root])
            if status:  # a kill corrupts no file
                tried.changed += 1
                tried.wrong.append(f"{what}: doctor: {said.getvalue()}")
            if left := leftovers(root):
                tried.unclear += 1
                tried.wrong.append(f"{what}: left after doctor: {left}")
        if contents(root) != before:
            tried.lost += 1
            tried.wrong.append(f"{what}: doctor took a task")
        return before

    def compare(self, root: Path, tried: Tried, what: str, ended: Ended) -> None:
        """Compare the table and the tasks with those of the undisturbed run."""
        if ended.status or "Traceback" in ended.said:
            tried.unclear += 1
            tried.wrong.append(f"{what}: the run after it ended with {ended}")
        try:
            table = values(root)
        except Exception as error:
            tried.lost += 1
            tried.wrong.append(f"{what}: no table: {error!r}")
            return
        if not table.equals(self.table):
            tried.changed += 1
            tried.wrong.append(f"{what}: another table")
        if set(contents(root)) != self.tasks:
            tried.lost += 1
            tried.wrong.append(f"{what}: other tasks")
        if left := leftovers(root):
            tried.unclear += 1
            tried.wrong.append(f"{what}: left after the run: {left}")


def values(root: Path) -> pd.DataFrame:
    """Return the stored table without the times, as text, so that every digit is compared."""
    read_table(root, "run")  # verifies its checksum
    return pd.read_csv(root / "run.csv", dtype=str, keep_default_na=False).drop(columns="seconds")


def contents(root: Path) -> dict[str, bytes]:
    """Return the lines of the finished tasks."""
    return finished(root)


def leftovers(root: Path) -> list[str]:
    return [
        str(p)
        for p in root.rglob("*")
        if p.suffix in (".part", ".lock") or p.name.startswith("progress-")
    ]


def clear(ended: Ended, status: int, *words: str) -> bool:
    """Return whether a run ended with one clear line that contains these words."""
    lines = [line for line in ended.said.splitlines() if line.startswith("melexp: ")]
    return (
        ended.status == status
        and "Traceback" not in ended.said
        and any(all(word in line for word in words) for line in lines)
    )
