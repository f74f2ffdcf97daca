"""The compiled engine of streams against NumPy: each push from the same state."""

from typing import Any

import numpy as np
import pytest
from test_stream import FRONT_ENDS, sound, streamed, transform_of

from melexp import MelStream
from melexp.fast.compiling import LANES
from melexp.fast.windows import divide
from melexp.metrics.scm import long_scm

FAST = sorted(set(FRONT_ENDS) - {"any power", "odd frames"})


def both(transform: Any, **options: Any) -> tuple[MelStream, MelStream]:
    one, two = (MelStream(transform, engine=name, **options) for name in ("portable", "fast"))
    return one, two


def check_pushes(transform: Any, mel: np.ndarray, **options: Any) -> None:
    """Push the same frames to both engines from the state of the portable one, then flush."""
    portable, fast = both(transform, **options)
    for t in range(mel.shape[-1]):
        fast.state = portable.state
        one, two = (stream.push(mel[..., t : t + 1]) for stream in (portable, fast))
        a, b = portable.state, fast.state
        n = int(a["n_window"])
        for name in ("C", "R", "x"):
            used = slice(None) if name == "x" else np.s_[:, :, :n]
            size = np.abs(a[name]).max(initial=0)
            np.testing.assert_allclose(b[name][used], a[name][used], rtol=0, atol=2e-3 * size)
        np.testing.assert_array_equal(b["ages"][:n], a["ages"][:n])
        size = np.abs(one).max(initial=0)
        np.testing.assert_allclose(two, one, rtol=0, atol=2e-3 * size)
    fast.state = portable.state
    one, two = portable.flush(), fast.flush()
    np.testing.assert_allclose(two, one, rtol=0, atol=0.02 * np.abs(one).max(initial=0))


@pytest.mark.parametrize("lookahead", [0, 3, 20])
@pytest.mark.parametrize("name", FAST)
def test_front_ends(name: str, lookahead: int) -> None:
    transform = transform_of(FRONT_ENDS[name])
    check_pushes(transform, transform(sound(900)), lookahead=lookahead, n_iter=2)


@pytest.mark.parametrize(
    ("method", "power"),
    [(name, power) for name in ("admm", "gla", "fgla", "admm_gla") for power in (1.0, 2.0)]
    + [("ipalm", 1.0)],
)
def test_methods(method: str, power: float) -> None:
    transform = transform_of({"power": power})
    check_pushes(transform, transform(sound(900)), lookahead=2, n_iter=3, method=method)


@pytest.mark.parametrize("n_streams", [2, 3, 5, 9, 17, 33])
def test_streams_side_by_side(n_streams: int) -> None:
    transform = transform_of({})
    mel = np.stack([transform(sound(700, seed)) for seed in range(n_streams)])
    check_pushes(transform, mel, lookahead=2, n_iter=2)


def test_whole_streams_are_equally_good() -> None:
    transform = transform_of({})
    misfits = []
    for seed in range(4):
        mel = transform(sound(4000, seed))
        streams = both(transform, n_iter=20)
        misfits.append([long_scm(mel, streamed(stream, mel), transform) for stream in streams])
    one, two = np.mean(misfits, axis=0)
    assert abs(two - one) < 3, misfits  # later samples depend on rounding: each by some 3 dB


def test_cuts_and_copies_do_not_matter() -> None:
    transform = transform_of({})
    mel = transform(sound(1600))
    _, stream = both(transform, lookahead=2, n_iter=4)
    whole = streamed(stream, mel)
    np.testing.assert_array_equal(streamed(stream, mel, [3, 4, 20]), whole)
    many = np.stack([mel] * 3)
    np.testing.assert_array_equal(streamed(stream, many, [7]), streamed(stream, many))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"power": 1.5}, "power 1 and 2"),
        ({"n_fft": 125, "hop_length": 31}, "n_fft must be even"),
    ],
)
def test_what_the_fast_engine_cannot_do(changes: dict[str, Any], message: str) -> None:
    transform = transform_of(changes)
    with pytest.raises(ValueError, match=message):
        MelStream(transform, engine="fast")
    MelStream(transform)
    with pytest.raises(ValueError, match="engine must be"):
        MelStream(transform, engine="slow")


@pytest.mark.parametrize("n_streams", [1, 2, 5, 16, 40])
@pytest.mark.parametrize(("n_frames", "n_hops"), [(4, 7), (10, 13), (2, 2), (60, 63)])
def test_a_division_has_room_for_all_hops(n_streams: int, n_frames: int, n_hops: int) -> None:
    groups, rows = divide(n_streams, n_frames, n_hops)
    assert groups * rows >= n_hops
    assert LANES % groups == 0
    work = -(-n_streams * groups // LANES) * min(rows, n_frames)
    assert work <= -(-n_streams // LANES) * n_frames  # that of a lane per stream
