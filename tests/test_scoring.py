"""Scoring: the values of pystoi and of the formulas, work on the reference done once."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pesq
import pystoi.utils
import pytest
import soxr

from melexp.datasets import Clip, load_dataset
from melexp.fast.denormals import flushed
from melexp.inversion.solve import solve
from melexp.methods import make_method
from melexp.metrics import score
from melexp.metrics._kept import ESTIMATE, REFERENCES, Shelf
from melexp.problem import Problem
from melexp.transforms.mel import MelTransform
from melexp.transforms.stft import STFT

ROOT = Path(__file__).resolve().parents[1]


# --- ESTOI is that of pystoi --------------------------------------------------------------------


def recordings(monkeypatch: pytest.MonkeyPatch) -> list[Clip]:
    """Return 25 clips of speech: recordings where they are present, else the embedded ones."""
    folder = Path(os.environ.get("MELEXP_DATA_MIRROR") or ROOT.parent / "shared" / "data")
    embedded = load_dataset("demo_speech")
    if not folder.is_dir():
        return embedded
    monkeypatch.setenv("MELEXP_DATA_MIRROR", str(folder))
    return [*load_dataset("ljspeech")[:11], *embedded]


def estimates(x: np.ndarray, transform: MelTransform, n: int) -> Iterator[np.ndarray]:
    """Yield inversions after some iterations, and noisy copies.

    No estimate has silent parts: pystoi fills them with noise, and its value changes by 4e-4.
    """
    problem = Problem(transform(x), transform, length=len(x))
    for point in solve(make_method("admm"), problem, checkpoints=[0, 1, 5, 30]):
        yield point.signal
    noise = np.random.default_rng(0).standard_normal(len(x)).astype(np.float32)
    yield from (x + level * noise for level in np.geomspace(1e-4, 0.1, n - 4, dtype=np.float32))


@pytest.mark.long
def test_estoi_equals_pystoi_on_200_pairs(
    paper: MelTransform, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = recordings(monkeypatch)
    each = -(-200 // len(clips))
    compared = 0
    for clip in clips:
        x = clip.load(22050)[: 6 * 22050]
        for y in estimates(x, paper, each):
            ours = score("estoi", x, y, transform=paper).value
            theirs = pystoi.stoi(x.astype(np.float64), y.astype(np.float64), 22050, extended=True)
            assert ours == pytest.approx(theirs, abs=1e-6)
            compared += 1
    assert compared >= 200


@pytest.mark.parametrize("sr", [8000, 10000, 16000, 44100])
def test_estoi_equals_pystoi_at_other_rates(speech: np.ndarray, sr: int) -> None:
    x = np.tile(speech, 2)
    transform = MelTransform(sr=sr)
    noise = np.random.default_rng(0).standard_normal(len(x)).astype(np.float32)
    y = x + np.float32(0.01) * noise
    theirs = pystoi.stoi(x.astype(np.float64), y.astype(np.float64), sr, extended=True)
    assert score("estoi", x, y, transform=transform).value == pytest.approx(theirs, abs=1e-6)


def test_estoi_is_the_same_in_every_call(speech: np.ndarray, paper: MelTransform) -> None:
    """A band without variation counts 0; pystoi fills it with noise."""
    y = speech * (np.arange(len(speech)) < 12000)
    values = {score("estoi", speech, y, transform=paper).value for _ in range(3)}
    assert len(values) == 1


# --- PESQ is that of the C library --------------------------------------------------------------


def test_denormal_numbers_as_zero_change_no_pesq(speech: np.ndarray, paper: MelTransform) -> None:
    gap = np.where((np.arange(len(speech)) // 4000) % 2, speech, 0)
    noise = np.random.default_rng(0).standard_normal(len(speech)).astype(np.float32)
    for x, y in ((speech, speech + 1e-3 * noise), (gap, gap * (1 + 0.1 * noise))):
        resampled = [soxr.resample(s, 22050, 16000) for s in (x, y)]
        assert score("pesq", x, y, transform=paper).value == pesq.pesq(16000, *resampled, "wb")


@pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="another mode")
def test_denormal_numbers_are_zero_within_the_context_only() -> None:
    tiny, one = np.full(40, 1e-40, np.float32), np.ones(40, np.float32)
    with pytest.raises(ZeroDivisionError), flushed():
        _ = 1 / int((tiny * one).any())
    assert (tiny * one).all()


# --- SC, SCM and LSD are those of their formulas ------------------------------------------------


@pytest.mark.parametrize(
    "transform",
    [MelTransform(), MelTransform(preemphasis=0.97), MelTransform(power=1.5, center=False)],
    ids=["plain", "preemphasis", "power 1.5"],
)
def test_spectral_metrics_by_their_formulas(speech: np.ndarray, transform: MelTransform) -> None:
    """Also after another metric has used the spectrogram of the same sound."""
    noise = np.random.default_rng(0).standard_normal(len(speech)).astype(np.float32)
    y = speech + np.float32(1e-3) * noise
    stft = transform.stft(len(speech), np.float64)
    X, Y = (np.abs(stft.forward(s.astype(np.float64))) for s in (speech, y))
    M, N = (transform.linear(s.astype(np.float64)) for s in (speech, y))
    for _ in range(2):
        for metric, a, b in (("sc", X, Y), ("scm", M, N)):
            expected = 20 * np.log10(np.linalg.norm(a - b) / np.linalg.norm(a))
            value = score(metric, speech, y, transform=transform).value
            assert value == pytest.approx(expected, abs=1e-9)


# --- Work is done once --------------------------------------------------------------------------


def counted(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, calls: list[str]
) -> Callable[..., Any]:
    """Replace a function by one that also counts its calls."""
    real = getattr(owner, name)

    def counting(*given: Any, **options: Any) -> Any:
        calls.append(name)
        return real(*given, **options)

    monkeypatch.setattr(owner, name, counting)
    return counting


@pytest.mark.parametrize(
    ("metrics", "owner", "name"),
    [
        (["scm", "sc", "lsd"], STFT, "forward"),
        (["pesq"], soxr, "resample"),
        (["estoi"], pystoi.utils, "resample_oct"),
    ],
)
def test_a_reference_is_prepared_once(
    speech: np.ndarray,
    paper: MelTransform,
    metrics: list[str],
    owner: Any,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of n estimates: one call for the reference and one for each estimate."""
    x = speech + np.float32(1e-3)  # no other test has scored against it
    calls: list[str] = []
    counted(monkeypatch, owner, name, calls)
    for k in range(3):
        y = x + np.float32(1e-3 * (k + 1)) * np.sin(np.arange(len(x), dtype=np.float32))
        for metric in metrics:
            assert np.isfinite(score(metric, x.copy(), y, transform=paper).value)
    assert len(calls) == 4


