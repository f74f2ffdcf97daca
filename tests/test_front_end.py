"""The front ends that options describe, statistics from files, and stages before the STFT."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.signal

from melexp import Compression, MelTransform, Problem, invert
from melexp.commands.front_end import describe, front_end
from melexp.errors import MelWarning
from melexp.files.stats import read_stats
from melexp.metrics import score
from melexp.transforms.blocks import long_mel

PAPER = MelTransform.preset("paper")


# --- Options --------------------------------------------------------------------------------


def test_without_options_the_front_end_is_librosas() -> None:
    transform = front_end({}, {})
    assert transform == MelTransform() == MelTransform.preset("librosa")
    assert describe(transform) == (
        "sr 22050, n_fft 2048, hop 512, 128 bands 0 to 11025 Hz, Slaney mel, norm slaney, power 2, "
        "centred, linear"
    )


@pytest.mark.parametrize(
    ("arguments", "details", "expected"),
    [
        ({"sr": 8000}, {}, MelTransform(sr=8000)),
        ({"preset": "hifigan", "fmax": None}, {}, MelTransform.preset("hifigan", fmax=None)),
        (
            {"preset": "hifigan"},
            {"floor": 1e-7},
            MelTransform.preset("hifigan", compression={"unit": "ln", "floor": 1e-7}),
        ),
        (
            {"preset": "hifigan"},
            {"compression": "none"},
            MelTransform.preset("hifigan", compression=None),
        ),
        (
            {"preset": "hifigan"},
            {"mean": -5.0, "std": 2.0},
            MelTransform.preset("hifigan", compression={"gain": 0.5, "offset": 2.5}),
        ),
        (
            {"preset": "coqui"},
            {"min_level_db": -100.0},
            MelTransform.preset("coqui", compression=Compression.from_levels()),
        ),
        (
            {"center": True, "preset": "hifigan"},
            {},
            MelTransform.preset("hifigan", center=True, pad=None),
        ),
    ],
    ids=str,
)
def test_options(
    arguments: dict[str, Any], details: dict[str, Any], expected: MelTransform
) -> None:
    assert front_end(arguments, details) == expected


def test_the_description_names_every_stage() -> None:
    text = describe(MelTransform.preset("beats"))
    for part in (
        "window of 400",
        "povey",
        "HTK mel",
        "norm none",
        "triangles in mel",
        "0.97",
        "gain",
    ):
        assert part in text
    assert "not centred, 56 padded" in text
    assert "exponent 0.25" in describe(MelTransform.preset("riffusion"))
    by_band = MelTransform(n_mels=4, compression=Compression().normalized([1, 2, 3, 4], 2))
    assert "offset by band" in describe(by_band)


# --- Statistics -----------------------------------------------------------------------------


def test_statistics_from_files(tmp_path: Path) -> None:
    mean, std = np.arange(4.0), np.arange(1.0, 5.0)
    np.save(tmp_path / "a.npy", np.stack([mean, std]))
    np.savez(tmp_path / "b.npz", mean=mean, std=std)
    np.savez(tmp_path / "c.npz", count=2.0, sum=2 * mean, sum_square=2 * (std**2 + mean**2))
    np.savez(tmp_path / "d.npz", mean=-5.5, var=4.0)
    for name in ("a.npy", "b.npz", "c.npz"):
        found = read_stats(tmp_path / name)
        np.testing.assert_allclose(found, (mean, std))
    assert [float(v) for v in read_stats(tmp_path / "d.npz")] == [-5.5, 2.0]


def test_statistics_of_other_packages(tmp_path: Path) -> None:
    mean, std = np.arange(4.0), np.arange(1.0, 5.0)
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "stats.h5", "w") as file:
        file["mean"], file["scale"] = mean, std
    safetensors = pytest.importorskip("safetensors.numpy")
    safetensors.save_file({"mean": mean, "scale": std}, tmp_path / "stats.safetensors")
    for name in ("stats.h5", "stats.safetensors"):
        np.testing.assert_allclose(read_stats(tmp_path / name), (mean, std))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": np.ones(3), "b": np.ones(3)}, "the arrays are a, b"),
        ({"mean": np.ones((3, 3)), "std": np.ones(3)}, "one per band"),
        ({"mean": np.ones(3), "std": np.array("x")}, "could not convert"),
        ({"count": np.ones(2), "sum": np.ones(3), "sum_square": np.ones(3)}, "broadcast"),
    ],
    ids=["names", "shape", "text", "lengths"],
)
def test_bad_statistics(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    np.savez(tmp_path / "stats.npz", **arrays)
    with pytest.raises(ValueError, match=message) as error:
        read_stats(tmp_path / "stats.npz")
    assert "stats.npz" in str(error.value)
    (tmp_path / "stats.npz").write_bytes(b"PK nonsense")
    with pytest.raises(ValueError, match="corrupt or truncated"):
        read_stats(tmp_path / "stats.npz")


# --- Normalisation --------------------------------------------------------------------------


def test_normalisation_by_band_is_undone(speech: np.ndarray) -> None:
    plain = MelTransform.preset("hifigan")
    mel = plain(speech)
    mean, std = mel.mean(axis=1), mel.std(axis=1)
    transform = MelTransform.preset("hifigan", compression=Compression().normalized(mean, std))
    normalized = transform(speech)
    np.testing.assert_allclose(normalized, (mel - mean[:, None]) / std[:, None], atol=1e-4)
    options: dict[str, Any] = {"n_iter": 5, "length": len(speech)}
    y, expected = invert(normalized, transform, **options), invert(mel, plain, **options)
    # Rounding of the normalised values is amplified by the deviation.
    assert np.linalg.norm(y - expected) < 1e-2 * np.linalg.norm(expected)


@pytest.mark.parametrize("symmetric", [True, False])
def test_levels_are_tacotrons(speech: np.ndarray, symmetric: bool) -> None:
    compression = Compression.from_levels(max_norm=1.0, symmetric=symmetric)
    mel = PAPER(speech)
    scaled = np.clip((20 * np.log10(np.maximum(mel, 1e-5)) - 20 + 100) / 100, 0, None)
    expected = 2 * scaled - 1 if symmetric else scaled
    np.testing.assert_allclose(compression.compress(mel), expected, atol=1e-5)
    expanded, floored = compression.expand(compression.compress(mel))
    assert floored is not None
    np.testing.assert_allclose(expanded[~floored], mel[~floored], rtol=1e-4)


def test_powers_are_undone(speech: np.ndarray) -> None:
    compression = Compression(unit="power", exponent=0.25, floor=0.0, ref="max")
    mel = PAPER(speech)
    compressed = compression.compress(mel)
    assert compressed.max() == pytest.approx(1)
    expanded, _ = compression.expand(compressed)
    np.testing.assert_allclose(expanded * mel.max(), mel, rtol=1e-5)


def test_the_logarithm_of_zero_is_below_the_floor(speech: np.ndarray) -> None:
    transform = MelTransform.preset("hifigan")
    mel = transform(speech)
    mel[mel < -8] = -np.inf
    with pytest.warns(MelWarning, match="the logarithm of zero"):
        problem = Problem(mel, transform)
    assert problem.floored is not None
    np.testing.assert_array_equal(problem.floored, np.isinf(mel))
    with pytest.raises(ValueError, match="a logarithm may be minus infinity"):
        Problem(mel, MelTransform.preset("hifigan", compression=None))


def test_small_negative_values_are_zero(speech: np.ndarray) -> None:
    mel = PAPER(speech)
    spoiled = mel.copy()
    spoiled[3] = -1e-4 * mel.max()
    with pytest.warns(MelWarning, match="small negative values"):
        problem = Problem(spoiled, PAPER)
    assert problem.mel.min() == 0


# --- Pre-emphasis and windows ---------------------------------------------------------------


def test_preemphasis_is_undone() -> None:
    transform = MelTransform.preset("paper", preemphasis=0.97)
    x = np.random.default_rng(0).standard_normal(9000)
    emphasized = scipy.signal.lfilter([1, -0.97], [1], x)
    np.testing.assert_allclose(transform(x), PAPER(emphasized), rtol=1e-9)
    np.testing.assert_allclose(transform.deemphasized(transform.emphasized(x)), x, atol=1e-9)
    np.testing.assert_allclose(long_mel(x, transform, block=7), transform(x), rtol=1e-9)


@pytest.mark.parametrize("options", [{}, {"segment": 2.0}, {"dtype": np.float64}], ids=str)
def test_inversion_undoes_the_preemphasis(speech: np.ndarray, options: dict[str, Any]) -> None:
    """As de-emphasis by hand of what the front end without pre-emphasis gives."""
    x = np.tile(speech, 4)
    transform = MelTransform.preset("paper", preemphasis=0.97)
    y = invert(transform(x), transform, length=len(x), n_iter=30, **options)
    by_hand = invert(transform(x), PAPER, length=len(x), n_iter=30, **options)
    by_hand = scipy.signal.lfilter([1], [1, -0.97], by_hand)
    assert np.linalg.norm(y - by_hand) < 1e-4 * np.linalg.norm(by_hand)
    assert abs(20 * np.log10(np.std(y) / np.std(x))) < 0.5
    assert score("sc", x, y.astype(np.float32), transform=PAPER).value < -10


def test_preemphasis_in_torch(speech: np.ndarray) -> None:
    pytest.importorskip("torch")
    transform = MelTransform.preset("paper", preemphasis=0.97)
    mel = transform(speech.astype(np.float64))
    options: dict[str, Any] = {"n_iter": 5, "length": len(speech), "dtype": np.float64}
    y, expected = invert(mel, transform, device="cpu", **options), invert(mel, transform, **options)
    assert np.linalg.norm(y - expected) < 1e-6 * np.linalg.norm(expected)


def test_windows() -> None:
    x = np.random.default_rng(0).standard_normal(9000)
    samples = np.hanning(400)
    expected = MelTransform(n_fft=512, hop_length=100, win_length=400, n_mels=20, window=samples)
    for window in (np.hanning, list(samples), "hann_symmetric"):
        transform = MelTransform(
            n_fft=512, hop_length=100, win_length=400, n_mels=20, window=window
        )
        np.testing.assert_allclose(transform(x), expected(x), rtol=1e-9)
        hash(transform)
    povey = MelTransform(n_fft=512, hop_length=100, win_length=400, n_mels=20, window="povey")
    by_hand = MelTransform(
        n_fft=512, hop_length=100, win_length=400, n_mels=20, window=samples**0.85
    )
    np.testing.assert_allclose(povey(x), by_hand(x), rtol=1e-9)


def test_a_window_at_the_start_of_the_frame_does_not_shift_the_sound(speech: np.ndarray) -> None:
    """Kaldi's and TensorFlow's frames, and the place of a click after inversion."""
    x = np.zeros(16000, np.float32)
    x[5000] = 1
    transform = MelTransform.preset("yamnet")
    y = invert(transform(x), transform, length=len(x), n_iter=30)
    assert abs(int(np.argmax(np.abs(y))) - 5000) <= 2
    frames = np.lib.stride_tricks.sliding_window_view(x, 400)[::160]
    assert transform(x).shape[1] == len(frames)
