"""A mel stream: cuts, lengths, levels, front ends, streams side by side, bad frames, states."""

import copy
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from melexp import Compression, MelStream, MelTransform, invert
from melexp.datasets import load_dataset
from melexp.metrics.scm import long_scm

KNOWN = {"sr": 8000, "n_fft": 128, "hop_length": 32, "n_mels": 12, "fmax": 4000}
FRONT_ENDS = {
    "power": {"power": 2.0},
    "any power": {"power": 1.5},
    "ln": {"compression": Compression(unit="ln", floor=1e-5)},
    "power dB, range": {"power": 2.0, "compression": Compression(unit="power_db", range=80.0)},
    "by band": {"compression": Compression(gain=[0.5] * 12, offset=list(range(12)))},
    "pre-emphasised": {"preemphasis": 0.97},
    "uncentred": {"center": False},
    "uncentred, padded": {"center": False, "pad": 48, "pad_mode": "reflect"},
    "at the start of a frame": {"center": False, "win_length": 96, "pad": 16},
    "reflect": {"pad_mode": "reflect"},
    "wrap": {"pad_mode": "wrap"},
    "odd frames": {"n_fft": 125, "hop_length": 31},
    "short window": {"win_length": 80, "hop_length": 20},
    "no overlap": {"hop_length": 128, "window": "boxcar"},
    "uneven hop": {"hop_length": 37},
    "empty filters": {"n_mels": 40, "empty_filters": True},
}


def transform_of(changes: dict[str, Any]) -> MelTransform:
    return MelTransform.preset("paper", **{**KNOWN, **changes})


def sound(n: int, seed: int = 0) -> np.ndarray:
    """Return a gliding harmonic sound with a little noise [shape=(n,), float32]."""
    rng, time = np.random.default_rng(seed), np.arange(n) / 8000
    phase = 2 * np.pi * (150 * time + 40 * np.sin(6 * time + seed))
    tones = sum(np.sin(k * phase) / k for k in range(1, 12))
    return (0.1 * tones + 1e-3 * rng.standard_normal(n)).astype(np.float32)


def streamed(stream: MelStream, mel: np.ndarray, cuts: Any = ()) -> np.ndarray:
    parts = [stream.push(part) for part in np.split(mel, list(cuts), axis=-1)]
    return np.concatenate([*parts, stream.flush()], axis=-1)


# --- Cuts and lengths -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def mel(small: MelTransform) -> np.ndarray:
    made = small(sound(1600))
    made.setflags(write=False)
    return made


@pytest.fixture(scope="module")
def whole(small: MelTransform, mel: np.ndarray) -> np.ndarray:
    return streamed(MelStream(small, lookahead=2, n_iter=4), mel)


@given(cuts=st.lists(st.integers(0, 51), max_size=8))
@settings(max_examples=25)
def test_cuts_do_not_matter(
    small: MelTransform, mel: np.ndarray, whole: np.ndarray, cuts: list[int]
) -> None:
    stream = MelStream(small, lookahead=2, n_iter=4)
    np.testing.assert_array_equal(streamed(stream, mel, sorted(cuts)), whole)


@pytest.mark.parametrize("name", ["ln", "power dB, range", "pre-emphasised", "any power"])
def test_cuts_do_not_matter_to_other_front_ends(name: str) -> None:
    transform = transform_of(FRONT_ENDS[name])
    mel = transform(sound(1200) * np.linspace(0.01, 1, 1200, dtype=np.float32))
    one, all_ = (MelStream(transform, lookahead=1, n_iter=3) for _ in range(2))
    every = range(1, mel.shape[-1])
    np.testing.assert_array_equal(streamed(one, mel, every), streamed(all_, mel))


@pytest.mark.parametrize("lookahead", [0, 5])
@pytest.mark.parametrize("name", FRONT_ENDS)
def test_lengths_are_those_of_invert(name: str, lookahead: int) -> None:
    transform = transform_of(FRONT_ENDS[name])
    mel = transform(sound(900))
    for n_frames in (1, 2, 3, mel.shape[-1]):
        stream = MelStream(transform, lookahead=lookahead, n_iter=1)
        count = 0
        for k in range(n_frames):
            count += stream.push(mel[:, k : k + 1]).shape[-1]
            assert count == max(0, (k + 1) * transform.hop_length - stream.latency)
        count += stream.flush().shape[-1]
        offline = invert(mel[:, :n_frames], transform, n_iter=0)
        assert count == max(len(offline), n_frames * transform.hop_length - stream.latency)


