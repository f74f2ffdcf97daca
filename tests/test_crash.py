"""Runs that are killed or cannot write, and damaged files: nothing is lost, nothing changes.

Each test counts what it tries and what came of it (see `Tried`); with ``-m torture`` all points,
signals and files are tried, else a few of each. The counts are printed at the end of the session
(``-rP`` is not needed), so that ``pytest -m torture tests/test_crash.py`` prints the whole table.
"""

from __future__ import annotations

import contextlib
import csv
import errno
import functools
import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from crashing import Ended, Forge

from melexp.datasets import _registry
from melexp.doctor import doctor
from melexp.files import held
from melexp.store import DamagedFile, Store, read_note, read_task
from melexp.tables import read_table, write_table

ROOT = Path(__file__).resolve().parents[1]
RUN = ("run", "method=admm", "limit=4", "checkpoints=[1,2]", "metric=[scm,sc]", "workers=1")
SWEEP = ("run", "-m", "method=admm,nnls_gla", "limit=3", "checkpoints=[1,2]", "metric=[scm,sc]")
#: The writes of `RUN`: two trials whether the folder can be written, four tasks, their note, the
#: table and its provenance.
WRITES = 9
POINTS = ("before", "during", "synced", "after")
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
TORTURE = pytest.mark.torture


@dataclass
class Tried:
    """The counts of one kind of fault; `wrong` says what was lost, changed or unclear."""

    fault: str
    tried: int = 0
    lost: int = 0
    changed: int = 0
    unclear: int = 0
    wrong: list[str] = field(default_factory=list)

    def check(self) -> None:
        print(f"{self.fault} | {self.tried} | {self.lost} | {self.changed} | {self.unclear}")
        assert not self.wrong, "\n".join(self.wrong)


