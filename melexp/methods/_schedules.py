"""Penalty schedules: the penalty of an iteration, from the first and the last one."""

from __future__ import annotations

from collections.abc import Callable

#: A penalty from (iteration from 1 on, first penalty, last penalty, length in iterations).
Schedule = Callable[[int, float, float, int], float]


def constant(k: int, first: float, last: float, length: int) -> float:
    """The last penalty from the beginning."""
    return last


def geometric(k: int, first: float, last: float, length: int) -> float:
    r"""From `first` to `last` by equal factors in `length` iterations, then `last`.

    .. math:: \rho_k = \rho_1 (\rho_n / \rho_1)^{s}, \quad s = \min(1, (k - 1) / (n - 1))
    """
    if k >= length:
        return last
    return float(first * (last / first) ** ((k - 1) / (length - 1)))


SCHEDULES: dict[str, Schedule] = {"constant": constant, "geometric": geometric}
