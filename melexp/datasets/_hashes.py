"""Hashes of the files of the user, remembered by path, size and time of change."""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from melexp.files.atomic import write_bytes

from ._clip import sha256_of
from ._registry import cache_folder

#: A file that was changed less than this many seconds ago may change again within the resolution of
#: its time stamp, so its hash is not remembered.
RECENT = 5.0
#: Number of files of which hashes are remembered, and the largest size of their list in bytes.
LARGEST, LARGEST_SIZE = 2**20, 2**28

#: Size, times of change of content and of status in ns, inode, SHA-256.
Entry = tuple[int, int, int, int, str]
_known: dict[Path, dict[str, Entry]] = {}


class Hashes:
    """The remembered hashes of the files below a folder; `Clip.load` verifies each again.

    Parameters
    ----------
    folder : Path
        Each folder has a list of its own in the cache.
    """

    def __init__(self, folder: Path) -> None:
        name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:32]
        self.path = cache_folder() / "hashes" / f"{name}.json"
        self.known = _known.get(self.path) or self._read()
        _known[self.path] = self.known
        self.is_changed = False

    def of(self, file: Path) -> str:
        """Return the SHA-256 of a file."""
        status = file.stat()
        stamp = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        name = file.as_posix()
        found = self.known.get(name)
        if found and found[:4] == stamp:
            return found[4]
        sha256 = sha256_of(file)
        if (
            time.time() - max(status.st_mtime, status.st_ctime) > RECENT
            and len(self.known) < LARGEST
        ):
            self.known[name] = (*stamp, sha256)
            self.is_changed = True
        return sha256

    def save(self) -> None:
        """Remember the hashes for other processes, if the cache can be written."""
        if self.is_changed:
            with suppress(OSError, UnicodeError):
                write_bytes(self.path, msgspec.json.encode(self.known))

    def _read(self) -> dict[str, Entry]:
        with suppress(OSError, ValueError, RecursionError):
            if self.path.stat().st_size <= LARGEST_SIZE:
                return msgspec.json.decode(self.path.read_bytes(), type=dict[str, Entry])
        return {}
