"""Read the matrices of Kaldi: archives (.ark) and lists of places in them (.scp)."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from melexp.errors import require
from melexp.files.array_files import Arrays, Refused, check_size

#: Bytes of a value and of each column's header, by kind of matrix; C is compressed.
_KINDS = {b"FM": (4, 0), b"DM": (8, 0), b"CM": (1, 8), b"CM2": (2, 0), b"CM3": (1, 0)}
_BINARY = re.compile(rb"(\S{1,1000}) \0B(FM|DM|CM|CM2|CM3) ")
_BLANK = re.compile(r"\s*")
_TEXT = re.compile(r"\s*(\S+)\s+\[([^\[\]]*)\]")
_LISTED = re.compile(r"\S+[ \t]+\S.*(?:\.ark|:\d+|\|)\s*")


def is_archive(data: bytes) -> bool:
    """Return whether this is a binary archive of matrices."""
    return _BINARY.match(data) is not None


def is_text_archive(text: str) -> bool:
    """Return whether this is a text archive of matrices."""
    return re.match(r"\s*\S+\s+\[\s", text[:2000]) is not None


def is_list(text: str) -> bool:
    """Return whether this is a list of places in archives."""
    return _LISTED.fullmatch(text[:4096].partition("\n")[0]) is not None


def archive_arrays(data: bytes) -> Arrays:
    """Return the matrices of a binary archive, (n_frames, n_mels), by key.

    Matrices alone are accepted: an archive can hold pickles too, which could run code.

    Raises
    ------
    Refused
        If anything else is in the archive, or a matrix is larger than the rest of it.
    """
    return {
        key: _reader(lambda at=at, size=size: data[at : at + size])  # type: ignore[misc]
        for key, at, size in _entries(data)
    }


def _entries(data: bytes) -> Iterator[tuple[str, int, int]]:
    """Yield the key of each matrix, and where it is: its first byte and its size."""
    end = 0
    while end < len(data):
        head = _BINARY.match(data, end)
        if head is None:
            raise Refused(
                "the archive holds something else than matrices, or it is corrupt or truncated; "
                "copy the matrices with copy-feats"
            )
        at = head.end(1) + 1
        end = at + _size(data[at : at + 64], len(data) - at)
        yield head[1].decode(), at, end - at


def _size(head: bytes, available: int) -> int:
    r"""Return the size of a matrix in bytes from its header, which begins with ``\0B``."""
    kind = head[2:].partition(b" ")[0]
    if not head.startswith(b"\0B") or kind not in _KINDS:
        raise Refused("there is no matrix of Kaldi at this place; make the list again")
    itemsize, per_column = _KINDS[kind]
    at = 3 + len(kind)
    if kind in (b"FM", b"DM"):
        four, rows, also_four, columns = struct.unpack_from("<BiBi", head, at)
        if (four, also_four) != (4, 4):
            raise Refused("the matrix of Kaldi is corrupt; make it again")
        at += 10
    else:
        rows, columns = struct.unpack_from("<ii", head, at + 8)
        at += 16
    check_size((rows, columns), itemsize, available - at)  # it unpacks to four times that at most
    return at + columns * per_column + rows * columns * itemsize


def _reader(content: Callable[[], bytes]) -> Callable[[], np.ndarray]:
    def read() -> np.ndarray:
        require("files", "kaldiio", what="an archive of Kaldi (.ark)")
        import kaldiio

        # The header has been checked, so the reader finds a matrix and nothing else.
        ((_, matrix),) = kaldiio.load_ark(io.BytesIO(b"matrix " + content()))
        return matrix

    return read


def text_archive_arrays(text: str) -> Arrays:
    """Return the matrices of a text archive, (n_frames, n_mels), by key."""
    arrays: Arrays = {}
    end = 0
    while not _BLANK.fullmatch(text, end):
        entry = _TEXT.match(text, end)
        if entry is None:
            raise Refused("the text archive is corrupt or truncated; make it again")
        rows = [row for row in entry[2].splitlines() if row.strip()]
        arrays[entry[1]] = lambda rows=rows: np.loadtxt(rows, np.float32, ndmin=2)  # type: ignore[misc]
        end = entry.end()
    return arrays


def list_arrays(text: str, folder: Path | None) -> Arrays:
    """Return the matrices that a list names, by key.

    Parameters
    ----------
    text : str
        Lines ``key path:offset``. A program instead of a path is refused.
    folder : Path or None
        Folder of the list: relative paths are looked up there first, then in the working folder.
    """
    arrays: Arrays = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        key, *rest = line.split(maxsplit=1)
        place = rest[0] if rest else "|"
        if place.startswith("|") or place.endswith("|"):
            raise Refused(
                f"the list has the line {line[:60]!r}, not a key and a place in an archive; "
                "programs are not run"
            )
        name, _, offset = place.rpartition(":")
        if not (name and offset.isdecimal()):  # without an offset
            name, offset = place, "0"
        arrays[key] = _reader(_at(name, int(offset), folder))
    return arrays


def _at(name: str, offset: int, folder: Path | None) -> Callable[[], bytes]:
    """Return a function that reads the matrix at a place of an archive."""

    def read() -> bytes:
        found = [p for p in (*([folder / name] if folder else []), Path(name)) if p.is_file()]
        if not found:
            raise Refused(f"the list names {name}, which is no file; run from its folder")
        with found[0].open("rb") as file:
            first = None if offset else _BINARY.match(file.read(1100))
            at = first.end(1) + 1 if first else offset  # without an offset: the first matrix
            file.seek(at)
            size = _size(file.read(64), found[0].stat().st_size - at)
            file.seek(at)
            return file.read(size)

    return read
