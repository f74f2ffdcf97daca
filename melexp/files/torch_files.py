"""Read tensors of `torch.save` and of safetensors, without torch and without running code."""

from __future__ import annotations

import collections
import io
import math
import pickle
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from melexp.errors import one_line, require
from melexp.files.array_files import Arrays, Refused

_STORAGES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "BFloat16Storage": "<u2",  # the upper half of a float32
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
}


@dataclass
class _Storage:
    """A file of the archive; its numbers are read when a tensor refers to it."""

    kind: str
    key: str


@dataclass
class _Tensor:
    """Layout of a stored tensor. It is not an array, because a pickle may set its attributes."""

    storage: Any
    offset: Any
    size: Any
    stride: Any


#: Largest size of the pickle that describes the tensors, in bytes; it does not hold their values.
_LARGEST_PICKLE = 2**24


def torch_arrays(data: bytes) -> Arrays:
    """Return the tensors of a file of `torch.save`: one tensor, or a dict or list of them.

    The unpickler accepts only the names that tensors consist of, like
    ``torch.load(weights_only=True)``. So no code of the file is run.

    Parameters
    ----------
    data : bytes
        Content of the file, a zip archive (torch 1.6 and later) that has passed the limits.

    Returns
    -------
    arrays : Arrays
        The tensors by name; a single tensor has the name "".

    Raises
    ------
    Refused
        If the file holds anything else than tensors, or is corrupt. So does a tensor when it is
        read.
    """
    with _opened(data) as archive:
        names = archive.namelist()
        (main,) = [name for name in names if name.endswith("data.pkl")]
        folder = main.removesuffix("data.pkl")
        if archive.getinfo(main).file_size > _LARGEST_PICKLE:
            raise Refused("the file holds more than tensors; save the tensor alone")
        if folder + "byteorder" in names and archive.read(folder + "byteorder") != b"little":
            raise Refused("the file has big-endian numbers; save the tensor again on this machine")
        content = _Unpickler(io.BytesIO(archive.read(main))).load()

    def reader(tensor: _Tensor) -> Callable[[], np.ndarray]:
        def read() -> np.ndarray:
            with _opened(data) as archive:
                return _array(tensor, archive, folder)

        return read

    return {name: reader(tensor) for name, tensor in _named(content).items()}


@contextmanager
def _opened(data: bytes) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            yield archive
    except Refused:
        raise
    except Exception as error:  # a corrupt archive or pickle raises any error of its reader
        raise Refused(
            f"the file is not from torch.save, or it is corrupt ({one_line(error)})"
        ) from error


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module == "torch._utils" and name == "_rebuild_tensor_v2":
            return lambda storage, offset, size, stride, *_: _Tensor(storage, offset, size, stride)
        if module == "torch._utils" and name == "_rebuild_parameter":
            return lambda tensor, *_: tensor
        if module == "torch" and name in _STORAGES:
            return name
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        raise Refused(
            f"the file holds {module}.{name}, which is not a tensor; save the tensor alone"
        )

    def persistent_load(self, pid: Any) -> _Storage:
        _, kind, key, *_ = pid
        return _Storage(kind, key)


def _named(content: Any) -> dict[str, _Tensor]:
    if isinstance(content, _Tensor):
        return {"": content}
    if isinstance(content, list | tuple):
        content = {str(place): value for place, value in enumerate(content)}
    if not isinstance(content, dict):
        raise Refused(f"the file holds a {type(content).__name__}, not a tensor; save a tensor")
    return {str(name): value for name, value in content.items() if isinstance(value, _Tensor)}


def _array(tensor: _Tensor, archive: zipfile.ZipFile, folder: str) -> np.ndarray:
    kind = tensor.storage.kind
    if kind not in _STORAGES:
        raise Refused(f"the tensor has a {kind}, not real numbers; save real numbers")
    numbers = np.frombuffer(archive.read(f"{folder}data/{tensor.storage.key}"), _STORAGES[kind])
    size, stride = tuple(map(int, tensor.size)), tuple(map(int, tensor.stride))
    offset = int(tensor.offset)
    # The strides come from the file, so they could lead out of the storage.
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    inside = min((*size, *stride, offset), default=0) >= 0 and last < len(numbers)
    if math.prod(size) and not (inside and math.prod(size) <= len(numbers)):
        raise Refused("the tensor reaches beyond its storage; save it again")
    if kind == "BFloat16Storage":
        numbers = _from_bfloat16(numbers)
    if math.prod(size) == 0:
        return np.zeros(size, numbers.dtype)
    view = np.lib.stride_tricks.as_strided(
        numbers[offset:], size, tuple(step * numbers.itemsize for step in stride), writeable=False
    )
    return view.copy()


def _from_bfloat16(numbers: np.ndarray) -> np.ndarray:
    """Return the float32 values whose upper halves are given as whole numbers."""
    return (numbers.astype(np.uint32) << 16).view(np.float32)


_SAFE = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "<i1",
    "U8": "<u1",
}


def is_safetensors(data: bytes) -> bool:
    """Return whether the content begins with the length of a JSON header, and this header."""
    return data[8:9] == b"{" and int.from_bytes(data[:8], "little") <= len(data) - 8


def safetensors_arrays(data: bytes) -> Arrays:
    """Return the tensors of a file of safetensors by name. They take as much memory as the file.

    Raises
    ------
    MissingExtra
        If safetensors is not installed.
    """
    require("files", "safetensors", what="a .safetensors file")
    import safetensors

    def reader(tensor: Mapping[str, Any]) -> Callable[[], np.ndarray]:
        def read() -> np.ndarray:
            numbers = np.frombuffer(tensor["data"], _SAFE[tensor["dtype"]])
            if tensor["dtype"] == "BF16":
                numbers = _from_bfloat16(numbers)
            return numbers.reshape(tensor["shape"])

        return read

    deserialize: Any = safetensors.deserialize
    tensors = deserialize(data)  # checks the header against the size of the file
    return {name: reader(tensor) for name, tensor in tensors if tensor["dtype"] in _SAFE}
