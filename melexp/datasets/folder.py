"""All sound files in a folder of the user, such as a full download of a corpus."""

import hashlib
import re
from collections import Counter
from functools import partial
from pathlib import Path

import soundfile

from ._clip import Clip, sha256_of


def clips(*, path: str) -> list[Clip]:
    """List the sound files in a folder and its subfolders, sorted by path.

    The category of a clip is the name of its subfolder, or ``all`` at the top. Every file is read
    once to compute its SHA-256; no file is decoded. Hidden files are skipped.

    Parameters
    ----------
    path : str
        Path of the folder; ``~`` is expanded.

    Raises
    ------
    ValueError
        If the folder does not exist or has no sound file.
    """
    root = Path(path).expanduser().resolve()
    if not root.is_dir():
        raise ValueError(f"{root} is not a folder; set path to a folder of sound files")
    # RAW files do not declare a rate. The extra suffixes are common ones of known formats.
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
        raise ValueError(
            f"{root} holds no sound file; set path to a folder of files with a suffix of "
            f"{' '.join(sorted(suffixes))}"
        )
    plain = {file: re.sub(r"[^\w.-]+", "_", "-".join(file.with_suffix("").parts)) for file in files}
    # Some file systems ignore case, so ids that differ in case only count as equal.
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
