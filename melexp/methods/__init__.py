"""The inversion methods: one module each, whose name is the method's name.

A method is found by its file: adding one means adding ``melexp/methods/<name>.py`` with one
subclass of `Method`, and ``conf/method/<name>.yaml``.
"""

from __future__ import annotations

import dataclasses
import importlib
import math
import pkgutil
from typing import Any

from melexp.discovery import search_path
from melexp.methods._base import Method, State, Stop
from melexp.start import check_start

__all__ = ["Method", "State", "Stop", "available_methods", "make_method"]

__path__ = search_path(__path__, "methods")


def available_methods() -> list[str]:
    """Names of the methods, sorted."""
    return sorted({m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")})


def make_method(name: str, **params: Any) -> Method[Any]:
    """The method of that name with these parameters.

    Raises
    ------
    ValueError
        For an unknown name or parameter, or a value out of range; says what there is.
    """
    if name not in available_methods():
        raise ValueError(
            f"there is no method {name!r}; the methods are {', '.join(available_methods())}"
        )
    module = importlib.import_module(f"{__name__}.{name}")
    (cls,) = (
        c
        for c in vars(module).values()
        if isinstance(c, type) and issubclass(c, Method) and c.__module__ == module.__name__
    )
    known = [f.name for f in dataclasses.fields(cls)]
    unknown = [p for p in params if p not in known]
    if unknown:
        raise ValueError(
            f"method {name} has no parameter {', '.join(unknown)}; it has {', '.join(known)}"
        )
    method: Method[Any] = cls(**params)
    for parameter, value in params.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{parameter} must be finite; got {value}")
    if not 0 <= method.frame_weights <= 1:
        raise ValueError(f"frame_weights must be from 0 to 1; got {method.frame_weights}")
    if not method.restarts:
        check_start(method.magnitude, method.phase)
    return method
