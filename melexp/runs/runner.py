"""Run one configuration: invert every clip of a data set with one method, score and store it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from typing import Any, NamedTuple

from joblib import Parallel, delayed
from omegaconf import DictConfig, OmegaConf
from threadpoolctl import threadpool_limits

from melexp.datasets import Clip, limited, load_dataset
from melexp.errors import MissingExtra, one_line
from melexp.methods import Peer, make_method
from melexp.metrics import available_metrics, check_installed
from melexp.results.index import Stamp
from melexp.results.pairs import Pair, pairs
from melexp.results.parts import flush
from melexp.results.provenance import provenance
from melexp.results.records import canonical, check_job, check_name
from melexp.results.store import Store
from melexp.results.tables import check_place
from melexp.runs.events import tell
from melexp.runs.imperfect import check_imperfection
from melexp.runs.interrupts import raise_if_stopped, signals_blocked_in_children
from melexp.runs.processes import worker_processes
from melexp.runs.task import Task
from melexp.transforms.mel import MelTransform

#: Why a task has no values whose process has ended.
DIED = "its process died (killed, or out of memory)"


class Outcome(NamedTuple):
    """The outcome of a task."""

    reason: str = ""  # of a failure; empty after a success
    seconds: float = 0.0  # wall time; 0 if the result was stored already
    is_busy: bool = False  # another worker computes the task


def finish(
    task: Task,
    lacking: list[Pair],
    store: Store,
    *,
    since: Mapping[str, Stamp],
    wait: bool = False,
) -> Outcome:
    """Compute and store the lacking values of a task.

    If another worker holds the task, either wait for it or return at once.

    Parameters
    ----------
    task : Task
    lacking : list of Pair
        What the index had not, when its parts had the stamps `since`.
    store : Store
    since : mapping
        As of `Store.since`.
    wait : bool
    """
    began = time.perf_counter()
    with store.claim(task.id, wait=wait) as ours:
        if not ours:
            return Outcome(is_busy=True)
        have = store.since(since).pairs(task.id)
        lacking = [pair for pair in lacking if pair not in have]
        if not lacking:
            return Outcome()
        try:
            rows = list(task.compute(lacking))
        except Exception as error:  # one bad clip must not end the others
            raise_if_stopped()
            reason = f"{type(error).__name__}: {one_line(error)}"
            return Outcome(reason, time.perf_counter() - began)
        rows.sort(key=lambda row: (row["iteration"], row["metric"]))
        store.save({"task": task.id, "clip": task.clip.id, "rows": rows})
    return Outcome(seconds=time.perf_counter() - began)


def plan(config: dict[str, Any], listed: dict[str, list[Clip]] | None = None) -> list[Task]:
    """Return the tasks of a configuration, which is resolved to plain values.

    Parameters
    ----------
    config : dict
    listed : dict or None
        Data sets that were listed before; this one is added.

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
    listed, key = {} if listed is None else listed, canonical(config["dataset"])
    if key not in listed:
        listed[key] = load_dataset(config["dataset"]["name"], **dataset)
    clips = limited(listed[key], config["limit"], spread=config.get("spread", False))
    scope = config["experiment"] if config["timed"] else ""
    imperfection = config.get("imperfection") or ""
    shared = (method, name, transform, config["seed"], config["dtype"], scope, imperfection)
    setting = Task(clips[0], *shared).setting()
    return [Task(clip, *shared, setting) for clip in clips]


@dataclass
class Job:
    """A configuration that is ready to run.

    Attributes
    ----------
    config : dict
        Plain values.
    tasks : list of Task
    wanted : list of Pair
        What each task needs.
    metrics : list of str
    store : Store
    reasons : list of str
        Why a task failed; empty after a success.
    """

    config: dict[str, Any]
    tasks: list[Task]
    wanted: list[Pair]
    metrics: list[str]
    store: Store
    reasons: list[str]
    began: float

    @property
    def label(self) -> str:
        return str(self.config["method"]["label"])

    @property
    def workers(self) -> int:
        """Number of processes on this machine."""
        return self.config["workers"] or os.cpu_count() or 1

    def save(self) -> None:
        """Write the note of the job, after the tasks of this machine are on the disk."""
        flush(self.store.root / "tasks")
        seconds = round(time.perf_counter() - self.began, 3)
        body = self.note()
        body["provenance"] |= {"wall_seconds": seconds}
        self.store.save_job(self.config["experiment"], body)

    def note(self) -> dict[str, Any]:
        """Return the note as of now."""
        # The identity of a job excludes the output folder and the number of workers. It is the same
        # as before there were `metric_checkpoints`, `spread`, `imperfection` and priors, for a job
        # without any.
        plain, first = self.config, self.tasks[0]
        sparse = sparse_checkpoints(plain)
        asked = {k: v for k, v in plain.items() if k not in ("results", "workers")}
        asked = {k: v for k, v in asked.items() if k != "metric_checkpoints" or sparse}
        asked = {k: v for k, v in asked.items() if k not in ("spread", "imperfection") or v}
        asked["method"] = stored_method(plain["method"])
        imperfection = {"imperfection": first.imperfection} if first.imperfection else {}
        facts = {"method": first.name, "label": self.label, **first.method.parameters()}
        clips = tuple(task.clip for task in self.tasks)
        return {
            "config": asked,
            "method": facts | imperfection,
            "version": first.version,
            "seed": plain["seed"],
            "dtype": plain["dtype"],
            "checkpoints": sorted(set(plain["checkpoints"])),
            "metrics": self.metrics,
            **({"metric_checkpoints": sparse} if sparse else {}),
            "clips": credits_of(clips, plain["dataset"]["name"]),
            "tasks": [task.id for task in self.tasks],
            "reasons": {str(n): reason for n, reason in enumerate(self.reasons) if reason},
            "provenance": provenance() | {"workers": self.workers},
        }

    def tell_done(self, n: int, outcome: Outcome) -> None:
        """Record the outcome of a task; show it in the progress display."""
        self.reasons[n] = outcome.reason
        clip = self.tasks[n].clip
        name = f"{clip.dataset}/{clip.id} {self.label}"
        seconds, reason = outcome.seconds, outcome.reason
        tell("task", label=self.label, name=name, seconds=seconds, reason=reason)


