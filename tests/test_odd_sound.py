"""Odd and hostile sound: each file has its documented result, or a line that names it."""

import io
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from crashing import melexp_text
from hydra import compose, initialize_config_dir
from hypothesis import given, settings
from hypothesis import strategies as st

from melexp import __main__ as cli
from melexp.datasets import ClipError, load_dataset
from melexp.discovery import conf_dir
from melexp.files.mels import read_input
from melexp.files.sound import decode
from melexp.metrics import score
from melexp.results.tables import read_table, write_table
from melexp.runs.hydra_app import register
from melexp.runs.runner import run

register()
NOISE = np.random.default_rng(0).standard_normal(6000).astype(np.float32) / 10


def encoded(
    samples: np.ndarray = NOISE, sr: int = 22050, kind: str = "WAV", subtype: str = "FLOAT"
) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, sr, format=kind, subtype=subtype)
    return buffer.getvalue()


def claiming(size: int, data: bytes | None = None) -> bytes:
    """Return a WAV whose header gives a wrong size of the data."""
    data = encoded(subtype="PCM_16") if data is None else data
    at = data.index(b"data") + 4
    return data[:at] + struct.pack("<I", size) + data[at + 4 :]


def with_field(at: int, form: str, value: int) -> bytes:
    """Return a 16-bit WAV with a wrong number in its header."""
    data = bytearray(encoded(subtype="PCM_16"))
    struct.pack_into(form, data, at, value)
    return bytes(data)


def with_total(samples: int) -> bytes:
    """Return a FLAC whose header declares this number of samples."""
    data = bytearray(encoded(kind="FLAC", subtype="PCM_16"))
    word = int.from_bytes(data[18:26], "big") >> 36 << 36
    data[18:26] = (word | samples).to_bytes(8, "big")
    return bytes(data)


def spoilt(value: float) -> np.ndarray:
    samples = NOISE.copy()
    samples[99] = value
    return samples


