"""Read the arrays of an HDF5 file, also of MATLAB 7.3."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np

from melexp.errors import require
from melexp.files.array_files import Arrays, Refused, check_packed

_SIGNATURE = b"\x89HDF\r\n\x1a\n"


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
                check_packed(dataset.size * dataset.dtype.itemsize, len(data))
                array: np.ndarray = dataset[()]
                return array

        return read

    def note(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.kind in "fiu" and item.shape:
            arrays[name] = reader(name)

    with h5py.File(io.BytesIO(data), "r") as file:
        file.visititems(note)  # follows no links
    return arrays
