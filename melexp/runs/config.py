"""Schema of the configuration of a run; the values are in ``conf/``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING


@dataclass
class MetricConfig:
    """Settings of a metric.

    Attributes
    ----------
    label : str
        Axis label, with the unit.
    lower_is_better : bool
    speech_only : bool
        Computed on data sets of speech only.
    unit : str
        Unit in reports; empty for a metric without a unit.
    digits : int
        Digits after the decimal point, in tables.
    """

    label: str = MISSING
    lower_is_better: bool = MISSING
    speech_only: bool = MISSING
    unit: str = ""
    digits: int = 2


@dataclass
class RunConfig:
    """One run: one method on one data set. Hydra refuses any other name."""

    experiment: str = MISSING
    results: str = MISSING
    dataset: dict[str, Any] = MISSING
    mel: dict[str, Any] = MISSING
    method: dict[str, Any] = MISSING
    metric: dict[str, MetricConfig] = field(default_factory=dict)
    checkpoints: list[int] = MISSING
    metric_checkpoints: dict[str, list[int]] = field(default_factory=dict)
    seed: int = MISSING
    dtype: str = MISSING
    timed: bool = MISSING
    imperfection: str | None = None
    limit: int | None = MISSING
    spread: bool = False
    workers: int | None = MISSING


def register() -> None:
    """Register the schema with Hydra as ``schema``."""
    ConfigStore.instance().store(name="schema", node=RunConfig)
