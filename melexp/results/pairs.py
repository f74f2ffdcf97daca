"""Which metrics a job computes at which checkpoints."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

#: Iteration and metric.
Pair = tuple[int, str]


def pairs(
    checkpoints: Collection[int], metrics: Sequence[str], sparse: Mapping[str, Sequence[int]]
) -> list[Pair]:
    """Return the pairs of iteration and metric of a job, sorted.

    Parameters
    ----------
    checkpoints : collection of int >= 0
    metrics : sequence of str
    sparse : mapping of str to sequence of int
        For some metrics, the only checkpoints at which they are computed, besides the last.

    Examples
    --------
    >>> pairs([1, 10, 50], ["scm", "pesq"], {"pesq": [10]})
    [(1, 'scm'), (10, 'pesq'), (10, 'scm'), (50, 'pesq'), (50, 'scm')]
    """
    last = max(checkpoints)
    chosen = {metric: {*sparse.get(metric, checkpoints), last} for metric in metrics}
    return sorted((c, m) for c in set(checkpoints) for m in metrics if c in chosen[m])
