"""The inversion methods: one module each.

The name of a method is that of its configuration, ``conf/method/<name>.yaml``. This names the
module of the method, ``melexp/methods/<module>.py``, and the values of its parameters. A new method
is one file of each kind, here or in a folder of ``MELEXP_PATH``.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from melexp import discovery
from melexp.methods._base import Binwise, Method, Parameters, Peer, State, Stop
from melexp.methods._bins import Bins
from melexp.start import check_start
from melexp.transforms.arrays import namespace, unit_phase

__all__ = [
    "Bins",
    "Binwise",
    "Method",
    "Peer",
    "State",
    "Stop",
    "available_methods",
    "make_method",
    "namespace",
    "unit_phase",
]

__path__ = discovery.search_path(__path__, "methods")


def available_methods() -> list[str]:
    """Return the names of the methods, sorted."""
    return sorted({*discovery.names(__name__), *discovery.config_names("method")})


def make_method(name: str, **params: Any) -> Any:
    """Return the method of that name, with other values of parameters if given.

    Parameters
    ----------
    name : str
        One of :func:`available_methods`.
    **params
        Parameters of the method; the others have the values of ``conf/method/<name>.yaml``.

    Returns
    -------
    method : Method or Peer

    Raises
    ------
    ValueError
        For an unknown name or parameter, or a value out of range. The message lists the known ones.
    """
    known = available_methods()
    if name not in known:
        raise ValueError(f"there is no method {name!r}; the methods are {', '.join(known)}")
    values = {}
    if name in discovery.config_names("method"):
        values = discovery.read_config("method", name)
    cls = _class_of(values.pop("name", name))
    values.pop("label", None)
    fields = [f.name for f in dataclasses.fields(cls)]
    if unknown := [p for p in params if p not in fields]:
        raise ValueError(
            f"method {name} has no parameter {', '.join(unknown)}; its parameters are "
            f"{', '.join(fields)}"
        )
    return checked(cls(**values | params))


def checked(method: Any) -> Any:
    """Return the method; raise ValueError if a parameter common to all is out of range."""
    for parameter, value in method.parameters().items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{parameter} must be finite; got {value}")
    if isinstance(method, Method):
        if not 0 <= method.frame_weights <= 1:
            raise ValueError(f"frame_weights must be from 0 to 1; got {method.frame_weights}")
        check_start(method.magnitude, method.phase)
    return method


def _class_of(module_name: str) -> type[Parameters]:
    """Return the class of a method's module."""
    module = discovery.load(__name__, module_name)
    (cls,) = (
        c
        for c in vars(module).values()
        if isinstance(c, type) and issubclass(c, Parameters) and c.__module__ == module.__name__
    )
    return cls
