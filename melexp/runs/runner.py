"""Run one configuration: invert every clip of a data set with one method, score and store it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import Any, NamedTuple

import numpy as np
from joblib import Parallel, delayed
from omegaconf import DictConfig, OmegaConf
from threadpoolctl import threadpool_limits

from melexp.datasets import Clip, ClipError, load_dataset
from melexp.errors import MissingExtra, one_line
from melexp.inversion.solve import Checkpoint, solve, warm_up
from melexp.methods import Method, Peer, make_method
from melexp.metrics import available_metrics, check_installed, score
from melexp.problem import Problem
from melexp.results.pairs import Pair, pairs
from melexp.results.provenance import provenance
from melexp.results.records import check_name, digest
from melexp.results.store import FORMAT, Store
from melexp.results.tables import check_place
from melexp.runs.events import tell
from melexp.runs.interrupts import raise_if_stopped, signals_blocked_in_children
from melexp.runs.processes import worker_processes
from melexp.start import VERSIONS
from melexp.transforms.mel import MelTransform

#: Largest length of a clip in seconds. Its inversion takes about 3 GB; a process that exhausts the
#: memory would end the others too.
LONGEST = 600


@dataclass(frozen=True)
class Task:
    """One clip, one method with its parameters, one seed."""

    clip: Clip
    method: Method[Any] | Peer
    name: str
    transform: MelTransform
    seed: int
    dtype: str
    #: Name of the experiment that alone owns the task, so that its times are those of one run.
    scope: str = ""

    @cached_property
    def id(self) -> str:
        """Hash of everything that affects the result, and of the `scope`."""
        return digest(
            {
                "format": FORMAT,
                "clip": self.clip.sha256,
                "method": self.name,
                "version": self.method.version,
                "parameters": self.method.parameters(),
                "transform": self.transform.settings(),
                "seed": self.seed,
                "dtype": self.dtype,
                "starts": self._starts(),
                "scope": self.scope,
            }
        )

    @property
    def version(self) -> str:
        """What makes the ids of tasks with one clip and one setting differ."""
        starts = [f"{name} {version}" for name, version in sorted(self._starts().items())]
        timed = ["timed"] if self.scope else []
        return ", ".join([f"v{FORMAT}.{self.method.version}", *starts, *timed])

    def _starts(self) -> dict[str, int]:
        parameters = self.method.parameters()
        chosen = [parameters.get(name) for name in ("magnitude", "phase", "prior")]
        return {name: VERSIONS[name] for name in chosen if name in VERSIONS}

    def reference(self) -> np.ndarray:
        """Return the samples of the clip at the sampling rate of the transform.

        Raises
        ------
        ClipError
            If the clip cannot be read, or is longer than `LONGEST`.
        """
        y = self.clip.load(round(self.transform.sr))
        seconds = len(y) / self.transform.sr
        if seconds > LONGEST:
            raise ClipError(
                f"{self.clip.source}: {seconds:.0f} s exceed the limit of {LONGEST} s of a run;"
                " split the file, or use melexp invert"
            )
        return y

    def observe(self, reference: np.ndarray, checkpoints: list[int]) -> Iterator[Checkpoint]:
        """Invert the mel-spectrogram of the samples and yield at the checkpoints.

        The random start depends on the clip and the seed only, so methods are compared in pairs.
        """
        mel = self.transform(reference)
        if not np.isfinite(mel).all():
            raise ClipError(f"{self.clip.source}: too loud for its mel in float32; lower its level")
        problem = Problem(mel, self.transform, length=len(reference), dtype=self.dtype)
        seed = [self.seed, int(self.clip.sha256[:16], 16)]
        return solve(self.method, problem, checkpoints=checkpoints, seed=seed)

    def compute(self, wanted: list[Pair]) -> Iterator[dict[str, Any]]:
        """Yield the rows at the wanted (iteration, metric) pairs, in one pass."""
        reference = self.reference()
        warm_up(self.method, self.transform, self.dtype)
        for point in self.observe(reference, [iteration for iteration, _ in wanted]):
            for metric in [m for iteration, m in wanted if iteration == point.iteration]:
                value, reason = score(metric, reference, point.signal, transform=self.transform)
                yield {
                    "iteration": point.iteration,
                    "metric": metric,
                    "value": value if np.isfinite(value) else None,
                    "reason": reason,
                    "seconds": round(point.seconds, 6),
                }


class Outcome(NamedTuple):
    """The outcome of a task."""

    reason: str = ""  # of a failure; empty after a success
    seconds: float = 0.0  # wall time; 0 if the result was stored already
    is_busy: bool = False  # another worker computes the task


def missing(task: Task, wanted: list[Pair], store: Store) -> tuple[list[Pair], list[Any]]:
    """Return the wanted pairs of a task that are not stored, and its stored rows."""
    done = store.load(task.id)
    rows = [] if done is None else done["rows"]
    have = {(row["iteration"], row["metric"]) for row in rows}
    return [pair for pair in wanted if pair not in have], rows


def finish(task: Task, wanted: list[Pair], store: Store, *, wait: bool = False) -> Outcome:
    """Compute and store the missing rows of a task.

    If another worker holds the task, either wait for it or return at once.
    """
    began = time.perf_counter()
    with store.claim(task.id, wait=wait) as ours:
        if not ours:
            return Outcome(is_busy=True)
        lacking, rows = missing(task, wanted, store)
        if not lacking:
            return Outcome()
        try:
            rows = rows + list(task.compute(lacking))
        except Exception as error:  # one bad clip must not end the others
            raise_if_stopped()
            reason = f"{type(error).__name__}: {one_line(error)}"
            return Outcome(reason, time.perf_counter() - began)
        rows.sort(key=lambda row: (row["iteration"], row["metric"]))
        store.save(task.id, {"task": task.id, "clip": task.clip.id, "rows": rows})
    return Outcome(seconds=time.perf_counter() - began)


def plan(config: dict[str, Any]) -> list[Task]:
    """Return the tasks of a configuration, which is resolved to plain values.

    Raises
    ------
    ValueError
        If the configuration cannot be run.
    """
    if config["limit"] is not None and config["limit"] < 1:
        raise ValueError(f"limit must be null or at least 1; got {config['limit']}")
    if config["dtype"] not in ("float32", "float64"):
        raise ValueError(f"dtype must be float32 or float64; got {config['dtype']}")
    if config["seed"] < 0:
        raise ValueError(f"seed must not be negative; got {config['seed']}")
    dataset = {k: v for k, v in config["dataset"].items() if k not in ("name", "speech")}
    parameters = {k: v for k, v in config["method"].items() if k not in ("name", "label")}
    name = config["method"]["name"]
    method = make_method(name, **parameters)
    transform = MelTransform(**config["mel"])
    clips = load_dataset(config["dataset"]["name"], **dataset)[: config["limit"]]
    scope = config["experiment"] if config["timed"] else ""
    return [
        Task(clip, method, name, transform, config["seed"], config["dtype"], scope)
        for clip in clips
    ]


def run(config: DictConfig) -> list[str]:
    """Run a configuration; skip the tasks that are stored.

    A peer or a metric whose package is missing is left out, with a line on stderr. Results that are
    stored already need no package.

    Parameters
    ----------
    config : DictConfig
        A `melexp.runs.config.RunConfig`, as Hydra composes it.

    Returns
    -------
    failures : list of str
        One line for each clip without a result, with the reason.

    Raises
    ------
    ValueError
        If the configuration cannot be run; no task is computed then.
    """
    began = time.perf_counter()
    plain: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    check_name(plain["experiment"])
    dataset_name, speech = plain["dataset"]["name"], plain["dataset"]["speech"]
    label = plain["method"]["label"]
    metrics = sorted(m for m, how in plain["metric"].items() if speech or not how["speech_only"])
    checkpoints = sorted(set(plain["checkpoints"]))
    if not metrics or not checkpoints or checkpoints[0] < 0:
        raise ValueError("give at least one metric and checkpoints of 0 or more iterations")
    tasks = plan(plain)
    name, method = tasks[0].name, tasks[0].method
    store = Store(plain["results"])
    sparse = sparse_checkpoints(plain)
    metrics = available(tasks, pairs(checkpoints, metrics, sparse), metrics, store)
    if not metrics:
        tell("job", label=label, tasks=0, stored=0)
        tell("end")
        return []
    wanted = pairs(checkpoints, metrics, sparse)

    workers = plain["workers"] or os.cpu_count() or 1
    # The identity of a job excludes the output folder and the number of workers. It is the same as
    # before there were `metric_checkpoints`, for a job without any.
    asked = {k: v for k, v in plain.items() if k not in ("results", "workers")}
    asked = {k: v for k, v in asked.items() if k != "metric_checkpoints" or sparse}
    reasons = [""] * len(tasks)
    check_place(store, plain["experiment"])
    store.begin()
    try:
        finish_all(tasks, wanted, store, workers, label=label, reasons=reasons)
    finally:  # also after a signal, so that the table gets the finished tasks
        entries = [
            {"task": task.id, "dataset": dataset_name, "clip": task.clip.id}
            | {"category": task.clip.category}
            | ({"reason": reason} if reason else {})
            for task, reason in zip(tasks, reasons, strict=True)
        ]
        store.save_job(
            plain["experiment"],
            {
                "config": asked,
                "method": {"method": name, "label": label, **method.parameters()},
                "version": tasks[0].version,
                "seed": plain["seed"],
                "dtype": plain["dtype"],
                "checkpoints": checkpoints,
                "metrics": metrics,
                **({"metric_checkpoints": sparse} if sparse else {}),
                "tasks": entries,
                "provenance": provenance()
                | {"workers": workers, "wall_seconds": round(time.perf_counter() - began, 3)}
                | {"clips": [task.clip.provenance() for task in tasks]},
            },
        )
    return [
        f"{task.clip.dataset}/{task.clip.id}: {reason}"
        for task, reason in zip(tasks, reasons, strict=True)
        if reason
    ]


def sparse_checkpoints(config: dict[str, Any]) -> dict[str, list[int]]:
    """Return `metric_checkpoints` of a configuration; older configurations have none.

    Raises
    ------
    ValueError
        If it names no metric.
    """
    sparse: dict[str, list[int]] = config.get("metric_checkpoints", {})
    known = available_metrics()
    if unknown := sorted(set(sparse) - set(known)):
        raise ValueError(
            f"metric_checkpoints names no metric: {', '.join(unknown)}; the metrics are "
            f"{', '.join(known)}"
        )
    return {metric: sorted(set(iterations)) for metric, iterations in sparse.items()}


def available(tasks: list[Task], wanted: list[Pair], metrics: list[str], store: Store) -> list[str]:
    """Return the metrics without those that cannot be computed because a package is missing.

    If the package of the method is missing, no metric is left. A metric that is stored for every
    task is kept.
    """
    lacking = {metric for task in tasks for _, metric in missing(task, wanted, store)[0]}
    method = tasks[0].method
    if lacking and isinstance(method, Peer) and left_out(method.check_installed):
        return []
    return [m for m in metrics if m not in lacking or not left_out(partial(check_installed, m))]


def left_out(check: Callable[[], None]) -> bool:
    """Return whether a check raises `MissingExtra`; print a line then."""
    try:
        check()
    except MissingExtra as error:
        _say_left_out(str(error))
        return True
    return False


@cache
def _say_left_out(reason: str) -> None:
    """Print that something is left out; once per process, not once per job."""
    print(f"left out: {reason}", file=sys.stderr)


def finish_all(
    tasks: list[Task],
    wanted: list[Pair],
    store: Store,
    workers: int,
    *,
    label: str,
    reasons: list[str],
) -> None:
    """Run `finish` for every task; put the reasons of failures into `reasons`."""
    todo = [n for n, task in enumerate(tasks) if missing(task, wanted, store)[0]]
    tell("job", label=label, tasks=len(tasks), stored=len(tasks) - len(todo))
    # First skip the tasks that another sweep computes, then wait for them.
    for wait in (False, True):
        busy = []
        chosen = {n: tasks[n] for n in todo}
        for n, outcome in _over_processes(chosen, wanted, store, workers, wait=wait):
            if outcome.is_busy:
                busy.append(n)
                continue
            reasons[n] = outcome.reason
            clip = tasks[n].clip
            name = f"{clip.dataset}/{clip.id} {label}"
            tell("task", label=label, name=name, seconds=outcome.seconds, reason=outcome.reason)
        todo = busy
    tell("end")


def _over_processes(
    tasks: dict[int, Task], wanted: list[Pair], store: Store, workers: int, *, wait: bool
) -> Iterator[tuple[int, Outcome]]:
    """Run `finish` in processes with one arithmetic thread each; yield in any order.

    A process that dies breaks the pool. The remaining tasks are then tried in a new pool, with the
    suspects last, until a pool finishes none of them.
    """
    left = dict(tasks)
    while left:
        before = len(left)
        n_jobs = min(workers, before)
        try:
            # BLAS rounds differently with more threads.
            with worker_processes(n_jobs), threadpool_limits(1):
                with signals_blocked_in_children() if n_jobs > 1 else nullcontext():
                    outcomes = Parallel(return_as="generator_unordered")(
                        delayed(_numbered)(n, task, wanted, store, wait)
                        for n, task in list(left.items())
                    )
                for n, outcome in outcomes:
                    del left[n]
                    yield n, outcome
        except BrokenProcessPool:
            raise_if_stopped()
            if len(left) == before:
                died = Outcome("its process died (killed, or out of memory)")
                yield from ((n, died) for n in left)
                return
            order = list(left)
            left = {n: left[n] for n in order[n_jobs:] + order[:n_jobs]}


def _numbered(
    n: int, task: Task, wanted: list[Pair], store: Store, wait: bool
) -> tuple[int, Outcome]:
    return n, finish(task, wanted, store, wait=wait)
