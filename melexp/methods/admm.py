"""ADMM: full-band magnitude and phase estimated together (the method of the paper)."""

from __future__ import annotations

from dataclasses import dataclass

from melexp.methods._splitting import Splitting


@dataclass(frozen=True, kw_only=True)
class ADMM(Splitting):
    r"""Alternating direction method of multipliers for the joint problem.

    .. math::
        \min \tfrac12 \||X| - Y\|^2 + \tfrac{\lambda}{2} \|M - E W\|^2 + \iota_C(Z)
        + \iota_{\ge 0}(Y) \quad \text{subject to } Z = X,\; W = Y

    with scaled duals U and V. In iteration k

    .. math::
        Z &= P_C(X + U), \qquad
        W = R + E^\top \big(E E^\top + \tfrac{\rho}{\lambda} I\big)^{-1} (M - E R),
        \quad R = Y + V \\
        U &\leftarrow U + X - Z, \qquad V \leftarrow V + Y - W \\
        (X, Y) &= \arg\min_{Y \ge 0} \tfrac12 \||X| - Y\|^2
        + \tfrac{\rho}{2} \|X - (Z - U)\|^2 + \tfrac{\rho}{2} \|Y - (W - V)\|^2

    The update is `admm_update` in ``_splitting.py``. The (X, Y) step has a closed form in each bin;
    it is in ``_prox.py``. For power mels, M = E |STFT(x)|^2, the arrays Y and W are powers and the
    first term becomes :math:`\tfrac12 \||X| - \sqrt{Y}\|^2`. Squared differences in Y are then
    divided by the envelope S, those in M by E S. The same lam and rho suit both.

    Parameters
    ----------
    lam : float > 0
        Weight lambda of the mel-spectrogram.
    rho : float > 0
        Penalty of both constraints.
    prior, prior_weight, prior_iterations
        See :class:`melexp.methods._guided.Guided`.

    Raises
    ------
    ValueError
        If lam or rho is not above zero.

    References
    ----------
    Y. Masuyama, N. Ueno and N. Ono, "Mel-spectrogram inversion via alternating direction method
    of multipliers", arXiv:2501.05557, 2025.
    """

    lam: float = 5000.0
    rho: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.lam > 0 and self.rho > 0):
            raise ValueError(f"lam and rho must be above zero; got {self.lam} and {self.rho}")

    @property
    def ridge(self) -> float:
        return self.rho / self.lam

    def penalties(self, k: int) -> tuple[float, float]:
        return self.rho, self.rho
