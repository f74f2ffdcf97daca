"""`melexp data unpack`: corpora are unpacked unchanged, hostile archives are refused."""

import bz2
import gzip
import io
import stat
import struct
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from melexp import __main__ as cli
from melexp.datasets import load_dataset
from melexp.files.archives import ArchiveError, Limits, unpack

FILES = {"corpus/a/1.wav": b"RIFF" * 999, "corpus/b 2/é.wav": b"", "corpus/metadata.csv": b"x|y"}


def tar(mode: str = "", *members: tarfile.TarInfo, files: dict[str, bytes] = FILES) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{mode}") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for member in members:
            archive.addfile(member, io.BytesIO(bytes(member.size)))
    return buffer.getvalue()


def zipped(files: dict[str, bytes] = FILES, mode: int = 0) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = mode << 16
            archive.writestr(info, content)
    return buffer.getvalue()


def special(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def declared(header: bytes, size: int) -> bytes:
    """Return a tar whose first member declares another size."""
    number = b"\x80" + size.to_bytes(11, "big", signed=True) if size >= 0 else b"\xff" * 4
    number = number if size >= 0 else b"\xff" + size.to_bytes(11, "big", signed=True)
    block = bytearray(header[:512])
    block[124:136], block[148:156] = number, b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + header[512:]


def refused(archive: bytes, tmp_path: Path, **limits: float) -> str:
    """Unpack an archive that must be refused, check that no file has changed; return the reason."""
    source, outside = tmp_path / "archive", tmp_path / "outside"
    source.write_bytes(archive)
    outside.write_bytes(b"mine")
    with pytest.raises(ArchiveError) as error:
        unpack(source, tmp_path / "folder", limits=Limits(**limits))  # type: ignore[arg-type]
    assert sorted(tmp_path.iterdir()) == [source, outside]
    assert outside.read_bytes() == b"mine"
    assert str(error.value).startswith(f"{source}: ")
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("make", [tar, *(lambda m=m: tar(m) for m in ("gz", "bz2", "xz")), zipped])
def test_all_formats_are_unpacked(tmp_path: Path, make: Callable[[], bytes]) -> None:
    (tmp_path / "archive").write_bytes(make())
    folder = tmp_path / "new" / "folder"
    assert unpack(tmp_path / "archive", folder) == len(FILES)
    found = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    assert {name: path.read_bytes() for name, path in found.items()} == FILES
    assert folder.stat().st_mode == folder.parent.stat().st_mode  # the default permissions
    assert list(folder.parent.iterdir()) == [folder]


@pytest.mark.parametrize(
    ("make", "layout"),
    [
        (lambda files: tar("bz2", files=files), "LJSpeech-1.1/wavs/LJ{:03}-0001.wav"),
        (zipped, "DCASE_2023_Challenge_Task_7_Dataset/dev/{}/a 1.wav"),
    ],
    ids=["LJSpeech", "DCASE"],
)
def test_a_corpus_becomes_a_data_set(tmp_path: Path, make: Callable, layout: str) -> None:
    sounds = {layout.format(k): sound(k) for k in range(3)}
    others = {name.partition("/")[0] + "/metadata.csv": b"x|y" for name in sounds}
    (tmp_path / "archive").write_bytes(make(sounds | others))
    assert unpack(tmp_path / "archive", tmp_path / "folder") == 4
    clips = load_dataset("folder", path=str(tmp_path / "folder"))
    assert [one.source for one in clips] == list(sounds)
    for k, one in enumerate(clips):
        np.testing.assert_array_equal(one.load(22050), np.full(900, k / 4, np.float32))


def sound(k: int) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.full(900, k / 4), 22050, format="WAV")
    return buffer.getvalue()


def test_members_of_a_zip_that_overlap(tmp_path: Path) -> None:
    """A bomb without nesting: many entries of the directory refer to the same packed bytes."""
    packed = zipped({"a": bytes(10**7)})
    start = packed.index(b"PK\x01\x02")
    entry, end = packed[start : packed.index(b"PK\x05\x06")], packed[-22:]
    entries = b"".join(entry[:-1] + bytes([65 + k]) for k in range(50))
    end = end[:8] + struct.pack("<HHII", 50, 50, len(entries), start) + end[20:]
    assert "bomb" in refused(packed[:start] + entries + end, tmp_path)


