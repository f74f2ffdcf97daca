"""Read tensors of a file of `torch.save`, without torch and without running its code."""

from __future__ import annotations

import collections
import io
import math
import pickle
import zipfile
from dataclasses import dataclass
from typing import Any

import numpy as np

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
    """A file of the archive: its numbers are read when a tensor asks for them."""

    kind: str
    key: str


@dataclass
class _Tensor:
    """What `torch.save` notes of a tensor. Not an array: a pickle may set attributes of it."""

    storage: Any
    offset: Any
    size: Any
    stride: Any


def read_tensors(data: bytes) -> dict[str, np.ndarray]:
    """Read the tensors of a file of `torch.save`: one tensor, or a dict or list of them.

    Only the names that tensors are made of are known to the unpickler; anything else is refused, so
    that no code of the file is run (as with ``torch.load(weights_only=True)``).

    Parameters
    ----------
    data : bytes
        The file, a zip archive (torch 1.6 and later).

    Returns
    -------
    dict of np.ndarray
        By their names; "" for a single tensor.

    Raises
    ------
    ValueError
        If the file holds anything else than tensors, or is corrupt.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            (main,) = [name for name in names if name.endswith("data.pkl")]
            folder = main.removesuffix("data.pkl")
            if folder + "byteorder" in names and archive.read(folder + "byteorder") != b"little":
                raise ValueError("its numbers are big-endian; save it again on this machine")
            content = _Unpickler(io.BytesIO(archive.read(main))).load()
            return {
                name: _array(tensor, archive, folder) for name, tensor in _named(content).items()
            }
    except ValueError:
        raise
    except Exception as error:  # a corrupt archive or pickle raises any error of its reader
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"it is not a file of torch.save, or it is corrupt ({reason})") from error


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
        raise ValueError(f"it holds {module}.{name}, which is not a tensor; save the tensor alone")

    def persistent_load(self, pid: Any) -> _Storage:
        _, kind, key, *_ = pid
        return _Storage(kind, key)


def _named(content: Any) -> dict[str, _Tensor]:
    if isinstance(content, _Tensor):
        return {"": content}
    if isinstance(content, list | tuple):
        content = {str(place): value for place, value in enumerate(content)}
    if not isinstance(content, dict):
        raise ValueError(f"it holds a {type(content).__name__}, not a tensor")
    return {str(name): value for name, value in content.items() if isinstance(value, _Tensor)}


def _array(tensor: _Tensor, archive: zipfile.ZipFile, folder: str) -> np.ndarray:
    kind = tensor.storage.kind
    if kind not in _STORAGES:
        raise ValueError(f"its tensor is of {kind}, which is not of real numbers")
    numbers = np.frombuffer(archive.read(f"{folder}data/{tensor.storage.key}"), _STORAGES[kind])
    size, stride = tuple(map(int, tensor.size)), tuple(map(int, tensor.stride))
    offset = int(tensor.offset)
    # Strides are taken from the file: they must not lead out of the storage.
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    inside = min((*size, *stride, offset), default=0) >= 0 and last < len(numbers)
    if math.prod(size) and not (inside and math.prod(size) <= len(numbers)):
        raise ValueError("its tensor reaches beyond its storage; save it again")
    if kind == "BFloat16Storage":
        numbers = (numbers.astype(np.uint32) << 16).view(np.float32)
    if math.prod(size) == 0:
        return np.zeros(size, numbers.dtype)
    view = np.lib.stride_tricks.as_strided(
        numbers[offset:], size, tuple(step * numbers.itemsize for step in stride), writeable=False
    )
    return view.copy()
