"""Parts: append-only files of finished tasks, one JSON line per task with its checksum.

A line is written by one process, behind a lock on its part that lasts for the write only. Processes
that write at once use several parts, so there are as many parts as processes ever wrote at one
moment. A complete line never changes, so readers need no lock. A killed process may leave a torn
last line: readers ignore it, and the next writer of the part removes it. ::

    {"checksum":"<16 digits>","task":"<id>","clip":"<name>","rows":[[5,"scm",-20.1,"",0.3]]}

A row is an array of iteration, metric, value, reason and seconds.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import platform
import re
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec
from msgspec import Struct

from melexp.errors import one_line
from melexp.files.atomic import Unwritable, free_name, sync_folder, write_bytes
from melexp.results.records import (
    LONGEST_TEXT,
    Count,
    DamagedFile,
    Id,
    Name,
    Number,
    Text,
    Word,
    encoded,
)

if sys.platform != "win32":
    import fcntl

#: Least time in seconds between two flushes of a process to the disk. A killed process loses
#: nothing without a flush; a machine that loses its power loses the tasks since the last one.
FLUSH_EVERY = 0.1
#: Largest size of a line in bytes.
LARGEST_LINE = 2**24
#: Names of parts: a hash of the machine's name and a number.
NAME = re.compile(r"[0-9a-f]{8}-\d+\.jsonl")
#: How each line begins, up to its checksum. It tells a torn line from a foreign one.
HEAD = b'{"checksum":"'
_DIGITS = 16
_REST = len(HEAD) + _DIGITS + 2  # behind the checksum and its `",`
_BLOCK = 2**22


class Value(Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    """A value of a task; `iteration` and `metric` tell the values of a task apart."""

    iteration: Count
    metric: Text  # a `Word`; `parse` checks it, because a pattern is slow
    value: Number | None
    reason: Text | None = ""
    seconds: Number | None = None


class Finished(Struct, forbid_unknown_fields=True, gc=False):
    """A line: values of a task. A task may have several lines."""

    checksum: str
    task: Id
    clip: Name
    rows: list[Value]


#: Names of metrics that are words.
_known: set[str] = set()
_DECODER = msgspec.json.Decoder(Finished)


def line_of(body: dict[str, Any]) -> bytes:
    """Return the line of a finished task, with its newline.

    Parameters
    ----------
    body : dict
        `task`, `clip` and `rows`, a list of dicts with the fields of `Value`.
    """
    rows = [
        [r["iteration"], r["metric"], r["value"], _cut(r.get("reason", "")), r.get("seconds")]
        for r in body["rows"]
    ]
    whole = {"task": body["task"], "clip": body["clip"], "rows": rows}
    text = json.dumps(whole, separators=(",", ":"), ensure_ascii=False)
    rest = encoded(text)[1:]
    if len(rest) + _REST > LARGEST_LINE:
        raise ValueError(f"task {body['task']} has {len(rows)} values, too many to store")
    return HEAD + checksum(rest) + b'",' + rest + b"\n"


def _cut(reason: str | None) -> str | None:
    return reason[:LONGEST_TEXT] if reason else reason


def checksum(rest: bytes) -> bytes:
    """Return the checksum of what stands behind it in a line."""
    return hashlib.sha256(rest).hexdigest()[:_DIGITS].encode()


def parse(line: bytes) -> Finished:
    """Return the values of a line.

    Raises
    ------
    DamagedFile
        If the line does not match its checksum, or the schema. The message names no file.
    """
    if not line.startswith(HEAD) or line[len(HEAD) : _REST] != checksum(line[_REST:]) + b'",':
        raise DamagedFile("does not match its checksum")
    try:
        one = _DECODER.decode(line)
        metrics = {row.metric for row in one.rows}
        if not metrics <= _known:
            _known.update(msgspec.convert(sorted(metrics), list[Word]))
        return one
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OverflowError) as error:
        raise DamagedFile(f"is not a finished task ({one_line(error)})") from error


def lines(file: BinaryIO, offset: int = 0) -> Iterator[tuple[int, int, bytes]]:
    """Yield the complete lines behind an offset: the offsets of begin and end, and the line.

    A line longer than `LARGEST_LINE` is cut off; its rest is skipped.
    """
    file.seek(offset)
    rest, skipped = b"", 0
    while block := file.read(_BLOCK):
        *whole, rest = (rest + block).split(b"\n")
        for line in whole:
            end = offset + len(line) + 1 + skipped
            yield offset, end, line
            offset, skipped = end, 0
        if len(rest) > LARGEST_LINE:  # its end is not kept
            skipped += len(rest) - LARGEST_LINE
            rest = rest[:LARGEST_LINE]


def parts_of(folder: Path, *, plain: bool = False) -> list[Path]:
    """Return the parts of a folder, sorted; with `plain`, without links and devices."""
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if NAME.fullmatch(entry.name)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    names = [e.name for e in found if not plain or e.is_file(follow_symlinks=False)]
    return [folder / name for name in sorted(names)]


def append(folder: Path, content: bytes) -> None:
    """Append lines to a part that no other process writes.

    They are flushed to the disk, unless this process flushed that part in the last `FLUSH_EVERY`
    seconds; `flush` does the rest.

    Parameters
    ----------
    folder : Path
        Folder of the parts; created if necessary.
    content : bytes
        Complete lines.

    Raises
    ------
    Unwritable
        If they cannot be written; the part is then as before.
    """
    try:
        _append(folder, content)
    except OSError as error:
        raise Unwritable.because(error, folder) from error


def _append(folder: Path, content: bytes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path, handle, end = _open(folder)
    try:
        try:
            if os.write(handle, content) < len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if time.monotonic() - _flushed.get(path, -math.inf) >= FLUSH_EVERY:
                os.fsync(handle)
                _flushed[path] = time.monotonic()
        except BaseException:
            with suppress(OSError):  # a full or read-only disk keeps a torn line
                os.ftruncate(handle, end)
            raise
    finally:
        os.close(handle)
    if end == 0:
        sync_folder(folder)


#: When this process last flushed each part.
_flushed: dict[Path, float] = {}


def flush(folder: Path) -> None:
    """Flush the parts of this machine to the disk."""
    for path in parts_of(folder, plain=True):
        if path.name.startswith(machine()):
            with suppress(OSError):  # a part that cannot be opened is not ours
                handle = os.open(path, os.O_RDONLY)
                try:
                    os.fsync(handle)
                finally:
                    os.close(handle)


def machine() -> str:
    """Return a short hash of the name of this machine."""
    return hashlib.sha256(platform.node().encode("utf-8", "replace")).hexdigest()[:8]


def _open(folder: Path) -> tuple[Path, int, int]:
    """Open and lock the first free part for appending; return it, its handle and its size."""
    name, n = machine(), 0 if HAS_LOCKS else _own()
    while True:
        path = folder / f"{name}-{n}.jsonl"
        try:
            handle = os.open(path, _FLAGS, 0o666)
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
                raise
            n += 1  # a link, folder or device of another program
            continue
        try:
            locked = lock(handle)
            status = os.fstat(handle)
            if locked is None and n < 2**16:
                n = _own()
            elif locked and status.st_nlink == 0:
                pass  # it was replaced since it was opened: the same name again
            else:
                end = _whole(handle, status) if locked is not False else None
                if end is not None:
                    return path, handle, end
                n += 1
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _own() -> int:
    """Return the number of the part of this process alone, where there are no locks."""
    return 2**16 + os.getpid()


HAS_LOCKS = sys.platform != "win32"
_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_NONBLOCK", 0)
_FLAGS |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def lock(handle: int) -> bool | None:
    """Lock an open part; return whether it is ours, or None where there are no locks."""
    if sys.platform == "win32":
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _whole(handle: int, status: os.stat_result) -> int | None:
    """Remove a torn last line; return the size of the part, or None if it is of others."""
    size = status.st_size
    if not stat.S_ISREG(status.st_mode):
        return None
    if size == 0 or _read(handle, size - 1, 1) == b"\n":
        return size
    start = max(size - LARGEST_LINE, 0)
    torn = _read(handle, start, size - start).rpartition(b"\n")[2]
    if not is_torn(torn):
        return None
    os.ftruncate(handle, size - len(torn))
    return size - len(torn)


def _read(handle: int, start: int, count: int) -> bytes:
    os.lseek(handle, start, os.SEEK_SET)
    return os.read(handle, count)


def is_torn(end: bytes) -> bool:
    """Return whether the end of a part may be a line that a killed process has not completed."""
    return end.startswith(HEAD) or HEAD.startswith(end)


class Repaired(NamedTuple):
    """What `repair` has found in a part.

    Attributes
    ----------
    good, bad : int
        Numbers of lines.
    torn : bool
        Whether a torn last line was removed.
    aside : Path or None
        The file with the bad lines.
    """

    good: int
    bad: int
    torn: bool
    aside: Path | None


def repair(path: Path, damaged: Path, *, dry_run: bool = False) -> Repaired | None:
    """Move the bad lines of a part into a folder; return None if a process writes the part.

    Parameters
    ----------
    path : Path
        A part.
    damaged : Path
        Folder for the file with the bad lines, which has the name of the part.
    dry_run : bool
        Only count.
    """
    with path.open("rb") as file:
        if not _lock_soon(file.fileno()) or os.fstat(file.fileno()).st_nlink == 0:
            return None
        good, end = 0, 0
        bad: list[tuple[int, int]] = []
        for begin, end, line in lines(file):
            try:
                parse(line)
            except DamagedFile:
                bad.append((begin, end - begin - 1))
            else:
                good += 1
        file.seek(end)
        torn = file.read(LARGEST_LINE)
        foreign = bool(torn) and not is_torn(torn)
        found = Repaired(good, len(bad) + foreign, bool(torn) and not foreign, None)
        if dry_run or not (bad or torn):
            return found
        aside = None
        if found.bad:
            places = [*bad, (end, len(torn))] if foreign else bad
            aside = free_name(path, damaged)
            write_bytes(aside, b"\n".join(_taken(file, places)))
        write_bytes(path, lambda new: _copy(file, new, end, {begin for begin, _ in bad}))
        return found._replace(aside=aside)


def _lock_soon(handle: int) -> bool:
    """Lock a part within a second; a writer holds it for some milliseconds."""
    for _ in range(100):
        if lock(handle) is not False:
            return True
        time.sleep(0.01)
    return False


def _taken(file: BinaryIO, places: list[tuple[int, int]]) -> Iterator[bytes]:
    for begin, length in places:
        file.seek(begin)
        yield file.read(length)


def _copy(file: BinaryIO, new: BinaryIO, end: int, without: set[int]) -> None:
    """Copy the complete lines of a part, but not those at some offsets."""
    for begin, behind, line in lines(file):
        if begin not in without and behind <= end:
            new.write(line + b"\n")
