"""Read arrays of NumPy and of text. Each size is checked before anything is allocated."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

from melexp.files.archives import Limits

#: The arrays of a file by name; a call reads the array.
Arrays = dict[str, Callable[[], np.ndarray]]

#: Largest size of an input, and of all its unpacked arrays, in bytes.
LARGEST = 4 * 10**9
#: Limits of packed arrays.
LIMITS = Limits(size=LARGEST, members=10_000)


class Refused(ValueError):
    """A file is refused; the message is one line with the fault and the remedy."""


def check_size(shape: tuple[int, ...], itemsize: int, available: int) -> None:
    """Check the size that a header declares for values that are not packed.

    Parameters
    ----------
    shape : tuple of int
    itemsize : int
        Bytes of a value.
    available : int
        Number of bytes that are left in the file.

    Raises
    ------
    Refused
        If the file holds less.
    """
    size = math.prod(shape) * itemsize
    if min(shape, default=0) < 0 or size > available:
        raise Refused(
            f"the file is corrupt or truncated (it declares an array of {size} bytes and has "
            f"{available}); save it again"
        )


def check_packed(size: int, packed: int) -> None:
    """Check the size in bytes to which an array in a file of `packed` bytes unpacks.

    Raises
    ------
    ArchiveError
        If it is beyond the limits.
    """
    for _ in LIMITS.check([size], packed):
        pass


# --- NumPy ----------------------------------------------------------------------------------


def npy_arrays(data: bytes) -> Arrays:
    """Return the array of a file of `numpy.save`; pickled objects are refused."""
    return {"": lambda: _npy(data)}


def npz_arrays(data: bytes) -> Arrays:
    """Return the arrays of a file of `numpy.savez`, which has passed the limits."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = [name for name in archive.namelist() if name.endswith(".npy")]

    def reader(name: str) -> Callable[[], np.ndarray]:
        def read() -> np.ndarray:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                return _npy(archive.read(name))

        return read

    return {name.removesuffix(".npy"): reader(name) for name in names}


def _npy(data: bytes) -> np.ndarray:
    """Return a view of the values: nothing is copied, and no pickle is read."""
    file = io.BytesIO(data)
    parser: Any = np.lib.format
    version = parser.read_magic(file)
    if version == (1, 0):
        shape, is_fortran, dtype = parser.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, is_fortran, dtype = parser.read_array_header_2_0(file)
    else:
        raise Refused("the file holds named fields, not real numbers; save real numbers")
    if dtype.hasobject:
        raise Refused(
            "the file holds Python objects, which could run code; save an array of numbers"
        )
    check_size(shape, dtype.itemsize, len(data) - file.tell())
    values = np.frombuffer(data, dtype, math.prod(shape), file.tell())
    return values.reshape(shape, order="F" if is_fortran else "C")


# --- Text -----------------------------------------------------------------------------------

#: Largest size of a text in bytes. Its lines and values take a few times this memory.
LARGEST_TEXT = 10**9


def text_of(data: bytes) -> str | None:
    """Return the content as text, or None if it is not text.

    Raises
    ------
    Refused
        If the text is larger than `LARGEST_TEXT`.
    """
    if any(byte < 32 and byte not in b"\t\n\r\f" for byte in data[:4096]):
        return None
    try:
        if len(data) > LARGEST_TEXT:
            raise Refused(f"the text has more than {LARGEST_TEXT} bytes; save a .npy file")
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None


def is_table(text: str) -> bool:
    """Return whether the first or the second line of a text is a row of numbers."""
    return any(map(_is_row, text[:65536].splitlines()[:2]))


def _is_row(line: str) -> bool:
    """Return whether a line has numbers only, between commas, semicolons, tabs or spaces."""
    words = line.replace(",", " ").replace(";", " ").replace('"', " ").split()
    try:
        return bool([float(word) for word in words])
    except ValueError:
        return False


def table_arrays(text: str) -> Arrays:
    """Return the numbers of a text: a row per line, between commas, semicolons, tabs or spaces.

    A first line without numbers is taken for names.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    if not _is_row(lines[0]):
        lines = lines[1:]
    delimiter = next((mark for mark in ",;" if mark in lines[0]), None)
    return {"": lambda: np.loadtxt(lines, np.float32, delimiter=delimiter, quotechar='"', ndmin=2)}
