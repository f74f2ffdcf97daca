"""Run ``melexp`` many times without its imports, also with faults in what it writes.

A process that has imported everything is forked for each run: see `Forge` and `melexp`. Each run is
the real command from its `main` on, so what it leaves when it is killed is what the command leaves.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass
class Ended:
    """What a run came to: its exit code (below 0: minus the signal) and what it said."""

    status: int
    said: str


class Forge:
    """The process that is forked; a context.

    A fault is a dict: ``write`` is the number of the write, from 1, or 0 for all of them;
    ``point`` is a point of it (see `at_each_write`); ``signal`` is sent to the process itself, or
    ``errno`` is raised as an OSError.
    """

    def __enter__(self) -> Forge:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def start(self, *arguments: object, log: Path, **more: Any) -> int:
        """Start ``melexp`` with these arguments; return its process.

        `log` receives its output and messages. Keywords: ``fault`` as above; ``errors``, a file for
        its messages alone; ``input``, a file that it reads; ``cwd``; ``env``, all of its variables.
        """
        files = {key: str(value) for key, value in more.items() if isinstance(value, Path)}
        return self._ask({"argv": [str(a) for a in arguments], "log": str(log), **more, **files})

    def wait(self, pid: int, log: Path) -> Ended:
        """Wait for its end."""
        return Ended(self._ask({"wait": pid}), log.read_text(errors="replace"))

    def run(self, *arguments: object, log: Path, **more: Any) -> Ended:
        """Start it and wait."""
        return self.wait(self.start(*arguments, log=log, **more), log)

    def _ask(self, request: dict[str, Any]) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


@cache
def shared_forge() -> Forge:
    """Return the forge of this process."""
    forge = Forge().__enter__()
    atexit.register(forge.__exit__)
    return forge


def melexp(
    *arguments: object, cwd: Path = ROOT, input: bytes = b"", **environment: str
) -> subprocess.CompletedProcess[bytes]:
    """Run the command without its imports; return what `subprocess.run` does.

    `environment` is added to that of this process. MELEXP_PATH is not read: it acts on import.
    """
    with TemporaryDirectory() as folder:
        given, out, errors = (Path(folder) / name for name in ("in", "out", "errors"))
        given.write_bytes(input)
        env = os.environ | environment
        ended = shared_forge().start(
            *arguments, log=out, errors=errors, input=given, cwd=cwd, env=dict(env)
        )
        status = shared_forge().wait(ended, out).status
        return subprocess.CompletedProcess(
            ["melexp", *arguments], status, out.read_bytes(), errors.read_bytes()
        )


def melexp_text(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command as `melexp` does, with its output as text."""
    done = melexp(*arguments, **options)
    out, errors = done.stdout.decode(), done.stderr.decode()
    return subprocess.CompletedProcess(done.args, done.returncode, out, errors)


def at_each_write(fault: Callable[[str, Path], None]) -> None:
    """Call `fault` with a point and a path at four points of each write of this process.

    The points are ``before`` the write, ``during`` it (half of the content is in the file),
    ``synced`` (the new file is complete but not yet renamed; the line of a task is complete), and
    ``after`` it.
    """
    from melexp.files import atomic
    from melexp.results import parts

    write, sync, replace, append = atomic._write, os.fsync, os.replace, parts._append
    paths: list[Path] = []
    appended: list[int] = []

    def faulty_write(path: Path, content: bytes) -> None:
        fault("before", path)
        paths.append(path)
        try:
            write(path, content)
        finally:
            paths.pop()
        fault("after", path)

    def faulty_append(folder: Path, content: bytes) -> None:
        fault("before", folder)
        paths.append(folder)
        appended.append(len(content))
        try:
            append(folder, content)
        finally:
            paths.pop()
            appended.clear()
        fault("after", folder)

    def faulty_sync(handle: int) -> None:
        status = os.fstat(handle)
        if paths and stat.S_ISREG(status.st_mode):
            half = status.st_size // 2
            if appended:
                half = status.st_size - appended[-1] // 2
            rest = os.pread(handle, status.st_size, half)
            os.ftruncate(handle, half)
            fault("during", paths[-1])
            os.pwrite(handle, rest, half)
        sync(handle)
        if appended and stat.S_ISREG(status.st_mode):
            fault("synced", paths[-1])

    def faulty_replace(source: str, target: str) -> None:
        if paths:
            fault("synced", paths[-1])
        replace(source, target)

    atomic._write, os.fsync, os.replace = faulty_write, faulty_sync, faulty_replace
    parts._append, parts.FLUSH_EVERY = faulty_append, 0


def set_fault(spec: dict[str, Any]) -> None:
    """Inject one fault into the writes of this process; see `Forge`."""
    writes = 0

    def fault(point: str, path: Path) -> None:
        nonlocal writes
        writes += point == "before"
        if spec["write"] not in (0, writes) or point != spec["point"]:
            return
        if "errno" in spec:
            raise OSError(spec["errno"], os.strerror(spec["errno"]))
        os.kill(os.getpid(), spec["signal"])

    at_each_write(fault)


def serve() -> None:
    """Fork for each request of the standard input; in the child, return when it has its turn."""
    from melexp.methods import make_method
    from melexp.runs.interrupts import stop_on_signals
    from melexp.runs.task import warm_up
    from melexp.transforms.mel import MelTransform

    for method in ("admm", "gla"):
        warm_up(make_method(method), MelTransform.preset("paper"))
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            status = os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])
            print(status, flush=True)
        elif pid := os.fork():
            print(pid, flush=True)
        else:
            os.setsid()
            log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            errors = (
                os.open(request["errors"], os.O_WRONLY | os.O_CREAT) if "errors" in request else log
            )
            os.dup2(os.open(request.get("input", os.devnull), os.O_RDONLY), 0)
            os.dup2(log, 1)
            os.dup2(errors if "errors" in request else log, 2)
            sys.argv = ["melexp", *request["argv"]]
            os.chdir(request.get("cwd", "."))
            if "env" in request:
                os.environ.clear()
                os.environ.update(request["env"])
            if request.get("fault"):
                set_fault(request["fault"])
            stop_on_signals()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            return
    os._exit(0)


if __name__ == "__main__":
    from melexp.runs.interrupts import Stopped

    try:
        serve()
        from melexp.__main__ import main

        main()
    except Stopped as stopped:  # before `main` has begun; it says the same
        print("melexp: stopped", file=sys.stderr)
        sys.exit(stopped.status)
