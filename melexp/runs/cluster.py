"""Finish the tasks of many jobs on a Ray cluster whose nodes need no file system in common.

The driver is the process that called ``melexp run``. It alone reads the sound and writes the
results. A task goes to a node together with the bytes of its sound file, through the object store
of Ray; its values come back, and the driver stores them. The longest tasks begin first, of all jobs
at once, so that all nodes end at nearly the same time. Ray computes the tasks of a lost node again.
"""

from __future__ import annotations

import pickle
import platform
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import soundfile
from threadpoolctl import threadpool_limits

from melexp.datasets import Clip
from melexp.errors import one_line
from melexp.results.index import Stamp
from melexp.results.pairs import Pair
from melexp.results.provenance import PACKAGES, provenance
from melexp.results.store import Store
from melexp.runs.events import tell
from melexp.runs.runner import DIED, Job, Outcome
from melexp.runs.task import Task

#: Tasks at a time per core of the cluster: one that runs, and one that waits on its node.
AHEAD = 2

Rows = list[dict[str, Any]]


class Computed(NamedTuple):
    """What a node sends back: the values of a task, or the reason why there are none."""

    rows: Rows
    reason: str
    seconds: float


@dataclass
class Piece:
    """A task of one or several jobs, with all that these lack."""

    task: Task
    lacking: list[Pair]
    of: list[tuple[Job, int]] = field(default_factory=list)
    cost: float = 0.0  # seconds of sound times iterations
    path: Path = Path()
    reason: str = ""  # why it cannot be computed

    def end(self, outcome: Outcome) -> None:
        for job, n in self.of:
            job.tell_done(n, outcome)


# --- The driver -------------------------------------------------------------------------------


def finish_jobs(jobs: Sequence[Job], send: Callable[..., Any]) -> None:
    """Compute and store what the jobs lack; keep the reasons of failures.

    Parameters
    ----------
    jobs : sequence of Job
        With one folder of results.
    send : callable
        Starts `compute` on a node with the arguments `task`, `sound`, `suffix` and `source`;
        returns the reference of Ray.
    """
    store = jobs[0].store
    since = dict(store.index().stamps)
    pieces = _pieces(jobs)
    # First skip the tasks that another run computes, then wait for them.
    for wait in (False, True):
        pieces = _finish(pieces, store, since, send, wait=wait)
    for _ in jobs:
        tell("end")


def _pieces(jobs: Sequence[Job]) -> list[Piece]:
    """Return what the jobs lack, the longest first, and tasks of one clip together."""
    pieces: dict[tuple[str, Clip], Piece] = {}  # files that are not readable have no hash
    index = jobs[0].store.index()
    for job in jobs:
        lacking = index.lacking([task.id for task in job.tasks], job.wanted)
        tell("job", label=job.label, tasks=len(job.tasks), stored=len(job.tasks) - len(lacking))
        for n, pairs in lacking.items():
            task = job.tasks[n]
            piece = pieces.setdefault((task.id, task.clip), Piece(task, []))
            piece.lacking = sorted({*piece.lacking, *pairs})
            piece.of.append((job, n))
    places: dict[Clip, tuple[Path, float, str]] = {}
    for piece in pieces.values():
        clip = piece.task.clip
        if clip not in places:
            places[clip] = _place(clip)
        piece.path, seconds, piece.reason = places[clip]
        piece.cost = seconds * max(iteration for iteration, _ in piece.lacking)
    return sorted(pieces.values(), key=lambda piece: (-piece.cost, piece.task.clip.sha256))


def _place(clip: Clip) -> tuple[Path, float, str]:
    """Return the file of a clip, its length in seconds, and the reason why there is none."""
    try:
        path = clip.locate()
        if not clip.sha256:  # it was not readable when it was listed
            clip.load(8000)
    except Exception as error:  # a failed download must not end the others
        return Path(), 0.0, f"{type(error).__name__}: {one_line(error)}"
    with suppress(Exception):
        about = soundfile.info(str(path))
        return path, about.frames / about.samplerate, ""
    return path, 0.0, ""  # the node says what is wrong with it


