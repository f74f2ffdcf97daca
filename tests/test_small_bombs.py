"""Small files that ask for much memory or time are refused before they get it."""

from __future__ import annotations

import io
import pickle
import struct
import sys
import time
import tracemalloc
import types
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from tensor_files import tensor_pickle, text, torch_file

from melexp.datasets import ClipError, load_dataset
from melexp.files.array_files import LIMITS
from melexp.files.mels import read_input
from melexp.files.sound import Audio
from melexp.files.torch_files import LARGEST_PICKLE, torch_arrays

MB = 10**6


def measured(read: Callable[[], Any]) -> tuple[Any, float, float]:
    """Return the result or the error, the seconds, and the largest memory in MB."""
    tracemalloc.start()
    began = time.perf_counter()
    try:
        result = read()
    except ValueError as error:
        result = error
    seconds = time.perf_counter() - began
    peak = tracemalloc.get_traced_memory()[1] / MB
    tracemalloc.stop()
    return result, seconds, peak


def read_tensors(data: bytes) -> dict[str, np.ndarray]:
    return {name: read() for name, read in torch_arrays(data).items()}


def test_of_many_tensors_on_one_storage_one_is_read() -> None:
    one = tensor_pickle((250_000,), (1,), "FloatStorage", 250_000)
    content = b"}(" + b"".join(text(str(k)) + one for k in range(1000)) + b"u"
    data = torch_file(content, bytes(MB))  # 1000 tensors of 1 MB
    found, _, peak = measured(lambda: read_input(data, key="7"))
    assert found.shape == (250_000,)
    assert len(torch_arrays(data)) == 1000
    assert peak < 20


def doubled(n: int) -> bytes:
    """Return a pickle of a tuple of two references to a tuple, and so on, n deep."""
    return b")q\0" + b"".join(b"h" + bytes([k]) + b"\x86q" + bytes([k + 1]) for k in range(n))


@pytest.mark.parametrize("depth", [60, 200])
def test_keys_that_take_forever_to_hash_are_refused(depth: int) -> None:
    """A tuple of this depth has 2^depth parts; its hash cannot be interrupted."""
    key = doubled(depth)
    data = torch_file(b"}" + key + b"Ns")
    assert len(data) < 2000
    error, seconds, _ = measured(lambda: read_tensors(data))
    assert "in a place where a tensor has none" in str(error)
    assert seconds < 5


def test_a_name_that_takes_forever_to_print_is_refused() -> None:
    data = torch_file(doubled(18) + text("a") + b"\x93")  # STACK_GLOBAL of a tuple and a name
    error, seconds, peak = measured(lambda: read_tensors(data))
    assert "holds a tuple in a place where a tensor has none" in str(error)
    assert seconds < 5
    assert peak < 1


#: The storage of a tensor, and the pickle of the tensor from parts of the memo.
STORAGE = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + b"K\4t"
REBUILT = b"ctorch._utils\n_rebuild_tensor_v2\nq\1"


@pytest.mark.parametrize(
    "each",
    [b"h\1(h\2K\0h\3h\3tR", b"h\1h\3R", b"h\3Q"],
    ids=["axes", "arguments", "storage"],
)
def test_a_long_tuple_is_not_copied_for_each_tensor(each: bytes) -> None:
    shared = STORAGE + b"Qq\2(" + b"K\0" * 10**5 + b"tq\3"
    data = torch_file(REBUILT + shared + b"](" + each * 1000 + b"e")
    error, seconds, peak = measured(lambda: read_tensors(data))
    assert "a tuple of 100000 in the place of at most 64 axes" in str(error)
    assert seconds < 5
    assert peak < 20


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x8b" + struct.pack("<i", 2**20) + b"\1" * 2**20, "LONG4"),
        (b"(" * 10**5 + b"t" * 10**5, "has no array"),
        (b"]" * LARGEST_PICKLE, "describes its tensors in more than"),
        (b"\x8f", "EMPTY_SET"),
        (b"\x82\x01", "EXT1"),
        (b"(lp0\n", "LIST"),
        (b"cos\nsystem\n", "not a tensor"),
        (b"h\x07", "corrupt"),
        (b"t", "corrupt"),
        (b"", "corrupt"),
        (b"]N)R", "in a place where a tensor has none"),
        (b"}]Ns", "in a place where a tensor has none"),
    ],
)
def test_other_pickles_are_refused(content: bytes, message: str) -> None:
    error, seconds, peak = measured(lambda: read_input(torch_file(content)))
    assert isinstance(error, ValueError)
    assert message in str(error)
    assert "\n" not in str(error)
    assert seconds < 10
    assert peak < 60


