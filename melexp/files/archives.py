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


class ArchiveError(ValueError):
    """An archive that is refused; one line with the reason and the remedy."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What an archive may unpack to at most; corpora of sound stay far below.

    Attributes
    ----------
    size : int
        Bytes of all members together.
    members : int
    ratio : float
        Size over that of the archive, where the size is above `free` bytes.
    free : int
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
            As soon as they are beyond a limit.
        """
        total = 0
        for count, size in enumerate(sizes, 1):
            total += size
            if count > self.members:
                raise ArchiveError(
                    f"it has more than {self.members} members: a decompression bomb?"
                )
            if total > self.size or total > max(self.free, self.ratio * packed):
                raise ArchiveError(
                    f"its {packed} bytes unpack to at least {total}: a decompression bomb? If it "
                    "is none, unpack it with a tool of the system"
                )
            yield size


LIMITS = Limits()


def unpack(archive: Path, folder: Path, *, limits: Limits = LIMITS) -> int:
    """Unpack a tar (plain, gz, bz2, xz) or zip archive into a new folder, wholly or not at all.

    Only files and folders come out, with the permissions of new files; an archive with anything
    else in it (links, devices), with a path that leads out of the folder, or with two members of
    one path is refused as a whole. This holds in every version of Python, also in those whose
    :mod:`tarfile` has no filter, and for zip.

    Parameters
    ----------
    archive : Path
    folder : Path
        Must not exist, or be empty.
    limits : Limits

    Returns
    -------
    int
        Number of files.

    Raises
    ------
    ArchiveError, OSError
        In one line that names the archive, why it cannot be unpacked; the folder is then as it was.
    """
    if not archive.is_file():
        raise ArchiveError(f"{archive} is not a file; name a .tar(.gz, .bz2, .xz) or .zip file")
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ArchiveError(f"{folder} exists; name a new folder or remove it")
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent))
    try:
        inside = aside / "new"  # with the permissions of a new folder, which `aside` has not
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
            raise  # such as a full disc
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ArchiveError(
            f"{archive}: corrupt, or not an archive ({reason}); download it again"
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return count


def _write(members: Iterator[tuple[str, IO[bytes] | None]], root: Path) -> int:
    """Write members (a name, and the content unless it is a folder); the number of files."""
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
                f"it has two members {name!r}; unpack it with a system tool"
            ) from error
    if not count:
        raise ArchiveError("it holds no file")
    return count


def _inside(name: str) -> PurePosixPath:
    """Return the path of a member; refuse one that leads out of the folder on any system."""
    path, windows = PurePosixPath(name), PureWindowsPath(name)
    if path.is_absolute() or windows.anchor or ".." in windows.parts or not name.isprintable():
        raise ArchiveError(f"its member {name!r} does not stay in the folder; do not trust it")
    return path


def _zip_members(
    file: IO[bytes], packed: int, limits: Limits
) -> Iterator[tuple[str, IO[bytes] | None]]:
    with zipfile.ZipFile(file) as archive:
        infos = archive.infolist()
        # The reader ends a member at the size that is declared, so the sum can be believed.
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
    content = _Sipped(_decompressed(file))
    with tarfile.open(fileobj=content, mode="r:") as archive:  # type: ignore[call-overload]
        latest: list[tarfile.TarInfo] = []

        def sizes() -> Iterator[int]:
            while (member := archive.next()) is not None:
                archive.members.clear()  # it would keep them all
                if not (member.isreg() or member.isdir()) or member.issparse() or member.size < 0:
                    raise _special(member.name)
                latest.append(member)
                yield member.size

        for _ in limits.check(sizes(), packed):
            member = latest.pop()
            yield member.name, None if member.isdir() else archive.extractfile(member)
        # The reader takes a corrupt or missing header for the end.
        if content.last != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("it has no end")
        content.read_to_end()


def _special(name: str) -> ArchiveError:
    return ArchiveError(f"its member {name!r} is no plain file (a link, a device); do not trust it")


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


class _Sipped:
    """A file that is read in sips: the reader takes extended headers whole, however large."""

    LARGEST = 2**24

    def __init__(self, file: Any) -> None:
        self._file = file
        self.tell = file.tell
        self.last = b""  # what was read last

    def seek(self, offset: int, whence: int = 0) -> int:
        if offset < 0:  # as Python 3.10 does where there is no member
            raise tarfile.ReadError("it has no member")
        place: int = self._file.seek(offset, whence)
        return place

    def read(self, size: int) -> Any:
        if not 0 <= size <= self.LARGEST:
            raise tarfile.ReadError(f"a header of {size} bytes: a decompression bomb?")
        self.last = self._file.read(size)
        return self.last

    def read_to_end(self) -> None:
        """Read the padding at the end, so that the checksum behind it is seen."""
        if self.read(self.LARGEST) and self.read(1):
            raise tarfile.ReadError("much follows its end")