@pytest.fixture
def tried(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Iterator[Tried]:
    """Printed when the test has ended."""
    counts = Tried(request.node.name)
    yield counts
    with capsys.disabled():
        print(f"\n{counts.fault}: {counts.tried} tried, {counts.lost} lost, "
              f"{counts.changed} changed, {counts.unclear} unclear")  # fmt: skip


class Bench:
    """A folder of results at a time, beside that of an undisturbed run."""

    def __init__(self, folder: Path, forge: Forge, *arguments: str) -> None:
        self.folder, self.forge, self.log = folder, forge, folder / "log"
        self.arguments, self.n = arguments, 0
        self.reference = folder / "undisturbed"
        assert self.run(self.reference).status == 0
        self.table = values(self.reference)
        self.tasks = set(contents(self.reference))

    def new(self, *, filled: bool = False) -> Path:
        """A new folder of results; with the files of the undisturbed run."""
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
        """After whatever has happened to `root`: `heal` it, run again, and compare."""
        before = self.heal(root, tried, what)
        ended = self.run(root)
        self.compare(root, tried, what, ended)
        after = contents(root)
        for name, content in before.items():
            if after.get(name) != content:
                tried.lost += 1
                tried.wrong.append(f"{what}: {name} was done, and was computed again")

    def heal(self, root: Path, tried: Tried, what: str) -> dict[str, bytes]:
        """Let doctor clear up; what is done."""
        tried.tried += 1
        before = contents(root)
        if root.exists() and any(root.iterdir()):
            with contextlib.redirect_stdout(said := Said()):
                status = doctor([root])
            if status:  # a kill damages nothing
                tried.changed += 1
                tried.wrong.append(f"{what}: doctor: {said.text}")
            if left := leftovers(root):
                tried.unclear += 1
                tried.wrong.append(f"{what}: left after doctor: {left}")
        if contents(root) != before:
            tried.lost += 1
            tried.wrong.append(f"{what}: doctor took a task")
        return before

    def compare(self, root: Path, tried: Tried, what: str, ended: Ended) -> None:
        """The table and the tasks with those of the undisturbed run."""
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


class Said:
    """A file that keeps what is written."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None:
        pass


def values(root: Path) -> pd.DataFrame:
    """The stored table without the times, as text so that equal means every digit."""
    read_table(root, "run")  # verifies it
    return pd.read_csv(root / "run.csv", dtype=str, keep_default_na=False).drop(columns="seconds")


def contents(root: Path) -> dict[str, bytes]:
    """The finished tasks."""
    return {p.name: p.read_bytes() for p in (root / "tasks").glob("*/*.json")}


def leftovers(root: Path) -> list[str]:
    return [
        str(p)
        for p in root.rglob("*")
        if p.suffix in (".part", ".lock") or p.name.startswith("progress-")
    ]


def clear(ended: Ended, status: int, *words: str) -> bool:
    """Whether a run ended with one clear line that has these words in it."""
    lines = [line for line in ended.said.splitlines() if line.startswith("melexp: ")]
    return (
        ended.status == status
        and "Traceback" not in ended.said
        and any(all(word in line for word in words) for line in lines)
    )


@pytest.fixture(scope="module")
def forge() -> Iterator[Forge]:
    with Forge() as one:
        yield one


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, forge: Forge) -> Bench:
    """Of one configuration."""
    return Bench(tmp_path_factory.mktemp("run"), forge, *RUN)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory, forge: Forge) -> Bench:
    """Of two jobs, with six tasks in all."""
    return Bench(tmp_path_factory.mktemp("sweep"), forge, *SWEEP, "workers=1")


# --- Kills ------------------------------------------------------------------------------------


def killed_at(bench: Bench, tried: Tried, write: int, point: str, number: int) -> None:
    """Killed there, killed again at the same point of the first task that is left, resumed."""
    root = bench.new()
    for at in (write, 3):
        what = f"{signal.Signals(number).name} {point} write {at} of {write}"
        fault = {"write": at, "point": point, "signal": int(number)}
        ended = bench.run(root, fault=fault)
        right = ended.status == -9
        if number != signal.SIGKILL:
            right = clear(ended, 128 + number, "stopped; what is done is kept")
        if not right:
            tried.unclear += 1
            tried.wrong.append(f"{what}: {ended}")
        bench.heal(root, tried, what)
    tried.tried -= 1  # which resume counts
    bench.resume(root, tried, what)


@pytest.mark.slow
def test_killed_at_some_points(bench: Bench, tried: Tried) -> None:
    every = [(w, p) for w in range(1, WRITES + 1) for p in POINTS]
    for k, (write, point) in enumerate(every[2::12]):
        killed_at(bench, tried, write, point, SIGNALS[k % 3])
    tried.check()


@TORTURE
@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_killed_at_every_point(bench: Bench, tried: Tried, number: int) -> None:
    for write in range(1, WRITES + 1):
        for point in POINTS:
            killed_at(bench, tried, write, point, number)
    tried.check()


@pytest.mark.slow
def test_the_points_are_those_of_all_writes(bench: Bench) -> None:
    last = {"write": WRITES, "point": "after", "signal": 9}
    assert bench.run(bench.new(), fault=last).status == -9
    beyond = {"write": WRITES + 1, "point": "before", "signal": 9}
    assert bench.run(bench.new(), fault=beyond).status == 0


@TORTURE
@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_killed_at_random_times(sweep: Bench, tried: Tried, number: int) -> None:
    rng = np.random.default_rng(int(number))
    began = time.monotonic()
    sweep.run(sweep.new())
    length = time.monotonic() - began
    for _ in range(20):
        root, wait = sweep.new(), float(rng.uniform(0, length))
        pid = sweep.start(root)
        time.sleep(wait)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        ended = sweep.forge.wait(pid, sweep.log)
        what = f"{number!r} after {wait:.2f} s"
        if number != signal.SIGKILL and ended.status and not clear(ended, 128 + number, "stopped"):
            tried.unclear += 1
            tried.wrong.append(f"{what}: {ended}")
        sweep.resume(root, tried, what)
    tried.check()


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "melexp.cli", *map(str, arguments)]


@TORTURE
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("whole_group", [False, True], ids=["process", "group"])
def test_the_command_is_killed(sweep: Bench, tried: Tried, workers: int, whole_group: bool) -> None:
    """The command itself, with its imports and worker processes."""
    rng = np.random.default_rng(workers)
    for n in range(6):
        root, number = sweep.new(), SIGNALS[n % 3]
        wait = float(rng.uniform(0.5, 6.0))
        process = subprocess.Popen(
            command(*SWEEP, f"workers={workers}", f"results={root}"),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        time.sleep(wait)
        (os.killpg if whole_group else os.kill)(process.pid, number)
        process.wait(timeout=60)
        with contextlib.suppress(ProcessLookupError):  # workers that a killed process has left
            os.killpg(process.pid, signal.SIGKILL)
        said = process.communicate()[0]
        what = f"{number!r} of {workers} workers after {wait:.2f} s"
        if "Traceback" in said or (number != signal.SIGKILL and process.returncode < 0):
            tried.unclear += 1
            tried.wrong.append(f"{what}: {process.returncode} {said}")
        sweep.resume(root, tried, what)
    tried.check()


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_signals_end_a_long_iteration_within_two_seconds(tmp_path: Path, workers: int) -> None:
    """A minute of noise and 5000 iterations: well over 30 s in one call of the engine."""
    clips = tmp_path / "clips" / "a"
    clips.mkdir(parents=True)
    for k in range(2):
        noise = np.random.default_rng(k).standard_normal(60 * 22050) / 10
        soundfile.write(clips / f"{k}.wav", noise, 22050)
    arguments = ("dataset=folder", f"dataset.path={tmp_path / 'clips'}", "checkpoints=[5000]")
    number = (signal.SIGINT, signal.SIGTERM)[workers - 1]
    process = subprocess.Popen(
        command("run", *arguments, "metric=[scm]", f"workers={workers}", f"results={tmp_path}/r"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    while len(list(tmp_path.glob("r/tasks/*/*.lock"))) < workers:
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(3)
    began = time.monotonic()
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert time.monotonic() - began < 2 + 1  # one second more, for a machine that others use too
    assert process.returncode == 128 + number
    assert said.count("\n") == 1
    table = pd.read_csv(tmp_path / "r" / "run.csv")
    assert (table["reason"] == "not computed").all()


# --- Disks ------------------------------------------------------------------------------------


def refused(bench: Bench, tried: Tried, number: int, write: int, point: str) -> None:
    """From this write on the system says no; then it is mended."""
    what = f"{errno.errorcode[number]} {point} write {write}"
    root = bench.new()
    ended = bench.run(root, fault={"write": write, "point": point, "errno": number})
    words = (str(root), os.strerror(number), "run the same again")
    if not clear(ended, 2 if write == 1 else 1, *words):
        tried.unclear += 1
        tried.wrong.append(f"{what}: {ended}")
    bench.resume(root, tried, what)


@pytest.mark.slow
def test_some_writes_fail(bench: Bench, tried: Tried) -> None:
    for write, number in ((1, errno.EROFS), (4, errno.ENOSPC), (8, errno.ENOSPC)):
        refused(bench, tried, number, write, "during")
    tried.check()


@TORTURE
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO], ids=os.strerror)
def test_every_write_fails(bench: Bench, tried: Tried, number: int) -> None:
    for write in range(1, WRITES + 1):
        for point in POINTS[:3] if number == errno.ENOSPC else POINTS[1:2]:
            refused(bench, tried, number, write, point)
    tried.check()


@contextlib.contextmanager
def disk(folder: Path, size: str) -> Iterator[None]:
    """A small disk at `folder`."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.name != "posix" or shutil.which("mount") is None or os.geteuid() != 0:
        pytest.skip("only root can mount a small disk; test_every_write_fails injects the same")
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting is not permitted; test_every_write_fails injects the same")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def remount(folder: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(folder)], check=True)


@TORTURE
def test_a_full_disk(bench: Bench, tried: Tried) -> None:
    """Disks of 8 to 112 KiB, of which a whole run needs more; then they grow."""
    for size in range(8, 120, 8):
        root = bench.new()
        with disk(root, f"{size}k"):
            ended = bench.run(root)
            if ended.status == 0:
                continue
            what = f"a disk of {size} KiB"
            if not clear(ended, ended.status, str(root), "No space left", "free some space"):
                tried.unclear += 1
                tried.wrong.append(f"{what}: {ended}")
            remount(root, "size=4m")
            bench.resume(root, tried, what)
    assert tried.tried >= 5
    tried.check()


@TORTURE
def test_a_disk_that_fills_during_the_run(bench: Bench, tried: Tried) -> None:
    for wait in np.linspace(0.2, 2.0, 10):
        root = bench.new()
        with disk(root, "2m"):
            pid = bench.start(root)
            time.sleep(wait)
            ballast = root / "ballast"
            with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))
            ended = bench.forge.wait(pid, bench.log)
            what = f"a disk that was full after {wait:.1f} s"
            if ended.status and not clear(ended, ended.status, str(root), "No space left"):
                tried.unclear += 1
                tried.wrong.append(f"{what}: {ended}")
            ballast.unlink()
            bench.resume(root, tried, what)
    tried.check()