SINE = np.sin(np.arange(6000, dtype=np.float32) / 5) / 2
#: Files that give a result.
GOOD = {
    "one_sample.wav": encoded(NOISE[:1]),
    "constant.wav": encoded(np.full(6000, 0.5, np.float32)),
    "1e-30.wav": encoded(1e-30 * SINE),
    "1e30.wav": encoded(1e30 * SINE),
    "denormal.wav": encoded(np.float32(1e-40) * SINE),
    "impulse.wav": encoded(np.eye(1, 6000, 99, np.float32)[0]),
    "8bit.wav": encoded(subtype="PCM_U8"),
    "24bit.wav": encoded(subtype="PCM_24"),
    "32bit.wav": encoded(subtype="PCM_32"),
    "double.wav": encoded(subtype="DOUBLE"),
    "ulaw.wav": encoded(subtype="ULAW"),
    "alaw.wav": encoded(subtype="ALAW"),
    "gsm.wav": encoded(sr=8000, subtype="GSM610"),
    "g721.wav": encoded(sr=8000, subtype="G721_32"),
    "ima.wav": encoded(subtype="IMA_ADPCM"),
    "ms.wav": encoded(subtype="MS_ADPCM"),
    "extensible.wav": encoded(kind="WAVEX", subtype="PCM_24"),
    "rf64.wav": encoded(kind="RF64", subtype="PCM_16"),
    "whole.au": encoded(kind="AU", subtype="PCM_16"),
    "whole.w64": encoded(kind="W64", subtype="PCM_16"),
    "big_endian.wav": encoded(kind="AIFF", subtype="PCM_24"),
    "flac24.flac": encoded(kind="FLAC", subtype="PCM_24"),
    "vorbis.ogg": encoded(kind="OGG", subtype="VORBIS"),
    "opus.ogg": encoded(sr=48000, kind="OGG", subtype="OPUS"),
    **{f"{sr}Hz.wav": encoded(sr=sr) for sr in (8000, 11025, 16000, 44100, 48000, 96000, 192000)},
    **{f"{n}ch.wav": encoded(np.stack([NOISE] * n, axis=1)) for n in range(1, 9)},
    # The length in the header is not known where it was written to a pipe, and RIFF's not needed.
    "piped.wav": claiming(0xFFFFFFFF),
    "riff.wav": with_field(4, "<I", 0),
}
#: Files that are silent: a result without a value.
SILENT = {
    "zeros.wav": encoded(0 * NOISE),
    "opposite.wav": encoded(np.stack([SINE, -SINE], axis=1)),
    "1e-300.wav": encoded(1e-300 * SINE.astype(np.float64), subtype="DOUBLE"),
}
#: Files that are refused, with a word of the reason.
BAD = {
    "empty.wav": (b"", "empty"),
    "no_samples.wav": (encoded(NOISE[:0]), "holds no samples"),
    "nothing_claimed.wav": (claiming(0), "holds no samples"),
    "nan.wav": (encoded(spoilt(np.nan)), "NaN or infinite"),
    "infinite.wav": (encoded(spoilt(-np.inf)), "NaN or infinite"),
    "1e300.wav": (encoded(1e300 * SINE.astype(np.float64), subtype="DOUBLE"), "NaN or infinite"),
    "loud.wav": (encoded(np.float32(3e38) * SINE), ""),  # the samples are finite, the mel is not
    "one_of_192k.wav": (encoded(NOISE[:1], sr=192000), "holds no samples at 22050 Hz"),
    "overflow.wav": (encoded(np.full((600, 2), 3e38, np.float32)), "too large"),
    "cut.wav": (encoded(subtype="PCM_16")[:6000], "truncated"),
    "claim.wav": (claiming(10**6), "truncated"),
    "cut24.wav": (encoded(kind="WAVEX", subtype="PCM_24")[:-1], "truncated"),
    "cut.aiff": (encoded(kind="AIFF", subtype="PCM_16")[:6000], "truncated"),
    "cut.au": (encoded(kind="AU", subtype="PCM_16")[:-3], "truncated"),
    "cut.w64": (encoded(kind="W64", subtype="PCM_16")[:-3], "truncated"),
    "cut_rf64.wav": (encoded(kind="RF64", subtype="PCM_16")[:6000], "truncated"),
    "cut.flac": (encoded(kind="FLAC", subtype="PCM_16")[:6000], "not readable"),
    "total.flac": (with_total(2**35), "more than the limit"),
    "total0.flac": (with_total(0), "more than the limit"),
    "cut.ogg": (encoded(kind="OGG", subtype="VORBIS")[:3000], "not readable"),
    "no_channel.wav": (with_field(22, "<H", 0), "not readable"),
    "no_rate.wav": (with_field(24, "<I", 0), "not readable"),
    "rate1.wav": (with_field(24, "<I", 1), "sampling rate of 1 Hz"),
    "rate_huge.wav": (with_field(24, "<I", 2**31 - 1), "sampling rate of 2147483647 Hz"),
    **{f"random.{s}": (np.random.default_rng(1).bytes(4000), "not readable")
       for s in ("wav", "flac", "ogg", "mp3", "aiff")},
    "text.wav": (b"RIFF, or so it says" * 20, "not readable"),
}  # fmt: skip
EVERY = GOOD | SILENT | {name: content for name, (content, _) in BAD.items()}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, list[str]]:
    """Run once over all files; return the table by file name, and the lines of the failures."""
    folder = tmp_path_factory.mktemp("odd")
    for name, content in EVERY.items():
        (folder / "clips" / name).mkdir(parents=True)  # the category names the file
        (folder / "clips" / name / name).write_bytes(content)
    overrides = ["dataset=folder", f"dataset.path={folder / 'clips'}", "checkpoints=[3]"]
    overrides += ["metric=[scm,sc]", "workers=1", f"results={folder / 'results'}"]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        lines = run(compose("config", overrides))
    return write_table(folder / "results", "run").set_index("category"), lines


def test_a_run_over_odd_files_goes_to_its_end(table: tuple[pd.DataFrame, list[str]]) -> None:
    rows, lines = table
    assert len(rows) == 2 * len(EVERY)
    assert len(lines) == len(BAD)
    assert not any("\n" in line for line in lines)


@pytest.mark.parametrize("name", GOOD)
def test_an_odd_file_has_a_value(table: tuple[pd.DataFrame, list[str]], name: str) -> None:
    rows = table[0].loc[name]
    assert np.isfinite(rows["value"].astype(float)).all(), rows["reason"]
    assert (rows["value"] < 3).all()


