"""The Hydra application behind ``melexp run``."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

import hydra
from hydra.errors import CompactHydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, MissingMandatoryValue

from melexp.config import conf_dir, register
from melexp.own import own_folders
from melexp.sweep import Sweep

register()


class Begin(Callback):
    """Tells the sweep of this process its configuration, which Hydra composes."""

    sweep: Sweep | None = None

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        if Begin.sweep:
            Begin.sweep.begin(config)

    on_multirun_start = on_run_start


@hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")
def application(config: DictConfig) -> None:
    """Run one configuration, or with ``-m`` a sweep of them."""
    from melexp.runner import run

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
    """Refuse what Hydra would answer with more than a line.

    Raises
    ------
    ValueError
        For a launcher whose package is not installed, or a folder of one's own that is not there.
    """
    own_folders()
    for argument in arguments:
        name, _, launcher = argument.partition("=")
        module, extra = NEEDS.get(launcher, ("", ""))
        if name == "launcher" and module and importlib.util.find_spec(module) is None:
            raise ValueError(
                f"{argument} needs a package that is not installed: pip install 'melexp[{extra}]'"
            )


def main() -> None:
    """Run what the command line asks for; leave with 1 where a task has failed."""
    try:
        check(sys.argv)
    except ValueError as error:
        print(f"melexp: {error}", file=sys.stderr)
        sys.exit(2)
    quiet = "--quiet" in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != "--quiet"]
    Begin.sweep = Sweep(quiet=quiet)
    try:
        application()
    finally:  # also after a wrong configuration, or Ctrl-C: what is done is in the table
        status = Begin.sweep.end()
    sys.exit(status)