def test_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "corpus.zip").write_bytes(zipped())
    arguments = ["melexp", "data", "unpack", str(tmp_path / "corpus.zip"), str(tmp_path / "new")]
    monkeypatch.setattr(sys, "argv", arguments)
    for code, words in ((0, "3 files"), (2, "exists; name a new folder")):
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert end.value.code == code
        assert words in "".join(capsys.readouterr())


def test_other_files_and_existing_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="absent is not a file"):
        unpack(tmp_path / "absent", tmp_path / "folder")
    for content in (b"", b"no archive at all", b"PK\x03\x04", b"\x1f\x8b", bytes(5000)):
        refused(content, tmp_path)
    (tmp_path / "archive").write_bytes(tar())
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine").touch()
    with pytest.raises(ArchiveError, match="folder exists; name a new folder"):
        unpack(tmp_path / "archive", tmp_path / "folder")
    assert [p.name for p in (tmp_path / "folder").iterdir()] == ["mine"]


@pytest.mark.parametrize("make", [lambda files: tar(files=files), zipped], ids=["tar", "zip"])
@pytest.mark.parametrize(
    "name",
    [
        "../outside",
        "a/../../outside",
        "/outside",
        "C:\\outside",
        "..\\outside",
        "\\\\x\\y\\z",
        "a\nb",
    ],
)
def test_a_path_out_of_the_folder(tmp_path: Path, make: Callable, name: str) -> None:
    assert "leads out of the folder" in refused(make({"good": b"", name: b"bad"}), tmp_path)


@pytest.mark.parametrize(
    "member",
    [
        special("link", tarfile.SYMTYPE, "../outside"),
        special("link", tarfile.LNKTYPE, "../outside"),
        special("link", tarfile.SYMTYPE, "corpus"),
        special("dev", tarfile.CHRTYPE),
        special("dev", tarfile.BLKTYPE),
        special("pipe", tarfile.FIFOTYPE),
        special("what", b"Z", ""),
    ],
    ids=["symlink", "hard link", "link within", "character", "block", "fifo", "unknown"],
)
def test_a_special_member_of_a_tar(tmp_path: Path, member: tarfile.TarInfo) -> None:
    after = tarfile.TarInfo("link/outside")  # would be written through the link
    after.size = 3
    assert "not a plain file" in refused(tar("gz", member, after), tmp_path)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFSOCK])
def test_a_special_member_of_a_zip(tmp_path: Path, kind: int) -> None:
    assert "not a plain file" in refused(zipped({"x": b"../outside"}, kind | 0o777), tmp_path)


def test_permissions_of_the_archive_are_ignored(tmp_path: Path) -> None:
    member = special("run", tarfile.REGTYPE)
    member.mode, member.uid = 0o6777, 0
    (tmp_path / "archive").write_bytes(tar("", member))
    unpack(tmp_path / "archive", tmp_path / "folder")
    assert not (tmp_path / "folder" / "run").stat().st_mode & 0o7111