def test_a_silent_file_has_a_reason(table: tuple[pd.DataFrame, list[str]]) -> None:
    rows = table[0].loc["zeros.wav"]
    assert rows["value"].isna().all()
    assert (rows["reason"] == "the reference is silent").all()


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_has_a_line(table: tuple[pd.DataFrame, list[str]], name: str) -> None:
    rows, lines = table
    assert rows.loc[name, "value"].isna().all()
    (line,) = [line for line in lines if f"{name}:" in line]
    assert BAD[name][1] in line


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.long] if name in GOOD and place % 3 else [])
        for place, name in enumerate(EVERY)
    ],
)
def test_what_invert_makes_of_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(EVERY[name])
    given = ["invert", name, "out.wav", "--preset", "paper", "--n-iter", "2"]
    monkeypatch.setattr(sys, "argv", ["melexp", *given])
    with pytest.raises(SystemExit) as end:
        cli.main()
    out, err = capsys.readouterr()
    if name in BAD:
        assert end.value.code == 2
        assert err.startswith(f"melexp: {name}: ")
        assert err.count("\n") == 1
        assert not Path("out.wav").exists()
    else:
        assert (end.value.code, err) == (0, "")
        assert np.isfinite(soundfile.read("out.wav")[0]).all()
        silent = name in SILENT and name != "opposite.wav"  # each channel has sound
        assert ("the mel is silent" in out) == silent


@pytest.mark.slow
def test_a_run_at_an_end_tells_which_file_was_bad(tmp_path: Path) -> None:
    """One bad file: the others have values, the summary names it, the exit code is 1."""
    (tmp_path / "clips").mkdir()
    for name in ("zeros.wav", "8bit.wav", "nan.wav", "gsm.wav"):
        (tmp_path / "clips" / name).write_bytes(EVERY[name])
    arguments = ["dataset=folder", "dataset.path=clips", "dataset.speech=true", "checkpoints=[2]"]
    done = melexp_text("run", *arguments, "workers=1", "results=r", cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "nan.wav: the sound holds NaN or infinite samples" in done.stderr
    rows = read_table(tmp_path / "r", "run")
    rows = rows[rows["metric"] == "scm"].set_index("clip")
    assert rows["value"].notna().to_dict() == {
        "8bit": True, "gsm": True, "nan": False, "zeros": False
    }  # fmt: skip
    assert rows["reason"].notna().to_dict() == {
        "8bit": False, "gsm": False, "nan": True, "zeros": True
    }  # fmt: skip


def test_levels_do_not_change_a_metric(paper: object, speech: np.ndarray) -> None:
    """ESTOI does not depend on the level; pystoi alone finds soft speech unintelligible."""
    estimate = speech + 0.01 * NOISE[:1]
    for metric in ("scm", "sc", "estoi", "pesq"):
        wanted = score(metric, speech, estimate, transform=paper).value  # type: ignore[arg-type]
        for level in (2.0**-100, 2.0**-40, 2.0**40, 2.0**100):
            pair = (level * speech).astype(np.float32), (level * estimate).astype(np.float32)
            assert score(metric, *pair, transform=paper).value == pytest.approx(wanted, rel=1e-4)  # type: ignore[arg-type]


def test_a_clip_too_long_for_a_run_is_refused(tmp_path: Path) -> None:
    from melexp.methods import make_method
    from melexp.runs.task import Task
    from melexp.transforms.mel import MelTransform

    soundfile.write(tmp_path / "long.wav", np.zeros(601 * 1000), 1000, subtype="PCM_U8")
    (clip,) = load_dataset("folder", path=str(tmp_path))
    transform = MelTransform.preset("paper", sr=1000, n_fft=64, hop_length=16, n_mels=4, fmax=500)
    task = Task(clip, make_method("admm"), "admm", transform, 0, "float32")
    with pytest.raises(ClipError, match=r"long\.wav: 601 s exceed the limit"):
        next(task.compute([(1, "scm")]))


@pytest.mark.torture
def test_two_hours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with soundfile.SoundFile("long.wav", "w", 8000, 1, "PCM_16") as file:
        for _ in range(7200):
            file.write(NOISE)
            file.write(np.zeros(2000))
    given = ["invert", "long.wav", "out.wav", "--preset", "paper", "--n-iter", "1"]
    monkeypatch.setattr(sys, "argv", ["melexp", *given])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 0
    assert soundfile.info("out.wav").duration == pytest.approx(7200, abs=0.01)
    (clip,) = [c for c in load_dataset("folder", path=".") if c.id == "long"]
    assert len(clip.load(22050)) == 7200 * 22050


# --- Damaged bytes ----------------------------------------------------------------------------


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


_SHORT = NOISE[:400]
_SEEDS = [
    npy(_SHORT.reshape(80, 5)),
    npy(np.asfortranarray(_SHORT.reshape(80, 5).astype(np.float16))),
    npz(mel=_SHORT.reshape(80, 5), other=np.arange(3)),
    *(encoded(_SHORT, subtype=s) for s in ("PCM_16", "PCM_24", "FLOAT", "IMA_ADPCM", "MS_ADPCM")),
    encoded(np.stack([_SHORT] * 3, 1), kind="WAVEX", subtype="PCM_24"),
    *(encoded(_SHORT, kind=k, subtype="PCM_16") for k in ("FLAC", "AIFF", "AU", "CAF", "W64")),
    encoded(_SHORT, kind="OGG", subtype="VORBIS"),
]

damage = st.lists(
    st.tuples(
        st.sampled_from(["set", "cut", "repeat", "insert"]),
        st.one_of(st.floats(0, 0.1), st.floats(0, 1, exclude_max=True)),  # headers most of all
        st.one_of(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]), st.integers(0, 255)),
    ),
    max_size=6,
)


