"""ADMM with a better start and growing penalties: fewer iterations, lower error."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

from melexp.methods._splitting import Splitting


@dataclass(frozen=True, kw_only=True)
class ADMMRamp(Splitting):
    r"""The iteration of `admm` with another start and growing penalties.

    The start is a magnitude at the resolution of the window (`kl`) with the phase implied by its
    gradient (`pghi`). The problem is not convex: a small penalty takes long steps away from the
    start, a large one settles near it. The penalties of Z = X and W = Y therefore grow
    geometrically over the first `ramp` iterations and stay constant after that,

    .. math:: \rho_k = \rho_1 (\rho_n / \rho_1)^{s}, \qquad s = \min(1, (k - 1) / (n - 1)).

    The scaled duals are not rescaled.

    A few frames cut out of a longer mel-spectrogram fit no sound with silence around it. For at
    most 32 frames :func:`melexp.invert` therefore ends with other penalties, 3.3 times `rho_x_last`
    and a tenth of `rho_y_last`, which lowers their SCM by 1 to 2.5 dB.

    Parameters
    ----------
    rho_x, rho_x_last : float > 0
        First and last penalty of Z = X.
    rho_y, rho_y_last : float > 0
        First and last penalty of W = Y.
    ratio : float > 0
        Weight of the mel-spectrogram over the penalty of W = Y. The weight grows with the penalty,
        so the mel system is the same in all iterations.
    ramp : int > 0 or None
        Number of iterations in which the penalties grow; 1 keeps the last penalties throughout.
        None means 100, or the number of iterations of the call (:func:`melexp.invert`), which is
        best.
    prior, prior_weight, prior_iterations
        See :class:`melexp.methods._guided.Guided`.

    Raises
    ------
    ValueError
        If a value is out of its range.

    References
    ----------
    The iteration is that of Y. Masuyama, N. Ueno and N. Ono, "Mel-spectrogram inversion via
    alternating direction method of multipliers", arXiv:2501.05557, 2025; the start and the
    penalties are additions of this project (see docs/beyond.md).
    """

    version: ClassVar[int] = 2

    magnitude: str = "kl"
    phase: str = "pghi"
    rho_x: float = 0.001
    rho_x_last: float = 0.3
    rho_y: float = 0.01
    rho_y_last: float = 0.3
    ratio: float = 50000.0
    ramp: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("rho_x", "rho_x_last", "rho_y", "rho_y_last", "ratio"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above zero; got {getattr(self, name)}")
        if self.ramp is not None and self.ramp < 1:
            raise ValueError(f"ramp must be at least 1; got {self.ramp}")

    def for_budget(self, n_iter: int, n_frames: int | None = None) -> ADMMRamp:
        changes: dict[str, Any] = {} if self.ramp is not None else {"ramp": max(n_iter, 1)}
        if self.prior is not None and self.prior_iterations is None:
            changes["prior_iterations"] = max(n_iter, 1)
        if n_frames is not None and n_frames <= SHORT:
            changes |= {"rho_x_last": self.rho_x_last / 0.3, "rho_y_last": self.rho_y_last / 10}
        return dataclasses.replace(self, **changes)

    @property
    def ridge(self) -> float:
        return 1 / self.ratio

    def penalties(self, k: int) -> tuple[float, float]:
        n = self.ramp or 100
        return geometric(k, self.rho_x, self.rho_x_last, n), geometric(
            k, self.rho_y, self.rho_y_last, n
        )


#: Largest number of frames that counts as short.
SHORT = 32


def geometric(k: int, first: float, last: float, length: int) -> float:
    """Return the penalty of iteration k = 1, 2, ...: from `first` to `last` by equal factors."""
    if k >= length:
        return last
    return float(first * (last / first) ** ((k - 1) / (length - 1)))
