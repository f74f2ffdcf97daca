"""Runs that are killed, cannot write, or run at once: no result is lost or changed.

Each test counts its faults and their outcomes (see `faults.Tried`). With ``-m torture`` all points
and signals are tried, otherwise a few of each. The counts are printed at the end of the session
(``-rP`` is not needed), so that ``pytest -m torture tests/test_crash.py tests/test_doctor.py``
prints the whole table.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from crashing import Ended
from faults import SIGNALS, SWEEP, TORTURE, Bench, Tried, clear, contents
from stores import part

from melexp.commands.doctor import doctor
from melexp.results.store import Store
from melexp.results.tables import write_table

#: The writes of `faults.RUN`: two probes of the folder, four tasks, the clips, the note, the table
#: and its provenance.
WRITES = 10
POINTS = ("before", "during", "synced", "after")


# --- Kills ------------------------------------------------------------------------------------


def killed_at(bench: Bench, tried: Tried, write: int, point: str, number: int) -> None:
    """Kill a run at a write, kill it again at the first remaining task, then resume."""
    root = bench.new()
    for at in (write, 3):
        what = f"{signal.Signals(number).name} {point} write {at} of {write}"
        fault = {"write": at, "point": point, "signal": int(number)}
        ended = bench.run(root, fault=fault)
        right = ended.status == -9
        if number != signal.SIGKILL:
            right = clear(ended, 128 + number, "stopped; finished work is kept")
        if not right:
            tried.unclear += 1
            tried.wrong.append(f"{what}: {ended}")
        bench.heal(root, tried, what)
    tried.tried -= 1  # which resume counts
    bench.resume(root, tried, what)


@pytest.mark.slow
def test_killed_at_some_points(bench: Bench, tried: Tried) -> None:
    every = [(w, p) for w in range(1, WRITES + 1) for p in POINTS]
    for k, (write, point) in enumerate(every[2::48]):
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
    return [sys.executable, "-m", "melexp", *map(str, arguments)]


@TORTURE
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("whole_group", [False, True], ids=["process", "group"])
def test_the_command_is_killed(sweep: Bench, tried: Tried, workers: int, whole_group: bool) -> None:
    """Kill the real command, with its imports and worker processes."""
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


@TORTURE  # a timed assertion fails on a loaded machine
@pytest.mark.parametrize("workers", [1, 2])
def test_signals_end_a_long_iteration_within_two_seconds(tmp_path: Path, workers: int) -> None:
    """Interrupt one call of the engine of over 30 s: a minute of noise, 5000 iterations."""
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
    while len(list(tmp_path.glob("r/tasks/*.lock"))) < workers:
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
    """Refuse all writes from this one on, then accept them again."""
    what = f"{errno.errorcode[number]} {point} write {write}"
    root = bench.new()
    ended = bench.run(root, fault={"write": write, "point": point, "errno": number})
    words = (str(root), os.strerror(number), "re-run the same command")
    if not clear(ended, 2 if write == 1 else 1, *words):
        tried.unclear += 1
        tried.wrong.append(f"{what}: {ended}")
    bench.resume(root, tried, what)


@pytest.mark.slow
def test_some_writes_fail(bench: Bench, tried: Tried) -> None:
    refused(bench, tried, errno.ENOSPC, 4, "during")
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
    """Mount a small disk at `folder`."""
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
    """Run on disks of 8 to 112 KiB, which are too small, then enlarge them."""
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
    """Start runs at once in one folder, with a doctor that must not disturb them."""
    root = bench.new()
    logs = [bench.folder / f"log{k}" for k in range(runs)]
    pids = [bench.start(root, log) for log in logs]
    with contextlib.redirect_stdout(said := io.StringIO()):
        for _ in range(20):
            time.sleep(0.1)
            if (root / "tasks").exists() and doctor([root]):
                tried.changed += 1
                tried.wrong.append(f"doctor beside a run: {said.getvalue()}")
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


def test_two_tables_written_at_once_lack_nothing(bench: Bench) -> None:
    """The last writer of a table has read the notes of all others."""
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


@pytest.mark.slow
@pytest.mark.parametrize("days", [-400, 400])
def test_a_clock_that_was_set(bench: Bench, tried: Tried, days: int) -> None:
    """Give files other times and remove half of them, as after the clock was changed."""
    root = bench.new(filled=True)
    whole = part(root).read_bytes().split(b"\n")
    part(root).write_bytes(b"\n".join(whole[3:]))
    then = time.time() + 86400 * days
    for path in root.rglob("*"):
        os.utime(path, (then, then))
    bench.resume(root, tried, f"clock {days} days")
    tried.check()


@TORTURE
def test_a_clock_set_back_by_faketime(bench: Bench, tried: Tried) -> None:
    """Kill a run and resume it 400 days earlier, then with a clock that runs ten times faster."""
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
