"""Searches a method's parameters with Optuna.

hydra-optuna-sweeper needs Optuna below 3, so this speaks with Optuna itself. A trial is a run as
any other: its tasks are stored, so a point that is known costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from melexp.discovery import conf_dir
from melexp.results.store import Store, check_name
from melexp.results.tables import write_table
from melexp.runs.config import register
from melexp.runs.runner import run

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True)
class Range:
    """What a parameter may be; `n_iter` is the number of iterations, any other the method's.

    Parameters
    ----------
    name : str
    low, high : float
        Both included; whole numbers for `n_iter`.
    log : bool
        Whether to look for its magnitude.
    """

    name: str
    low: float
    high: float
    log: bool = False

    @classmethod
    def parse(cls, text: str) -> Range:
        """Parse ``rho=0.01:1:log`` or ``n_iter=50:500``.

        Raises
        ------
        ValueError
            If it is not of this form, or the range is empty.
        """
        name, _, limits = text.partition("=")
        low, *rest = limits.split(":")
        try:
            one = cls(name, float(low), float(rest[0]), rest[1:] == ["log"])
        except (ValueError, IndexError):
            raise ValueError(
                f"range {text!r} must look like rho=0.01:1 or rho=0.01:1:log"
            ) from None
        if not one.low < one.high or (one.log and one.low <= 0) or rest[1:] not in ([], ["log"]):
            raise ValueError(f"range {text!r} must rise; a logarithmic range must start above zero")
        return one

    def suggest(self, trial: optuna.Trial) -> float:
        """Suggest the value of a trial."""
        if self.name == "n_iter":
            return trial.suggest_int(self.name, round(self.low), round(self.high), log=self.log)
        return trial.suggest_float(self.name, self.low, self.high, log=self.log)


def search(
    overrides: Sequence[str],
    ranges: Sequence[Range],
    *,
    metric: str,
    trials: int,
    study: str = "search",
    seed: int = 0,
) -> optuna.Study:
    """Look for the parameters with the best mean of a metric over the clips.

    The study lies in ``<results>/studies/<study>.log``: the same call again goes on where it was,
    up to `trials` in all. Its runs are the experiment of the study's name.

    Parameters
    ----------
    overrides : sequence of str
        As of ``melexp run``: the method, the data set, the folder of results.
    ranges : sequence of Range
    metric : str
        Maximised or minimised, as its configuration says.
    trials : int > 0
        That have ended, over all calls.
    study : str
        Its name.
    seed : int >= 0
        Of the sampler.

    Returns
    -------
    optuna.Study
        `best_params` and `best_value` say what was found.

    Raises
    ------
    ValueError
        Without Optuna, for a parameter that the method does not have, or a bad value.
    """
    check_name(study)
    try:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend
    except ImportError:
        raise ValueError(
            "the search needs Optuna; install it: pip install 'melexp[optuna]'"
        ) from None
    if not ranges:
        raise ValueError("give at least one range, such as --range lam=50:100000:log")
    register()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        base = compose("config", [*overrides, f"metric=[{metric}]"])
        base.experiment = study
        folder = Path(base.results)
        path = folder / "studies" / f"{study}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        lower = bool(base.metric[metric].lower_is_better)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        found = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(path))),
            study_name=study,
            direction="minimize" if lower else "maximize",
            load_if_exists=True,
        )
        # A new call must not draw what the last one drew.
        found.sampler = optuna.samplers.TPESampler(seed=seed + len(found.trials))
        ended = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)

        def objective(trial: optuna.Trial) -> float:
            chosen = {r.name: r.suggest(trial) for r in ranges}
            config = base.copy()
            if "n_iter" in chosen:
                config.checkpoints = [int(chosen.pop("n_iter"))]
            for name, value in chosen.items():
                config.method[name] = value
            run(config)
            return _mean(config, metric)

        try:
            while (left := trials - len(found.get_trials(deepcopy=False, states=ended))) > 0:
                found.optimize(objective, n_trials=left, callbacks=[_say])
        finally:  # also where a signal ends it
            if Store(folder).jobs(study):
                write_table(folder, study)
    return found


def _mean(config: DictConfig, metric: str) -> float:
    """Return the mean of the last run over the clips that have a value."""
    import optuna

    jobs = [
        job
        for job in Store(config.results).jobs(config.experiment)
        if job["config"]["method"] == dict(config.method)
        and job["config"]["checkpoints"] == list(config.checkpoints)
    ]
    last = max(config.checkpoints)
    values = [
        row["value"]
        for row in Store(config.results).rows(config.experiment, jobs)
        if row["metric"] == metric and row["iteration"] == last and row["value"] is not None
    ]
    if not values:
        raise optuna.TrialPruned("no clip has a value")
    return float(np.mean(values))


def _say(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
    values = ", ".join(f"{name}={value:.4g}" for name, value in trial.params.items())
    value = "no value" if trial.value is None else f"{trial.value:.4f}"
    print(f"trial {trial.number}: {values}: {value}", flush=True)