@pytest.mark.parametrize("kind", ["npz", "pt"])
def test_an_archive_that_grows_is_refused_before_it_is_read(kind: str) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        if kind == "npz":
            with archive.open("mel.npy", "w") as file:
                np.lib.format.write_array_header_1_0(
                    file, {"descr": "|i1", "fortran_order": False, "shape": (150 * MB,)}
                )
                file.write(bytes(150 * MB))
        else:
            content = tensor_pickle((150 * MB,), (1,), "CharStorage", 150 * MB)
            archive.writestr("mel/data.pkl", b"\x80\x02" + content + b".")
            archive.writestr("mel/data/0", bytes(150 * MB))
    data = buffer.getvalue()
    assert len(data) < MB
    assert LIMITS.free < 150 * MB
    error, seconds, peak = measured(lambda: read_input(data))
    assert "decompression bomb" in str(error)
    assert peak < 1
    assert seconds < 1


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickles_of_the_real_pickler_are_read(
    protocol: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that `torch.save` writes: dicts, lists, parameters, state dicts with metadata."""
    fake, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")

    def _rebuild_tensor_v2() -> None: ...
    def _rebuild_parameter() -> None: ...

    class FloatStorage: ...

    for module, thing in (
        (utils, _rebuild_tensor_v2), (utils, _rebuild_parameter), (fake, FloatStorage),
    ):  # fmt: skip
        thing.__module__, thing.__qualname__ = module.__name__, thing.__name__
        setattr(module, thing.__name__, thing)
    monkeypatch.setitem(sys.modules, "torch", fake)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)

    class Stored: ...

    class Tensor:
        def __reduce__(self) -> Any:
            arguments = (stored, 1, (2, 2), (1, 2), False, OrderedDict())
            return _rebuild_tensor_v2, arguments

    class Parameter:
        def __reduce__(self) -> Any:
            return _rebuild_parameter, (Tensor(), True, OrderedDict())

    class Pickler(pickle.Pickler):
        def persistent_id(self, thing: Any) -> Any:
            if isinstance(thing, Stored):
                return ("storage", FloatStorage, "0", "cpu", 5)
            return None

    stored = Stored()
    state = OrderedDict(weight=Parameter(), other=Tensor())
    state._metadata = OrderedDict({"": {"version": 1}})
    contents = [
        (Tensor(), {""}),
        ([Tensor(), Tensor()], {"0", "1"}),
        ({"mel": Tensor(), "sr": 22050, "f": 0.5, "none": None, "is": True, "l": [1, (2, 3, 4, 5)],
          "big": 2**40, 3: Tensor()}, {"mel", "3"}),
        (state, {"weight", "other"}),
    ]  # fmt: skip
    for content, names in contents:
        buffer, numbers = io.BytesIO(), np.arange(5, dtype=np.float32)
        Pickler(buffer, protocol).dump(content)
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w") as archive:
            archive.writestr("mel/data.pkl", buffer.getvalue())
            archive.writestr("mel/data/0", numbers.tobytes())
        found = read_tensors(data.getvalue())
        assert found.keys() == names
        for array in found.values():
            np.testing.assert_array_equal(array, [[1, 3], [2, 4]])


# --- HDF5 ---------------------------------------------------------------------------------------


def hdf5_chunk(content: bytes, *, n_filters: int, chunks: tuple[int, int], skip: int = 0) -> bytes:
    """Return a file with one chunk of a data set of 80 by 60, and filters of deflate."""
    h5py = pytest.importorskip("h5py", reason="needs the extra 'files'")
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    settings.set_chunk(chunks)
    for _ in range(n_filters):
        settings.set_deflate(9)
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        space = h5py.h5s.create_simple((80, 60), (h5py.h5s.UNLIMITED,) * 2)
        made = h5py.h5d.create(file.id, b"mel", h5py.h5t.IEEE_F32LE, space, dcpl=settings)
        made.write_direct_chunk((0, 0), content, filter_mask=skip)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "n_filters", "chunks", "message"),
    [
        (zlib.compress(zlib.compress(bytes(50 * MB))), 2, (80, 60), r"the filters \[1, 1\]"),
        (zlib.compress(bytes(50 * MB)), 1, (80, 60), "a chunk of 19200 bytes unpacks to more"),
        (zlib.compress(bytes(128 * MB)), 1, (8000, 4000), "decompression bomb"),
    ],
    ids=["packed twice", "long stream", "large chunk"],
)
def test_a_chunk_of_hdf5_that_grows_is_refused(
    content: bytes, n_filters: int, chunks: tuple[int, int], message: str
) -> None:
    data = hdf5_chunk(content, n_filters=n_filters, chunks=chunks)
    assert len(data) < MB
    with pytest.raises(ValueError, match=message):
        read_input(data)


def test_chunks_of_hdf5_are_read() -> None:
    h5py = pytest.importorskip("h5py", reason="needs the extra 'files'")
    mel = np.random.default_rng(0).standard_normal((80, 60)).astype(np.float32)
    for settings in (
        {"chunks": True, "maxshape": (None, None)},
        {"compression": "gzip", "shuffle": True, "fletcher32": True, "chunks": (7, 13)},
        {"compression": "lzf", "shuffle": True},
    ):
        buffer = io.BytesIO()
        with h5py.File(buffer, "w") as file:
            file.create_dataset("mel", data=mel, **settings)
        np.testing.assert_array_equal(read_input(buffer.getvalue()), mel)
    plain = hdf5_chunk(mel.tobytes(), n_filters=1, chunks=(80, 60), skip=1)  # stored as it is
    np.testing.assert_array_equal(read_input(plain), mel)


def test_deep_groups_of_hdf5_are_refused() -> None:
    h5py = pytest.importorskip("h5py", reason="needs the extra 'files'")
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.create_group("/".join("g" * 1000))
    with pytest.raises(ValueError, match="more than 32 groups in each other"):
        read_input(buffer.getvalue())


# --- Sound --------------------------------------------------------------------------------------


def silence(n_samples: int, sr: int) -> bytes:
    """Return a FLAC of zeros, of 1 byte for 290 samples."""
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(n_samples, np.int16), sr, format="FLAC")
    return buffer.getvalue()


def test_sound_that_grows_is_refused() -> None:
    data = silence(30 * MB, 22050)
    error, _, peak = measured(lambda: read_input(data))
    assert "30000000 samples, more than the limit of 25000000" in str(error)
    assert peak < 20


def test_sound_that_grows_by_resampling_is_refused(tmp_path: Path) -> None:
    data = silence(2 * MB, 1000)
    sound = read_input(data)
    assert isinstance(sound, Audio)
    assert len(sound.at(8000)[0]) == 16 * MB
    error, _, peak = measured(lambda: sound.at(22050))
    assert "44100000 samples, more than the limit of 25000000" in str(error)
    assert peak < 1
    (tmp_path / "slow.flac").write_bytes(data)
    (clip,) = load_dataset("folder", path=str(tmp_path))
    with pytest.raises(ClipError, match=r"slow\.flac: .* more than the limit"):
        clip.load(22050)


def test_the_reason_of_the_decoder_names_no_object() -> None:
    with pytest.raises(ValueError, match="nor sound that can be read") as error:
        read_input(bytes(range(256)))
    assert " at 0x" not in str(error.value)


# --- Lists of Kaldi -----------------------------------------------------------------------------


def test_a_list_with_many_spaces_is_read_quickly() -> None:
    data = b"k p.ark:1\na b" + b" " * 30_000 + b"x\n"
    error, seconds, _ = measured(lambda: read_input(data))
    assert "the file has no array 'mel'; the arrays are k, a" in str(error)
    assert seconds < 0.5
