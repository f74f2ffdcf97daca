"""Read arrays of NumPy, MATLAB and text. Each size is checked before anything is allocated."""

from __future__ import annotations

import io
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator

import numpy as np

from melexp.files.archives import Limits

#: The arrays of a file by name; a call reads the array.
Arrays = dict[str, Callable[[], np.ndarray]]

#: Largest size of an array, and of all unpacked arrays of a file, in bytes.
LARGEST = 8 * 10**9
#: Limits of packed arrays. The ratio has a large free size, because silence compresses well.
LIMITS = Limits(size=LARGEST, members=10_000, free=10**9)


class Refused(ValueError):
    """A file is refused; the message is one line with the fault and the remedy."""


def check_size(shape: tuple[int, ...], itemsize: int, *, available: int | None = None) -> None:
    """Check the size that a header declares.

    Parameters
    ----------
    shape : tuple of int
    itemsize : int
        Bytes of a value.
    available : int or None
        Number of bytes that are left in the file, if its values are not packed.

    Raises
    ------
    Refused
        If the array is larger than `LARGEST` or than what the file holds.
    """
    size = math.prod(shape) * itemsize
    if min(shape, default=0) < 0 or (available is not None and size > available):
        raise Refused(
            f"the file is corrupt or truncated (it declares an array of {size} bytes and has "
            f"{available}); save it again"
        )
    if size > LARGEST:
        raise Refused(
            f"the array of shape {shape} has {size} bytes, more than the limit of {LARGEST}; "
            "split it"
        )


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
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, is_fortran, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise Refused("the file holds named fields, not real numbers; save real numbers")
    if dtype.hasobject:
        raise Refused(
            "the file holds Python objects, which could run code; save an array of numbers"
        )
    check_size(shape, dtype.itemsize, available=len(data) - file.tell())
    values = np.frombuffer(data, dtype, math.prod(shape), file.tell())
    return values.reshape(shape, order="F" if is_fortran else "C")


# --- MATLAB ---------------------------------------------------------------------------------

_MATLAB_NUMBERS = {"double", "single"} | {f"{u}int{n}" for u in ("", "u") for n in (8, 16, 32, 64)}
_COMPRESSED = 15


def is_matlab(data: bytes) -> bool:
    """Return whether this is a .mat file of version 5 to 7; version 7.3 is HDF5."""
    return data[126:128] in (b"IM", b"MI") and data.startswith(b"MATLAB 5.0")


def matlab_arrays(data: bytes) -> Arrays:
    """Return the numeric arrays of a .mat file of version 5 to 7."""
    import scipy.io  # here, because it is rarely needed

    for _ in LIMITS.check(_matlab_sizes(data), len(data)):
        pass

    def reader(name: str) -> Callable[[], np.ndarray]:
        def read() -> np.ndarray:
            array: np.ndarray = scipy.io.loadmat(io.BytesIO(data), variable_names=[name])[name]
            return array

        return read

    found = scipy.io.whosmat(io.BytesIO(data))
    for _, shape, kind in found:
        if kind in _MATLAB_NUMBERS:
            check_size(shape, 8)
    return {name: reader(name) for name, _, kind in found if kind in _MATLAB_NUMBERS}


def _matlab_sizes(data: bytes) -> Iterator[int]:
    """Yield the unpacked size of each element, in steps that do not fill the memory."""
    order, at = "<" if data[126:128] == b"IM" else ">", 128
    while at + 8 <= len(data):
        kind, size = struct.unpack_from(order + "II", data, at)
        at += 8
        check_size((size,), 1, available=len(data) - at)
        if kind == _COMPRESSED:
            unpacker, packed, total = zlib.decompressobj(), data[at : at + size], 0
            while packed and not unpacker.eof and total <= LARGEST:
                total += len(unpacker.decompress(packed, 2**20))
                packed = unpacker.unconsumed_tail
            yield total
        else:
            yield size
        at += size


# --- Text -----------------------------------------------------------------------------------

_NUMBER = r"[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?|nan|inf(?:inity)?)"
_ROW = re.compile(
    rf"[ \t]*\"?{_NUMBER}\"?(?:[ \t]*[,; \t][ \t]*\"?{_NUMBER}\"?)*[ \t]*,?[ \t]*", re.IGNORECASE
)


def text_of(data: bytes) -> str | None:
    """Return the content as text, or None if it is not text."""
    start = data[:4096]
    if any(byte < 32 and byte not in b"\t\n\r\f" for byte in start):
        return None
    try:
        start[:-4].decode()
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None


def is_table(text: str) -> bool:
    """Return whether the first or the second line of a text is a row of numbers."""
    lines = [line for line in text[:65536].splitlines() if line.strip()][:2]
    return any(len(line) < 65536 and _ROW.fullmatch(line) for line in lines)


def table_arrays(text: str) -> Arrays:
    """Return the numbers of a text: a row per line, between commas, semicolons, tabs or spaces.

    A first line without numbers is taken for names. A value takes at most four times the memory of
    its text.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    if not _ROW.fullmatch(lines[0]):
        lines = lines[1:]
    delimiter = next((mark for mark in ",;" if mark in lines[0]), None)
    return {"": lambda: np.loadtxt(lines, np.float32, delimiter=delimiter, quotechar='"', ndmin=2)}
