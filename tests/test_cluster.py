"""Sweeps on a Ray cluster of two nodes that share no folder with the driver, or with each other."""

from __future__ import annotations

import contextlib
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from test_sweeps import TOY, computed, needs, start, sweep, values, wait_for

from melexp.results.store import Store
from melexp.runs import cluster
from melexp.runs.runner import Job, plan
from melexp.runs.task import Task
from melexp.transforms.mel import MelTransform


@dataclass
class Node:
    """A node: its process, and the log of the toy method on it."""

    process: subprocess.Popen[bytes]
    log: Path


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder of MELEXP_PATH with the toy method."""
    own = tmp_path / "own"
    (own / "methods").mkdir(parents=True)
    (own / "conf" / "method").mkdir(parents=True)
    (own / "methods" / "toy.py").write_text(TOY)
    (own / "conf" / "method" / "toy.yaml").write_text("name: toy\nlabel: Toy\nweight: 1.0\n")
    return own


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """The folder of the driver, with sound files of one to six seconds."""
    sound = tmp_path / "driver" / "sound" / "a"
    sound.mkdir(parents=True)
    for k in range(6):
        noise = np.random.default_rng(k).standard_normal((k + 1) * 22050) / 10
        soundfile.write(sound / f"{k}.wav", noise, 22050)
    return tmp_path / "driver"


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextlib.contextmanager
def node(folder: Path, hidden: Path, own: Path, *more: str) -> Iterator[Node]:
    """Start a node of one core with a working folder, a home and a cache of its own.

    If it may mount (root on Linux), the folder `hidden` is empty on it.
    """
    folder.mkdir()
    ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=1"]
    ray += ["--object-store-memory=100000000", "--disable-usage-stats"]
    command = [*ray, *more]
    if shutil.which("unshare") and hasattr(os, "geteuid") and os.geteuid() == 0:
        mount = f'mount -t tmpfs none "{hidden}" && exec "$@"'
        inside = ["unshare", "--mount", "sh", "-c", mount, "sh"]
        if subprocess.run([*inside, "true"], capture_output=True, check=False).returncode == 0:
            command = [*inside, *command]
    environment = {
        "HOME": str(folder),
        "MELEXP_CACHE": str(folder / "cache"),
        "MELEXP_PATH": str(own),
        "TOY_LOG": str(folder / "log"),
        "TOY_SECONDS": "0.5",
        "PYTHONPATH": str(Path(__file__).resolve().parents[1]),
        "RAY_AUTH_MODE": "disabled",
    }
    with (folder / "said").open("wb") as said_here:
        process = subprocess.Popen(
            command, cwd=folder, env=os.environ | environment, stdout=said_here, stderr=said_here,
            start_new_session=True,
        )  # fmt: skip
    try:
        while b"Ray runtime started" not in (said := (folder / "said").read_bytes()):
            assert process.poll() is None, said.decode()
            time.sleep(0.2)
        yield Node(process, folder / "log")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.long
def test_two_nodes_without_a_common_folder(
    tmp_path: Path, here: Path, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table is that of one machine; a lost node costs its running tasks only."""
    needs("ray")
    monkeypatch.setenv("MELEXP_PATH", str(own))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("TOY_LOG", str(here / "log"))
    grid = ("-m", "method=toy", "dataset=folder", f"dataset.path={here / 'sound'}")
    grid = (*grid, "checkpoints=[1]", "metric=[scm]")
    few, all_of = "method.weight=1.0", "method.weight=1.0,2.0,3.0"
    port = free_port()
    # The driver joins the node with its own address, so the second node has another.
    address = f"{import_module('ray').util.get_node_ip_address()}:{port}"
    ray = ("launcher=ray", f"hydra.launcher.init.address={address}")
    sockets = tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp")  # their paths must be short
    head = ("--head", f"--port={port}", "--include-dashboard=false", f"--temp-dir={sockets.name}")
    worker = (f"--address={address}", "--node-ip-address=127.0.0.2")
    with (
        sockets,
        node(tmp_path / "one", here, own, *head) as one,
        node(tmp_path / "two", here, own, *worker) as two,
    ):
        sweep(here / "r", *grid, *ray, few)
        logs = computed(one.log), computed(two.log)
        assert all(logs)
        assert (logs[0] + logs[1]).total() == 6
        assert not (here / "log").exists()
        process = start(here / "r", *grid, *ray, all_of)
        before = len(two.log.read_text().splitlines())
        wait_for(two.log, before + 2, process)
        os.killpg(two.process.pid, signal.SIGKILL)
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said
        both = computed(one.log) + computed(two.log)
        assert len(both) == 18
        assert both.total() <= 18 + 2  # one that ran, and one that had ended but was not sent
    assert not list(here.rglob("*.lock"))
    assert not list(tmp_path.glob("[ot]*/**/*.jsonl"))  # nothing is stored on a node
    sweep(tmp_path / "alone", *grid, all_of, "workers=1")
    pd.testing.assert_frame_equal(values(here / "r"), values(tmp_path / "alone"))


@pytest.fixture
def jobs(here: Path, tmp_path: Path) -> list[Job]:
    """Two jobs of the same clips, with 10 and 2 iterations, and one that shares a task."""
    config = {
        "dataset": {"name": "folder", "speech": False, "path": str(here / "sound")},
        "method": {"name": "gla", "label": "GLA"},
        "mel": MelTransform.preset("paper").settings(),
        "experiment": "run",
        "limit": None,
        "seed": 0,
        "dtype": "float32",
        "timed": False,
    }
    store = Store(tmp_path / "r")
    made = []
    for iterations, seed in ((10, 0), (2, 1), (4, 0)):
        tasks = plan(config | {"seed": seed})
        wanted = [(iterations, "scm")]
        made.append(Job(config, tasks, wanted, ["scm"], store, [""] * len(tasks), 0.0))
    return made


def test_long_tasks_come_first_and_shared_ones_once(jobs: list[Job]) -> None:
    pieces = cluster._pieces(jobs)
    assert [round(piece.cost) for piece in pieces] == [60, 50, 40, 30, 20, 12, 10, 10, 8, 6, 4, 2]
    shared = [piece for piece in pieces if len(piece.of) == 2]
    assert len(shared) == 6
    assert all(piece.lacking == [(4, "scm"), (10, "scm")] for piece in shared)


def test_a_node_with_another_version_is_refused(
    jobs: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    task: Task = jobs[0].tasks[0]
    task = replace(task, clip=replace(task.clip, locate=Path))
    versions = cluster._versions() | {"numpy": "0.1"}
    sent = pickle.dumps((task, [(1, "scm")], versions))
    done = cluster.compute(sent, b"", ".wav", "there/0.wav")
    assert not done.rows
    assert "numpy" in done.reason
    assert "and the driver 0.1" in done.reason
    sent = pickle.dumps((task, [(1, "scm")], cluster._versions()))
    done = cluster.compute(sent, b"RIFF", ".wav", "there/0.wav")
    assert done.reason.startswith("ClipError: there/0.wav: ")


def test_unreadable_files_are_told_apart(jobs: list[Job], here: Path) -> None:
    """Two files without a hash are not taken for one file."""
    job = jobs[0]
    job.tasks[:] = [replace(t, clip=replace(t.clip, sha256="")) for t in job.tasks]
    pieces = cluster._pieces([job])
    assert len(pieces) == 6
    for k in range(6):
        assert sum(f"/{k}.wav: the SHA-256 is" in piece.reason for piece in pieces) == 1