def test_latency_of_the_paper_is_half_a_window_and_the_lookahead(paper: MelTransform) -> None:
    assert MelStream(paper, lookahead=0).latency == 512
    assert MelStream(paper, lookahead=6).latency == 512 + 6 * 256


def test_memory_is_constant(small: MelTransform, mel: np.ndarray) -> None:
    stream, sizes = MelStream(small, lookahead=1, n_iter=1), set()
    for _ in range(4):
        stream.push(mel)
        sizes.add(sum(array.nbytes for array in stream.state.values()))
    assert len(sizes) == 1


def test_empty_streams(small: MelTransform, mel: np.ndarray) -> None:
    stream = MelStream(small)
    assert stream.flush().shape == (0,)
    assert stream.push(mel[:, :0]).shape == (0,)
    assert stream.flush().shape == (0,)
    assert stream.push(np.zeros((2, 12, 0))).shape == (2, 0)
    assert stream.flush().shape == (2, 0)


def test_flush_and_reset_begin_again(
    small: MelTransform, mel: np.ndarray, whole: np.ndarray
) -> None:
    stream = MelStream(small, lookahead=2, n_iter=4)
    for _ in range(2):
        np.testing.assert_array_equal(streamed(stream, mel), whole)
    stream.push(mel[:, 3:20])
    stream.reset()
    np.testing.assert_array_equal(streamed(stream, mel), whole)


