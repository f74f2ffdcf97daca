"""Threads that share one `Problem` get the results of a single thread, bit for bit."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import numpy as np
import pytest
from names import OFFLINE

from melexp import MelStream, MelTransform, Problem, Stop, make_method, solve

N_THREADS = 8


def last_signal(method: str, problem: Problem, seed: int, stop: Stop | None = None) -> np.ndarray:
    points = solve(make_method(method), problem, checkpoints=[3, 12], seed=seed, stop=stop)
    *_, last = points
    return last.signal


@pytest.mark.parametrize("engine", ["fast", "portable"])
@pytest.mark.parametrize(
    "method",
    [pytest.param(m, marks=[pytest.mark.long] if m == "librosa" else []) for m in OFFLINE],
)
def test_threads_share_a_problem(
    method: str, engine: str, small: MelTransform, speech: np.ndarray
) -> None:
    sound = speech[:4000]
    problem = Problem(small(sound), small, length=len(sound), engine=engine)
    expected = [last_signal(method, problem, seed) for seed in range(N_THREADS)]
    barrier = Barrier(N_THREADS)

    def run(seed: int) -> np.ndarray:
        barrier.wait()
        return last_signal(method, problem, seed)

    with ThreadPoolExecutor(N_THREADS) as pool:
        for _ in range(1 if method == "librosa" else 3):
            for found, wanted in zip(pool.map(run, range(N_THREADS)), expected, strict=True):
                np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_share_power_mels_weights_and_stops(threads: int, speech: np.ndarray) -> None:
    transform = MelTransform(
        sr=8000, n_fft=128, hop_length=32, n_mels=12, fmax=4000, power=2, pad_mode="reflect"
    )
    plain = Problem(transform(speech), transform, length=len(speech), threads=threads)
    problem, stop = plain.weighted(0.5), Stop(every=2, target=-200.0)
    method = make_method("admm_ramp", frame_weights=0.5)

    def run(seed: int) -> np.ndarray:
        *_, last = solve(method, problem, checkpoints=[9], seed=seed, stop=stop)
        return last.signal

    expected = [run(seed) for seed in range(N_THREADS)]
    with ThreadPoolExecutor(N_THREADS) as pool:
        for found, wanted in zip(pool.map(run, range(N_THREADS)), expected, strict=True):
            np.testing.assert_array_equal(found, wanted)


def test_working_memory_is_used_again(small: MelTransform, speech: np.ndarray) -> None:
    """One call after another uses one space; two at once use two."""
    problem = Problem(small(speech), small, length=len(speech), engine="fast")
    for seed in range(3):
        last_signal("admm", problem, seed)
    assert len(problem.lanes._free) == 1
    with problem.lanes._space() as one, problem.lanes._space() as two:
        assert not any(
            np.shares_memory(a, b) for a, b in zip(one.signals, two.signals, strict=True)
        )
        assert not np.shares_memory(one.work[0].sums, two.work[0].sums)
    assert len(problem.lanes._free) == 2


def test_a_stream_refuses_a_second_thread(
    small: MelTransform, speech: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    mel, stream = small(speech[:2000]), MelStream(small, lookahead=2, n_iter=2)
    inside, refused = stream._iterate, []

    def iterate(*arguments: Any) -> None:
        with ThreadPoolExecutor(1) as pool:
            for call in (lambda: stream.push(mel[:, :1]), stream.flush):
                refused.append(pool.submit(call).exception())
        inside(*arguments)

    monkeypatch.setattr(stream, "_iterate", iterate)
    stream.push(mel[:, :2])
    assert len(refused) == 4
    for error in refused:
        assert isinstance(error, RuntimeError)
        assert "another thread" in str(error)


def test_an_interrupted_stream_says_so_until_it_is_reset(
    small: MelTransform, speech: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    mel, stream = small(speech[:2000]), MelStream(small, lookahead=2, n_iter=2)
    expected = stream.push(mel)
    stream.reset()
    stream.push(mel[:, :5])
    before = stream.state

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stream, "_iterate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            stream.push(mel[:, 5:6])
    for call in (lambda: stream.push(mel[:, 6:7]), stream.flush, lambda: stream.state):
        with pytest.raises(RuntimeError, match=r"reset\(\) begins again"):
            call()
    stream.state = before
    stream.push(mel[:, 5:])
    stream.reset()
    np.testing.assert_array_equal(stream.push(mel), expected)
