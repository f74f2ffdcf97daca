"""iPALM: inertial proximal alternating linearised minimisation (the earlier joint method)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from melexp.methods._base import State
from melexp.methods._bins import BinFunction, Bins, Coefficients
from melexp.methods._guided import Guided, toward
from melexp.problem import Problem


def ipalm_source(ops: Any) -> BinFunction:
    """Build Y phase(X + a dX), the spectrogram to project."""
    phase = ops.phase

    def source(C: Any, R: Any, F: Any, c: Coefficients) -> Any:
        return phase(C[0] + C[1] * c[0]) * R[0]

    return source


def ipalm_estimate(ops: Any) -> BinFunction:
    """Build Y + a dY, the magnitude at which the gradient is taken."""
    return lambda C, R, F, c: R[0] + R[1] * c[0]


def ipalm_update(ops: Any) -> BinFunction:
    """Build the update: X = z, and a gradient step on Y; c = (a, 1 / L, lam / L)."""
    magnitude, clip = ops.magnitude, ops.clip

    def update(C: Any, R: Any, F: Any, z: Any, d: Any, c: Coefficients) -> Any:
        ahead = R[0] + R[1] * c[0]
        y = clip(ahead + (magnitude(z) - ahead) * c[1] + d * c[2])
        return (z, z - C[0]), (y, y - R[0])

    return update


def ipalm_held_update(ops: Any) -> BinFunction:
    """Build the update with a prior: its term follows the gradient step on Y; see `Guided`."""
    magnitude, clip, mean = ops.magnitude, ops.clip, ops.inline(toward)

    def update(C: Any, R: Any, F: Any, z: Any, d: Any, c: Coefficients) -> Any:
        a, sure = F
        ahead = R[0] + R[1] * c[0]
        w = ahead + (magnitude(z) - ahead) * c[1] + d * c[2]
        y = clip(mean(w, a, sure * c[3]))
        return (z, z - C[0]), (y, y - R[0])

    return update


BINS = Bins(
    complex=("X", "dX"),
    real=("Y", "dY"),
    source=ipalm_source,
    estimate=ipalm_estimate,
    update=ipalm_update,
    fits_mel=True,
)


HELD = dataclasses.replace(BINS, fixed=("A", "confidence"), update=ipalm_held_update)


@dataclass
class IPALMState(State):
    """X and Y, and their last changes dX and dY, each of shape (n_bins, n_frames)."""

    X: np.ndarray
    Y: np.ndarray
    dX: np.ndarray
    dY: np.ndarray


@dataclass
class HeldState(IPALMState):
    """`IPALMState` with the magnitude A of a prior, and its confidence."""

    A: np.ndarray
    confidence: np.ndarray


@dataclass(frozen=True, kw_only=True)
class IPALM(Guided[IPALMState]):
    r"""Griffin-Lim and a gradient step on the magnitude in turn, both with inertia.

    .. math::
        \min_{X \in C,\, Y \ge 0} \tfrac12 \||X| - Y\|^2 + \tfrac{\lambda}{2} \|M - E Y\|^2

    With the inertia a of iteration k and :math:`L = 1 + \lambda \|E\|^2`

    .. math::
        X_{k+1} &= P_C\big(Y_k \exp(i \angle (X_k + a (X_k - X_{k-1})))\big), \qquad
        \tilde Y = Y_k + a (Y_k - Y_{k-1}) \\
        Y_{k+1} &= \max\big(0,\; \tilde Y + \tfrac1L (|X_{k+1}| - \tilde Y)
        + \tfrac{\lambda}{L} E^\top (M - E \tilde Y)\big)

    Parameters
    ----------
    lam : float > 0
        Weight lambda of the mel-spectrogram.
    inertia : float in [0, 1) or None
        Weight of the last change; None means (k - 1) / (k + 2) in iteration k = 1, 2, ...
    prior, prior_weight, prior_iterations
        See :class:`melexp.methods._guided.Guided`.

    Raises
    ------
    ValueError
        If a value is out of its range, or the mel-spectrogram is one of powers.

    References
    ----------
    Y. Masuyama, N. Ueno and N. Ono, "Signal reconstruction from mel-spectrogram based on bi-level
    consistency of full-band magnitude and phase", WASPAA 2023, arXiv:2307.12232; T. Pock and
    S. Sabach, "Inertial proximal alternating linearized minimization (iPALM) for nonconvex and
    nonsmooth problems", SIAM J. Imaging Sci. 9(4), 2016.
    """

    lam: float = 5000.0
    inertia: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.lam > 0:
            raise ValueError(f"lam must be above zero; got {self.lam}")
        if self.inertia is not None and not 0 <= self.inertia < 1:
            raise ValueError(f"inertia must lie in [0, 1) or be None; got {self.inertia}")

    def bins(self, problem: Problem) -> Bins:
        return HELD if self.holds else BINS

    def coefficients(self, problem: Problem, k: int) -> Coefficients:
        inertia = (k - 1) / (k + 2) if self.inertia is None else self.inertia
        lipschitz = 1 + self.lam * problem.filters.norm_squared
        values = inertia, 1 / lipschitz, self.lam / lipschitz
        return (*values, self.share(k)) if self.holds else values

    def begin(self, problem: Problem, Y: np.ndarray, X: np.ndarray) -> IPALMState:
        if problem.transform.power != 1:
            raise ValueError(
                "ipalm supports only magnitude mels (power = 1), because of its gradient step; "
                "use admm"
            )
        values = {"X": X, "Y": Y, "dX": np.zeros_like(X), "dY": np.zeros_like(Y)}
        if not self.holds:
            return IPALMState(iteration=0, **values)
        A, confidence = self.held(problem)
        return HeldState(iteration=0, **values, A=A, confidence=confidence)
