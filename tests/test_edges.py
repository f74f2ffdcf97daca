"""Frames that are not centred: the first and last samples, which hardly any window sees."""

from typing import Any

import numpy as np
import pytest
from names import ITERATIVE

from melexp import MelTransform, Problem, invert, make_method
from melexp.datasets import load_dataset

PAPER: dict[str, Any] = {"sr": 22050, "n_fft": 1024, "hop_length": 256, "n_mels": 80, "fmax": 8e3}
UNCENTRED = MelTransform(**PAPER, power=1.0, center=False)
WINDOWS = ("hann", "hamming", "blackman", ("kaiser", 14.0), "boxcar", "triang")


@pytest.fixture(scope="module")
def clips() -> list[np.ndarray]:
    """Return a second each of speech and foley, with sound from the first sample to the last."""
    found = [*load_dataset("demo_speech")[:2], *load_dataset("demo_foley")[:1]]
    return [clip.load(22050)[4000:26050] for clip in found]


def peak_ratio(y: np.ndarray, x: np.ndarray) -> float:
    return float(np.abs(y).max() / np.abs(x).max())


def convergence(x: np.ndarray, y: np.ndarray) -> float:
    """Spectral convergence of the inner samples in dB, with the same STFT for every layout."""
    inner = slice(2048, -2048)
    stft = MelTransform(**PAPER, power=1.0).stft(len(x[inner]))
    A, B = (np.abs(stft.forward(z[inner].astype(np.float32))) for z in (x, y))
    return float(20 * np.log10(np.linalg.norm(A - B) / np.linalg.norm(A)))


@pytest.mark.slow
def test_random_layouts(clips: list[np.ndarray]) -> None:
    """Peak, level and inner samples are those of the sound, as with centred frames."""
    rng = np.random.default_rng(0)
    losses = []
    for number in range(12):
        n_fft = int(rng.choice([512, 1024, 1536]))
        win = int(rng.integers(n_fft // 2, n_fft + 1))
        layout: dict[str, Any] = {
            "n_fft": n_fft,
            "win_length": win,
            "hop_length": int(rng.integers(win // 6, win // 2)),
            "window": WINDOWS[rng.integers(len(WINDOWS))],
            "pad_mode": str(rng.choice(["constant", "reflect"])),
            "power": float(rng.choice([1, 2])),
            "n_mels": 60,
        }
        x = clips[number % len(clips)]
        options = {"n_iter": 40, "frame_weights": float(rng.choice([0, 0.25]))}
        signals = []
        pad, hop = int(rng.integers(0, n_fft // 2)), layout["hop_length"]
        # The second has the same frames, and more at either end, so that all samples are seen.
        for padding in (pad, pad + hop * (n_fft // hop)):
            transform = MelTransform(**{**PAPER, **layout}, center=False, pad=padding)
            signals.append(invert(transform(x), transform, length=len(x), **options))
        assert peak_ratio(signals[0], x) < 2, layout
        losses.append(convergence(x, signals[0]) - convergence(x, signals[1]))
    assert np.mean(losses) < 0.1


@pytest.mark.parametrize("method", ITERATIVE)
@pytest.mark.parametrize("engine", ["fast", "portable"])
def test_every_method_and_engine(clips: list[np.ndarray], method: str, engine: str) -> None:
    x = clips[0][:12000]
    y = invert(UNCENTRED(x), UNCENTRED, method=method, engine=engine, n_iter=30, length=len(x))
    assert peak_ratio(y, x) < 2
    assert abs(20 * np.log10(np.std(y) / np.std(x))) < 1.5


@pytest.mark.parametrize(
    "options", [{"dtype": np.float64}, {"segment": 1.6}, {"threads": 2}], ids=str
)
def test_precision_segments_threads(clips: list[np.ndarray], options: dict[str, Any]) -> None:
    x = np.concatenate([clips[0], clips[1], clips[0]])
    y = invert(UNCENTRED(x), UNCENTRED, n_iter=30, **options)
    assert peak_ratio(y, x) < 2


def test_torch(clips: list[np.ndarray]) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    x = clips[0][:12000]
    y = invert(UNCENTRED(x), UNCENTRED, n_iter=30, device="cpu")
    assert peak_ratio(y, x) < 2


def test_the_inverse_amplifies_an_error_by_seven_at_most() -> None:
    transform = MelTransform(**PAPER, power=1.0, center=False)
    problem = Problem(transform(np.ones(9000)), transform, length=9000, dtype=np.float64)
    # The norm of the inverse is that of its largest column: one sample, seen by few windows.
    stft = problem.stft
    impulses = np.eye(9000)[:1024]
    columns = np.linalg.norm(stft.inverse(stft.forward(impulses)), axis=1)
    assert set(np.round(columns, 9)) == {0.0, 1.0}
    mean = np.sum(stft.window**2) / stft.hop_length
    assert np.sqrt(stft.inv_norm.max() * mean) <= 1 / np.sqrt(0.02)


def test_samples_that_no_window_sees_are_silent(clips: list[np.ndarray]) -> None:
    x = clips[0][:12000]
    y = invert(UNCENTRED(x), UNCENTRED, n_iter=10)
    assert not y[:50].any()
    assert make_method("admm").frame_weights == 0
