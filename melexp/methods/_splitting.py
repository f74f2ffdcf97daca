"""The iteration of ADMM, shared by `admm` and `admm_ramp`: they differ in start and penalties."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from melexp.methods._base import State
from melexp.methods._bins import BinFunction, Bins, Coefficients
from melexp.methods._guided import Guided, toward
from melexp.methods._prox import (
    any_power_pair,
    magnitude_coefficients,
    magnitude_step,
    power_coefficients,
    power_step,
)
from melexp.problem import Problem


def admm_update(ops: Any) -> BinFunction:
    """Build the update for magnitude mels; see `Splitting`."""
    return _update(ops, magnitude_step(ops), relative=False)


def admm_power_update(ops: Any) -> BinFunction:
    """Build the update for power mels."""
    return _update(ops, power_step(ops), relative=True)


@cache
def any_power(power: float) -> Bins:
    """Declare the iteration for another exponent than 1 and 2; its step has no compiled form."""

    def pair(z: Any, w: Any, envelope: Any, c: Coefficients) -> Any:
        return any_power_pair(z, w, envelope, rho_x=c[0], rho_y=c[1], power=power)

    def admm_any_power_update(ops: Any) -> BinFunction:
        return _update(ops, pair, relative=True)

    return Bins(complex=("P",), real=("R",), update=admm_any_power_update, fits_mel=True)


def _update(ops: Any, pair: Any, *, relative: bool) -> BinFunction:
    """Build the update with an (X, Y) step, which takes the envelope if it is relative to that.

    The fixed arrays are the envelope, if it is used, then those of a prior, if there is one.
    """
    magnitude, phase, mean = ops.magnitude, ops.phase, ops.inline(toward)

    def update(C: Any, R: Any, F: Any, z: Any, d: Any, c: Coefficients) -> Any:
        (p,), (r,) = C, R
        envelope, prior = F[:relative], F[relative:]
        for scale in envelope:
            d = scale * d  # the mel step is relative to it, too
        zeta = z * 2 - p  # Z - U
        size = magnitude(zeta)
        w = r + d + d  # W = R + d, so W - V = 2 W - R = R + 2 d
        if prior:
            spectrum, confidence = prior
            w = mean(w, spectrum, confidence * c[5])  # see `Guided`
        x, y = pair(size, w, *envelope, c)
        return (p + phase(zeta, size) * x - z,), (y - d,)  # P += X - Z, R += Y - W

    return update


MAGNITUDE = Bins(complex=("P",), real=("R",), update=admm_update, fits_mel=True)
POWER = Bins(complex=("P",), real=("R",), update=admm_power_update, fits_mel=True)


@dataclass
class SplittingState(State):
    """P = X + U (complex) and R = Y + V (real), each of shape (n_bins, n_frames)."""

    P: np.ndarray
    R: np.ndarray


@dataclass
class HeldState(SplittingState):
    """`SplittingState` with the spectrum A of a prior, and its confidence."""

    A: np.ndarray
    confidence: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Splitting(Guided[SplittingState]):
    r"""ADMM for the joint problem in Douglas-Rachford form.

    Each update of (Z, W) needs X and Y only through P = X + U and R = Y + V. These are the whole
    state: Z - U = 2Z - P and W - V = 2W - R. An iteration is

    .. math::
        Z &= P_C(P), \qquad
        W = R + E^\top \big(E E^\top + \tfrac{\rho_y}{\lambda} I\big)^{-1} (M - E R) \\
        (X, Y) &= \mathrm{prox}_J(2 Z - P,\, 2 W - R) \\
        P &\leftarrow P + X - Z, \qquad R \leftarrow R + Y - W

    The first line of updates is the W step for magnitude mels. It minimises
    :math:`\frac{\lambda}{2} \|M - E W\|^2 + \frac{\rho_y}{2} \|W - R\|^2`. Powers differ by so much
    that one penalty cannot suit loud and faint bins. For power mels both terms are therefore
    relative to the envelope S of :attr:`melexp.problem.Problem.envelope`: :math:`\|W - R\|^2` is
    divided by S and :math:`\|M - E W\|^2` by E S. Other exponents are treated alike, with the step
    of :func:`melexp.methods._prox.any_power_pair`, in NumPy and torch only.
    """

    @abstractmethod
    def penalties(self, k: int) -> tuple[float, float]:
        """Return rho_x and rho_y of iteration k = 1, 2, ..."""

    @property
    @abstractmethod
    def ridge(self) -> float:
        """The ratio rho_y / lambda, the same in all iterations."""

    def bins(self, problem: Problem) -> Bins:
        power = problem.transform.power
        return {1.0: MAGNITUDE, 2.0: POWER}.get(power) or any_power(power)

    def coefficients(self, problem: Problem, k: int) -> Coefficients:
        of = {1.0: magnitude_coefficients, 2.0: power_coefficients}.get(problem.transform.power)
        values = self.penalties(k) if of is None else of(*self.penalties(k))
        if not self.holds:
            return values
        return *values, *(0.0,) * (5 - len(values)), self.share(k)

    def fixed(self, problem: Problem, state: SplittingState) -> tuple[np.ndarray, ...]:
        envelope = () if problem.transform.power == 1 else (problem.envelope,)
        if isinstance(state, HeldState):
            return *envelope, state.A, state.confidence
        return envelope

    def mel_solver(self, problem: Problem) -> Any:
        if problem.transform.power == 1:
            return problem.filters.solver(self.ridge)
        return power_solver(problem, self.ridge)

    def begin(self, problem: Problem, Y: np.ndarray, X: np.ndarray) -> SplittingState:
        R = problem.transform.spectrum(Y)
        if not self.holds:
            return SplittingState(iteration=0, P=X, R=R)
        A, confidence = self.held(problem)
        return HeldState(iteration=0, P=X, R=R, A=A, confidence=confidence)


_SOLVERS: WeakKeyDictionary[Any, dict[float, Any]] = WeakKeyDictionary()


def power_solver(problem: Problem, ridge: float) -> Any:
    """Return the solver of the W step for power mels: (E S E^T + ridge diag(E s)) x = b."""
    solvers = _SOLVERS.setdefault(problem, {})
    if ridge not in solvers:
        solvers[ridge] = problem.filters.weighted_solver(problem.envelope, ridge)
    return solvers[ridge]