# --- Quality --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.long] if n == "any power" else []) for n in FRONT_ENDS],
)
def test_every_front_end_is_inverted(name: str) -> None:
    transform = transform_of(FRONT_ENDS[name])
    y = sound(8000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mel = transform(y)
        stream = streamed(MelStream(transform, lookahead=4, n_iter=20), mel)
        offline = invert(mel, transform)[: len(stream)]
        misfits = [long_scm(mel, signal, transform) for signal in (stream, offline)]
    # Without overlap the signal hardly restricts the spectrogram.
    assert misfits[0] < max(misfits[1] + 6, -25), misfits
    np.testing.assert_allclose(np.std(stream), np.std(offline), rtol=0.1)


def test_the_stream_is_at_its_place(small: MelTransform) -> None:
    burst = np.zeros(4000, np.float32)
    burst[2000:2100] = np.random.default_rng(0).standard_normal(100)
    power = np.square(streamed(MelStream(small, lookahead=2, n_iter=20), small(burst)))
    centre = np.dot(power, np.arange(len(power))) / power.sum()
    assert abs(centre - 2050) < 16  # half a hop


def test_lookahead_helps_and_offline_is_near(speech: np.ndarray, paper: MelTransform) -> None:
    mel = paper(speech)
    scm = {
        n: long_scm(mel, streamed(MelStream(paper, lookahead=n, n_iter=30), mel), paper)
        for n in (0, 4)
    }
    assert scm[4] < scm[0] - 2 < -28
    assert scm[4] < long_scm(mel, invert(mel, paper)[: 256 * 86], paper) + 6


def test_bins_without_a_filter_stay_quiet(paper: MelTransform) -> None:
    voice = load_dataset("demo_speech")[2].load(22050)[:22050]
    y = streamed(MelStream(paper, lookahead=6, n_iter=30), paper(voice))
    energy = np.square(np.abs(paper.stft(len(y)).forward(y))).sum(axis=1)
    end = np.flatnonzero(paper.filters().weights.any(axis=0))[-1] + 1
    assert energy[end:].sum() < 1e-6 * energy.sum()


# --- Levels ---------------------------------------------------------------------------------


@pytest.mark.parametrize("power", [1.0, 2.0])
@pytest.mark.parametrize("level", [2.0**-40, 2.0**40])
def test_powers_of_two_change_no_bit(power: float, level: float) -> None:
    transform = transform_of({"power": power})
    mel = transform(sound(1600)).astype(np.float64)
    quiet, loud = (
        streamed(MelStream(transform, lookahead=2, n_iter=5), mel * factor**power)
        for factor in (1.0, level)
    )
    np.testing.assert_array_equal(loud, quiet * np.float32(level))


@pytest.mark.parametrize("power", [1.0, 2.0])
@pytest.mark.parametrize("level", [1e-12, 1e12])
def test_level_is_restored(power: float, level: float) -> None:
    transform = transform_of({"power": power})
    mel = transform(sound(1600)).astype(np.float64)
    y = streamed(MelStream(transform, lookahead=2, n_iter=20), mel * level**power)
    assert long_scm(mel.astype(np.float32), (y / level).astype(np.float32), transform) < -25


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_level_may_change_by_80_db(power: float) -> None:
    transform = transform_of({"power": power})
    y = sound(8000)
    gain = np.where(np.arange(8000) // 2000 % 2, np.float32(1), np.float32(1e-4))
    mel = transform(y * gain)
    z = streamed(MelStream(transform, lookahead=4, n_iter=20), mel)
    made = transform(z)
    for begin in (0, 62, 125, 187):  # away from the changes, each part is as good as the others
        part = np.s_[:, begin + 8 : begin + 54]
        misfit = np.linalg.norm(made[part] - mel[part]) / np.linalg.norm(mel[part])
        assert misfit < 0.1, begin


def test_silence_is_silent_and_leaves_no_trace(small: MelTransform, mel: np.ndarray) -> None:
    quiet = np.zeros((12, 60), np.float32)
    stream = MelStream(small, lookahead=2, n_iter=4)
    y = streamed(stream, np.concatenate([quiet, mel, quiet], axis=1))
    assert not y[: 50 * 32].any()
    assert np.isfinite(y).all()
    assert y[60 * 32 : 80 * 32].any()
    assert not np.abs(y[-32 * 40 :]).max() > 1e-6


# --- Streams side by side -------------------------------------------------------------------


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_streams_side_by_side_are_those_alone(power: float) -> None:
    transform = transform_of({"power": power})
    mels = np.stack([transform(sound(1600, seed) * 10.0**-seed) for seed in range(4)])
    mels = mels.reshape(2, 2, *mels.shape[1:])
    together = streamed(MelStream(transform, lookahead=2, n_iter=5), mels, [7, 8])
    assert together.shape[:2] == (2, 2)
    for at in np.ndindex(2, 2):
        alone = streamed(MelStream(transform, lookahead=2, n_iter=5), mels[at])
        assert together[at].shape == alone.shape
        # Later samples depend on the rounding of the first ones.
        begin = slice(96)
        np.testing.assert_allclose(together[at][begin], alone[begin], atol=1e-2 * alone.std())


# --- Methods --------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["admm", "gla", "fgla", "admm_gla", "ipalm"])
def test_other_methods_stream(method: str, small: MelTransform, mel: np.ndarray) -> None:
    stream = MelStream(small, lookahead=2, n_iter=5, method=method)
    y = streamed(stream, mel, [5, 9])
    assert long_scm(mel, y, small) < -10
    again = streamed(stream, mel)
    np.testing.assert_array_equal(y, again)


# --- Bad frames and arguments ---------------------------------------------------------------


def spoilt(mel: np.ndarray, value: float) -> np.ndarray:
    bad = mel.copy()
    bad[3, 12] = value
    return bad


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.nan, r"frame 22: it has 1 values that are NaN or infinite"),
        (np.inf, r"frame 22: it has 1 values that are NaN or infinite"),
        (-1e3, r"frame 22: it has negative values .* give its compression"),
    ],
)
def test_a_bad_frame_is_an_error_and_the_stream_goes_on(
    small: MelTransform, mel: np.ndarray, whole: np.ndarray, value: float, message: str
) -> None:
    stream = MelStream(small, lookahead=2, n_iter=4)
    first = stream.push(mel[:, :10])
    with pytest.raises(ValueError, match=message):
        stream.push(spoilt(mel[:, 10:], value))
    rest = streamed(stream, mel[:, 10:])
    np.testing.assert_array_equal(np.concatenate([first, rest]), whole)


def test_bad_frames_are_concealed(small: MelTransform, mel: np.ndarray, whole: np.ndarray) -> None:
    stream = MelStream(small, lookahead=2, n_iter=4, conceal=True)
    parts = [stream.push(spoilt(mel[:, :30], np.nan)), stream.push(np.ones((7, 1)))]
    assert stream.concealed == 2
    parts += [stream.push(mel[:, 31:]), stream.flush()]
    y = np.concatenate(parts)
    assert y.shape == whole.shape
    np.testing.assert_array_equal(y[: 8 * 32], whole[: 8 * 32])
    assert np.isfinite(y).all()
    assert np.abs(y).max() < 2 * np.abs(whole).max()


