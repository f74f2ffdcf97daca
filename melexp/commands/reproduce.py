"""Runs the experiments of ``conf/experiment`` and draws their figures with ``experiments/``."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from omegaconf import OmegaConf

from melexp.discovery import conf_dir
from melexp.results.store import Store
from melexp.results.tables import check_table
from melexp.runs.interrupts import Stopped

#: Drawn from the tables of several experiments.
FROM_TABLES = ("summary",)


def experiment_configs() -> dict[str, list[str]]:
    """Return the configurations (file names) of each experiment, by the experiment's name."""
    configs: dict[str, list[str]] = {}
    for path in sorted((conf_dir() / "experiment").glob("*.yaml")):
        configs.setdefault(OmegaConf.load(path).experiment, []).append(path.stem)
    return configs


def results_of(profile: str) -> Path:
    """Return the folder of a profile's results."""
    path = conf_dir() / "profile" / f"{profile}.yaml"
    if not path.exists():
        known = sorted(p.stem for p in path.parent.glob("*.yaml"))
        raise ValueError(f"there is no profile {profile!r}; the profiles are {', '.join(known)}")
    return Path(OmegaConf.load(path).results)


def reproduce(profile: str, experiments: Iterable[str] = ()) -> int:
    """Run experiments on a profile's data; finished tasks are not run again.

    Returns
    -------
    status : int
        0, or 1 where a task failed.

    Raises
    ------
    ValueError
        For an unknown profile or experiment, or where one could not be run.
    """
    configs, results = experiment_configs(), results_of(profile)
    chosen = list(experiments) or list(configs)
    unknown = sorted(set(chosen) - set(configs))
    if unknown:
        known = ", ".join(configs)
        raise ValueError(
            f"there is no experiment {', '.join(unknown)}; the experiments are {known}"
        )
    failed = 0
    for place, experiment in enumerate(chosen, 1):
        print(f"[{place}/{len(chosen)}] {experiment}", flush=True)
        began = time.perf_counter()
        Store(results).forget_jobs(experiment)
        for config in configs[experiment]:
            # One process each: Hydra's state is global.
            overrides = [f"experiment={config}", f"profile={profile}"]
            status = _call(sys.executable, "-m", "melexp", "run", *overrides)
            if status not in (0, 1):
                raise ValueError(f"{experiment}: its run ended with {status}, see above")
            failed |= status
        print(f"[{place}/{len(chosen)}] {experiment}: {time.perf_counter() - began:.0f} s")
    return failed


def figures(profile: str, experiments: Iterable[str] = ()) -> None:
    """Draw the figures of experiments and write the summary, from the stored tables."""
    scripts = Path(__file__).parents[2] / "experiments"
    if not scripts.is_dir():
        raise ValueError(
            "experiments/ is missing, so no figure can be drawn: run this in a clone of the "
            "source tree"
        )
    for name in [*(list(experiments) or experiment_configs()), *FROM_TABLES]:
        check_table(results_of(profile), name)
        status = _call(sys.executable, str(scripts / f"{name}.py"), str(results_of(profile)))
        if status:
            raise ValueError(f"{name}: its figure could not be drawn, see above")


def _call(*command: str) -> int:
    """Run a command to its end; its exit code. It ends when this process is told to."""
    with subprocess.Popen(command) as process:
        try:
            return process.wait()
        except Stopped:
            process.terminate()  # then wait until it has written its table
            raise