def prepare(config: DictConfig, listed: dict[str, list[Clip]] | None = None) -> Job | None:
    """Return the job of a configuration, or None if nothing of it can be computed.

    A peer or a metric whose package is missing is left out, with a line on stderr. Results that are
    stored already need no package.

    Parameters
    ----------
    config : DictConfig
        A `melexp.runs.config.RunConfig`, as Hydra composes it.
    listed : dict or None
        As of `plan`.

    Raises
    ------
    ValueError
        If the configuration cannot be run.
    """
    began = time.perf_counter()
    plain: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    check_name(plain["experiment"])
    speech = plain["dataset"]["speech"]
    metrics = sorted(m for m, how in plain["metric"].items() if speech or not how["speech_only"])
    checkpoints = sorted(set(plain["checkpoints"]))
    if not metrics or not checkpoints or checkpoints[0] < 0:
        raise ValueError("give at least one metric and checkpoints of 0 or more iterations")
    tasks = plan(plain, listed)
    store = Store(plain["results"])
    sparse = sparse_checkpoints(plain)
    metrics = available(tasks, pairs(checkpoints, metrics, sparse), metrics, store)
    if not metrics:
        tell("job", label=plain["method"]["label"], tasks=0, stored=0)
        tell("end")
        return None
    wanted = pairs(checkpoints, metrics, sparse)
    check_place(store, plain["experiment"])
    job = Job(plain, tasks, wanted, metrics, store, [""] * len(tasks), began)
    check_job(job.note())
    store.begin()
    return job


def run(config: DictConfig, listed: dict[str, list[Clip]] | None = None) -> list[str]:
    """Run a configuration; skip the tasks that are stored.

    Parameters
    ----------
    config : DictConfig
    listed : dict or None
        As of `prepare`.

    Returns
    -------
    failures : list of str
        One line for each clip without a result, with the reason.

    Raises
    ------
    ValueError
        If the configuration cannot be run; no task is computed then.
    """
    job = prepare(config, listed)
    if job is None:
        return []
    try:
        finish_all(job)
    finally:  # also after a signal, so that the table gets the finished tasks
        job.save()
    return [
        f"{task.clip.dataset}/{task.clip.id}: {reason}"
        for task, reason in zip(job.tasks, job.reasons, strict=True)
        if reason
    ]


def stored_method(method: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration of a method as notes of jobs hold it: without an unused prior."""
    unused = method.get("prior") is None
    return {k: v for k, v in method.items() if not (unused and k.startswith("prior"))}


@lru_cache(maxsize=4)
def credits_of(clips: tuple[Clip, ...], dataset: str) -> list[dict[str, str]]:
    """Return the facts of clips for a note; the jobs of a sweep share the list."""
    return [clip.provenance() | {"dataset": dataset} for clip in clips]


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
    todo = store.index().lacking([task.id for task in tasks], wanted)
    lacking = {metric for pairs in todo.values() for _, metric in pairs}
    method = tasks[0].method
    if lacking and isinstance(method, Peer) and left_out(method.check_installed):
        return []
    if lacking and left_out(partial(check_imperfection, tasks[0].imperfection)):
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


def finish_all(job: Job) -> None:
    """Run `finish` for every task of a job; keep the reasons of failures."""
    tasks, store, index = job.tasks, job.store, job.store.index()
    since, lacking = dict(index.stamps), index.lacking([task.id for task in tasks], job.wanted)
    todo = list(lacking)
    tell("job", label=job.label, tasks=len(tasks), stored=len(tasks) - len(todo))
    # First skip the tasks that another sweep computes, then wait for them.
    for wait in (False, True):
        busy = []
        chosen = {n: (tasks[n], lacking[n]) for n in todo}
        work = partial(finish, store=store, since=since, wait=wait)
        for n, outcome in _over_processes(chosen, work, job.workers):
            if outcome.is_busy:
                busy.append(n)
            else:
                job.tell_done(n, outcome)
        todo = busy
    tell("end")


def _over_processes(
    tasks: dict[int, tuple[Task, list[Pair]]], work: Callable[..., Outcome], workers: int
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
                        delayed(_numbered)(n, work, *task) for n, task in list(left.items())
                    )
                for n, outcome in outcomes:
                    del left[n]
                    yield n, outcome
        except BrokenProcessPool:
            raise_if_stopped()
            if len(left) == before:
                yield from ((n, Outcome(DIED)) for n in left)
                return
            order = list(left)
            left = {n: left[n] for n in order[n_jobs:] + order[:n_jobs]}


def _numbered(
    n: int, work: Callable[..., Outcome], task: Task, lacking: list[Pair]
) -> tuple[int, Outcome]:
    return n, work(task, lacking)
