"""Safe extraction of untrusted archives: checked first, unpacked atomically."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Any

from melexp.errors import one_line


class ArchiveError(ValueError):
    """An archive is refused; the message is one line with the reason and the remedy."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits on the unpacked size of an archive; corpora of sound are far below the defaults.

    Attributes
    ----------
    size : int
        Largest sum of the sizes of all members, in bytes.
    members : int
        Largest number of members.
    ratio : float
        Largest ratio of the unpacked size to the size of the archive.
    free : int
        Unpacked size in bytes up to which `ratio` does not matter.
    """

    size: int = 200 * 10**9
    members: int = 2_000_000
    ratio: float = 100.0
    free: int = 100 * 10**6

    def check(self, sizes: Iterable[int], packed: int) -> Iterator[int]:
        """Yield the sizes of the members of an archive of `packed` bytes, one by one.

        Raises
        ------
        ArchiveError
            As soon as a limit is exceeded.
        """
        total = 0
        for count, size in enumerate(sizes, 1):
            total += size
            if count > self.members:
                raise ArchiveError(
                    f"the archive has more than {self.members} members and may be a "
                    "decompression bomb; if it is not, unpack it with a system tool"
                )
            if total > self.size or total > max(self.free, self.ratio * packed):
                raise ArchiveError(
                    f"the archive of {packed} bytes unpacks to at least {total} bytes and may be a "
                    "decompression bomb; if it is not, unpack it with a system tool"
                )
            yield size


LIMITS = Limits()


def unpack(archive: Path, folder: Path, *, limits: Limits = LIMITS) -> int:
    """Unpack a tar (plain, gz, bz2, xz) or zip archive into a new folder, atomically.

    Only files and folders are created, with the default permissions. An archive is refused if it
    has other members (links, devices), a path that leads out of the folder, or two members with
    the same path. The checks do not depend on the filters of :mod:`tarfile`, which old versions of
    Python lack, and they apply to zip too.

    Parameters
    ----------
    archive : Path
    folder : Path
        The new folder; it must not exist or must be empty.
    limits : Limits

    Returns
    -------
    int
        Number of files unpacked.

    Raises
    ------
    ArchiveError, OSError
        If the archive cannot be unpacked. The message is one line with its path and the reason;
        the folder is then unchanged.
    """
    if not archive.is_file():
        raise ArchiveError(f"{archive} is not a file; name a .tar(.gz, .bz2, .xz) or .zip file")
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ArchiveError(f"{folder} exists; name a new folder or remove it")
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent))
    try:
        inside = aside / "new"  # a new folder has the default permissions; `aside` does not
        inside.mkdir()
        with archive.open("rb") as file:
            members = _zip_members if file.read(2) == b"PK" else _tar_members
            file.seek(0)
            count = _write(members(file, archive.stat().st_size, limits), inside)
        inside.replace(folder)
    except ArchiveError as error:
        raise ArchiveError(f"{archive}: {error}") from error
    except Exception as error:  # a corrupt archive raises any error of its reader
        if isinstance(error, OSError) and error.errno is not None:
            raise  # for example a full disk
        raise ArchiveError(
            f"{archive}: corrupt, or not an archive ({one_line(error)}); download it again"
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return count


def _write(members: Iterator[tuple[str, IO[bytes] | None]], root: Path) -> int:
    """Write members and return the number of files; the content of a folder is None."""
    count = 0
    for name, content in members:
        path = root / _inside(name)
        try:
            (path if content is None else path.parent).mkdir(parents=True, exist_ok=True)
            if content is not None:
                with content, path.open("xb") as file:
                    shutil.copyfileobj(content, file, 2**20)
                count += 1
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise ArchiveError(
                f"the archive has two members {name!r}; unpack it with a system tool"
            ) from error
    if not count:
        raise ArchiveError("the archive holds no file; download it again")
    return count


def _inside(name: str) -> PurePosixPath:
    """Return the path of a member; refuse one that leads out of the folder on any system."""
    path, windows = PurePosixPath(name), PureWindowsPath(name)
    if path.is_absolute() or windows.anchor or ".." in windows.parts or not name.isprintable():
        raise ArchiveError(f"the member {name!r} leads out of the folder; do not trust the archive")
    return path


def _zip_members(
    file: IO[bytes], packed: int, limits: Limits
) -> Iterator[tuple[str, IO[bytes] | None]]:
    with zipfile.ZipFile(file) as archive:
        infos = archive.infolist()
        # The reader ends a member at the declared size, so the sum of these sizes is reliable.
        for _ in limits.check((info.file_size for info in infos), packed):
            pass
        for info in infos:
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _special(info.filename)
            yield info.filename, None if info.is_dir() else archive.open(info)


def _tar_members(
    file: IO[bytes], packed: int, limits: Limits
) -> Iterator[tuple[str, IO[bytes] | None]]:
    content = _Limited(_decompressed(file))
    with tarfile.open(fileobj=content, mode="r:") as archive:  # type: ignore[call-overload]
        latest: list[tarfile.TarInfo] = []

        def sizes() -> Iterator[int]:
            while (member := archive.next()) is not None:
                archive.members.clear()  # otherwise all are kept in memory
                if not (member.isreg() or member.isdir()) or member.issparse() or member.size < 0:
                    raise _special(member.name)
                latest.append(member)
                yield member.size

        for _ in limits.check(sizes(), packed):
            member = latest.pop()
            yield member.name, None if member.isdir() else archive.extractfile(member)
        # The reader takes a corrupt or missing header for the end.
        if content.last != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("no end of the archive")
        content.read_to_end()


def _special(name: str) -> ArchiveError:
    return ArchiveError(f"the member {name!r} is not a plain file; do not trust the archive")


def _decompressed(file: IO[bytes]) -> Any:
    magic = file.read(6)
    file.seek(0)
    if magic.startswith(b"\x1f\x8b"):
        return gzip.open(file)
    if magic.startswith(b"BZh"):
        return bz2.open(file)
    if magic.startswith(b"\xfd7zXZ\0"):
        return lzma.open(file)
    return file


class _Limited:
    """A file with a limit on each read: tarfile reads an extended header of any size at once."""

    LARGEST = 2**24

    def __init__(self, file: Any) -> None:
        self._file = file
        self.tell = file.tell
        self.last = b""  # the result of the last read

    def seek(self, offset: int, whence: int = 0) -> int:
        if offset < 0:  # Python 3.10 does so if there is no member
            raise tarfile.ReadError("no member")
        place: int = self._file.seek(offset, whence)
        return place

    def read(self, size: int) -> Any:
        if not 0 <= size <= self.LARGEST:
            raise tarfile.ReadError(f"a header of {size} bytes, which may be a decompression bomb")
        self.last = self._file.read(size)
        return self.last

    def read_to_end(self) -> None:
        """Read the padding at the end, so that the checksum behind it is verified."""
        if self.read(self.LARGEST) and self.read(1):
            raise tarfile.ReadError("data after the end")
