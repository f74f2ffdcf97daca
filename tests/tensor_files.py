"""Files as torch.save writes them, built by hand so that the tests need no torch."""

import io
import struct
import zipfile

import numpy as np


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def tensor_pickle(shape: tuple[int, ...], stride: tuple[int, ...], kind: str, n: int) -> bytes:
    storage = b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text("0") + text("cpu")
    sizes = (b"(" + b"".join(map(number, axes)) + b"t" for axes in (shape, stride))
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n(("[:-1]
        + (storage + number(n) + b"tQ")
        + number(0)
        + b"".join(sizes)
        + b"\x89ccollections\nOrderedDict\n)RtR"
    )


def torch_file(content: bytes, data: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("mel/data.pkl", b"\x80\x02" + content + b".")
        archive.writestr("mel/byteorder", b"little")
        archive.writestr("mel/data/0", data)
    return buffer.getvalue()


def saved_tensor(array: np.ndarray, kind: str = "FloatStorage") -> bytes:
    stride = tuple(step // array.itemsize for step in array.strides)
    flat = array.ravel(order="K")
    return torch_file(tensor_pickle(array.shape, stride, kind, flat.size), flat.tobytes())
