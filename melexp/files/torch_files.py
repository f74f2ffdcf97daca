"""Read tensors of `torch.save` and of safetensors, without torch and without running code."""

from __future__ import annotations

import io
import math
import pickletools
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
    """Layout of a stored tensor."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


#: Largest pickle in bytes. It describes the tensors in about 150 bytes each.
LARGEST_PICKLE = 2**22
#: Largest number of axes of a tensor, as in torch and in NumPy.
_MOST_AXES = 64


def torch_arrays(data: bytes) -> Arrays:
    """Return the tensors of a file of `torch.save`: one tensor, or a dict or list of them.

    Only the instructions and names that tensors consist of are interpreted, like
    ``torch.load(weights_only=True)``. So no code of the file is run. A tensor is read when it is
    asked for.

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
        if archive.getinfo(main).file_size > LARGEST_PICKLE:
            raise Refused(
                f"the file describes its tensors in more than {LARGEST_PICKLE} bytes; save the "
                "tensor alone"
            )
        if folder + "byteorder" in names and archive.read(folder + "byteorder") != b"little":
            raise Refused("the file has big-endian numbers; save the tensor again on this machine")
        content = _unpickled(archive.read(main))

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


def _unpickled(data: bytes) -> Any:
    """Interpret the instructions of a pickle that `torch.save` uses, and no others.

    The interpreter is in Python, so Ctrl-C ends it. It hashes names only: a key of nested tuples
    takes the unpickler of Python longer than anyone waits.
    """
    stack: list[Any] = []
    memo: dict[int, Any] = {}

    def since_mark() -> list[Any]:
        place = len(stack) - 1
        while stack[place] is not _MARK:
            place -= 1
        items = stack[place + 1 :]
        del stack[place:]
        return items

    argument: Any
    for opcode, argument, _ in pickletools.genops(data):
        name = opcode.name
        if name == "STOP":
            break
        if name in ("PROTO", "FRAME"):
            continue
        if name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _VALUES:
            stack.append(argument)
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name == "TUPLE":
            stack.append(tuple(since_mark()))
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            n = int(name[-1])
            stack[-n:] = [tuple(stack[-n:])]
        elif name in ("APPEND", "APPENDS"):
            items = [stack.pop()] if name == "APPEND" else since_mark()
            _of(list, stack[-1]).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = [stack.pop(-2), stack.pop()] if name == "SETITEM" else since_mark()
            keys = [_of((str, int), key) for key in items[::2]]
            _of(dict, stack[-1]).update(zip(keys, items[1::2], strict=True))
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            if name == "STACK_GLOBAL":  # a nested tuple would take forever to print
                argument = f"{_of(str, stack.pop(-2))} {_of(str, stack.pop())}"
            stack.append(_known(argument.replace(" ", ".")))
        elif name == "REDUCE":
            arguments = _few(stack.pop())
            stack.append(_of(_Callable, stack.pop()).function(*arguments))
        elif name == "BUILD":
            stack.pop()  # attributes, such as the metadata of a state dict
        elif name == "BINPERSID":
            _, kind, key, *_ = _few(stack.pop())
            stack.append(_Storage(_of(str, kind), _of(str, key)))
        elif name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            memo[len(memo) if name == "MEMOIZE" else argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        else:
            raise Refused(
                f"the file holds an object ({name}), which is not a tensor; save the tensor alone"
            )
    return stack.pop()


_MARK = object()
_CONSTANTS = {"MARK": _MARK, "NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_VALUES = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"}
_VALUES |= {"BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES"}
_EMPTY = {"EMPTY_TUPLE": tuple, "EMPTY_LIST": list, "EMPTY_DICT": dict}


@dataclass(frozen=True)
class _Callable:
    function: Callable[..., Any]


_CALLABLES = {
    "torch._utils._rebuild_tensor_v2": _Callable(
        lambda storage, offset, size, stride, *_: _Tensor(
            _of(_Storage, storage), _of(int, offset), _whole(size), _whole(stride)
        )
    ),
    "torch._utils._rebuild_parameter": _Callable(lambda tensor, *_: tensor),
    "collections.OrderedDict": _Callable(lambda: {}),
}


def _known(path: str) -> Any:
    module, _, name = path.rpartition(".")
    if module == "torch" and name in _STORAGES:
        return name
    if path not in _CALLABLES:
        raise Refused(f"the file holds {path}, which is not a tensor; save the tensor alone")
    return _CALLABLES[path]


def _of(kind: Any, value: Any) -> Any:
    if not isinstance(value, kind):
        raise Refused(
            f"the file holds a {type(value).__name__} in a place where a tensor has none; save the "
            "tensor again"
        )
    return value


def _few(values: Any) -> tuple[Any, ...]:
    """Return a tuple; refuse a long one, which thousands of tensors could share and copy."""
    if len(_of(tuple, values)) > _MOST_AXES:
        raise Refused(
            f"the file holds a tuple of {len(values)} in the place of at most {_MOST_AXES} axes; "
            "save the tensor again"
        )
    return tuple(values)


def _whole(values: Any) -> tuple[int, ...]:
    return tuple(_of(int, value) for value in _few(values))


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
    size, stride, offset = tensor.size, tensor.stride, tensor.offset
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
