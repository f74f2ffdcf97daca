"""The metrics: one module each, whose name is the metric's name and its function's.

A metric is found by its file: adding one means adding ``melexp/metrics/<name>.py`` with the
function ``<name>(reference, estimate, *, transform) -> Score`` and ``conf/metric/<name>.yaml``.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable

import numpy as np

from melexp.discovery import with_own
from melexp.metrics._score import Score
from melexp.transforms.mel import MelTransform

Metric = Callable[..., Score]

__all__ = ["Metric", "Score", "available_metrics", "score"]

__path__ = with_own(__path__, "metrics")


def available_metrics() -> list[str]:
    """Names of the metrics, sorted."""
    return sorted({m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")})


def score(
    metric: str, reference: np.ndarray, estimate: np.ndarray, *, transform: MelTransform
) -> Score:
    """The metric of that name of an estimate against a reference of the same length.

    A failure inside the metric becomes a score without a value, with the reason.

    Raises
    ------
    ValueError
        For an unknown metric or waveforms of different lengths.
    """
    if metric not in available_metrics():
        raise ValueError(
            f"there is no metric {metric!r}; the metrics are {', '.join(available_metrics())}"
        )
    if reference.shape != estimate.shape or reference.ndim != 1:
        raise ValueError(
            "reference and estimate must be waveforms of one length; got shapes "
            f"{reference.shape} and {estimate.shape}"
        )
    if not np.isfinite(estimate).all():
        return Score.without("the estimate has samples that are NaN or infinite")
    function: Metric = getattr(importlib.import_module(f"{__name__}.{metric}"), metric)
    try:
        return function(reference, estimate, transform=transform)
    except Exception as error:  # a third-party metric must not end a sweep
        return Score.without(f"{type(error).__name__}: {error}")
