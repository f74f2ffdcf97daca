"""Mels in files of other programs: read by content, bounded in memory, never taken for sound."""

import contextlib
import io
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import soundfile

from melexp.files.array_files import Refused
from melexp.files.mels import members, read_input, read_source
from melexp.files.pictures import read_picture, write_picture
from melexp.files.sound import Audio, NotSound, decode
from melexp.transforms.mel import MelTransform

MEL = np.random.default_rng(0).standard_normal((80, 7)).astype(np.float32)


def npy(array: np.ndarray = MEL) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def matlab(compress: bool = False, **arrays: object) -> bytes:
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, arrays or {"mel": MEL}, do_compression=compress)
    return buffer.getvalue()


def hdf5(**arrays: object) -> bytes:
    h5py = pytest.importorskip("h5py", reason="needs the extra 'files'")
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, array in (arrays or {"feats": MEL}).items():
            file[name] = array
    return buffer.getvalue()


def safetensors(**arrays: np.ndarray) -> bytes:
    numpy = pytest.importorskip("safetensors.numpy", reason="needs the extra 'files'")
    content: bytes = numpy.save(arrays or {"mel": MEL})
    return content


def ark(compression: int | None = None, **arrays: np.ndarray) -> bytes:
    kaldiio = pytest.importorskip("kaldiio", reason="needs the extra 'files'")
    buffer = io.BytesIO()
    kaldiio.save_ark(buffer, arrays or {"a": MEL.T}, compression_method=compression)
    return buffer.getvalue()


def text_ark() -> bytes:
    rows = "\n".join("  " + " ".join(f"{v:.9g}" for v in row) for row in MEL.T)
    return f"a  [\n{rows} ]\n".encode()


def table(delimiter: str = ",", header: str = "") -> bytes:
    buffer = io.StringIO()
    np.savetxt(buffer, MEL, delimiter=delimiter, header=header, comments="", fmt="%.9g")
    return buffer.getvalue().encode()


#: A function that makes the content of each kind, and the tolerance.
KINDS: dict[str, tuple[Callable[[], bytes], float]] = {
    "npy": (npy, 0),
    "npy of fortran": (lambda: npy(np.asfortranarray(MEL)), 0),
    "npy of big endian": (lambda: npy(MEL.astype(">f8")), 0),
    "npy version 2": (lambda: npy_version_2(), 0),
    "mat": (matlab, 0),
    "mat, compressed": (lambda: matlab(compress=True), 0),
    "mat of several": (lambda: matlab(mel=MEL, name="x", n=3.0), 0),
    "h5": (hdf5, 0),
    "h5 with a group": (lambda: hdf5(**{"mel": MEL, "deep/stats": MEL[:, :2]}), 0),
    "safetensors": (safetensors, 0),
    "ark": (ark, 0),
    "ark, doubles": (lambda: ark(a=MEL.T.astype(np.float64)), 0),
    "ark, compressed": (lambda: ark(compression=2), 0.05),
    "ark, compressed to 16 bits": (lambda: ark(compression=3), 1e-3),
    "ark, compressed to 8 bits": (lambda: ark(compression=5), 0.05),
    "ark, text": (text_ark, 0),
    "csv": (table, 0),
    "csv with names": (lambda: table(header=",".join("abcdefg")), 0),
    "csv of semicolons": (lambda: table(";"), 0),
    "tabs": (lambda: table("\t"), 0),
    "spaces": (lambda: table(" "), 0),
}


def npy_version_2() -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, MEL, version=(2, 0))
    return buffer.getvalue()


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_read_by_its_content(kind: str) -> None:
    make, tolerance = KINDS[kind]
    found = read_input(make())
    assert not isinstance(found, Audio)
    found = found.T if found.shape == (7, 80) else found
    np.testing.assert_allclose(found, MEL, atol=tolerance, rtol=1e-7)
    assert found.dtype.kind == "f"
    assert found.dtype.isnative


def test_matlab_7_3() -> None:
    head = b"MATLAB 7.3 MAT-file".ljust(512, b" ")
    h5py = pytest.importorskip("h5py", reason="needs the extra 'files'")
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", userblock_size=512) as file:
        file["mel"] = MEL.T.astype(np.float64)
    found = read_input(head + buffer.getvalue()[512:])
    np.testing.assert_array_equal(found, MEL.T)


def test_bfloat16_of_safetensors() -> None:
    pytest.importorskip("safetensors", reason="needs the extra 'files'")
    half = (MEL.view(np.uint32) >> 16).astype(np.uint16)
    header = f'{{"m":{{"dtype":"BF16","shape":[80,7],"data_offsets":[0,{half.nbytes}]}}}}'.encode()
    found = read_input(struct.pack("<Q", len(header)) + header + half.tobytes())
    np.testing.assert_array_equal(found, (half.astype(np.uint32) << 16).view(np.float32))