@TORTURE
def test_a_disk_that_becomes_read_only(bench: Bench, tried: Tried) -> None:
    for wait in (None, *np.linspace(0.2, 1.8, 9)):
        root = bench.new()
        with disk(root, "2m"):
            if wait is None:
                remount(root, "ro")
            pid = bench.start(root)
            if wait is not None:
                time.sleep(wait)
                with contextlib.suppress(subprocess.CalledProcessError):  # busy: being written
                    remount(root, "ro")
            ended = bench.forge.wait(pid, bench.log)
            what = f"read-only after {wait} s"
            words = (str(root), "Read-only file system", "make it writable")
            if (ended.status or wait is None) and not clear(ended, ended.status or 2, *words):
                tried.unclear += 1
                tried.wrong.append(f"{what}: {ended}")
            remount(root, "rw")
            bench.resume(root, tried, what)
    tried.check()


# --- Others at work, and clocks ---------------------------------------------------------------


def together(bench: Bench, tried: Tried, runs: int) -> None:
    """Runs at once in one folder, with a doctor beside them that must not disturb them."""
    root = bench.new()
    logs = [bench.folder / f"log{k}" for k in range(runs)]
    pids = [bench.start(root, log) for log in logs]
    with contextlib.redirect_stdout(said := Said()):
        for _ in range(20):
            time.sleep(0.1)
            if (root / "tasks").exists() and doctor([root]):
                tried.changed += 1
                tried.wrong.append(f"doctor beside a run: {said.text}")
    for pid, log in zip(pids, logs, strict=True):
        ended = bench.forge.wait(pid, log)
        tried.tried += 1
        bench.compare(root, tried, f"{runs} runs at once", ended)
    bench.resume(root, tried, f"after {runs} runs at once")


