"""Find methods, metrics, data sets and configurations, in the package and in ``MELEXP_PATH``.

``MELEXP_PATH`` lists folders of the user, separated as in ``PATH``. Each is laid out like the
source tree: ``methods/<name>.py`` with ``conf/method/<name>.yaml``, and likewise ``metrics`` and
``datasets``. Modules and configurations in these folders are used like those of the package. If
two have the same name, the package's is used.
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

_NOUNS = {"datasets": "data set", "methods": "method", "metrics": "metric"}


def user_folders() -> list[Path]:
    """Return the folders listed in ``MELEXP_PATH``, as absolute paths.

    Raises
    ------
    ValueError
        If an entry is not an existing folder.
    """
    folders = [Path(name) for name in os.environ.get(VARIABLE, "").split(os.pathsep) if name]
    for folder in folders:
        if not folder.is_dir():
            raise ValueError(f"{VARIABLE}: {folder} is not a folder; fix or unset the variable")
    return [folder.resolve() for folder in folders]


def search_path(path: Iterable[str], kind: str) -> list[str]:
    """Return the `path` of a package, extended by the subfolders `kind` of the user's folders."""
    return [*path, *(str(folder / kind) for folder in user_folders())]


def names(package: str) -> list[str]:
    """Return the names of the public modules of a package, sorted, without importing them.

    Parameters
    ----------
    package : str
        Full name of the package, such as ``"melexp.metrics"``.

    Examples
    --------
    >>> names("melexp.datasets")[:2]
    ['demo_foley', 'demo_speech']
    """
    path = importlib.import_module(package).__path__
    return sorted({m.name for m in pkgutil.iter_modules(path) if not m.name.startswith("_")})


def load(package: str, name: str) -> ModuleType:
    """Import a public module of a package.

    Parameters
    ----------
    package : str
        Full name of the package, such as ``"melexp.metrics"``.
    name : str
        One of `names`.

    Raises
    ------
    ValueError
        If there is no such module; the message lists the names.
    """
    known = names(package)
    if name not in known:
        kind = package.rpartition(".")[2]
        raise ValueError(_unknown(_NOUNS.get(kind, kind), name, known))
    return importlib.import_module(f"{package}.{name}")


def conf_dir() -> Path:
    """Return the folder of configurations, of the source tree or of the installed package."""
    here = Path(__file__).parent
    installed = here / "conf"
    return installed if installed.is_dir() else here.parent / "conf"


def config_names(group: str) -> list[str]:
    """Return the names of the configurations of a group, sorted.

    Parameters
    ----------
    group : str
        Name of a folder in ``conf``, such as ``"metric"``.
    """
    return sorted({path.stem for folder in _groups(group) for path in folder.glob("*.yaml")})


def conf_file(group: str, name: str) -> Path:
    """Return the path of a configuration, ``conf/<group>/<name>.yaml``.

    Raises
    ------
    ValueError
        If there is no such file; the message lists the names.
    """
    for folder in _groups(group):
        path = folder / f"{name}.yaml"
        if path in folder.glob("*.yaml"):  # a name from elsewhere may hold a path
            return path
    raise ValueError(_unknown(group, name, config_names(group)))


def read_config(group: str, name: str) -> dict[str, Any]:
    """Return a configuration as plain values.

    Raises
    ------
    ValueError
        If there is no such file; the message lists the names.
    """
    from omegaconf import OmegaConf  # only here: it takes long to import

    values: Any = OmegaConf.to_container(OmegaConf.load(conf_file(group, name)))
    return values


def _groups(group: str) -> list[Path]:
    return [conf_dir() / group, *(folder / "conf" / group for folder in user_folders())]


def _unknown(noun: str, name: str, known: list[str]) -> str:
    return f"there is no {noun} {name!r}; the {noun}s are {', '.join(known) or 'none'}"