def _finish(
    pieces: Iterable[Piece], store: Store, since: dict[str, Stamp], send: Any, *, wait: bool
) -> list[Piece]:
    """Compute pieces; return those that another run computes."""
    import ray

    todo, busy = deque(pieces), []
    flying: dict[Any, tuple[Piece, ExitStack]] = {}
    sound = _Sound()
    try:
        while todo or flying:
            room = AHEAD * _cores() - len(flying)
            for piece in [todo.popleft() for _ in range(min(room, len(todo)))]:
                with ExitStack() as claim:
                    if not claim.enter_context(store.claim(piece.task.id, wait=wait)):
                        busy.append(piece)
                        continue
                    have = store.since(since).pairs(piece.task.id)
                    piece.lacking = [pair for pair in piece.lacking if pair not in have]
                    content = sound.of(piece) if piece.lacking else None
                    if content is None:
                        piece.end(Outcome(piece.reason if piece.lacking else ""))
                        continue
                    bare = replace(piece.task, clip=replace(piece.task.clip, locate=Path))
                    task = pickle.dumps((bare, piece.lacking, _versions()))
                    path = piece.path
                    reference = send(task=task, sound=content, suffix=path.suffix, source=str(path))
                    flying[reference] = piece, claim.pop_all()
            if not flying:
                continue
            done, _ = ray.wait(list(flying), timeout=1)  # a signal is noticed in between
            if done:
                done, _ = ray.wait(list(flying), num_returns=len(flying), timeout=0)
            _store(store, [(*flying.pop(reference), _value(reference)) for reference in done])
    finally:
        for _, claim in flying.values():
            claim.close()
    return busy


def _cores() -> int:
    """Return the number of cores of the cluster as of now: nodes come and go."""
    import ray

    nodes: Any = ray.nodes()  # type: ignore[no-untyped-call]
    return max(int(sum(node["Resources"].get("CPU", 0) for node in nodes if node["Alive"])), 1)


class _Sound:
    """The sound file that was sent last; the tasks of a clip follow each other."""

    def __init__(self) -> None:
        self.path = Path()
        self.reference: Any = None

    def of(self, piece: Piece) -> Any:
        """Return the reference of the bytes, or None and set the reason of the piece."""
        import ray

        if not piece.reason and piece.path != self.path:
            try:
                self.reference, self.path = ray.put(piece.path.read_bytes()), piece.path
            except OSError as error:
                piece.reason = f"ClipError: {piece.path}: {error.strerror}; restore the file"
        return None if piece.reason else self.reference


def _value(reference: Any) -> Computed:
    import ray

    try:
        value: Computed = ray.get(reference)
        return value
    except ray.exceptions.RayTaskError as error:  # the node lacks melexp, or a method
        cause = error.cause or error
        return Computed([], f"{type(cause).__name__}: {one_line(cause)}", 0.0)
    except ray.exceptions.RayError:
        return Computed([], DIED, 0.0)


def _store(store: Store, ended: list[tuple[Piece, ExitStack, Computed]]) -> None:
    """Store what has come back, with one flush; release the claims."""
    bodies = [
        {"task": piece.task.id, "clip": piece.task.clip.id, "rows": value.rows}
        for piece, _, value in ended
        if value.rows and not value.reason
    ]
    if bodies:
        store.save(*bodies)
    for piece, claim, value in ended:
        claim.close()
        piece.end(Outcome(value.reason, value.seconds))


# --- A node -----------------------------------------------------------------------------------


def compute(task: bytes, sound: bytes, suffix: str, source: str) -> Computed:
    """Compute the values of a task on a node.

    Parameters
    ----------
    task : bytes
        The task, what it lacks, and the versions of the driver, pickled.
    sound : bytes
        The sound file of its clip.
    suffix, source : str
        Its suffix, and its path on the driver, for messages.
    """
    began = time.perf_counter()
    try:
        one, lacking, versions = pickle.loads(task)
        _check_versions(versions)
        with tempfile.TemporaryDirectory(prefix="melexp-") as folder, threadpool_limits(1):
            path = Path(folder) / f"clip{suffix}"
            path.write_bytes(sound)
            here = replace(one, clip=replace(one.clip, locate=path.absolute))
            rows = list(here.compute(lacking))
    except Exception as error:  # one bad clip must not end the others
        reason = f"{type(error).__name__}: {one_line(error)}"
        with suppress(NameError):
            reason = reason.replace(str(path), source)
        return Computed([], reason, time.perf_counter() - began)
    rows.sort(key=lambda row: (row["iteration"], row["metric"]))
    return Computed(rows, "", time.perf_counter() - began)


def _versions() -> dict[str, Any]:
    """Return the versions that the notes of a run record for all of its tasks."""
    here = provenance()
    return {"melexp": here["melexp"], "commit": here["commit"]} | {
        name: here["packages"][name] for name in PACKAGES
    }


def _check_versions(driver: dict[str, Any]) -> None:
    """Compare the versions of this node with those of the driver.

    Raises
    ------
    ValueError
        If one differs. An installed package has no commit, and is not compared then.
    """
    here = _versions()
    for name, version in driver.items():
        if name == "commit" and None in (version, here[name]):
            continue
        if here[name] != version:
            raise ValueError(
                f"the node {platform.node()} has {name} {here[name]}, and the driver {version}; "
                "install the same on every node"
            )
