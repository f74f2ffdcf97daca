"""Launcher that computes the tasks of all jobs of a sweep on a Ray cluster.

It replaces hydra-ray-launcher, whose requirements (up to 1.2.2: cloudpickle below 3, and boto3)
conflict with current versions. That launcher also distributes jobs, and its nodes need a common
file system for the results. Here the tasks are distributed (see `melexp.runs.cluster`).
"""

# No postponed annotations: dataclasses cannot resolve them in plugins that Hydra imports.

import os
from collections.abc import Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import CompactHydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, MissingMandatoryValue, open_dict


@dataclass
class RayConfig:
    """Arguments of `ray.init` and of `ray.remote`."""

    _target_: str = "hydra_plugins.melexp_ray.RayTasks"
    init: dict[str, Any] = field(default_factory=dict)
    remote: dict[str, Any] = field(default_factory=dict)


ConfigStore.instance().store(group="hydra/launcher", name="melexp_ray", node=RayConfig)


class RayTasks(Launcher):
    """Run each task of a sweep as a Ray task; this process stores the results."""

    def __init__(self, init: DictConfig, remote: DictConfig) -> None:
        self.init, self.remote = dict(init), dict(remote)

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.hydra_context, self.config = hydra_context, config

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        from melexp.errors import one_line
        from melexp.runs.runner import prepare

        listed: dict[str, Any] = {}
        jobs = []
        for overrides in job_overrides:
            loader = self.hydra_context.config_loader
            config = deepcopy(loader.load_sweep_config(self.config, list(overrides)))
            with open_dict(config):
                del config["hydra"]
            try:
                jobs.append(prepare(config, listed))
            except (ValueError, OSError, MissingMandatoryValue) as error:
                raise CompactHydraException(f"melexp: {one_line(error)}") from error
        self._finish([job for job in jobs if job is not None])
        return [JobReturn(status=JobStatus.COMPLETED, _return_value=None) for _ in job_overrides]

    def _finish(self, jobs: list[Any]) -> None:
        import ray

        from melexp.errors import one_line
        from melexp.runs.cluster import finish_jobs
        from melexp.runs.interrupts import stop_on_signals

        if not jobs:
            return
        try:
            ray.init(**{"include_dashboard": False, "log_to_driver": False} | self.init)
        except (ConnectionError, RuntimeError, ValueError) as error:
            remedy = "check hydra.launcher.init"
            message = f"melexp: Ray does not start: {one_line(error)}; {remedy}"
            raise CompactHydraException(message) from error
        stop_on_signals()  # Ray has its own answer to SIGTERM
        _open_more_files()
        own = os.environ.get("MELEXP_PATH", "")
        task = ray.remote(**self.remote)(_compute)
        try:
            for root in dict.fromkeys(job.store.root for job in jobs):
                of_root = [job for job in jobs if job.store.root == root]
                finish_jobs(of_root, lambda sound, **what: task.remote(own, sound, **what))
        finally:
            ray.shutdown()
            for job in jobs:
                job.save()


def _open_more_files() -> None:
    """Raise the limit of open files: the claims of running tasks are two per core."""
    with suppress(ImportError, ValueError, OSError):  # Windows has no limit
        import resource

        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _compute(own: str, sound: bytes, **what: Any) -> Any:
    """Run a task in a worker."""
    if own:
        # Workers of a running cluster do not inherit the environment of the driver.
        os.environ.setdefault("MELEXP_PATH", own)
    from melexp.runs.cluster import compute

    return compute(sound=sound, **what)