def test_concealed_frames_fade(small: MelTransform, mel: np.ndarray) -> None:
    stream = MelStream(small, lookahead=0, n_iter=4, conceal=True)
    stream.push(mel[:, :20])
    lost = stream.push(np.full((12, 40), np.nan))
    assert np.abs(lost[-64:]).max() < 1e-4 * np.abs(lost[:64]).max()


def test_minus_infinity_is_silence_to_a_logarithm() -> None:
    transform = transform_of(FRONT_ENDS["ln"])
    mel = transform(sound(1600))
    mel[:, 10:12] = -np.inf
    assert np.isfinite(streamed(MelStream(transform, n_iter=2), mel)).all()


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (np.ones((7, 3), np.float32), "must be 12"),
        (np.ones((3, 12), np.float32), "transpose"),
        (np.ones(12, np.float32), r"frame\[:, None\]"),
        (np.ones((12, 3), int), "floating-point"),
        (np.ones((2, 12, 3), np.float32), "leading shape"),
    ],
)
def test_frames_that_do_not_fit(
    small: MelTransform, mel: np.ndarray, frames: np.ndarray, message: str
) -> None:
    stream = MelStream(small)
    stream.push(mel[:, :2])
    with pytest.raises(ValueError, match=message):
        stream.push(frames)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lookahead": -1}, "lookahead must be a whole number from 0 on; got -1"),
        ({"lookahead": 1.5}, "lookahead must be a whole number"),
        ({"n_iter": 0}, "n_iter must be a whole number from 1 on"),
        ({"method": "librosa"}, "cannot run frame by frame"),
        ({"frame_weights": 0.5}, "no frame weights"),
        ({"phase": "spsi"}, "phase of a stream must be one of"),
        ({"rho_z": 1}, "no parameter rho_z"),
    ],
)
def test_arguments_out_of_range(small: MelTransform, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MelStream(small, **options)


# --- States ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["power", "pre-emphasised", "power dB, range"])
def test_a_stored_state_continues(name: str, tmp_path: Path) -> None:
    transform = transform_of(FRONT_ENDS[name])
    mel = transform(sound(1600))
    first, second = (MelStream(transform, lookahead=2, n_iter=4) for _ in range(2))
    expected = streamed(MelStream(transform, lookahead=2, n_iter=4), mel)
    begin = first.push(mel[:, :20])
    np.savez(tmp_path / "state.npz", **first.state)  # type: ignore[arg-type]
    first.push(mel[:, 5:9])  # changes no stored state
    with np.load(tmp_path / "state.npz", allow_pickle=False) as stored:
        second.state = stored
    np.testing.assert_array_equal(np.concatenate([begin, streamed(second, mel[:, 20:])]), expected)


def test_a_copy_goes_its_own_way(small: MelTransform, mel: np.ndarray, whole: np.ndarray) -> None:
    stream = MelStream(small, lookahead=2, n_iter=4)
    parts = [stream.push(mel[:, :20])]
    twin = copy.deepcopy(stream)
    other = [*parts, stream.push(mel[:, :9])]
    for t in range(20, mel.shape[1]):  # in turn
        parts.append(twin.push(mel[:, t : t + 1]))
        other.append(stream.push(mel[:, t - 11 : t - 10]))
    np.testing.assert_array_equal(np.concatenate([*parts, twin.flush()]), whole)
    mixed = np.concatenate([mel[:, :20], mel[:, : mel.shape[1] - 11]], axis=1)
    again = streamed(MelStream(small, lookahead=2, n_iter=4), mixed)
    np.testing.assert_array_equal(np.concatenate([*other, stream.flush()]), again)


def test_a_state_of_another_stream_is_refused(small: MelTransform, mel: np.ndarray) -> None:
    stream = MelStream(small)
    assert stream.state == {}
    stream.push(mel)
    with pytest.raises(ValueError, match=r"expected .*same arguments"):
        MelStream(small, lookahead=1).state = stream.state
    with pytest.raises(ValueError, match=r"the state has no .*memory"):
        MelStream(small).state = {"lead": np.array([])}
    stream.state = {}
    assert stream.state == {}
