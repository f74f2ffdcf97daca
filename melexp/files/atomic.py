"""Atomic writes, and locks that end with their holder."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

if sys.platform != "win32":  # there nobody can remove a file that is open
    import fcntl

#: For tests: called ``before`` a file is written, ``during`` that (half of it is), when it is
#: ``synced`` but not yet renamed, and ``after``, each with the path of the file.
fault: Callable[[str, Path], None] | None = None

_REMEDIES = dict.fromkeys([errno.ENOSPC, errno.EDQUOT], "free some space there") | dict.fromkeys(
    [errno.EROFS, errno.EACCES, errno.EPERM], "make it writable, or name another folder"
)


class Unwritable(OSError):
    """A file that cannot be written; one line that names it and the remedy."""

    @classmethod
    def because(cls, error: OSError, path: Path) -> Unwritable:
        """Return the error for an operating system's error at a path."""
        remedy = _REMEDIES.get(error.errno or 0, "fix this")
        return cls(
            f"{path} cannot be written ({error.strerror or error}); {remedy}, then re-run the same "
            "command; finished work is kept"
        )


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically.

    Raises
    ------
    Unwritable
        If the disk is full, the folder read-only, or the like.
    """
    try:
        _write(path, content)
    except OSError as error:
        raise Unwritable.because(error, path) from error


def _write(path: Path, content: bytes) -> None:
    _meet_fault("before", path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = _open_aside(path)
    half = len(content) // 2
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content[:half])
            if fault:
                file.flush()
                _meet_fault("during", path)
            file.write(content[half:])
            file.flush()
            os.fsync(file.fileno())
            os.chmod(aside, 0o666 & ~_umask())  # mkstemp's are its owner's alone
            _meet_fault("synced", path)
            if sys.platform != "win32":  # still locked: nobody takes it for a leftover
                os.replace(aside, path)
        if sys.platform == "win32":
            os.replace(aside, path)
        _sync_folder(path.parent)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    _meet_fault("after", path)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _meet_fault(point: str, path: Path) -> None:
    if fault:
        fault(point, path)


def _open_aside(path: Path) -> tuple[int, Path]:
    """Create a file beside `path`, locked while it is open: see `remove_leftover`."""
    while True:
        handle, aside = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        if sys.platform == "win32":
            break
        with suppress(OSError):  # some file systems have no locks, and then no leftover is known
            fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:
            break
        os.close(handle)  # taken for a leftover before it was locked
    return handle, Path(aside)


def remove_leftover(path: Path) -> bool:
    """Remove a ``.part`` file that no living process writes; whether it is gone."""
    try:
        with path.open("rb") as file:
            if sys.platform != "win32":
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
    except FileNotFoundError:
        pass
    except OSError:
        return False
    return True


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut; where a folder cannot be synced, it does so late."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def move_aside(path: Path, damaged: Path) -> Path | None:
    """Move a corrupt file into `damaged`; return its new path, or None if it was gone."""
    damaged.mkdir(parents=True, exist_ok=True)
    aside, n = damaged / path.name, 1
    while aside.exists():
        aside, n = damaged / f"{path.name}.{n}", n + 1
    try:
        os.replace(path, aside)
    except FileNotFoundError:
        return None
    return aside


def check_writable(folder: Path) -> None:
    """Write a file and remove it.

    Raises
    ------
    Unwritable
        If that cannot be done: better known before hours of work than after.
    """
    probe = folder / f".probe-{os.getpid()}.part"
    try:
        _write(probe, bytes(2**16))
        probe.unlink(missing_ok=True)
    except OSError as error:
        raise Unwritable.because(error, folder) from error


@contextmanager
def held(path: Path, *, wait: bool) -> Iterator[bool]:
    """Hold a lock against every other process; its file is there for that time only.

    A file that a killed holder left locks nothing.

    Parameters
    ----------
    path : Path
        The lock's file; its folder is made.
    wait : bool
        Wait for another holder, instead of leaving it to that one.

    Yields
    ------
    bool
        Whether the lock is ours.

    Raises
    ------
    Unwritable
        If its file cannot be made.
    """
    lock = FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        yield False
        return
    except OSError as error:
        raise Unwritable.because(error, path) from error
    try:
        yield True
    finally:
        # Before it is released: who opened the file meanwhile sees that it is gone.
        path.unlink(missing_ok=True)
        lock.release()
