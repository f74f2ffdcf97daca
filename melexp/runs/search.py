"""Search the parameters of a method with Optuna.

hydra-optuna-sweeper needs Optuna below 3, so this module calls Optuna directly. A trial is an
ordinary run: its tasks are stored, so repeating a point costs no computation.
"""

from __future__ import annotations

import json
import math
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from melexp.discovery import conf_dir, conf_file
from melexp.errors import one_line, require
from melexp.files.atomic import held
from melexp.files.received import inside
from melexp.results.records import check_name
from melexp.results.store import Store
from melexp.results.tables import update_table
from melexp.runs.config import register
from melexp.runs.runner import run, stored_method

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True)
class Range:
    """The range of a parameter.

    Parameters
    ----------
    name : str
        A parameter of the method, or "n_iter" for the number of iterations.
    low, high : float
        Both included; integers for "n_iter".
    log : bool
        Whether to sample on a logarithmic scale.
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
            If the text has another form, or the range is empty.
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
        if not math.isfinite(one.high - one.low):
            raise ValueError(f"range {text!r} is too wide; both limits must be finite")
        if name == "n_iter" and not (
            one.low.is_integer() and one.high.is_integer() and one.low >= 0 and one.high <= 2**53
        ):
            raise ValueError(f"range {text!r} must have whole numbers of 0 to 2^53")
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
    """Search the parameters with the best mean of a metric over the clips.

    The study is stored in ``<results>/studies/<study>.log``; the same call resumes it until it has
    `trials` trials. Its runs form the experiment named like the study.

    Parameters
    ----------
    overrides : sequence of str
        Overrides as of ``melexp run``: the method, the data set, the results folder.
    ranges : sequence of Range
    metric : str
        Maximised or minimised according to ``conf/metric``.
    trials : int > 0
        Total number of finished trials over all calls.
    study : str
        Name of the study.
    seed : int >= 0
        Seed of the sampler.

    Returns
    -------
    optuna.Study
        Its `best_params` and `best_value` hold the result.

    Raises
    ------
    MissingExtra
        If Optuna is not installed.
    ValueError
        If a run cannot be composed, the method lacks a parameter, a value is out of range, or the
        stored study is damaged or has the other direction.
    """
    check_name(study)
    if trials < 1:
        raise ValueError(f"--trials must be 1 or more; got {trials}")
    if not 0 <= seed < 2**31:
        raise ValueError(f"--seed must be from 0 to below 2^31; got {seed}")
    require("optuna", "optuna", what="melexp search")
    import optuna

    if not ranges:
        raise ValueError(
            "there is no range; give at least one range, such as --range lam=50:100000:log"
        )
    conf_file("metric", metric)  # a name, not a path or a list
    register()
    with _in_one_line(), initialize_config_dir(str(conf_dir()), version_base="1.3"):
        base = compose("config", [*overrides, f"metric=[{metric}]"])
        base.experiment = study
        _check_ranges(base, ranges)
        if base.metric[metric].speech_only and not base.dataset.speech:
            raise ValueError(f"{metric} is for speech only; {base.dataset.name} is no speech")
        folder = Path(base.results)
        path = folder / "studies" / f"{study}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        lower = bool(base.metric[metric].lower_is_better)
        optuna.logging.set_verbosity(optuna.logging.ERROR)  # a failed trial ends the search
        found = _study(inside(folder, path), study, "minimize" if lower else "maximize")
        # A resumed study must not draw the same points again.
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
                found.optimize(objective, n_trials=left, callbacks=[_print_trial])
        finally:  # also after a signal
            if Store(folder).jobs(study):
                update_table(Store(folder), study)
    return found


@contextmanager
def _in_one_line() -> Iterator[None]:
    """Turn the errors of a wrong configuration into a ValueError of one line."""
    try:
        yield
    except (HydraException, OmegaConfBaseException, TypeError, ArithmeticError) as error:
        raise ValueError(one_line(error)) from error


def _check_ranges(base: DictConfig, ranges: Sequence[Range]) -> None:
    """Raise ValueError unless each range is one of a number of the method."""
    numbers = [
        str(name)
        for name, value in base.method.items()
        if value is None or (isinstance(value, int | float) and not isinstance(value, bool))
    ]
    for one in ranges:
        if one.name not in ("n_iter", *numbers):
            known = ", ".join(["n_iter", *numbers])
            raise ValueError(
                f"--range {one.name}: {base.method.name} has no such number; there are {known}"
            )


class _Lock:
    """The lock of a journal, which ends with its holder. Optuna's own outlives a killed process."""

    def __init__(self, journal: Path) -> None:
        self._path = journal.with_name(f".{journal.name}.lock")
        self._open = ExitStack()

    def acquire(self) -> bool:
        return self._open.enter_context(held(self._path, wait=True))

    def release(self) -> None:
        self._open.close()


