"""Atomic writes, and locks that end with their holder."""

from __future__ import annotations

import errno
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

if sys.platform != "win32":  # Windows cannot remove an open file, so it needs no such lock
    import fcntl

#: End of the name of a file that is being written. The program's name tells a leftover from files
#: of other programs.
PART = ".melexp.part"

#: Content of a file, or a function that writes it.
Content = bytes | Callable[[BinaryIO], None]

_REMEDIES = dict.fromkeys([errno.ENOSPC, errno.EDQUOT], "free some space there") | dict.fromkeys(
    [errno.EROFS, errno.EACCES, errno.EPERM], "make it writable, or name another folder"
)


class Unwritable(OSError):
    """A file cannot be written; the message is one line with its path and the remedy."""

    @classmethod
    def because(cls, error: OSError, path: Path) -> Unwritable:
        """Return the error for a path from an error of the operating system."""
        remedy = _REMEDIES.get(error.errno or 0, "fix this")
        return cls(
            f"{path} cannot be written ({error.strerror or error}); {remedy}, then re-run the same "
            "command; finished work is kept"
        )


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: Content) -> None:
    """Write a file atomically.

    Parameters
    ----------
    path : Path
    content : bytes or callable
        A function that writes the content into an open binary file, if it is large.

    Raises
    ------
    Unwritable
        If the file cannot be written, for example because the disk is full.
    """
    try:
        _write(path, content)
    except OSError as error:
        raise Unwritable.because(error, path) from error


def _write(path: Path, content: Content) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = _open_aside(path)
    try:
        with os.fdopen(handle, "wb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content)
            file.flush()
            os.fsync(file.fileno())
            os.chmod(aside, 0o666 & ~_umask())  # mkstemp gives access to the owner only
            if sys.platform != "win32":  # while it is locked, so not removed as a leftover
                os.replace(aside, path)
        if sys.platform == "win32":
            os.replace(aside, path)
        sync_folder(path.parent)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _open_aside(path: Path) -> tuple[int, Path]:
    """Create a file beside `path`, locked while it is open: see `remove_leftover`."""
    while True:
        handle, aside = tempfile.mkstemp(prefix=f".{path.name}.", suffix=PART, dir=path.parent)
        if sys.platform == "win32":
            break
        with suppress(OSError):  # some file systems have no locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:
            break
        os.close(handle)  # removed as a leftover before it was locked
    return handle, Path(aside)


def remove_leftover(path: Path) -> bool:
    """Remove a ``.part`` file that no living process writes; return whether it is gone."""
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


def is_in_use(path: Path) -> bool:
    """Return whether a living process holds the lock on a file; the file is not changed."""
    try:
        if sys.platform == "win32":
            os.replace(path, path)  # refused while the file is open
        else:
            with path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def sync_folder(folder: Path) -> None:
    """Flush a rename to disk, so that it survives a power cut, if the system can sync folders."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def move_aside(path: Path, damaged: Path) -> Path | None:
    """Move a corrupt file into `damaged`; return its new path, or None if it was gone.

    Raises
    ------
    ValueError
        If `damaged` is a link: the file would leave its folder.
    """
    aside = free_name(path, damaged)
    try:
        os.replace(path, aside)
    except FileNotFoundError:
        return None
    return aside


def free_name(path: Path, damaged: Path) -> Path:
    """Return an unused path in `damaged`, named like `path`; create the folder.

    Raises
    ------
    ValueError
        If `damaged` is a link.
    """
    if damaged.is_symlink():
        raise ValueError(f"{damaged} is a link, so {path} is not moved there; remove the link")
    damaged.mkdir(parents=True, exist_ok=True)
    aside, n = damaged / path.name, 1
    while aside.exists():
        aside, n = damaged / f"{path.name}.{n}", n + 1
    return aside


def check_writable(folder: Path) -> None:
    """Check that files can be written into a folder, before a long computation.

    Raises
    ------
    Unwritable
        If a test file cannot be written.
    """
    probe = folder / f".probe-{os.getpid()}{PART}"
    try:
        _write(probe, bytes(2**16))
        probe.unlink(missing_ok=True)
    except OSError as error:
        raise Unwritable.because(error, folder) from error


def check_lock(path: Path) -> None:
    """Check that a lock would take the place of no file of another program.

    Raises
    ------
    Unwritable
        If there is a file with content. A lock has none; where the file system has no locks, it has
        the number of a process.
    """
    try:
        if not path.is_file():
            return
        with path.open("rb") as file:
            content = file.read(20)
    except OSError:  # Windows does not read a file that is locked
        return
    if not re.match(rb"\d+\n|\Z", content):
        raise Unwritable(f"{path} is not a lock of melexp: it is not empty; move it, then re-run")


@contextmanager
def held(path: Path, *, wait: bool) -> Iterator[bool]:
    """Hold a lock against all other processes while the context is open.

    The lock file exists during this time only. A lock file left by a killed process locks nothing.

    Parameters
    ----------
    path : Path
        The lock file; its folder is created if necessary.
    wait : bool
        If another process holds the lock, wait until it is released; otherwise return at once.

    Yields
    ------
    bool
        Whether this process holds the lock.

    Raises
    ------
    Unwritable
        If the lock file cannot be created, or is a file of another program.
    """
    check_lock(path)
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
        # Before the release: a process that has opened the file sees that it is gone.
        path.unlink(missing_ok=True)
        lock.release()
