"""The Hydra application behind ``melexp run``."""

from __future__ import annotations

import copy
import os
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from hydra.errors import CompactHydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, MissingMandatoryValue, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from melexp.datasets import Clip
from melexp.discovery import conf_dir, user_folders
from melexp.errors import one_line, require
from melexp.runs.config import register
from melexp.runs.interrupts import Stopped, ignore_signals, raise_if_stopped
from melexp.runs.jobs import compose_jobs, jobs_of
from melexp.runs.sweep import Sweep

register()


class Begin(Callback):
    """Pass the configuration that Hydra composes to the sweep of this process."""

    sweep: Sweep | None = None

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        if Begin.sweep:
            jobs = jobs_of(config)
            _begin(Begin.sweep, config, jobs=None if jobs is None else len(jobs))

    on_multirun_start = on_run_start


def _begin(sweep: Sweep, config: DictConfig, *, jobs: int | None) -> None:
    """Begin a sweep; exit with 2 if its folders are not usable."""
    try:
        if "hydra" in config:
            check_folders(config)
        sweep.begin(config, jobs=jobs)
    except (OSError, ValueError) as error:
        # Hydra would turn any other exception into a warning and continue.
        print(f"melexp: {error}", file=sys.stderr)
        sys.exit(2)


def check_folders(config: DictConfig) -> None:
    """Refuse a configuration that makes Hydra write outside the results folder.

    The check covers the folders of runs, sweeps and submitit, and the log files. It is no sandbox:
    Hydra instantiates any object that a configuration names, so an untrusted one is code.

    Raises
    ------
    ValueError
        If an output path lies outside the results folder or cannot be resolved.
    """
    config = copy.deepcopy(config)
    OmegaConf.set_readonly(config.hydra, False)
    config.hydra.job.num, config.hydra.job.id = 0, "0"  # of the first job
    results, settings = Path(config.results).resolve(), config.hydra
    try:
        sweep = Path(settings.sweep.dir)
        folders = {"hydra.sweep.dir": sweep, "hydra.sweep.subdir": sweep / settings.sweep.subdir}
        if settings.output_subdir is not None or settings.run.dir != ".":
            folders["hydra.run.dir"] = Path(settings.run.dir)
        if "submitit_folder" in settings.launcher:
            folders["hydra.launcher.submitit_folder"] = Path(settings.launcher.submitit_folder)
        for kind in ("job_logging", "hydra_logging"):
            for name, handler in ((settings[kind] or {}).get("handlers") or {}).items():
                if "filename" in handler:
                    folders[f"hydra.{kind}.handlers.{name}"] = Path(handler.filename)
    except OmegaConfBaseException as error:
        raise ValueError(f"cannot resolve a Hydra output directory: {error}") from error
    for name, folder in folders.items():
        if not folder.resolve().is_relative_to(results):
            raise ValueError(f"{name} must lie inside results = {config.results}; got {folder}")


#: The data sets that this process has listed: each is listed and hashed once in a sweep.
_listed: dict[str, list[Clip]] = {}


@hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")
def application(config: DictConfig) -> None:
    """Run one configuration, or with ``-m`` a sweep of them."""
    _run(config)


def _run(config: DictConfig) -> None:
    """Run the configuration of a job."""
    from melexp.runs.runner import run

    raise_if_stopped()
    try:
        run(config, _listed)
    except (ValueError, OSError, MissingMandatoryValue) as error:  # a wrong configuration
        raise CompactHydraException(f"melexp: {one_line(error)}") from error


#: Options of a sweep.
SWEEP = ("-m", "--multirun")
#: Other options, and overrides of the node ``hydra``: for Hydra itself.
_OF_HYDRA = re.compile(r"-|[+~]*hydra\b")
#: Module and extra of each launcher of ``conf/launcher``.
NEEDS = {
    "joblib": ("hydra_plugins.hydra_joblib_launcher", "joblib"),
    "submitit": ("hydra_plugins.hydra_submitit_launcher", "slurm"),
    "slurm": ("hydra_plugins.hydra_submitit_launcher", "slurm"),
    "ray": ("ray", "ray"),
}


