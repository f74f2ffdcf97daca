"""All sound files in a folder of the user, such as a full download of a corpus."""

import hashlib
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import soundfile

from melexp.errors import one_line, printable

from ._clip import Clip
from ._hashes import Hashes


def clips(*, path: str) -> list[Clip]:
    """List the sound files in a folder and its subfolders, sorted by path.

    The category of a clip is the name of its subfolder, or ``all`` at the top. A file that
    is new or was changed is read to compute its SHA-256; no file is decoded. Hidden files are
    skipped. An unreadable file is listed without a hash, and its load fails. An unreadable folder
    is named in a warning.

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
        for file in _files(root)
        if file.suffix.lower() in suffixes
        and file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(root).parts)
    )
    if not files:
        raise ValueError(
            f"{root} holds no sound file; set path to a folder of files with a suffix of "
            f"{' '.join(sorted(suffixes))}"
        )
    hashes = Hashes(root)
    plain = {file: re.sub(r"[^\w.-]+", "_", "-".join(file.with_suffix("").parts)) for file in files}
    # Some file systems ignore case, so ids that differ in case only count as equal.
    uses = Counter(name.casefold() for name in plain.values())
    clips = [
        Clip(
            id=name if uses[name.casefold()] == 1 else f"{name}-{_digest(file)}",
            dataset="folder",
            category=file.parent.name or "all",
            sha256=_sha256_if_readable(root / file, hashes),
            licence="not stated",
            author="not stated",
            source=file.as_posix(),
            locate=partial(Path, root, file),
        )
        for file, name in plain.items()
    ]
    hashes.save()
    return clips


def _digest(file: Path) -> str:
    return hashlib.sha256(os.fsencode(file.as_posix())).hexdigest()[:8]


def _files(root: Path) -> Iterator[Path]:
    """Yield all files below a folder; warn about folders that cannot be read."""

    def warn(error: OSError) -> None:
        reason = one_line(error.strerror or error)
        print(
            f"warning: {printable(str(error.filename))} cannot be read ({reason}); its sounds are "
            "left out",
            file=sys.stderr,
        )

    for folder, _, names in os.walk(root, onerror=warn):
        yield from (Path(folder, name) for name in names)


def _sha256_if_readable(file: Path, hashes: Hashes) -> str:
    try:
        return hashes.of(file)
    except OSError:  # `Clip.load` gives the reason, so that the run goes on without this clip
        return ""
