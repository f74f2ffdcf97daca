"""Measure a folder of results with very many tasks against its bounds; computes no audio.

The clips are invented and so are the values; everything else is real: the configurations, the ids
of the tasks, the files, and the commands of `melexp` that are measured. Two folders are filled with
half of the tasks each and merged; the rest is measured on the merged folder. Each step is a process
of its own, with its wall time, its CPU time and its peak memory. ::

    make bench-scale N=50000
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

#: Values of the grid: 4 x 19 = 76 configurations. Each half of `RHO` goes into one folder.
RHO = (0.05, 0.1, 0.2, 0.4)
LAM = tuple(range(1000, 20000, 1000))
CHECKPOINTS = (10, 50, 200, 500)
METRICS = ("scm", "sc", "pesq", "estoi")
#: Tasks that are written one by one, to measure the rate.
WRITTEN = 5_000

DATASET = '''
"""Invented clips, without sound."""
import hashlib
from pathlib import Path
from melexp.datasets import Clip

def clips(*, count):
    return [
        Clip(id=f"clip-{n:06d}", dataset="scale", category=f"category {n % 50}",
             sha256=hashlib.sha256(str(n).encode()).hexdigest(), licence="none", author="nobody",
             source=f"invented/clip-{n:06d}.wav", locate=Path("/nonexistent").absolute)
        for n in range(count)
    ]
'''


class Measured(NamedTuple):
    """A step: wall and CPU time in seconds, peak memory in bytes."""

    wall: float
    cpu: float
    memory: int


def measured(*command: object, quiet: bool = True) -> Measured:
    """Run a command to its end; exit if it fails."""
    began = time.monotonic()
    out = subprocess.DEVNULL if quiet else None
    process = subprocess.Popen([str(part) for part in command], stdout=out, stderr=out)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(map(str, command))[:200]} ended with {process.returncode}")
    wall = time.monotonic() - began
    return Measured(wall, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)


def melexp(*arguments: object) -> Measured:
    return measured(sys.executable, "-m", "melexp", *arguments)


def code(text: str, *arguments: object) -> Measured:
    return measured(sys.executable, "-c", text, *arguments)


def sweep(count: int, rho: tuple[float, ...], results: Path) -> list[str]:
    """Return the arguments of `melexp run` for a part of the grid."""
    return [
        *("-m", "method=admm", f"method.rho={','.join(map(str, rho))}"),
        f"method.lam={','.join(map(str, LAM))}",
        *("dataset=scale", f"dataset.count={count}", "workers=1"),
        f"checkpoints=[{','.join(map(str, CHECKPOINTS))}]",
        f"metric=[{','.join(METRICS)}]",
        f"results={results}",
    ]


def tasks(count: int, rho: tuple[float, ...]) -> Iterator[tuple[str, str]]:
    """Yield the ids of the tasks of a part of the grid, with the names of the clips."""
    from melexp.discovery import conf_dir
    from melexp.runs.config import register
    from melexp.runs.runner import plan

    register()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        for one, other in itertools.product(rho, LAM):
            overrides = [o for o in sweep(count, (one,), Path("x"))[1:] if "method.lam" not in o]
            config = compose("config", [*overrides, f"method.lam={other}"])
            plain: Any = OmegaConf.to_container(config, resolve=True)
            for task in plan(plain):
                yield task.id, task.clip.id


def body(task: str, clip: str, rng: np.random.Generator) -> dict[str, Any]:
    """Return a finished task with invented values."""
    pairs = itertools.product(CHECKPOINTS, sorted(METRICS))
    numbers = rng.normal(-20, 5, 16).tolist()
    rows = [
        {"iteration": c, "metric": m, "value": value, "reason": "", "seconds": round(c / 999, 6)}
        for (c, m), value in zip(pairs, numbers, strict=True)
    ]
    return {"task": task, "clip": clip, "rows": rows}


def fill(root: Path, ids: Iterator[tuple[str, str]]) -> int:
    """Store tasks, many at once; return their number."""
    from melexp.results.parts import append, line_of

    rng, count = np.random.default_rng(0), 0
    while bunch := list(itertools.islice(ids, 1000)):
        append(root / "tasks", b"".join(line_of(body(*one, rng)) for one in bunch))
        count += len(bunch)
    return count


# --- The rate of writing ------------------------------------------------------------------------


def write(root: str, ids: list[str], acknowledged: Any) -> None:
    """Store tasks one by one as a worker does: claim, look, append; acknowledge each."""
    from melexp.results.store import Store

    store, rng = Store(root), np.random.default_rng(os.getpid())
    for task in ids:
        with store.claim(task, wait=False):
            if task not in store.since({}):
                store.save(body(task, task[:8], rng))
        os.write(acknowledged, task.encode())


def group(root: Path, workers: int, count: int, after: float | None) -> tuple[float, set[str]]:
    """Let processes write tasks at once; kill them after some seconds. Return time and ids."""
    reader, writer = os.pipe()
    ids = [f"{n:032x}" for n in range(count)]
    context = multiprocessing.get_context("fork")
    processes = [
        context.Process(target=write, args=(str(root), ids[k::workers], writer))
        for k in range(workers)
    ]
    began = time.monotonic()
    for process in processes:
        process.start()
    os.close(writer)
    said, ends = b"", False
    while not ends:
        block = os.read(reader, 2**16)
        said, ends = said + block, not block
        if after is not None and time.monotonic() - began > after:
            for process in processes:
                os.kill(process.pid, signal.SIGKILL)
            after = None
    seconds = time.monotonic() - began
    for process in processes:
        process.join()
    return seconds, {said[n : n + 32].decode() for n in range(0, len(said) - 31, 32)}


def writing(folder: Path, count: int) -> tuple[str, int, int]:
    """Return the rate of two workers, and how many of the tasks of killed ones are lost."""
    from melexp.results.store import Store

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds, ids = group(folder / "rate", 2, count, None)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    rate = f"{len(ids) / seconds:,.0f} tasks/s ({len(ids) / cpu:,.0f} per second of CPU)"
    tried = lost = 0
    for n, after in enumerate((0.2, 0.5, 1.0, 1.5, 2.0)):
        root = folder / f"killed-{n}"
        _, ids = group(root, 2, count, after)
        stored = set(Store(root).index())
        tried, lost = tried + len(ids), lost + len(ids - stored)
    return rate, tried, lost


# --- Ways to store a task -----------------------------------------------------------------------


def trial(folder: Path, count: int) -> Iterator[tuple[str, str, str]]:
    """Yield a row per way to store tasks one by one, each on the disk before the next begins."""
    from melexp.results import parts
    from melexp.results.parts import append, line_of
    from melexp.results.records import write_json

    parts.FLUSH_EVERY = 0

    rng = np.random.default_rng(0)
    bodies = [body(f"{n:032x}", "clip", rng) for n in range(count)]
    base = sqlite3.connect(folder / "tasks.sqlite")
    base.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE t(id, rows)")
    base.execute("CREATE UNIQUE INDEX i ON t(id)")

    def insert(one: dict[str, Any]) -> None:
        base.execute("INSERT INTO t VALUES (?, ?)", (one["task"], json.dumps(one["rows"])))
        base.commit()

    ways: dict[str, Callable[[dict[str, Any]], Any]] = {
        "a line of a part": lambda one: append(folder / "parts", line_of(one)),
        "a row of SQLite, in a transaction": insert,
        "a file": lambda one: write_json(folder / one["task"][-2:] / f"{one['task']}.json", one),
    }
    for name, store in ways.items():
        began, cpu = time.monotonic(), time.process_time()
        for one in bodies:
            store(one)
        wall, cpu = time.monotonic() - began, time.process_time() - cpu
        yield name, f"{count / wall:,.0f}", f"{cpu / count * 1e3:.2f} ms"


# --- All steps ----------------------------------------------------------------------------------

TABLE = """
import sys; from pathlib import Path
from melexp.results.store import Store
from melexp.results.tables import update_table
update_table(Store(sys.argv[1]), "run")
"""


def bench(folder: Path, n: int) -> Iterator[tuple[str, str, str]]:
    """Yield a row per bound: what, bound, measured."""
    count = max(n // (len(RHO) * len(LAM)), 1)
    yield "tasks, rows", "", f"{count * 76:,}, {count * 76 * 16:,}"
    rate, tried, lost = writing(folder, min(WRITTEN, n))
    yield "writing, two workers", "1,000 tasks/s", rate
    yield "tasks lost at SIGKILL", "0", f"{lost} of {tried:,}"
    halves = {folder / "a": RHO[:2], folder / "b": RHO[2:]}
    for root, rho in halves.items():
        fill(root, tasks(count, rho))
        first = melexp("run", *sweep(count, rho, root))
    yield "first run in half of the tasks", "", text(first)
    merged = folder / "merged"
    yield "merge", "300 s", text(melexp("merge", merged, *halves))
    for root in halves:
        shutil.rmtree(root)
    again = sweep(count, RHO, merged)
    yield "re-run with nothing to do", "60 s", text(melexp("run", *again))
    for path in merged.glob("run.*"):
        path.unlink()
    yield "table", "60 s, 2 GB", text(code(TABLE, merged))
    yield "size of the table", "", sizes(merged.glob("run.csv"), merged.glob("run.parquet"))
    yield "summary (LaTeX)", "60 s, 2 GB", text(melexp("export", merged, "run", folder / "t.tex"))
    yield "doctor", "300 s", text(melexp("doctor", merged))
    files = [path for path in merged.rglob("*") if path.is_file()]
    yield "files", "20,000", f"{len(files)} of {sum(p.stat().st_size for p in files) / 1e6:.0f} MB"
    yield "report", "120 s", text(melexp("report", merged, "--clips", 0))
    yield "pages", "50 MB", sizes((merged / "report").rglob("*"))


def sizes(*found: Any) -> str:
    return f"{sum(p.stat().st_size for paths in found for p in paths if p.is_file()) / 1e6:.1f} MB"


def text(step: Measured) -> str:
    return f"{step.wall:.1f} s ({step.cpu:.1f} s of CPU), {step.memory / 1e9:.2f} GB"


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("n", type=int, nargs="?", default=1_000_000, help="number of tasks")
    parser.add_argument("--folder", type=Path, help="keep the folders here")
    parser.add_argument("--trial", action="store_true", help="compare ways to store a task")
    arguments = parser.parse_args()
    if arguments.trial:
        print("| a task is | tasks/s | CPU time of a task |\n| --- | ---: | ---: |")
        with tempfile.TemporaryDirectory(dir=arguments.folder) as aside:
            for row in trial(Path(aside), arguments.n):
                print(f"| {' | '.join(row)} |", flush=True)
        return
    if arguments.n < 76:
        sys.exit("bench_scale: give at least 76 tasks, one per configuration")
    with tempfile.TemporaryDirectory() as aside:
        folder = arguments.folder or Path(aside)
        private = folder / "private"
        (private / "datasets").mkdir(parents=True)
        (private / "datasets" / "scale.py").write_text(DATASET)
        (private / "conf" / "dataset").mkdir(parents=True)
        settings = {"name": "scale", "speech": True, "count": 1}
        text_of = json.dumps(settings)
        (private / "conf" / "dataset" / "scale.yaml").write_text(text_of)
        os.environ["MELEXP_PATH"] = str(private)
        print("| what | bound | measured |\n| --- | --- | --- |", flush=True)
        for row in bench(folder, arguments.n):
            print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
