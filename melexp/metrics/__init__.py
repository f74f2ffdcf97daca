"""The metrics: one module each, with a function of the same name.

A metric is found by its file. To add one, add ``melexp/metrics/<name>.py`` with the
function ``<name>(reference, estimate, *, transform) -> Score`` and ``conf/metric/<name>.yaml``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from melexp import discovery
from melexp.errors import one_line
from melexp.metrics._score import Score
from melexp.transforms.mel import MelTransform

Metric = Callable[..., Score]

__all__ = ["Metric", "Score", "available_metrics", "score"]

__path__ = discovery.search_path(__path__, "metrics")


def available_metrics() -> list[str]:
    """Return the names of the metrics, sorted."""
    return discovery.names(__name__)


def score(
    metric: str, reference: np.ndarray, estimate: np.ndarray, *, transform: MelTransform
) -> Score:
    """Score an estimate against a reference of the same length.

    If the metric fails, the score has no value and the error is its reason.

    Parameters
    ----------
    metric : str
        One of :func:`available_metrics`: scm, sc, pesq, estoi.
    reference, estimate : np.ndarray [shape=(n_samples,)]
        Waveforms at the sampling rate of `transform`.
    transform : MelTransform
        The front end whose spectrograms SC and SCM compare.

    Returns
    -------
    score : Score
        Its `value`, or NaN and the `reason`.

    Raises
    ------
    ValueError
        For an unknown metric or waveforms of different lengths.
    """
    module = discovery.load(__name__, metric)
    if reference.shape != estimate.shape or reference.ndim != 1:
        raise ValueError(
            "reference and estimate must be waveforms of one length; got shapes "
            f"{reference.shape} and {estimate.shape}"
        )
    if not np.isfinite(estimate).all():
        return Score.without("the estimate has samples that are NaN or infinite")
    function: Metric = getattr(module, metric)
    try:
        return function(reference, estimate, transform=transform)
    except Exception as error:  # a third-party metric must not end a sweep
        return Score.without(f"{type(error).__name__}: {one_line(error)}")
