"""The Hydra application behind ``melexp run``."""

from __future__ import annotations

import copy
import importlib.util
import os
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

from melexp.discovery import conf_dir, user_folders
from melexp.runs.config import register
from melexp.runs.interrupts import Stopped, ignore_signals, stop_if_wanted
from melexp.runs.sweep import Sweep

register()


class Begin(Callback):
    """Tells the sweep of this process its configuration, which Hydra composes."""

    sweep: Sweep | None = None

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        if Begin.sweep:
            try:
                check_folders(config)
                Begin.sweep.begin(config)
            except (OSError, ValueError) as error:
                # Hydra makes a warning of any other exception, and goes on.
                print(f"melexp: {error}", file=sys.stderr)
                sys.exit(2)

    on_multirun_start = on_run_start


def check_folders(config: DictConfig) -> None:
    """Refuse a configuration whose Hydra would write outside the folder of results.

    These are the folders of runs, of sweeps and of submitit, and the files of logging. (Hydra makes
    any object that a configuration names: those of a stranger are code.)

    Raises
    ------
    ValueError
        If one of them lies elsewhere, or cannot be told.
    """
    config = copy.deepcopy(config)
    OmegaConf.set_readonly(config.hydra, False)
    config.hydra.job.num, config.hydra.job.id = 0, "0"  # as those of the first job will be
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


@hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")
def application(config: DictConfig) -> None:
    """Run one configuration, or with ``-m`` a sweep of them."""
    from melexp.runs.runner import run

    stop_if_wanted()
    try:
        run(config)
    except (ValueError, OSError, MissingMandatoryValue) as error:  # of the configuration: one line
        raise CompactHydraException(f"melexp: {' '.join(str(error).split())}") from error


#: What each launcher of ``conf/launcher`` needs, and the extra that brings it.
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
        If the package of a launcher is missing, or a folder of MELEXP_PATH.
    """
    user_folders()
    for argument in arguments:
        name, _, launcher = argument.partition("=")
        module, extra = NEEDS.get(launcher, ("", ""))
        if name == "launcher" and module and importlib.util.find_spec(module) is None:
            raise ValueError(
                f"{argument} needs a package that is not installed; run: pip install "
                f"'melexp[{extra}]'"
            )


def main() -> None:
    """Run what the command line asks for.

    It leaves with 1 where a task has failed or something is missing, with 2 where nothing could be
    run, with 130 after Ctrl-C and with 143 after SIGTERM.
    """
    try:
        check(sys.argv)
    except ValueError as error:
        print(f"melexp: {error}", file=sys.stderr)
        sys.exit(2)
    quiet = "--quiet" in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != "--quiet"]
    Begin.sweep = Sweep(quiet=quiet)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra is to raise what ends it, and not to print it
    status = _status_of(application)
    try:
        try:
            ended = Begin.sweep.end(stopped=status > 128)
        except Stopped as signal:
            ignore_signals()
            status, ended = signal.status, Begin.sweep.end(stopped=True)
    except OSError as error:
        print(f"melexp: {error}", file=sys.stderr)
        ended = 1
    if status > 128:
        said = "finished work is kept; re-run the same command to resume"
        print(f"melexp: stopped; {said}", file=sys.stderr)
    sys.exit(status or ended)


def _status_of(function: Callable[[], Any]) -> int:
    """Call it; the exit code that it ends with, also that of a wrong configuration."""
    try:
        try:
            function()
            return 0
        except SystemExit as error:
            stop_if_wanted()
            return error.code if isinstance(error.code, int) else int(error.code is not None)
        except Exception as error:
            stop_if_wanted()
            _report(error)
            return 1
    except Stopped as signal:
        ignore_signals()
        return signal.status


def _report(error: Exception) -> None:
    """Print an error as Hydra would: one line for a fault of the configuration."""
    if not isinstance(error, CompactHydraException):
        traceback.print_exception(error)
        return
    print(error, file=sys.stderr)
    if isinstance(error.__cause__, OmegaConfBaseException):
        print(error.__cause__, file=sys.stderr)
