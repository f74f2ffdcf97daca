"""Methods with a prior: they start from its magnitude, and hold it while they run."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from melexp.methods._base import Binwise, Method, State
from melexp.problem import Problem
from melexp.start import guess_of, start

S = TypeVar("S", bound=State)

_OWN = ("prior", "prior_weight", "prior_iterations")


@dataclass(frozen=True, kw_only=True)
class Guided(Binwise[S]):
    r"""A joint method that may have a prior of the magnitude.

    The prior adds the term :math:`\tfrac12 \|\sqrt\mu (Y - A)\|^2` to the problem, with the prior's
    magnitude A and a weight :math:`\mu` per bin. The term joins the other quadratic term in Y of
    the update of Y, with the target w: the weighted mean of both targets, :math:`w + s (A - w)`,
    replaces w. The share s of the prior in the sum of both weights is the parameter. In iteration k
    of n it is

    .. math:: s = s_1\, c\, (1 - (k - 1) / n)

    with the confidence c of the prior in the bin, so that the term vanishes at the end. For a power
    mel, Y, A and w are powers.

    Parameters
    ----------
    prior : callable, "shipped" or None
        ``prior(magnitude, problem)`` returns a magnitude or a :class:`melexp.start.Guess`.
        "shipped" is the network of the package. None means no prior.
    prior_weight : float in [0, 1]
        The share :math:`s_1` in the first iteration. 0 uses the prior as a start only.
    prior_iterations : int > 0 or None
        The number n of iterations in which the weight falls. None means 100, or the number of
        iterations of the call (:func:`melexp.invert`).

    Raises
    ------
    ValueError
        If a value is out of its range.
    """

    prior: Any = None
    prior_weight: float = 0.0
    prior_iterations: int | None = None

    def __post_init__(self) -> None:
        if not (self.prior is None or self.prior == "shipped" or callable(self.prior)):
            raise ValueError(f"prior must be 'shipped', a callable or None; got {self.prior!r}")
        if not 0 <= self.prior_weight <= 1:
            raise ValueError(f"prior_weight must be from 0 to 1; got {self.prior_weight}")
        if self.prior_iterations is not None and self.prior_iterations < 1:
            raise ValueError(f"prior_iterations must be at least 1; got {self.prior_iterations}")

    def parameters(self) -> dict[str, Any]:
        # Results are stored by these values: a method without a prior has those of old results.
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        if self.prior is None:
            return {name: value for name, value in values.items() if name not in _OWN}
        if callable(self.prior):
            kind = self.prior if hasattr(self.prior, "__qualname__") else type(self.prior)
            values["prior"] = f"{kind.__module__}.{kind.__qualname__}"
        return values

    def for_budget(self, n_iter: int, n_frames: int | None = None) -> Method[S]:
        if self.prior is None or self.prior_iterations is not None:
            return self
        return dataclasses.replace(self, prior_iterations=max(n_iter, 1))

    def start(self, problem: Problem, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        return start(problem, rng, magnitude=self.magnitude, phase=self.phase, prior=self.prior)

    @property
    def holds(self) -> bool:
        """Whether the iteration has the term of the prior."""
        return self.prior is not None and self.prior_weight > 0

    def share(self, k: int) -> float:
        """Return the share of the prior in iteration k = 1, 2, ... where the confidence is 1."""
        n = self.prior_iterations or 100
        return self.prior_weight * max(0.0, 1 - (k - 1) / n)

    def held(self, problem: Problem) -> tuple[np.ndarray, np.ndarray]:
        """Return the magnitude A (power for a power mel) and the confidence of the prior."""
        guess = guess_of(self.prior, problem, magnitude=self.magnitude)
        A = guess.magnitude
        if problem.frame_gains is not None:
            A = A * problem.frame_gains
        return problem.transform.spectrum(A), np.ascontiguousarray(guess.confidence)


def toward(w: Any, a: Any, share: Any) -> Any:
    """Return the mean of w and a with the weights 1 - share and share."""
    return w + (a - w) * share
