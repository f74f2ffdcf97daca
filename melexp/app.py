"""The Hydra application behind ``melexp run``."""

from __future__ import annotations

import sys
from typing import Any

import hydra
from hydra.errors import CompactHydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from melexp.config import conf_dir, register
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
    except (ValueError, OSError) as error:  # of the configuration: no traceback
        raise CompactHydraException(f"melexp: {error}") from error


def main() -> None:
    """Run what the command line asks for; leave with 1 where a task has failed."""
    quiet = "--quiet" in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != "--quiet"]
    Begin.sweep = Sweep(quiet=quiet)
    try:
        application()
    finally:  # also after a wrong configuration, or Ctrl-C: what is done is in the table
        status = Begin.sweep.end()
    sys.exit(status)
