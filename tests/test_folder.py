"""The data set `folder`: what it lists, how sound is decoded, and how bad files are reported."""

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sounds import one_line, sha256, sine

from melexp.datasets import ClipError, load_dataset


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "WAV", "aif"])
def test_folder_reads_format(tmp_path: Path, suffix: str) -> None:
    container = "AIFF" if suffix == "aif" else suffix.upper()
    soundfile.write(tmp_path / f"a.{suffix}", sine(440, 16000), 16000, format=container)
    (clip,) = load_dataset("folder", path=str(tmp_path))
    assert (clip.id, clip.category, clip.source) == ("a", "all", f"a.{suffix}")
    assert clip.sha256 == sha256(tmp_path / f"a.{suffix}")
    x = clip.load(16000)
    assert x.dtype == np.float32
    assert x.shape == (8000,)
    assert np.sqrt(np.mean(x**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.02)


def test_channels_are_averaged(tmp_path: Path) -> None:
    left, right = sine(440, 16000, level=0.6), sine(1000, 16000, level=0.2)
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], axis=1), 16000, subtype="FLOAT")
    (clip,) = load_dataset("folder", path=str(tmp_path))
    np.testing.assert_allclose(clip.load(16000), (left + right) / 2, atol=1e-6)


@pytest.mark.parametrize(("native", "sr"), [(44100, 22050), (16000, 22050), (48000, 16000)])
def test_resampling_keeps_frequency_and_level(tmp_path: Path, native: int, sr: int) -> None:
    soundfile.write(tmp_path / "a.wav", sine(1000, native, 1.0), native, subtype="FLOAT")
    (clip,) = load_dataset("folder", path=str(tmp_path))
    x = clip.load(sr)
    assert x.size == sr
    inside = slice(sr // 10, -sr // 10)
    np.testing.assert_allclose(x[inside], sine(1000, sr, 1.0)[inside], atol=1e-3)


def test_resampling_does_not_alias(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", sine(15000, 44100, 1.0), 44100, subtype="FLOAT")
    (clip,) = load_dataset("folder", path=str(tmp_path))
    x = clip.load(22050)
    assert np.abs(x[2000:-2000]).max() < 1e-4


def test_folder_lists_in_order_with_categories(tmp_path: Path) -> None:
    for name in ("top.wav", "dev/Rain/001.wav", "dev/Rain/000.wav", "eval/Dog Bark/000.flac"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / name, sine(440, 16000), 16000)
    (tmp_path / "dev/Rain/notes.txt").write_text("no sound")
    (tmp_path / "dev/Rain/._000.wav").write_bytes(b"metadata of a file system")
    clips = load_dataset("folder", path=str(tmp_path))
    assert [(clip.id, clip.category) for clip in clips] == [
        ("dev-Rain-000", "Rain"),
        ("dev-Rain-001", "Rain"),
        ("eval-Dog_Bark-000", "Dog Bark"),
        ("top", "all"),
    ]
    assert clips == load_dataset("folder", path=str(tmp_path))


def test_folder_keeps_alike_names_apart(tmp_path: Path) -> None:
    for name in ("a/b-c.wav", "a-b/c.wav", "A-B-C.flac", "d.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / name, sine(440, 16000), 16000)
    ids = [clip.id for clip in load_dataset("folder", path=str(tmp_path))]
    assert len({name.casefold() for name in ids}) == 4
    assert "d" in ids


def test_missing_or_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="absent is not a folder"):
        load_dataset("folder", path=str(tmp_path / "absent"))
    with pytest.raises(ValueError, match="holds no sound file") as error:
        load_dataset("folder", path=str(tmp_path))
    assert str(tmp_path) in one_line(error)


def random_bytes(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(4000))


def nothing(path: Path) -> None:
    path.write_bytes(b"")


def no_samples(path: Path) -> None:
    soundfile.write(path, np.zeros(0), 16000)


def not_a_number(path: Path) -> None:
    soundfile.write(path, np.array([0.0, np.nan, 0.1]), 16000, subtype="FLOAT")


def infinite(path: Path) -> None:
    soundfile.write(path, np.array([0.0, np.inf, 0.1]), 16000, subtype="FLOAT")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (random_bytes, "the file is not readable as audio"),
        (nothing, "the file is empty"),
        (no_samples, "holds no samples"),
        (not_a_number, "NaN or infinite"),
        (infinite, "NaN or infinite"),
    ],
)
def test_bad_file_is_named(tmp_path: Path, spoil: Callable[[Path], None], reason: str) -> None:
    spoil(tmp_path / "bad.wav")
    (clip,) = load_dataset("folder", path=str(tmp_path))
    with pytest.raises(ClipError, match=reason) as error:
        clip.load(16000)
    assert str(tmp_path / "bad.wav") in one_line(error)


def test_a_file_changed_or_removed_since_listing_is_named(wav: Path) -> None:
    (clip,) = load_dataset("folder", path=str(wav.parent))
    soundfile.write(wav, sine(880, 16000), 16000)
    with pytest.raises(ClipError, match="SHA-256"):
        clip.load(16000)
    wav.unlink()
    with pytest.raises(ClipError, match="No such file"):
        clip.load(16000)


def test_relative_path_survives_a_change_of_folder(
    wav: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(wav.parent)
    (clip,) = load_dataset("folder", path=".")
    monkeypatch.chdir("/")
    assert clip.load(16000).size == 8000


def test_clips_can_be_pickled(wav: Path) -> None:
    for name, params in [
        ("folder", {"path": str(wav.parent)}),
        ("demo_foley", {}),
        ("ljspeech", {}),
        ("esc10", {}),
    ]:
        clips = load_dataset(name, **params)
        again = pickle.loads(pickle.dumps(clips))
        assert again == clips
        if name in ("folder", "demo_foley"):
            np.testing.assert_array_equal(again[0].load(16000), clips[0].load(16000))
