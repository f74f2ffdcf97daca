"""The work of ``melexp reproduce``: run the experiments and draw their figures."""

from __future__ import annotations

import runpy
import subprocess
import sys
import time
import traceback
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from omegaconf import OmegaConf

from melexp.discovery import conf_dir
from melexp.results.store import Store
from melexp.results.tables import check_table
from melexp.runs.hydra_app import run_here
from melexp.runs.interrupts import Stopped, raise_if_stopped

#: Scripts that draw from the tables of several experiments, with these experiments.
FROM_TABLES = {"summary": ("fig3", "fig4")}
#: Experiments that run only by name: they need packages of extras, or take long.
BY_NAME = ("fig4_all", "imperfect", "peers", "prior")
#: Overrides of a profile for the other experiments. The demonstration is to take minutes: it has a
#: clip of each class or voice, up to four, and one seed.
SMALLER = {"demo": ["limit=4", "spread=true", "seed=0"]}


def experiment_configs() -> dict[str, list[str]]:
    """Return the names of the configuration files of each experiment."""
    configs: dict[str, list[str]] = {}
    for path in sorted((conf_dir() / "experiment").glob("*.yaml")):
        configs.setdefault(OmegaConf.load(path).experiment, []).append(path.stem)
    return configs


def results_of(profile: str) -> Path:
    """Return the results folder of a profile."""
    path = conf_dir() / "profile" / f"{profile}.yaml"
    if not path.exists():
        known = sorted(p.stem for p in path.parent.glob("*.yaml"))
        raise ValueError(f"there is no profile {profile!r}; the profiles are {', '.join(known)}")
    return Path(OmegaConf.load(path).results)


def reproduce(profile: str, experiments: Iterable[str] = ()) -> int:
    """Run experiments on the data of a profile; finished tasks are skipped.

    Parameters
    ----------
    profile : str
        Name of a file in ``conf/profile``.
    experiments : iterable of str
        Names of experiments; empty for all but those of `BY_NAME`.

    Returns
    -------
    status : int
        0, or 1 if a task failed.

    Raises
    ------
    ValueError
        For an unknown profile or experiment, or if an experiment could not be run.
    """
    configs, results = experiment_configs(), results_of(profile)
    chosen = _chosen(experiments, configs, [name for name in configs if name not in BY_NAME])
    failed = 0
    for place, experiment in enumerate(chosen, 1):
        print(f"[{place}/{len(chosen)}] {experiment}", flush=True)
        began = time.perf_counter()
        Store(results).forget_jobs(experiment)
        for config in configs[experiment]:
            overrides = [f"experiment={config}", f"profile={profile}"]
            overrides += [] if experiment in BY_NAME else SMALLER.get(profile, [])
            command = (sys.executable, "-m", "melexp", "run", *overrides)
            status = run_here(overrides, elsewhere=partial(_call, *command))
            raise_if_stopped()
            if status not in (0, 1):
                raise ValueError(f"the run of {experiment} failed with exit code {status}")
            failed |= status
        print(f"[{place}/{len(chosen)}] {experiment}: {time.perf_counter() - began:.0f} s")
    return failed


def figures(profile: str, experiments: Iterable[str] = ()) -> None:
    """Draw the figures of experiments and write the summary, from stored tables.

    Parameters
    ----------
    profile, experiments
        As of `reproduce`. The summary is written if all of its tables exist.

    Raises
    ------
    ValueError
        Without a source tree, for an unknown name, or if a table is missing or a script fails.
    """
    scripts = Path(__file__).parents[2] / "experiments"
    if not scripts.is_dir():
        raise ValueError(
            "experiments/ is missing, so no figure can be drawn: run this in a clone of the "
            "source tree"
        )
    results, known = results_of(profile), experiment_configs()
    drawn = [n for n in known if n not in BY_NAME or (results / f"{n}.csv").exists()]
    chosen = _chosen(experiments, known, drawn)
    missing = [name for name in chosen if not (results / f"{name}.csv").exists()]
    if missing:
        arguments = [f"--profile {profile}", *(missing if len(missing) < len(chosen) else [])]
        raise ValueError(
            f"{results} has no table of {', '.join(missing)}; "
            f"run: melexp reproduce {' '.join(arguments)}"
        )
    for name, sources in FROM_TABLES.items():
        if all((results / f"{source}.csv").exists() for source in sources):
            chosen.append(name)
    for name in chosen:
        check_table(results, name)
        status = _draw(scripts / f"{name}.py", results)
        if status:
            raise ValueError(f"{scripts.name}/{name}.py failed with exit code {status}")


def _chosen(experiments: Iterable[str], known: Iterable[str], default: list[str]) -> list[str]:
    """Return the chosen experiments, or the default; refuse unknown names."""
    names = list(experiments) or default
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise ValueError(
            f"there is no experiment {', '.join(unknown)}; the experiments are {', '.join(known)}"
        )
    return names


def _draw(script: Path, results: Path) -> int:
    """Execute a script in this process, which has its imports, and return the exit code."""
    before, sys.argv = sys.argv, [str(script), str(results)]
    sys.path.insert(0, str(script.parent))  # as Python does for a script
    try:
        runpy.run_path(str(script), run_name="__main__")
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except Exception:
        raise_if_stopped()
        traceback.print_exc()
        return 1
    finally:
        sys.argv = before
        sys.path.remove(str(script.parent))
    return 0


def _call(*command: str) -> int:
    """Run a command and return its exit code; pass a signal of this process on to it."""
    with subprocess.Popen(command) as process:
        try:
            return process.wait()
        except Stopped:
            process.terminate()  # then wait until it has written its table
            raise