def test_a_changed_reference_is_another_one(speech: np.ndarray, paper: MelTransform) -> None:
    x = speech.copy()
    before = score("scm", x, speech, transform=paper).value
    x *= 2
    after = score("scm", x, speech, transform=paper).value
    assert before < -200
    assert after == pytest.approx(-6.0206, abs=1e-3)


def test_a_shelf_drops_what_was_used_least_recently() -> None:
    shelf, made = Shelf(largest=3 * 800), []

    def tenfold(y: np.ndarray) -> np.ndarray:
        made.append(int(y[0]))
        return np.repeat(y, 100)

    for k in (1, 2, 3, 1, 4, 1, 2):  # 4 replaces 2, which is then made again
        assert shelf.of(tenfold, np.array([float(k)]))[-1] == k
    assert made == [1, 2, 3, 4, 2]
    assert shelf.of(tenfold, np.arange(4.0)).size == 400  # larger than the shelf: not kept
    assert shelf.of(tenfold, np.array([1.0]))[0] == 1
    assert made == [1, 2, 3, 4, 2, 0]


def test_a_shelf_tells_functions_types_and_arguments_apart() -> None:
    shelf = Shelf(largest=10**6)
    zeros = np.zeros(4, np.float32)
    assert shelf.of(np.add, zeros, 1)[0] == 1
    assert shelf.of(np.add, zeros, 2)[0] == 2
    assert shelf.of(np.subtract, zeros, 2)[0] == -2
    assert shelf.of(np.add, np.zeros(2, np.float64), 1).shape == (2,)  # the same bytes
    with pytest.raises(ValueError, match="read-only"):
        shelf.of(np.add, zeros, 1)[0] = 5


def test_the_shelves_are_bounded() -> None:
    """A process keeps 256 MB of references and one spectrogram of an estimate."""
    assert (REFERENCES._largest, REFERENCES._items) == (2**28, None)
    assert ESTIMATE._items == 1