def damaged(whole: bytes, changes: list[tuple[str, float, int]]) -> bytes:
    data = bytearray(whole)
    for how, where, value in changes:
        at = int(where * len(data))
        if how == "set" and data:
            data[at] = value
        elif how == "cut":
            del data[at : at + 1 + value]
        elif how == "repeat":
            data[at:at] = data[at : at + 1 + value]
        else:
            data[at:at] = bytes([value])
    return bytes(data)


def reads_or_refuses(read: Callable[[bytes], object], data: bytes) -> bool:
    """Return whether bytes are accepted; otherwise the reason must be one line."""
    reason = ""
    try:
        read(data)
    except ValueError as error:
        reason = str(error)
        assert reason
        assert "\n" not in reason
    return not reason


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
@given(st.sampled_from(_SEEDS), damage)
@settings(max_examples=300)
def test_damaged_input_of_invert(whole: bytes, changes: list[tuple[str, float, int]]) -> None:
    reads_or_refuses(read_input, damaged(whole, changes))


@given(st.binary(max_size=300))
def test_random_input_of_invert(data: bytes) -> None:
    for head in (
        b"",
        b"\x93NUMPY\x01\x00",
        b"PK\x03\x04",
        b"RIFF\x00\x00\x00\x00WAVEfmt ",
        b"fLaC",
    ):
        reads_or_refuses(read_input, head + data)


def test_an_encrypted_tensor_is_refused() -> None:
    data = bytearray(zipped_tensor())
    assert reads_or_refuses(read_input, bytes(data))
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + flags] |= 1
    assert not reads_or_refuses(read_input, bytes(data))


@pytest.mark.torture
@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_fuzz_the_readers(fuzz: Callable, tmp_path: Path) -> None:
    taken = {True: 0, False: 0}
    torch = zipped_tensor()
    path = tmp_path / "fuzzed.wav"

    def attack(data: bytes) -> None:
        try:
            read = reads_or_refuses(read_input, data)
            path.write_bytes(data)  # libsndfile has another way into a file
            reads_or_refuses(lambda _: decode(path), data)
        except BaseException:
            (tmp_path / "failed.bin").write_bytes(data)
            raise
        taken[read] += 1

    count = fuzz([*_SEEDS, torch], attack)
    print(f"{count} inputs, {taken[True]} of them taken")
    assert min(taken.values()) > 0


def zipped_tensor() -> bytes:
    """Return a file of torch.save with one tensor of 2 by 3."""

    def tuple_of(*values: int) -> bytes:
        return b"(" + b"".join(b"K" + bytes([value]) for value in values) + b"t"

    storage = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x06tQ"
    content = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\x00"
    content += tuple_of(2, 3) + tuple_of(3, 1) + b"\x89ccollections\nOrderedDict\n)RtR."
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("mel/data.pkl", content)
        archive.writestr("mel/data/0", bytes(24))
    return buffer.getvalue()