def test_a_list_of_kaldi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = ark(one=MEL.T, two=2 * MEL.T)
    (tmp_path / "feats.ark").write_bytes(content)
    at = content.index(b"two ") + 4
    listed = f"one feats.ark:4\ntwo feats.ark:{at}\nfirst feats.ark\n".encode()
    for key, factor in (("one", 1), ("two", 2), ("first", 1)):
        np.testing.assert_array_equal(read_input(listed, key=key, folder=tmp_path), factor * MEL.T)
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(read_input(listed, key="two"), 2 * MEL.T)
    with pytest.raises(ValueError, match="no matrix of Kaldi at this place"):
        read_input(b"one feats.ark:7\n", folder=tmp_path)
    with pytest.raises(ValueError, match=r"names other\.ark, which is no file"):
        read_input(b"one other.ark:7\n", folder=tmp_path)


@pytest.mark.parametrize("line", ["a touch harmed |", "a | touch harmed.ark", "a touch harmed|"])
def test_a_list_of_kaldi_runs_no_program(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="programs are not run"):
        read_input(line.encode() + b"\n")
    assert list(tmp_path.iterdir()) == []


def test_an_archive_of_kaldi_runs_no_pickle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code = b"cposix\nsystem\n(S'touch harmed'\ntR."
    for data in (b"a PKL" + code, ark() + b"b PKL" + code, ark() + b"b NPY\1\5" + code):
        with pytest.raises(ValueError, match=r"something else than matrices|neither"):
            read_input(data)
    assert list(tmp_path.iterdir()) == []


def test_a_message_names_the_arrays_but_not_thousands() -> None:
    with pytest.raises(ValueError, match=r"the arrays are a, b \(choose with --key\)"):
        read_input(matlab(a=MEL, b=MEL))
    many = b"".join(f"utt{k}  [\n  1 2\n  3 4 ]\n".encode() for k in range(1000))
    with pytest.raises(ValueError, match="utt9 and 990 more") as error:
        read_input(many)
    assert len(str(error.value)) < 300
    np.testing.assert_array_equal(read_input(many, key="utt7"), [[1, 2], [3, 4]])


# --- Sound and mels ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["MAT4", "MAT5"])
def test_a_matlab_file_is_not_sound(kind: str) -> None:
    """libsndfile reads the matrices of MATLAB as sound, whatever they are."""
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros((100, 2)), 22050, format=kind, subtype="FLOAT")
    with pytest.raises(NotSound, match="MATLAB"):
        decode(buffer.getvalue())
    with pytest.raises(ValueError, match=r"neither a mel|corrupt or truncated"):
        read_input(buffer.getvalue())


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "AIFF", "AU", "MP3"])
def test_sound_is_not_a_mel(kind: str) -> None:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.sin(np.arange(22050) / 9) / 2, 22050, format=kind)
    assert isinstance(read_input(buffer.getvalue()), Audio)


@pytest.mark.parametrize(
    "data",
    [
        b"id,text\n1,words\n",
        b"LJ001-0001|Printing, in the only sense|Printing\n",
        b"{}",
        b"\0" * 3000,
        MEL.tobytes(),
        b"NIST_1A\n   1024\nsample_rate -i 16000\n" + bytes(3000),
    ],
)
def test_other_content_is_neither(data: bytes) -> None:
    with pytest.raises(ValueError, match="neither a mel"):
        read_input(data)


# --- Damaged and hostile files ----------------------------------------------------------------


def refusal(data: bytes) -> str:
    """Return the message with which the content is refused; empty if it is read."""
    try:
        read_input(data)
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("kind", KINDS)
def test_a_truncated_file_is_refused(kind: str) -> None:
    data = KINDS[kind][0]()
    for keep in (0.999, 0.9, 0.5, 0.2):
        part = data[: int(len(data) * keep)]
        if kind.startswith(("csv", "tabs", "spaces")):
            part = part.rstrip(b",; \t\n") + b" x"
        assert refusal(part), keep


@pytest.mark.parametrize("kind", [k for k in KINDS if not k.startswith("h5")])
def test_a_damaged_file_is_read_or_refused(kind: str) -> None:
    data, rng = KINDS[kind][0](), np.random.default_rng(0)
    for _ in range(150):
        damaged = bytearray(data)
        for at in rng.integers(len(data) if rng.random() < 0.3 else min(200, len(data)), size=3):
            damaged[at] = rng.integers(256)
        assert "\n" not in refusal(bytes(damaged))


