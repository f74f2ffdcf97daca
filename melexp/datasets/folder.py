"""Every sound file below a folder of your own, such as a full download of a corpus."""

import hashlib
import re
from collections import Counter
from functools import partial
from pathlib import Path

import soundfile

from ._clip import Clip, sha256_of


def clips(*, path: str) -> list[Clip]:
    """List the sound files below a folder, sorted by their paths.

    The category is the name of the sub-folder that holds the file, ``all`` at the top. All
    files are read once, for their hashes; none is decoded. Hidden files are left out.

    Parameters
    ----------
    path : str
        The folder; ``~`` is expanded.

    Raises
    ------
    ValueError
        No such folder, or no sound file in it.
    """
    root = Path(path).expanduser().resolve()
    if not root.is_dir():
        raise ValueError(f"{root} is not a folder; set path to one that holds sound files")
    # RAW files do not say their rate. The extra names are common ones of known formats.
    formats = {name.lower() for name in soundfile.available_formats()} - {"raw"}
    suffixes = {f".{name}" for name in formats | {"aif", "oga", "opus"}}
    files = sorted(
        file.relative_to(root)
        for file in root.rglob("*")
        if file.suffix.lower() in suffixes
        and file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(root).parts)
    )
    if not files:
        raise ValueError(f"{root} holds no sound file (looked for {' '.join(sorted(suffixes))})")
    plain = {file: re.sub(r"[^\w.-]+", "_", "-".join(file.with_suffix("").parts)) for file in files}
    # Some file systems take no notice of case, so neither does the test for two equal ids.
    uses = Counter(name.casefold() for name in plain.values())
    return [
        Clip(
            id=name if uses[name.casefold()] == 1 else f"{name}-{_digest(file)}",
            dataset="folder",
            category=file.parent.name or "all",
            sha256=sha256_of(root / file),
            licence="not stated",
            author="not stated",
            source=file.as_posix(),
            locate=partial(Path, root, file),
        )
        for file, name in plain.items()
    ]


def _digest(file: Path) -> str:
    return hashlib.sha256(file.as_posix().encode()).hexdigest()[:8]