@pytest.mark.parametrize("make", [lambda files: tar(files=files), zipped], ids=["tar", "zip"])
def test_a_file_and_a_folder_of_one_name(tmp_path: Path, make: Callable) -> None:
    assert "two members" in refused(make({"a": b"", "a/b": b""}), tmp_path)
    assert "two members" in refused(make({"a/b": b"", "a": b""}), tmp_path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_path(tmp_path: Path) -> None:
    assert "two members" in refused(tar("", special("corpus/metadata.csv", b"0")), tmp_path)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a", b"1")
        archive.writestr("a", b"2")
    assert "two members" in refused(buffer.getvalue(), tmp_path)


@pytest.mark.parametrize("mode", ["gz", "bz2", "xz", "zip"])
def test_decompression_bombs(tmp_path: Path, mode: str) -> None:
    zeros = {"zeros": bytes(10**7)}
    bomb = zipped(zeros) if mode == "zip" else tar(mode, files=zeros)
    for limits in ({"size": 10**6}, {"free": 10**6}, {"members": 0}):
        assert "bomb" in refused(bomb, tmp_path, **limits)
    many = {str(k): bytes(10**5) for k in range(100)}
    bomb = zipped(many) if mode == "zip" else tar(mode, files=many)
    for limits in ({"size": 10**6}, {"free": 10**6}, {"members": 99}):
        assert "bomb" in refused(bomb, tmp_path, **limits)


def test_wrong_declared_sizes(tmp_path: Path) -> None:
    assert "bomb" in refused(declared(tar(), 2**62), tmp_path)
    assert "corrupt" in refused(declared(tar(), 10**6), tmp_path)
    assert "not a plain file" in refused(declared(tar(), -512), tmp_path)
    header = special("x", tarfile.XHDTYPE).tobuf()
    for size in (-512, 2**40):  # tarfile reads an extended header at once
        refused(declared(header, size) + bytes(2048), tmp_path)
    bomb = gzip.compress(declared(header, 2**30) + bytes(2**25))
    assert "bomb" in refused(bomb, tmp_path)
    packed = bytearray(zipped({"a": bytes(10**5)}))
    for at in (22, packed.index(b"PK\x01\x02") + 24):  # less than the actual size
        packed[at : at + 4] = struct.pack("<I", 10)
    assert "corrupt" in refused(bytes(packed), tmp_path)


def test_sparse_members(tmp_path: Path) -> None:
    pax = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(2**60)}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("sparse")
        info.pax_headers, info.size = pax, 512
        archive.addfile(info, io.BytesIO(b"0\n".ljust(512, b"\0")))
    assert "not a plain file" in refused(buffer.getvalue(), tmp_path)


@pytest.mark.parametrize("mode", ["", "gz", "bz2", "xz", "zip"])
def test_truncated_archives(tmp_path: Path, mode: str) -> None:
    """A truncated archive is never accepted as complete."""
    rng = np.random.default_rng(0)
    files = {f"{k}.wav": rng.bytes(700) for k in range(3)}
    whole = zipped(files) if mode == "zip" else tar(mode, files=files)
    # The padding behind the end of a tar carries no information.
    needed = len(whole) if mode else 3 * 1536 + 512
    for length in {*range(0, needed, 97), *range(0, needed, 512), needed - 1}:
        refused(whole[:length], tmp_path)


def test_a_corrupt_header_is_not_an_end(tmp_path: Path) -> None:
    whole = bytearray(tar(files={"a": b"1", "b": b"2", "c": b"3"}))
    whole[1024 + 3] ^= 1  # in the name of b: its checksum is wrong
    assert "no end of the archive" in refused(bytes(whole), tmp_path)


def test_a_failure_midway_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "1.wav")

    monkeypatch.setattr("shutil.copyfileobj", full)
    (tmp_path / "archive").write_bytes(tar())
    with pytest.raises(OSError, match="No space left on device"):
        unpack(tmp_path / "archive", tmp_path / "folder")
    assert [p.name for p in tmp_path.iterdir()] == ["archive"]


_SEEDS = [tar(), tar("gz"), bz2.compress(tar()), tar("xz"), zipped()]


def _attack(tmp_path: Path, whole: bytes, changes: list[tuple[float, int]]) -> None:
    """Unpack a corrupt archive: it is refused in one line, or all its files are in the folder."""
    damaged = bytearray(whole)
    for where, value in changes:
        damaged[int(where * len(damaged))] = value
    source, folder = tmp_path / "archive", tmp_path / "folder"
    source.write_bytes(bytes(damaged))
    reason = None
    try:
        unpack(source, folder)
    except (ArchiveError, OSError) as error:
        reason = str(error)
    if reason is not None:
        assert "\n" not in reason
        assert not folder.exists()
    else:
        for path in sorted(folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        folder.rmdir()
    assert [p.name for p in tmp_path.iterdir()] == ["archive"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(_SEEDS),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8),
)
def test_corrupt_archives(tmp_path: Path, whole: bytes, changes: list[tuple[float, int]]) -> None:
    _attack(tmp_path, whole, changes)


@pytest.mark.torture
def test_fuzz_the_archives(fuzz: Callable, tmp_path: Path) -> None:
    count = fuzz(_SEEDS, lambda data: _attack(tmp_path, data, []))
    print(f"{count} archives")