def _study(path: Path, name: str, direction: Literal["minimize", "maximize"]) -> optuna.Study:
    """Create or resume a study in a journal."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    try:
        _check_journal(path)
        storage = JournalStorage(JournalFileBackend(str(path), cast(Any, _Lock(path))))
        try:
            found = optuna.load_study(study_name=name, storage=storage)
        except KeyError:  # to create it first would write behind damage
            found = optuna.create_study(
                storage=storage, study_name=name, direction=direction, load_if_exists=True
            )
        kept = found.direction.name.lower()
        for trial in found.get_trials(deepcopy=False):
            _check_trial(trial)
    except OSError:
        raise
    except Exception as error:  # a corrupt journal raises any error of its reader
        raise ValueError(
            f"{path} is damaged ({one_line(error)}); remove it, or use another --study; "
            "finished runs are kept and cost no time again"
        ) from error
    if kept != direction:
        raise ValueError(
            f"the study {name} of {path} was created to {kept} a metric, not to {direction} it; "
            "use another --study"
        )
    return found


def _check_trial(trial: optuna.trial.FrozenTrial) -> None:
    """Raise ValueError unless a stored trial may come from `search`; Optuna does not check it."""
    for name, distribution in trial.distributions.items():
        limits, value = cast(Any, distribution), trial.params[name]
        whole = isinstance(value, int)
        if not limits.low <= value <= limits.high or whole != (name == "n_iter"):
            raise ValueError(f"{name} = {value!r} of trial {trial.number} is out of its range")
    if trial.state.name == "COMPLETE":
        values: list[Any] = trial.values
        if not trial.params or [*map(type, values)] != [float] or not math.isfinite(values[0]):
            raise ValueError(f"trial {trial.number} of {trial.params} has the value {values!r}")


def _check_journal(path: Path) -> None:
    """Remove an incomplete last line, which a killed process leaves; refuse any other damage.

    Optuna would write behind damage before it reports it.
    """
    if not path.exists():
        return
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("it is not a plain file")
    lock = _Lock(path)
    lock.acquire()
    try:
        with path.open("r+b") as file:
            content = file.read()
            end = content.rfind(b"\n") + 1
            for line in content[:end].splitlines():
                if not isinstance(json.loads(line), dict):
                    raise ValueError("a line is not an operation")
            file.truncate(end)
    finally:
        lock.release()


def _mean(config: DictConfig, metric: str) -> float:
    """Return the mean of the last run over the clips with a value."""
    import optuna

    jobs = [
        job
        for job in Store(config.results).jobs(config.experiment)
        if job["config"].get("method") == stored_method(dict(config.method))
        and job["config"].get("checkpoints") == list(config.checkpoints)
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


def _print_trial(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
    values = ", ".join(f"{name}={value:.4g}" for name, value in trial.params.items())
    value = "no value" if trial.value is None else f"{trial.value:.4f}"
    print(f"trial {trial.number}: {values}: {value}", flush=True)
