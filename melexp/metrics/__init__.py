"""The metrics: one module each, whose name is the metric's name and its function's.

A metric is found by its file: adding one means adding ``melexp/metrics/<name>.py`` with the
function ``<name>(reference, estimate, *, transform) -> Score`` and ``conf/metric/<name>.yaml``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from melexp.discovery import load, names, search_path
from melexp.metrics._score import Score
from melexp.transforms.mel import MelTransform

Metric = Callable[..., Score]

__all__ = ["Metric", "Score", "available_metrics", "score"]

__path__ = search_path(__path__, "metrics")


def available_metrics() -> list[str]:
    """Return the names of the metrics, sorted."""
    return names(__name__)


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
    function: Metric = getattr(load(__name__, metric), metric)
    if reference.shape != estimate.shape or reference.ndim != 1:
        raise ValueError(
            "reference and estimate must be waveforms of one length; got shapes "
            f"{reference.shape} and {estimate.shape}"
        )
    if not np.isfinite(estimate).all():
        return Score.without("the estimate has samples that are NaN or infinite")
    try:
        return function(reference, estimate, transform=transform)
    except Exception as error:  # a third-party metric must not end a sweep
        return Score.without(f"{type(error).__name__}: {error}")
