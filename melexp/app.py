"""The Hydra application behind ``melexp run``."""

from __future__ import annotations

import sys
from typing import Any

import hydra
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, MissingMandatoryValue

from melexp.config import conf_dir, register
from melexp.tables import write_table

register()


class WriteTable(Callback):
    """Writes the experiment's table when a run, or the last run of a sweep, has ended."""

    def on_run_end(self, config: DictConfig, **kwargs: Any) -> None:
        write_table(config.results, config.experiment)

    on_multirun_end = on_run_end


@hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")
def main(config: DictConfig) -> None:
    """Run one configuration, or with ``-m`` a sweep of them."""
    from melexp.runner import run

    try:
        failures = run(config)
    # Hydra would print where in the code it was raised.
    except (ValueError, OSError, MissingMandatoryValue) as error:
        print(f"melexp run: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    for line in failures:
        print(f"no result: {line}", file=sys.stderr)


if __name__ == "__main__":
    main()
