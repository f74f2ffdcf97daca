"""Find methods, metrics, data sets and configurations, in the package and in folders of the user.

The variable ``MELEXP_PATH`` names such folders, separated as in ``PATH``. They are laid out like
the source tree: ``methods/<name>.py`` with ``conf/method/<name>.yaml``, and likewise for metrics
and data sets. Files in them are found as if they came with the package.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

VARIABLE = "MELEXP_PATH"


def own_folders() -> list[Path]:
    """Return the folders that `MELEXP_PATH` names.

    Raises
    ------
    ValueError
        If one of them does not exist.
    """
    folders = [Path(name) for name in os.environ.get(VARIABLE, "").split(os.pathsep) if name]
    for folder in folders:
        if not folder.is_dir():
            raise ValueError(f"{VARIABLE}: {folder} is not a folder; fix or unset the variable")
    return [folder.resolve() for folder in folders]


def with_own(path: Iterable[str], kind: str) -> list[str]:
    """Return the search path of a package, followed by the user's folders of a kind."""
    return [*path, *(str(folder / kind) for folder in own_folders())]


def names(path: Iterable[str]) -> list[str]:
    """Return the public modules on the search path of a package, sorted; imports none of them."""
    return sorted({m.name for m in pkgutil.iter_modules(path) if not m.name.startswith("_")})


def load(package: str, name: str, known: Iterable[str], kind: str) -> ModuleType:
    """Import a module of a package.

    Parameters
    ----------
    package : str
        Such as ``melexp.metrics``.
    name : str
        Name of the module.
    known : iterable of str
        The names that exist.
    kind : str
        Word for such a module in the error message, such as "metric".

    Raises
    ------
    ValueError
        If `name` is not among `known`; lists them.
    """
    known = list(known)
    if name not in known:
        raise ValueError(f"there is no {kind} {name!r}; the {kind}s are {', '.join(known)}")
    return importlib.import_module(f"{package}.{name}")


def conf_dir() -> Path:
    """Return the folder of configurations, of the source tree or of the installed package."""
    here = Path(__file__).parent
    installed = here / "conf"
    return installed if installed.is_dir() else here.parent / "conf"


def _conf_dirs() -> list[Path]:
    return [conf_dir(), *(folder / "conf" for folder in own_folders())]


def config_names(group: str) -> list[str]:
    """Return the names of the configurations of a group, such as ``method``, sorted."""
    return sorted({path.stem for conf in _conf_dirs() for path in (conf / group).glob("*.yaml")})


def conf_file(group: str, name: str) -> Path:
    """Return the file of a configuration.

    Raises
    ------
    ValueError
        If there is none.
    """
    paths = [conf / group / f"{name}.yaml" for conf in _conf_dirs()]
    for path in paths:
        if path.exists():
            return path
    raise ValueError(f"there is no {group} {name!r}: {paths[0]} is missing")


def read_config(group: str, name: str) -> dict[str, Any]:
    """Return a configuration as plain values.

    Raises
    ------
    ValueError
        If there is none.
    """
    from omegaconf import OmegaConf  # here, because the names alone do without

    values: Any = OmegaConf.to_container(OmegaConf.load(conf_file(group, name)))
    return values