@pytest.mark.torture
def test_fuzzed_files(fuzz: Callable[[list[bytes], Callable[[bytes], object]], int]) -> None:
    def attack(data: bytes) -> None:
        before = time.monotonic()
        assert "\n" not in refusal(data)
        assert time.monotonic() - before < 5

    pictures = [write_picture(abs(MEL) / 4, inverted=False, flipped=True, bits=b) for b in (8, 16)]
    files = [make() for make, _ in KINDS.values()]
    assert fuzz(files, attack) > 100
    assert fuzz(pictures, attack_picture) > 100


def attack_picture(data: bytes) -> None:
    with contextlib.suppress(Refused):
        read_picture(data, inverted=False, flipped=True)


def test_bounds_are_checked_before_memory_is_taken() -> None:
    def refused(data: bytes, word: str) -> None:
        with pytest.raises(ValueError, match=word):
            read_input(data)

    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": (10**13,)}
    )
    refused(header.getvalue() + bytes(100), "declares an array of 40000000000000 bytes")
    huge = struct.pack("<BiBi", 4, 2**31 - 1, 4, 2**31 - 1)
    refused(b"a \0BFM " + huge + bytes(100), "declares an array")
    refused(b"a \0BFM " + struct.pack("<BiBi", 4, -1, 4, 9) + bytes(100), "declares an array")
    packed = zlib.compress(struct.pack("<II", 14, 2**32 - 1) + bytes(10**6))
    refused(matlab()[:128] + struct.pack("<II", 15, len(packed)) + packed, "decompression bomb")
    h5py = pytest.importorskip("h5py", reason="needs the extra 'files'")
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.create_dataset("mel", (10**9, 80), "f4", chunks=(1000, 80), compression="gzip")
    refused(buffer.getvalue(), "decompression bomb")


def test_hdf5_reads_no_other_file(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="needs the extra 'files'")
    (tmp_path / "raw").write_bytes(MEL.tobytes())
    (tmp_path / "other.h5").write_bytes(hdf5())
    external, linked, virtual = io.BytesIO(), io.BytesIO(), io.BytesIO()
    with h5py.File(external, "w") as file:
        place = [(str(tmp_path / "raw"), 0, MEL.nbytes)]
        file.create_dataset("mel", MEL.shape, "f4", external=place)
    with h5py.File(linked, "w") as file:
        file["mel"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "feats")
    with h5py.File(virtual, "w") as file:
        layout = h5py.VirtualLayout(shape=MEL.shape, dtype="f4")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "feats", shape=MEL.shape)
        file.create_virtual_dataset("mel", layout)
    for buffer, word in (
        (external, "lies in another file"),
        (virtual, "lies in another file"),
        (linked, "no array 'mel'"),
    ):
        with pytest.raises(ValueError, match=word):
            read_input(buffer.getvalue())


@pytest.mark.parametrize("kind", ["h5", "safetensors", "ark"])
def test_a_missing_reader_is_named(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = KINDS[kind][0]()
    monkeypatch.setattr("melexp.errors._is_installed", lambda name: False)
    with pytest.raises(
        ValueError, match=r"which is not installed; run: pip install 'melexp\[files"
    ):
        read_input(data)


def test_a_source_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large.npy"
    path.write_bytes(bytes(1000))
    assert read_source(str(path)) == bytes(1000)
    monkeypatch.setattr("melexp.files.mels.LARGEST", 999)
    with pytest.raises(ValueError, match="more than 999 bytes"):
        read_source(str(path))


# --- Batches ----------------------------------------------------------------------------------


def test_members_of_a_batch() -> None:
    hifigan = MelTransform.preset("hifigan")
    batch = np.stack([MEL, 2 * MEL, 3 * MEL])
    for given in (batch, batch.swapaxes(1, 2), batch[:, None], batch[None]):
        found = members(given, hifigan)
        assert len(found) == 3
        np.testing.assert_array_equal(np.stack(found), batch)
    (one,) = members(MEL[None, None], hifigan)
    np.testing.assert_array_equal(one, MEL)
    with pytest.raises(ValueError, match="channels seem to be last"):
        members(np.zeros((300, 80, 2)), hifigan)
    with pytest.raises(ValueError, match="give one mel"):
        members(MEL[0], hifigan)


def test_mfccs_are_named() -> None:
    with pytest.raises(ValueError, match=r"if these are MFCCs, use melexp\.mfcc_to_audio"):
        members(MEL[:13], MelTransform.preset("hifigan"))


def test_a_text_is_recognised_quickly() -> None:
    """Regular expressions with two ways to match a space take years on such lines."""
    for data in (b"1" + b"   1" * 3000 + b" x", b"a " + b": " * 3000, b"a [" * 3000):
        before = time.monotonic()
        with pytest.raises(ValueError, match=r"."):
            read_input(data)
        assert time.monotonic() - before < 5
    many = b"".join(b"utt%d  [\n  1 2 ]\n" % k for k in range(20000))
    assert read_input(many, key="utt3").shape == (1, 2)
