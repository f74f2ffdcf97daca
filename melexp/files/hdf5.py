"""Read the arrays of an HDF5 file, also of MATLAB 7.3."""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from melexp.errors import require
from melexp.files.array_files import Arrays, Refused, check_packed

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
#: Filters of a chunk by their number. Deflate is unpacked to any size, LZF to 90 times at most.
_DEFLATE, _SHUFFLE, _FLETCHER32, _LZF = 1, 2, 3, 32000
#: Bytes that the checksum of Fletcher32 adds to a chunk.
_CHECKSUM = 4
#: Largest number of groups and data sets, and of groups in each other.
_MOST_ENTRIES, _DEEPEST = 100_000, 32


def is_hdf5(data: bytes) -> bool:
    """Return whether this is an HDF5 file; MATLAB 7.3 puts a text of 512 bytes before it."""
    at = 512 if data.startswith(b"MATLAB 7.3") else 0
    return data[at : at + 8] == _SIGNATURE


def hdf5_arrays(data: bytes) -> Arrays:
    """Return the numeric data sets by their path.

    Links, virtual data sets and external storage are refused: they would read other files.

    Raises
    ------
    MissingExtra
        If h5py is not installed.
    """
    require("files", "h5py", what="an HDF5 file (.h5, .mat)")
    import h5py

    arrays: Arrays = {}

    def reader(name: str) -> Callable[[], np.ndarray]:
        def read() -> np.ndarray:
            with h5py.File(io.BytesIO(data), "r") as file:
                dataset = file[name]
                if dataset.is_virtual or dataset.external:
                    raise Refused(
                        f"the array {name!r} lies in another file; save the array in one file"
                    )
                _check(dataset, len(data))
                array: np.ndarray = dataset[()]
                return array

        return read

    n_entries = 0

    def note(name: str, item: Any) -> None:
        nonlocal n_entries
        n_entries += 1
        # The reader looks each entry up from the root, which takes longer the deeper it is.
        if n_entries > _MOST_ENTRIES or name.count("/") >= _DEEPEST:
            raise Refused(
                f"the file has more than {_MOST_ENTRIES} entries, or more than {_DEEPEST} groups "
                "in each other; save the array alone"
            )
        if isinstance(item, h5py.Dataset) and item.dtype.kind in "fiu" and item.shape:
            arrays[name] = reader(name)

    with h5py.File(io.BytesIO(data), "r") as file:
        file.visititems(note)  # follows no links
    return arrays


def _check(dataset: Any, packed: int) -> None:
    """Check what a data set unpacks to: its chunks may hold more than its shape declares.

    Raises
    ------
    Refused, ArchiveError
        If it is beyond the limits, or has other filters than one of deflate and LZF.
    """
    itemsize = max(dataset.dtype.itemsize, dataset.id.get_type().get_size())
    chunks = dataset.chunks or (1,) * dataset.ndim
    n_chunks = math.prod(-(-n // c) for n, c in zip(dataset.shape, chunks, strict=True))
    size = math.prod(chunks) * itemsize
    check_packed(n_chunks * size, packed)
    settings = dataset.id.get_create_plist()
    filters = [settings.get_filter(k)[0] for k in range(settings.get_nfilters())]
    packing = [number for number in filters if number not in (_SHUFFLE, _FLETCHER32)]
    if packing not in ([], [_DEFLATE], [_LZF]):
        raise Refused(
            f"the array has the filters {packing} of HDF5, of which one, gzip or lzf, is read; "
            "save it with compression='gzip'"
        )
    if packing != [_DEFLATE]:
        return
    place = filters.index(_DEFLATE)

    def check_chunk(chunk: Any) -> None:
        skipped, content = dataset.id.read_direct_chunk(chunk.chunk_offset)
        most = size + _CHECKSUM * len(filters)
        if skipped >> place & 1:
            return
        if len(zlib.decompressobj().decompress(content, most + 1)) > most:
            raise Refused(
                f"the file is corrupt: a chunk of {size} bytes unpacks to more, as in a "
                "decompression bomb; save it again"
            )

    dataset.id.chunk_iter(check_chunk)
