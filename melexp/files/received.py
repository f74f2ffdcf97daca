"""Files of a folder that came from elsewhere: no link leads out of it."""

from __future__ import annotations

from pathlib import Path


def inside(folder: Path, path: Path) -> Path:
    """Return a path in a received folder.

    Raises
    ------
    ValueError
        If it leads out of the folder, through a link in any part of it.
    """
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(
            f"{path} is a link that leads out of {folder}; replace the link by what it names if "
            "you trust it"
        )
    return path
