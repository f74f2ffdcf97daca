"""The metrics: one module each, with a function of the same name.

A metric is found by its file. To add one, add ``melexp/metrics/<name>.py`` with the
function ``<name>(reference, estimate, *, transform) -> Score`` and ``conf/metric/<name>.yaml``.
If it needs an extra, ``NEEDS`` in the module names the extra and the modules that it installs.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from melexp import discovery
from melexp.errors import MissingExtra, one_line, require
from melexp.metrics._score import Score
from melexp.transforms.mel import MelTransform

Metric = Callable[..., Score]

__all__ = ["Metric", "Score", "available_metrics", "check_installed", "score"]

__path__ = discovery.search_path(__path__, "metrics")


def available_metrics() -> list[str]:
    """Return the names of the metrics, sorted."""
    return discovery.names(__name__)


def check_installed(metric: str) -> None:
    """Raise :class:`melexp.errors.MissingExtra` if a package that the metric calls is missing."""
    if needs := getattr(discovery.load(__name__, metric), "NEEDS", ()):
        require(*needs, what=f"the metric {metric}")


def score(
    metric: str, reference: np.ndarray, estimate: np.ndarray, *, transform: MelTransform
) -> Score:
    """Score an estimate against a reference of the same length.

    If the metric fails or its package is missing, the score has no value and the error is its
    reason.

    Parameters
    ----------
    metric : str
        One of :func:`available_metrics`, such as scm, sc, pesq or estoi.
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
        check_installed(metric)
        value, reason = function(reference, estimate, transform=transform)
    except MissingExtra as error:
        return Score.without(str(error))
    except Exception as error:  # a third-party metric must not end a sweep
        return Score.without(f"{type(error).__name__}: {one_line(error)}")
    if not (reason or np.isfinite(value)):
        return Score.without(f"the value of {metric} is {value}")
    return Score(value, reason)
