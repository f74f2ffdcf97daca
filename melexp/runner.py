"""Runs one configuration: every clip of a data set through one method, scored and stored."""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from joblib import Parallel, delayed, parallel_config
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from threadpoolctl import threadpool_limits

from melexp.datasets import Clip, ClipError, load_dataset
from melexp.mel import MelTransform
from melexp.methods import Method, make_method
from melexp.metrics import score
from melexp.problem import Problem
from melexp.provenance import provenance
from melexp.solve import solve
from melexp.store import FORMAT, Store, check_name, digest

#: Seconds of a clip at most: an inversion as a whole takes some 3 GB for these, and a process that
#: takes all memory ends the run of the others too.
LONGEST = 600


@dataclass(frozen=True)
class Task:
    """One clip, one method with its parameters, one seed."""

    clip: Clip
    method: Method[Any]
    name: str
    transform: MelTransform
    seed: int
    dtype: str

    @property
    def id(self) -> str:
        """Hash of all that decides the numbers, and of nothing else."""
        return digest(
            {
                "format": FORMAT,
                "clip": self.clip.sha256,
                "method": self.name,
                "version": self.method.version,
                "parameters": dataclasses.asdict(self.method),
                "transform": self.transform.settings(),
                "seed": self.seed,
                "dtype": self.dtype,
            }
        )


@cache
def warm_up(method: Method[Any], transform: MelTransform) -> None:
    """Invert silence once in this process, so that imports and compilation are not timed."""
    silence = transform(np.zeros(4 * transform.n_fft, dtype=np.float32))
    for _ in solve(method, Problem(silence, transform), checkpoints=[1, 2]):
        pass


def compute(task: Task, wanted: list[tuple[int, str]]) -> Iterator[dict[str, Any]]:
    """The rows of a task at the wanted (iteration, metric) pairs, in one pass.

    The start depends on the clip and the seed only, so that methods are compared in pairs.
    """
    reference = task.clip.load(round(task.transform.sr))
    seconds = len(reference) / task.transform.sr
    if seconds > LONGEST:
        raise ClipError(
            f"{task.clip.source}: {seconds:.0f} s are too long for a run (at most {LONGEST} s); "
            "cut it up, or see melexp invert"
        )
    problem = Problem(
        task.transform(reference), task.transform, length=len(reference), dtype=task.dtype
    )
    seed = [task.seed, int(task.clip.sha256[:16], 16)]
    checkpoints = [iteration for iteration, _ in wanted]
    warm_up(task.method, task.transform)
    for point in solve(task.method, problem, checkpoints=checkpoints, seed=seed):
        for metric in [m for iteration, m in wanted if iteration == point.iteration]:
            value, reason = score(metric, reference, point.signal, transform=task.transform)
            yield {
                "iteration": point.iteration,
                "metric": metric,
                "value": value if np.isfinite(value) else None,
                "reason": reason,
                "seconds": round(point.seconds, 6),
            }


def finish(task: Task, wanted: list[tuple[int, str]], store: Store) -> str:
    """Compute what the store lacks of a task and store it; the reason if that fails, else ""."""
    done = store.load(task.id)
    rows = [] if done is None else done["rows"]
    have = {(row["iteration"], row["metric"]) for row in rows}
    missing = [pair for pair in wanted if pair not in have]
    if not missing:
        return ""
    try:
        # Also where there is one worker, which is this process: BLAS rounds by its threads.
        with threadpool_limits(1):
            rows = rows + list(compute(task, missing))
    except Exception as error:  # one bad clip must not end the run of the others
        return f"{type(error).__name__}: {' '.join(str(error).split())}"
    rows.sort(key=lambda row: (row["iteration"], row["metric"]))
    store.save(task.id, {"task": task.id, "clip": task.clip.id, "rows": rows})
    return ""


def run(config: DictConfig) -> list[str]:
    """Run a configuration; finished tasks are taken from the store.

    Parameters
    ----------
    config : DictConfig
        A `melexp.config.RunConfig`, as Hydra composes it.

    Returns
    -------
    failures : list of str
        One line for each clip that has no result, with its reason.

    Raises
    ------
    ValueError
        For a configuration that cannot be run; nothing is computed then.
    """
    began = time.time()
    plain: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    dataset = dict(plain["dataset"])
    dataset_name, speech = dataset.pop("name"), dataset.pop("speech")
    parameters = dict(plain["method"])
    name, label = parameters.pop("name"), parameters.pop("label")
    method = make_method(name, **parameters)
    transform = MelTransform(**plain["mel"])
    check_name(plain["experiment"])
    metrics = sorted(m for m, how in plain["metric"].items() if speech or not how["speech_only"])
    checkpoints = sorted(set(plain["checkpoints"]))
    if not metrics or not checkpoints or checkpoints[0] < 0:
        raise ValueError("give at least one metric and checkpoints of 0 or more iterations")
    if plain["limit"] is not None and plain["limit"] < 1:
        raise ValueError(f"limit must be null or at least 1; got {plain['limit']}")
    if plain["dtype"] not in ("float32", "float64"):
        raise ValueError(f"dtype must be float32 or float64; got {plain['dtype']}")
    if plain["seed"] < 0:
        raise ValueError(f"seed must not be negative; got {plain['seed']}")
    clips = load_dataset(dataset_name, **dataset)[: plain["limit"]]
    tasks = [Task(clip, method, name, transform, plain["seed"], plain["dtype"]) for clip in clips]
    wanted = [(iteration, metric) for iteration in checkpoints for metric in metrics]

    store = Store(plain["results"])
    workers = plain["workers"] or os.cpu_count() or 1
    reasons = _in_parallel(tasks, wanted, store, workers, title=f"{label} on {dataset_name}")

    entries = [
        {"task": task.id, "dataset": dataset_name, "clip": task.clip.id}
        | {"category": task.clip.category}
        | ({"reason": reason} if reason else {})
        for task, reason in zip(tasks, reasons, strict=True)
    ]
    # Where and with how many workers it ran does not belong to what was asked.
    asked = {k: v for k, v in plain.items() if k not in ("results", "workers")}
    store.save_job(
        plain["experiment"],
        {
            "config": asked,
            "method": {"method": name, "label": label, **dataclasses.asdict(method)},
            "seed": plain["seed"],
            "dtype": plain["dtype"],
            "checkpoints": checkpoints,
            "metrics": metrics,
            "tasks": entries,
            "provenance": provenance()
            | {"workers": workers, "wall_seconds": round(time.time() - began, 3)}
            | {"clips": [clip.provenance() for clip in clips]},
        },
    )
    return [
        f"{task.clip.dataset}/{task.clip.id}: {reason}"
        for task, reason in zip(tasks, reasons, strict=True)
        if reason
    ]


def _in_parallel(
    tasks: list[Task], wanted: list[tuple[int, str]], store: Store, workers: int, *, title: str
) -> list[str]:
    """`finish` for every task, over processes; each process has one thread for its arithmetic."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(file=sys.stderr),
    )
    reasons = []
    with bar, parallel_config("loky", n_jobs=workers, inner_max_num_threads=1):
        shown = bar.add_task(title, total=len(tasks))
        for reason in Parallel(return_as="generator")(
            delayed(finish)(task, wanted, store) for task in tasks
        ):
            reasons.append(reason)
            bar.advance(shown)
    return reasons