@pytest.mark.slow
def test_two_runs_at_once(sweep: Bench, tried: Tried) -> None:
    together(sweep, tried, 2)
    tried.check()


@TORTURE
def test_many_runs_at_once(sweep: Bench, tried: Tried) -> None:
    for _ in range(10):
        together(sweep, tried, 2)
    together(sweep, tried, 4)
    tried.check()


@pytest.mark.slow
@pytest.mark.parametrize("days", [-400, 400])
def test_a_clock_that_was_set(bench: Bench, tried: Tried, days: int) -> None:
    """Files of another time than now, half of them gone: as after a clock was set back, or on."""
    root = bench.new(filled=True)
    for path in sorted((root / "tasks").glob("*/*.json"))[:3]:
        path.unlink()
    then = time.time() + 86400 * days
    for path in root.rglob("*"):
        os.utime(path, (then, then))
    bench.resume(root, tried, f"clock {days} days")
    tried.check()


@TORTURE
def test_a_clock_set_back_by_faketime(bench: Bench, tried: Tried) -> None:
    """A run that is killed and goes on 400 days earlier, then at a clock that runs ten times."""
    if shutil.which("faketime") is None:
        pytest.skip("needs faketime")
    for how in (["-f", "-400d"], ["-f", "+0 x10"], ["2001-01-01 00:00:00"]):
        root = bench.new()
        bench.run(root, fault={"write": 5, "point": "during", "signal": 9})
        before = bench.heal(root, tried, f"faketime {how}")
        done = subprocess.run(
            ["faketime", *how, *command(*bench.arguments, f"results={root}")],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        bench.compare(root, tried, f"faketime {how}", Ended(done.returncode, done.stderr))
        assert before.items() <= contents(root).items()
    tried.check()


# --- Damage -----------------------------------------------------------------------------------


def damages(content: bytes, other: bytes, rng: np.random.Generator) -> dict[str, bytes]:
    flipped = bytearray(content)
    flipped[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
    return {
        "truncated": content[: len(content) // 2],
        "bit-flipped": bytes(flipped),
        "empty": b"",
        "foreign": b"\x89PNG\r\n\x1a\n" + rng.bytes(200),
        "another's": other,
    }


def stored(root: Path) -> list[Path]:
    """The files of the store, relative to it."""
    found = [*root.glob("tasks/*/*.json"), *root.glob("jobs/*/*.json"), *root.glob("run.*")]
    return sorted(path.relative_to(root) for path in found)


def damaged(bench: Bench, tried: Tried, file: Path, kind: str, seed: int) -> None:
    """One damaged file: found by doctor, or by the next run, and mended."""
    whole = (bench.reference / file).read_bytes()
    others = [f for f in stored(bench.reference) if f != file and f.suffix == file.suffix]
    other = (bench.reference / others[0]).read_bytes() if others else b"a,b\n1,2\n"
    content = damages(whole, other, np.random.default_rng(seed))[kind]
    by_itself = file.suffix == ".csv" or "provenance" in file.name  # the run writes it anew
    for finder in ("doctor", "run"):
        what = f"{kind} {file}, found by {finder}"
        root = bench.new(filled=True)
        (root / file).write_bytes(content)
        same = parsed(content) == parsed(whole)  # white space in JSON says nothing
        if by_itself and not same:
            with pytest.raises(DamagedFile, match="run"):
                read_table(root, "run")
        tried.tried += 1
        if finder == "doctor":
            with contextlib.redirect_stdout(said := Said()):
                status = doctor([root])
            if not same and (status != 1 or file.name not in said.text):
                tried.changed += 1
                tried.wrong.append(f"{what}: not found: {said.text}")
            with contextlib.redirect_stdout(said):
                again = doctor([root])
            if again:
                tried.unclear += 1
                tried.wrong.append(f"{what}: doctor is not done after once: {said.text}")
        ended = bench.run(root)
        if finder == "run" and not by_itself and not same and file.parts[0] == "tasks":
            aside = root / "damaged" / file.name
            if file.name not in ended.said or aside.read_bytes() != content:
                tried.changed += 1
                tried.wrong.append(f"{what}: not named or not moved: {ended}")
        bench.compare(root, tried, what, ended)


def parsed(content: bytes) -> object:
    """What a store's file says, or its bytes."""
    try:
        return json.loads(content)
    except ValueError:
        return content


KINDS = ("truncated", "bit-flipped", "empty", "foreign", "another's")


@pytest.mark.slow
def test_some_damaged_files(bench: Bench, tried: Tried) -> None:
    for k, file in enumerate(stored(bench.reference)[::4]):
        damaged(bench, tried, file, KINDS[k % 5], k)
    tried.check()


@TORTURE
@pytest.mark.parametrize("kind", KINDS)
def test_every_damaged_file(sweep: Bench, tried: Tried, kind: str) -> None:
    for seed, file in enumerate(stored(sweep.reference)):
        damaged(sweep, tried, file, kind, seed)
    tried.check()


@pytest.mark.parametrize("name", ["tasks/*/*.json", "jobs/*/*.json", "run.*"])
def test_every_flipped_byte_is_noticed(bench: Bench, tmp_path: Path, name: str) -> None:
    root = bench.new(filled=True)
    for path in sorted(root.glob(name))[:2]:
        whole = path.read_bytes()
        places = range(0, len(whole), max(len(whole) // 400, 1))
        for place in places:
            content = bytearray(whole)
            content[place] ^= 1 << place % 8
            path.write_bytes(content)
            try:
                if name.startswith("run"):
                    read_table(root, "run")
                else:
                    (read_task if name.startswith("tasks") else read_note)(path)
            except DamagedFile:
                continue
            assert parsed(bytes(content)) == parsed(whole)  # white space in JSON
        path.write_bytes(whole)


def test_a_damaged_note_does_not_stop_the_table(sweep: Bench) -> None:
    """Of another job of the experiment: that job is missing, which is said, and not silent."""
    root = sweep.new(filled=True)
    notes = {read_note(p)["method"]["method"]: p for p in root.glob("jobs/run/*.json")}
    notes["nnls_gla"].write_bytes(b"{}")
    one = ("run", "method=admm", *sweep.arguments[3:], f"results={root}")
    ended = sweep.forge.run(*one, log=sweep.log)
    assert ended.status == 1
    assert notes["nnls_gla"].name in ended.said
    assert "the tables lack what was damaged" in ended.said
    assert set(read_table(root, "run")["method"]) == {"admm"}
    assert sweep.run(root).status == 0
    assert values(root).equals(sweep.table)


def test_doctor_leaves_what_is_at_work(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """A lock that is held, and a file that is being written, beside what others have left."""
    root = bench.new(filled=True)
    task = sorted((root / "tasks").glob("*/*.json"))[0]
    (task.parent / ".x.json.1.part").write_bytes(b"half")
    (root / ".run.csv.2.part").write_bytes(b"half")
    (task.parent / "ab.lock").touch()
    (root / ".hydra" / "progress-old").mkdir(parents=True)
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(task)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "during\n"
    with held(task.with_suffix(".lock"), wait=False) as ours:
        assert ours
        assert doctor([root]) == 0
        (part,) = leftovers(root)[:1]
        assert sorted(Path(p).suffix for p in leftovers(root)) == [".lock", ".part"]
        assert task.name in part or task.stem in part
    writer.communicate("\n" if writer.stdin else None, timeout=30)
    assert capsys.readouterr().out.count("leftover: ") == 4
    assert task.read_text() == "new"
    assert leftovers(root) == []


WRITER = """
import sys, time
from pathlib import Path
from melexp import files
def fault(point, path):
    if point == "during":
        print(point, flush=True)
        time.sleep(3)
files.fault = fault
files.write_text(Path(sys.argv[1]), "new")
"""


def test_doctor_says_what_it_is_for(bench: Bench, tmp_path: Path) -> None:
    assert bench.forge.run("doctor", tmp_path, log=bench.log).status == 2
    assert "is no folder of results" in bench.log.read_text()
    ended = bench.forge.run("doctor", log=bench.log)
    assert ended == Ended(2, "melexp: doctor needs a folder of results, or --cache\n")
    root = bench.new(filled=True)
    (root / "tasks" / "foreign.txt").write_text("hello")
    ended = bench.forge.run("doctor", root, log=bench.log)
    assert ended.status == 1
    assert "foreign.txt does not belong there; moved to" in ended.said
    assert "next: run what wrote" in ended.said
    assert bench.forge.run("doctor", root, log=bench.log).status == 0


def test_doctor_without_tasks_moves_the_table_aside(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    """As of results/core in a clone: there is nothing to write it from."""
    root = bench.new(filled=True)
    shutil.rmtree(root / "tasks")
    shutil.rmtree(root / "jobs")
    assert doctor([root]) == 0
    table = root / "run.csv"
    table.write_text(table.read_text().replace("-", "+", 1))
    assert doctor([root]) == 1
    assert f"next: restore {table}" in capsys.readouterr().out
    assert not table.exists()


def test_two_tables_written_at_once_lack_nothing(bench: Bench) -> None:
    """Whoever writes last has read what the others noted before."""
    root = bench.new(filled=True)
    store = Store(root)
    order = []

    def late() -> None:
        write_table(root, "run")
        order.append("late")

    with store.writing("run"):
        thread = threading.Thread(target=late)
        thread.start()
        time.sleep(0.3)
        order.append("early")
    thread.join()
    assert order == ["early", "late"]


# --- The cache of recordings ------------------------------------------------------------------


class Slow(http.server.SimpleHTTPRequestHandler):
    """Gives a file in pieces, so that there is time to kill who fetches it."""

    def copyfile(self, source, outputfile) -> None:  # type: ignore[no-untyped-def]
        while piece := source.read(2**14):
            outputfile.write(piece)
            time.sleep(0.02)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, a registry of three files, and a server that has them."""
    files = tmp_path / "served" / "esc10"
    files.mkdir(parents=True)
    for k in range(3):
        noise = np.random.default_rng(k).standard_normal(40000) / 10
        soundfile.write(files / f"{k}.wav", noise, 22050)
    handler = functools.partial(Slow, directory=str(files.parent))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    registry = tmp_path / "registry.csv"
    with registry.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(
            [
                "dataset",
                "path",
                "category",
                "sha256",
                "licence",
                "author",
                "source",
                "url",
                "subset",
            ]
        )
        for path in sorted(files.iterdir()):
            url = f"http://127.0.0.1:{server.server_port}/esc10/{path.name}"
            sha256 = _registry.sha256_of(path)
            rows.writerow(["esc10", path.name, "c", sha256, "l", "a", "s", url, "core"])
    monkeypatch.setattr(_registry, "REMOTE", registry)
    monkeypatch.setattr(_registry, "RETRIES", 0)
    monkeypatch.setenv("MELEXP_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MELEXP_DATA_MIRROR", raising=False)
    yield tmp_path / "cache"
    server.shutdown()


def clips() -> list[np.ndarray]:
    listed = _registry.remote_clips("esc10", lambda row: row["path"])
    return [clip.load(22050) for clip in listed]


@pytest.mark.parametrize("kind", KINDS[:4])
@pytest.mark.parametrize("finder", ["doctor", "load"])
def test_a_damaged_recording_is_fetched_again(
    cache: Path, kind: str, finder: str, capsys: pytest.CaptureFixture[str], tried: Tried
) -> None:
    whole = clips()
    assert doctor([], cache=True) == 0
    for k, path in enumerate(sorted((cache / "esc10").iterdir())):
        content = damages(path.read_bytes(), b"", np.random.default_rng(k))[kind]
        path.write_bytes(content)
        capsys.readouterr()
        tried.tried += 1
        if finder == "doctor":
            assert doctor([], cache=True) == 1
            assert not path.exists()
        np.testing.assert_array_equal(clips(), whole)
        assert f"{path} does not match its SHA-256; moved to" in "".join(capsys.readouterr())
        (aside,) = (p for p in (cache / "damaged").rglob("*.wav*") if p.read_bytes() == content)
        aside.unlink()
    assert doctor([], cache=True) == 0


def test_foreign_files_in_the_cache_are_moved_aside(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clips()
    (cache / "esc10" / "x.wav").write_bytes(b"?")
    (cache / "mine.txt").write_text("not in a folder of recordings, so not looked at")
    assert doctor([], cache=True) == 1
    assert "x.wav is not in the registry; moved to" in capsys.readouterr().out
    assert doctor([], cache=True) == 0
    assert (cache / "mine.txt").exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_killed_download_leaves_nothing_behind(cache: Path, number: int, tried: Tried) -> None:
    code = (
        "import sys; from pathlib import Path; from melexp.datasets import _registry\n"
        "_registry.REMOTE = Path(sys.argv[1])\n"
        "for c in _registry.remote_clips('esc10', lambda row: row['path']): c.load(22050)"
    )
    for wait in (0.0, 0.05, 0.1):
        shutil.rmtree(cache, ignore_errors=True)
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(_registry.REMOTE)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        while not any(cache.rglob("tmp*")):
            assert process.poll() is None
            time.sleep(0.005)
        with contextlib.redirect_stdout(Said()):
            assert doctor([], cache=True) == 0  # it is at work: nothing is taken away
        time.sleep(wait)
        process.send_signal(number)
        process.wait()
        tried.tried += 1
        with contextlib.redirect_stdout(Said()):
            assert doctor([], cache=True) == 0
        assert all(path.suffix == ".wav" for path in cache.rglob("*") if path.is_file())
        assert len(clips()) == 3
