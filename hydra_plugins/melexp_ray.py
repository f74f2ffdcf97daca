"""Launcher that runs Hydra jobs as tasks of a Ray cluster.

It replaces hydra-ray-launcher, whose requirements (up to 1.2.2: cloudpickle below 3, and boto3)
conflict with current versions. In addition, Ray re-runs a job if its worker dies. The store keeps
the finished tasks of that job.
"""

# No postponed annotations: dataclasses cannot resolve them in plugins that Hydra imports.

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict


@dataclass
class RayConfig:
    """Arguments of `ray.init` and of `ray.remote`."""

    _target_: str = "hydra_plugins.melexp_ray.RayTasks"
    init: dict[str, Any] = field(default_factory=dict)
    remote: dict[str, Any] = field(default_factory=dict)


ConfigStore.instance().store(group="hydra/launcher", name="melexp_ray", node=RayConfig)


class RayTasks(Launcher):
    """Run each job of a sweep as a Ray task."""

    def __init__(self, init: DictConfig, remote: DictConfig) -> None:
        self.init, self.remote = dict(init), dict(remote)

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        import ray

        if not ray.is_initialized():
            ray.init(**{"include_dashboard": False, "log_to_driver": False} | self.init)
        # Workers of a running cluster do not inherit the environment of this process.
        names = [k for k in os.environ if k.startswith(("MELEXP_", "PYTHONPATH"))]
        environment = {name: os.environ[name] for name in names}
        task = ray.remote(**self.remote)(_run)
        runs = []
        for place, overrides in enumerate(job_overrides):
            config = self.hydra_context.config_loader.load_sweep_config(
                self.config, list(overrides)
            )
            with open_dict(config):
                config.hydra.job.num = initial_job_idx + place
                config.hydra.job.id = str(initial_job_idx + place)
            runs.append(
                task.remote(
                    self.hydra_context, config, self.task_function, Singleton.get_state(),
                    os.getcwd(), environment,
                )
            )  # fmt: skip
        try:
            returns: list[JobReturn] = ray.get(runs)
        finally:
            ray.shutdown()
        return returns


def _run(
    hydra_context: HydraContext,
    config: DictConfig,
    task_function: TaskFunction,
    singletons: dict[Any, Any],
    folder: str,
    environment: dict[str, str],
) -> JobReturn:
    """Run a job in a worker."""
    os.chdir(folder)
    os.environ.update(environment)
    Singleton.set_state(singletons)
    setup_globals()
    return run_job(
        hydra_context=hydra_context,
        task_function=task_function,
        config=config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )
