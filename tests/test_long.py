"""Long input: the joined segments are as good as the whole, in memory that does not grow."""

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest

from melexp.datasets import load_dataset
from melexp.inversion.invert import invert
from melexp.inversion.segments import invert_segments, join, segment_frames
from melexp.methods import Stop, make_method
from melexp.transforms.blocks import long_mel
from melexp.transforms.compression import Compression
from melexp.transforms.mel import MelTransform

START = {"method": "admm", "magnitude": "kl", "phase": "pghi"}


def in_segments(
    mel: np.ndarray, transform: MelTransform, *, n_iter: int, length: int | None = None,
    segment: float = 4.0, overlap: float = 0.8,
) -> np.ndarray:  # fmt: skip
    """Invert with an overlap shorter than the default."""
    method = make_method("admm", magnitude="kl", phase="pghi")
    return invert_segments(
        method, mel, transform, n_iter=n_iter, length=length, seed=0, segment=segment,
        overlap=overlap,
    )  # fmt: skip


@pytest.fixture(scope="module")
def talk() -> np.ndarray:
    """15 s of speech at 8 kHz [float32]."""
    clips = load_dataset("demo_speech")[:8]
    return np.concatenate([clip.load(8000) for clip in clips])[: 15 * 8000]


@pytest.fixture(scope="module")
def narrow() -> MelTransform:
    return MelTransform.preset("paper", sr=8000, n_fft=256, hop_length=64, n_mels=40, fmax=4000)


def scm(y: np.ndarray, mel: np.ndarray, transform: MelTransform) -> float:
    return float(20 * np.log10(np.linalg.norm(transform.linear(y) - mel) / np.linalg.norm(mel)))


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_the_seams_cost_nothing(talk: np.ndarray, narrow: MelTransform, power: float) -> None:
    transform = MelTransform(**{**narrow.settings(), "power": power})
    mel = transform(talk)
    whole = invert(mel, transform, n_iter=60, length=len(talk), **START)  # type: ignore[arg-type]
    joined = in_segments(mel, transform, n_iter=60, length=len(talk))
    assert joined.shape == talk.shape
    assert joined.dtype == np.float32
    assert scm(joined, mel, transform) < scm(whole, mel, transform) + 0.3
    # At the seams too: the worst half second is not worse than elsewhere.
    error = np.linalg.norm(transform.linear(joined) - mel, axis=0)
    other = np.linalg.norm(transform.linear(whole) - mel, axis=0)
    blocks = [np.add.reduceat(e**2, np.arange(0, len(e), 62)) for e in (error, other)]
    assert blocks[0].max() < 2 * blocks[1].max()


def test_one_segment_is_the_whole(talk: np.ndarray, narrow: MelTransform) -> None:
    mel = narrow(talk[:20000])
    one = invert(mel, narrow, n_iter=5, length=20000, **START)  # type: ignore[arg-type]
    seen: list[tuple[int, int]] = []
    same = invert(
        mel, narrow, n_iter=5, length=20000, segment=20, progress=lambda *done: seen.append(done),
        **START,
    )  # type: ignore[arg-type] # fmt: skip
    np.testing.assert_array_equal(one, same)
    assert seen == [(1, 1)]


def test_a_segment_starts_from_the_one_before(talk: np.ndarray, narrow: MelTransform) -> None:
    # By itself each segment would have signs of its own, and the cross-fade would cancel.
    mel = narrow(talk)
    y = in_segments(mel, narrow, n_iter=40, length=len(talk))
    energy = np.add.reduceat(np.square(y, dtype=np.float64), np.arange(0, len(y), 800))
    expected = np.add.reduceat(np.square(talk, dtype=np.float64), np.arange(0, len(y), 800))
    loud = expected > 0.05 * expected.max()
    assert (np.abs(10 * np.log10(energy[loud] / expected[loud])) < 1.5).all()


def test_a_floor_is_that_of_the_whole(talk: np.ndarray, narrow: MelTransform) -> None:
    # With a range below the largest value, the quiet second half lies on the floor.
    y = talk.copy()
    y[len(y) // 2 :] *= 1e-3
    compression = Compression(unit="ln", floor=1e-9, range=6.0)
    transform = MelTransform(**{**narrow.settings(), "compression": compression})
    mel = transform(y)
    z = in_segments(mel, transform, n_iter=20, length=len(y))
    assert scm(z, narrow(y), narrow) < -20
    # By itself the last segment would take its own largest value, and be loud.
    assert np.abs(z[-20000:]).max() < 0.05 * np.abs(z).max()


def test_memory_does_not_grow_with_the_length(talk: np.ndarray, narrow: MelTransform) -> None:
    mel = narrow(np.tile(talk, 4))

    def peak(n_frames: int) -> int:
        tracemalloc.start()
        in_segments(mel[:, :n_frames], narrow, n_iter=1)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most - 4 * n_frames * narrow.hop_length  # without the output

    assert peak(mel.shape[1]) < 1.2 * peak(mel.shape[1] // 4)


def test_the_plan_covers_every_frame(narrow: MelTransform) -> None:
    for n_frames in (1, 499, 500, 501, 950, 951, 3000, 3001):
        plan = segment_frames(n_frames, narrow, 4.0, 0.4)
        assert plan[0][0] == 0
        assert plan[-1][1] == n_frames
        for (_, end), (begin, _) in pairwise(plan):
            assert end - begin == 50
        assert all(end - begin > 50 for begin, end in plan[1:])


def test_join_fades_where_the_two_differ_least() -> None:
    rng = np.random.default_rng(0)
    before, after = rng.standard_normal((2, 1000)).astype(np.float32)
    after[400:600] = before[400:600]
    old = before.copy()
    join(before, after, fade=100, margin=50)
    np.testing.assert_array_equal(before[:400], old[:400])
    np.testing.assert_array_equal(before[600:], after[600:])
    short = np.zeros(10, np.float32)
    join(short, np.ones(20, np.float32), fade=100, margin=50)
    assert (short == 1).all()


@pytest.mark.parametrize(
    "arguments", [{}, {"center": False}, {"pad_mode": "reflect"}, {"center": False, "pad": 96}]
)
def test_a_mel_in_blocks_is_the_mel(
    talk: np.ndarray, narrow: MelTransform, arguments: dict[str, object]
) -> None:
    transform = MelTransform(**{**narrow.settings(), **arguments})
    y = talk[:30001]
    np.testing.assert_allclose(
        long_mel(y, transform, block=100), transform.linear(y), rtol=1e-4, atol=1e-7
    )


def test_what_is_refused(narrow: MelTransform) -> None:
    mel = np.ones((40, 3000), np.float32)
    with pytest.raises(ValueError, match="overlap"):
        in_segments(mel, narrow, n_iter=1, overlap=0.01)
    with pytest.raises(ValueError, match="overlap"):
        in_segments(mel, narrow, n_iter=1, segment=3, overlap=2)
    with pytest.raises(ValueError, match="Librosa runs in another library"):
        invert(mel, narrow, method="librosa", segment=5)
    with pytest.raises(ValueError, match="stop is not supported with segment"):
        invert(mel, narrow, segment=5, stop=Stop())