def check(arguments: list[str]) -> None:
    """Report common mistakes in one line, before Hydra prints a traceback.

    Raises
    ------
    ValueError
        If the package of a launcher, a folder of ``MELEXP_PATH`` or the working folder is missing.
    """
    user_folders()
    try:
        os.getcwd()
    except FileNotFoundError:
        raise ValueError("the working folder was removed; change to another one") from None
    for argument in arguments:
        name, _, launcher = argument.partition("=")
        if name == "launcher" and launcher in NEEDS:
            module, extra = NEEDS[launcher]
            require(extra, module, what=argument)


def main() -> None:
    """Run the configuration or the sweep of the command line, then exit.

    The exit code is 0 after a success, 1 if a task failed or a result is missing, 2 if no task
    could be run, 130 after Ctrl-C and 143 after SIGTERM.
    """
    try:
        check(sys.argv)
    except ValueError as error:
        print(f"melexp: {error}", file=sys.stderr)
        sys.exit(2)
    quiet = "--quiet" in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != "--quiet"]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # raise errors here; do not print them
    overrides = [argument for argument in sys.argv[1:] if argument not in SWEEP]
    if any(_OF_HYDRA.match(argument) for argument in overrides):
        Begin.sweep = Sweep(quiet=quiet)
        sys.exit(_finish(Begin.sweep, _status_of(application)))
    multirun = len(overrides) < len(sys.argv) - 1
    sys.exit(run_here(overrides, multirun=multirun, quiet=quiet, elsewhere=application))


def run_here(
    overrides: list[str],
    *,
    elsewhere: Callable[[], Any],
    multirun: bool = False,
    quiet: bool = False,
) -> int:
    """Run what ``melexp run`` with these overrides would, without Hydra's own sweeper.

    A second call finds the imports, the workers and the kept parts of references of the first.

    Parameters
    ----------
    overrides : list of str
    elsewhere : callable
        Called instead if Hydra is asked for more than to run jobs in turn: see
        :func:`melexp.runs.jobs.compose_jobs`. It may return an exit code.
    multirun : bool
        Whether the overrides are a sweep.
    quiet : bool
        Print failures only.

    Returns
    -------
    status : int
        Exit code, as of `main`.
    """
    sweep = Begin.sweep = Sweep(quiet=quiet)

    def work() -> None:
        jobs = compose_jobs(overrides, multirun=multirun)
        if jobs is None:
            sys.exit(elsewhere())
        _begin(sweep, jobs[0], jobs=len(jobs))
        for job in jobs:
            _run(job)

    return _finish(sweep, _status_of(work))


def _finish(sweep: Sweep, status: int) -> int:
    """End a sweep whose jobs ended with a status; return the exit code."""
    try:
        try:
            ended = sweep.end(stopped=status > 128)
        except Stopped as signal:
            ignore_signals()
            status, ended = signal.status, sweep.end(stopped=True)
        sys.stdout.flush()  # here, so that a closed pipe is noticed
    except BrokenPipeError:  # the reader of a pipe has ended; all tables are written
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        ended = 1
    except OSError as error:
        print(f"melexp: {error}", file=sys.stderr)
        ended = 1
    if status > 128:
        remedy = "finished work is kept; re-run the same command to resume"
        print(f"melexp: stopped; {remedy}", file=sys.stderr)
    return status or ended


def _status_of(function: Callable[[], Any]) -> int:
    """Call a function; return its exit code, also after an error or a signal."""
    try:
        try:
            function()
            return 0
        except SystemExit as error:
            raise_if_stopped()
            return error.code if isinstance(error.code, int) else int(error.code is not None)
        except Exception as error:
            raise_if_stopped()
            _report(error)
            return 1
    except Stopped as signal:
        ignore_signals()
        return signal.status


def _report(error: Exception) -> None:
    """Print an error as Hydra would: one line if the configuration is wrong."""
    if not isinstance(error, CompactHydraException):
        traceback.print_exception(error)
        return
    print(error, file=sys.stderr)
    if isinstance(error.__cause__, OmegaConfBaseException):
        print(error.__cause__, file=sys.stderr)
