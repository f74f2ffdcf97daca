"""An iteration bin by bin: its declaration, and the elementary functions that it is built from.

The update of a method is written once, as a *factory*: a function of a namespace `ops` that
returns the update. The namespace is `ARRAYS` for NumPy arrays and torch tensors; the fast engine
has one of its own for vector registers (:mod:`melexp.fast.ops`). Both have

- ``magnitude(z)``: |z|;
- ``phase(z, size)``: z / |z|, and 1 where z = 0; `size` = |z| may be left out;
- ``where_positive(x, a, b)``: a where x > 0, otherwise b;
- ``clip(x)``: max(x, 0);
- ``cubic_root(p, q)``: the root b >= 0 of b^3 + p b = q for q >= 0;
- ``inline(f)``: f in a form that an update may call.

An update uses these and ``+ - *`` only, and changes none of its arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from melexp.transforms.arrays import namespace, unit_phase

#: Numbers that are the same for all bins of an iteration; at most six.
Coefficients: TypeAlias = tuple[float, ...]
#: A function of the complex, real and fixed arrays of a state (a tuple each) and more.
BinFunction: TypeAlias = Callable[..., Any]
Factory: TypeAlias = Callable[[Any], BinFunction]


@dataclass(frozen=True)
class Bins:
    """The declaration of a method's iteration.

    An iteration is ``C, R = update(C, R, F, z, d, c)``. C, R and F are the tuples of complex, real
    and fixed values of a bin, c the coefficients of the iteration, z the bin of the projection
    P_C(source) and d the bin of the mel step.

    Attributes
    ----------
    complex, real, fixed : tuple of str
        Names of the state's arrays by kind; an iteration leaves fixed ones unchanged.
    update : factory of update(C, R, F, z, d, c) -> (C, R)
    source : factory of source(C, R, F, c), or None
        The spectrogram to project. None projects the first complex array, which also gives the
        waveform.
    fits_mel : bool
        If True, d = E^T A^-1 (M - E v), where :meth:`Binwise.mel_solver` solves A x = b.
    estimate : factory of estimate(C, R, F, c), or None
        The magnitude (or power) v compared with the mel-spectrogram. None is the first real array.
    """

    complex: tuple[str, ...]
    update: Factory
    real: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()
    source: Factory | None = None
    fits_mel: bool = False
    estimate: Factory | None = None

    @cached_property
    def on_arrays(self) -> tuple[BinFunction, BinFunction, BinFunction]:
        """The functions (source, estimate, update) for NumPy arrays and torch tensors."""
        source, estimate = self.source or _first_complex, self.estimate or _first_real
        return source(ARRAYS), estimate(ARRAYS), self.update(ARRAYS)


def _first_complex(ops: Any) -> BinFunction:
    return lambda C, R, F, c: C[0]


def _first_real(ops: Any) -> BinFunction:
    return lambda C, R, F, c: R[0]


class _Arrays:
    """The elementary functions for NumPy arrays and torch tensors."""

    @staticmethod
    def inline(f: BinFunction) -> BinFunction:
        return f

    @staticmethod
    def magnitude(z: Any) -> Any:
        return abs(z)

    @staticmethod
    def phase(z: Any, size: Any = None) -> Any:
        return unit_phase(z, size)

    @staticmethod
    def where_positive(x: Any, positive: Any, otherwise: Any) -> Any:
        return namespace(x).where(x > 0, positive, otherwise)

    @staticmethod
    def clip(x: Any) -> Any:
        return x.clip(0)

    @staticmethod
    def cubic_root(p: Any, q: Any) -> Any:
        """Descend by Newton's steps from a point above the root."""
        xp = namespace(p)
        b = xp.sqrt((-p).clip(0)) + (np.cbrt(q) if xp is np else q ** (1 / 3))
        # The first point is within a factor of two of the root, or is so after a step or two
        # (p >> q^2/3). From there six steps reach the precision of float32.
        tiny = xp.finfo(b.dtype).smallest_normal
        for _ in range(7 if b.dtype == xp.float32 else 9):
            square = b * b
            b = (2 * square * b + q) / (3 * square + p + tiny)
        return b


ARRAYS = _Arrays()
