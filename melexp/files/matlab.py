"""Read the matrices of a MATLAB file of version 5 to 7; version 7.3 is HDF5.

SciPy has a reader too, but a corrupt file can end the process in its compiled code.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

from melexp.files.array_files import Arrays, Refused, check_packed, check_size

#: Types of NumPy by the number of a type of the file.
_TYPES = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
}  # fmt: skip
_MATRIX, _COMPRESSED = 14, 15
#: Classes of real matrices: double, single and whole numbers.
_CLASSES = range(6, 16)
_COMPLEX = 0x800
#: The header of a matrix is shorter: a name has at most 63 letters.
_HEADER = 4096


class _Matrix(NamedTuple):
    """An element of the file: where it is, and the order of its bytes."""

    data: bytes
    at: int
    size: int
    is_compressed: bool
    order: Literal["<", ">"]

    def content(self, limit: int | None = None) -> bytes:
        """Return the unpacked content, up to a number of bytes."""
        part = memoryview(self.data)[self.at : self.at + self.size]
        if not self.is_compressed:
            return bytes(part[:limit])
        head = zlib.decompressobj().decompress(part, 8)
        size = struct.unpack(self.order + "II", head)[1]
        check_packed(size, len(self.data))
        return zlib.decompressobj().decompress(part, 8 + min(size, limit or size))[8:]


def is_matlab(data: bytes) -> bool:
    """Return whether this is a MATLAB file of version 5 to 7."""
    return data[126:128] in (b"IM", b"MI") and data.startswith(b"MATLAB 5.0")


def matlab_arrays(data: bytes) -> Arrays:
    """Return the real matrices by name; cells, structures and objects are left out.

    Raises
    ------
    Refused
        If an element is longer than the rest of the file, or unpacks beyond the limits.
    """
    order: Literal["<", ">"] = "<" if data[126:128] == b"IM" else ">"
    at, arrays = 128, {}
    while at < len(data):
        kind, size = struct.unpack_from(order + "II", data, at)
        check_size((size,), 1, len(data) - at - 8)
        if kind in (_MATRIX, _COMPRESSED):
            matrix = _Matrix(data, at + 8, size, kind == _COMPRESSED, order)
            head = _header(matrix.content(_HEADER), order)
            if head is not None:
                arrays[head[0]] = _reader(matrix)
        at += 8 + size
    return arrays


def _header(content: bytes, order: str) -> tuple[str, tuple[int, ...], int] | None:
    """Return the name, the shape and the place of the values of a real matrix."""
    _, at, _, after = _element(content, 0, order)
    flags = struct.unpack_from(order + "I", content, at)[0]
    if flags & 0xFF not in _CLASSES or flags & _COMPLEX:
        return None
    _, at, size, after = _element(content, after, order)
    shape = struct.unpack_from(f"{order}{size // 4}i", content, at)
    _, at, size, after = _element(content, after, order)
    return content[at : at + size].decode("ascii"), shape, after


def _element(content: bytes, at: int, order: str) -> tuple[int, int, int, int]:
    """Return the type, the place and the size of an element, and the place of the next."""
    kind, size = struct.unpack_from(order + "II", content, at)
    if kind >> 16:  # at most four bytes, within the tag
        return kind & 0xFFFF, at + 4, kind >> 16, at + 8
    return kind, at + 8, size, at + 8 + size + -size % 8


def _reader(matrix: _Matrix) -> Callable[[], np.ndarray]:
    def read() -> np.ndarray:
        content = matrix.content()
        head = _header(content, matrix.order)
        if head is None:
            raise Refused("the file is corrupt; save it again")
        _, shape, after = head
        kind, at, _, _ = _element(content, after, matrix.order)
        dtype = np.dtype(_TYPES[kind]).newbyteorder(matrix.order)
        check_size(shape, dtype.itemsize, len(content) - at)
        values = np.frombuffer(content, dtype, int(np.prod(shape, dtype=np.int64)), at)
        return values.reshape(shape, order="F")

    return read
