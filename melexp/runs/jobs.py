"""The jobs of a sweep in this process, without a composition of each."""

from __future__ import annotations

import copy
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from melexp.discovery import conf_dir


def jobs_of(config: DictConfig) -> list[list[str]] | None:
    """Return the overrides of each job that Hydra will run; None if only its sweeper knows.

    Parameters
    ----------
    config : DictConfig
        A composed configuration with its node ``hydra``.
    """
    overrides = list(config.hydra.overrides.task)
    if not str(config.hydra.mode).endswith("MULTIRUN"):
        return [overrides]
    sweeper: Any = OmegaConf.to_container(config.hydra.sweeper, resolve=True)
    if not sweeper["_target_"].endswith("BasicSweeper"):
        return None
    arguments = [f"{key}={value}" for key, value in (sweeper["params"] or {}).items()]
    loader = GlobalHydra.instance().config_loader()  # finds what glob(*) names
    parsed = OverridesParser.create(loader).parse_overrides([*arguments, *overrides])
    (jobs,) = BasicSweeper.split_arguments(parsed, None)
    return [list(job) for job in jobs]


def compose_jobs(overrides: list[str], *, multirun: bool = False) -> list[DictConfig] | None:
    """Return the configurations of the jobs that a call of ``melexp run`` runs in turn.

    Jobs that choose the same files of ``conf/`` share a composition, which is the slow part. The
    other overrides, values of keys, are set in copies of it.

    Parameters
    ----------
    overrides : list of str
        Arguments of ``melexp run``.
    multirun : bool
        Whether the overrides are a sweep: the option ``-m``.

    Returns
    -------
    jobs : list of DictConfig or None
        None if Hydra is asked for more than to run them in turn: another sweeper or launcher,
        folders, logs, variables of the environment or callbacks.
    """
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        config = hydra.compose_config(
            "config",
            [*overrides, "hydra.mode=MULTIRUN"] if multirun else overrides,
            run_mode=RunMode.MULTIRUN,
            validate_sweep_overrides=False,
        )
        ConfigLoaderImpl.validate_sweep_overrides_legal(
            OverridesParser.create().parse_overrides(overrides),
            run_mode=config.hydra.mode or RunMode.RUN,
            from_shell=True,
        )
        jobs = jobs_of(config)
        if jobs is None or not _only_runs(config.hydra):
            return None
        groups = set(GlobalHydra.instance().config_loader().list_groups(""))
        composed: dict[tuple[str, ...], DictConfig] = {}
        made = []
        for job in jobs:
            parsed = OverridesParser.create().parse_overrides(job)
            values = [o for o in parsed if _is_value(o, groups)]
            files = tuple(o.input_line or "" for o in parsed if not _is_value(o, groups))
            if files not in composed:
                composed[files] = compose("config", list(files))
            one = copy.deepcopy(composed[files])
            try:
                for value in values:
                    OmegaConf.update(one, value.key_or_group, value.value(), merge=True)
            except OmegaConfBaseException:
                compose("config", job)  # raises the error of Hydra, which says more
                raise
            made.append(one)
    return made


def _only_runs(settings: DictConfig) -> bool:
    """Return whether the node ``hydra`` asks for nothing but to run the jobs in turn."""
    choices = settings.runtime.choices
    return (
        settings.launcher._target_.endswith("BasicLauncher")
        and settings.output_subdir is None
        and not (settings.job.chdir or settings.job.env_set or settings.verbose)
        and set(settings.callbacks) <= {"begin"}
        and {choices["hydra/job_logging"], choices["hydra/hydra_logging"]} == {"none"}
    )


def _is_value(override: Override, groups: set[str]) -> bool:
    """Return whether an override only sets a key that exists."""
    plain = not (override.is_add() or override.is_force_add() or override.is_delete())
    return plain and override.key_or_group.split("/")[0] not in groups
