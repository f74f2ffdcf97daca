"""A user's own methods, metrics and data sets: a folder beside this package, not in it.

``MELEXP_PATH`` names such folders (several with the system's path separator between them), laid out
as the source tree is: ``methods/<name>.py`` with ``conf/method/<name>.yaml``, and likewise for
metrics and data sets. What is there is found as if it came with the package.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

VARIABLE = "MELEXP_PATH"


def own_folders() -> list[Path]:
    """The folders that the environment names.

    Raises
    ------
    ValueError
        If one of them is not there.
    """
    folders = [Path(name) for name in os.environ.get(VARIABLE, "").split(os.pathsep) if name]
    for folder in folders:
        if not folder.is_dir():
            raise ValueError(f"{VARIABLE} names {folder}, which is not a folder; mend or unset it")
    return [folder.resolve() for folder in folders]


def with_own(path: Iterable[str], kind: str) -> list[str]:
    """The search path of a package of the suite, ours first, with the user's folders of a kind."""
    return [*path, *(str(folder / kind) for folder in own_folders())]


def conf_dir() -> Path:
    """The folder of configurations: of the source tree, or of the installed package."""
    here = Path(__file__).parent
    installed = here / "conf"
    return installed if installed.is_dir() else here.parent / "conf"


def conf_file(group: str, name: str) -> Path:
    """A configuration of a group, of ours or of the user's own."""
    folders = [conf_dir(), *(folder / "conf" for folder in own_folders())]
    paths = [folder / group / f"{name}.yaml" for folder in folders]
    for path in paths:
        if path.exists():
            return path
    raise ValueError(f"there is no {group} {name!r}: {paths[0]} is missing")


def config_names(group: str) -> list[str]:
    """Return the names of the configurations of a group, also of the user's folders, sorted."""
    folders = [conf_dir(), *(folder / "conf" for folder in own_folders())]
    return sorted({path.stem for folder in folders for path in (folder / group).glob("*.yaml")})


def read_config(group: str, name: str) -> dict[str, Any]:
    """Return a configuration as plain values."""
    from omegaconf import OmegaConf  # here, because the names alone do without

    values: Any = OmegaConf.to_container(OmegaConf.load(conf_file(group, name)))
    return values
