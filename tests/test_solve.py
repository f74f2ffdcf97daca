"""The loop and the one-call API."""

import dataclasses
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import melexp
from melexp import MelTransform, Problem, Stop, bench, invert, make_method
from melexp.inversion import solve as module
from melexp.inversion.solve import solve
from melexp.methods import Method, Peer, State
from melexp.metrics import score
from melexp.transforms.stft import PAD_MODES


def sound(n: int = 2000) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(n).astype(np.float32)


def test_batches_are_loops(small: MelTransform) -> None:
    mels = small(np.stack([[sound(), 2 * sound()], [sound()[::-1].copy(), sound() ** 2]]))
    assert mels.shape == (2, 2, 12, 63)
    y = invert(mels, small, n_iter=4, length=2000)
    assert y.shape == (2, 2, 2000)
    for i in np.ndindex(2, 2):
        np.testing.assert_array_equal(y[i], invert(mels[i], small, n_iter=4, length=2000))


def test_the_default_length_has_the_same_frames(small: MelTransform) -> None:
    mel = small(sound())
    y = invert(mel, small, n_iter=1)
    assert small(y).shape == mel.shape


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.T, r"expected \(n_mels = 12, n_frames\); transpose it"),
        (lambda m: m[:5], r"mel has shape \(5, 63\), expected \(n_mels = 12"),
        (lambda m: m[0], r"mel must have shape"),
        (lambda m: m * np.nan, "NaN or infinite"),
        (lambda m: m - 100, "mel has negative values .*so it is not linear"),
        (lambda m: m.astype(int), "floating-point"),
        (lambda m: m[:, :0], r"mel is empty: it has shape \(12, 0\)"),
    ],
)
def test_bad_mels_are_refused(small: MelTransform, change, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        invert(change(small(sound())), small, n_iter=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 5000}, "length = 5000 gives 157 frames, but mel has 63; use length = 1984"),
        ({"n_iter": -1}, "n_iter must not be negative"),
        ({"dtype": "int16"}, "dtype must be float32 or float64"),
        ({"engine": "slow"}, "engine must be auto, fast or portable"),
        ({"engine": "fast", "dtype": "float64"}, "the fast engine cannot be used: .*float32"),
        ({"magnitude": "magic"}, "magnitude must be one of pinv, nnls"),
        ({"phase": "magic"}, "phase must be one of random"),
    ],
)
def test_bad_options_are_refused(small: MelTransform, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        invert(small(sound()), small, **{"n_iter": 1} | options)


def test_shapes_without_a_fast_form_fall_back(caplog: pytest.LogCaptureFixture) -> None:
    transform = MelTransform.preset(
        "paper", sr=8000, n_fft=154, hop_length=40, n_mels=12, fmax=4000
    )
    with caplog.at_level("INFO", logger="melexp"):
        y = invert(transform(sound()), transform, n_iter=2, length=2000)
    assert np.isfinite(y).all()
    assert "portable engine: n_fft must be even" in caplog.text


def test_checkpoints_in_any_order_are_those_of_one_run(small: MelTransform) -> None:
    problem, method = Problem(small(sound()), small), make_method("admm")
    points = list(solve(method, problem, checkpoints=[7, 0, 3, 7]))
    assert [p.iteration for p in points] == [0, 3, 7]
    (alone,) = solve(method, problem, checkpoints=[7])
    np.testing.assert_array_equal(points[-1].signal, alone.signal)
    with pytest.raises(ValueError, match="checkpoint 2 lies before the first iteration, 7"):
        list(solve(method, problem, checkpoints=[2, 9], state=alone.state))


def test_a_run_goes_on_from_a_state_and_leaves_it(small: MelTransform) -> None:
    problem, method = Problem(small(sound()), small), make_method("ipalm")
    (half,) = solve(method, problem, checkpoints=[4])
    before = {k: np.copy(v) for k, v in dataclasses.asdict(half.state).items()}
    warm = list(solve(method, problem, checkpoints=[4, 9], state=half.state, seed=99))
    np.testing.assert_array_equal(warm[0].signal, half.signal)
    (whole,) = solve(method, problem, checkpoints=[9])
    np.testing.assert_array_equal(warm[1].signal, whole.signal)
    for key, value in before.items():
        np.testing.assert_array_equal(getattr(half.state, key), value)


def test_a_state_of_one_method_starts_another(small: MelTransform) -> None:
    """From a given magnitude and spectrogram: a warm start."""
    problem = Problem(small(sound()), small, length=2000, dtype=np.float64)
    truth = problem.stft.forward(sound() / problem.scale)
    for name in ("admm", "ipalm", "gla"):
        method = make_method(name)
        begun = method.begin(problem, np.abs(truth), truth)
        (end,) = solve(method, problem, checkpoints=[5], state=begun)
        assert score("scm", sound(), end.signal, transform=small).value < -80


def test_no_checkpoint_no_result(small: MelTransform) -> None:
    assert list(solve(make_method("admm"), Problem(small(sound()), small), checkpoints=[])) == []
    with pytest.raises(ValueError, match="checkpoint -1 lies before the first iteration, 0"):
        list(solve(make_method("admm"), Problem(small(sound()), small), checkpoints=[-1]))


@dataclass(frozen=True, kw_only=True)
class Ticking(Method[State]):
    """Takes 5 s for its start, 2 s for an iteration and half a second for its waveform."""

    now: ClassVar[list[float]] = [0.0]

    def init(self, problem: Problem, rng: np.random.Generator) -> State:
        self.now[0] += 5
        return State(iteration=0)

    def begin(self, problem: Problem, Y: np.ndarray, X: np.ndarray) -> State:
        raise NotImplementedError

    def step(self, problem: Problem, state: State) -> State:
        self.now[0] += 2
        return State(iteration=state.iteration + 1)

    def signal(self, problem: Problem, state: State) -> np.ndarray:
        self.now[0] += 0.5
        return np.zeros(problem.n_samples)


@dataclass(frozen=True, kw_only=True)
class TickingPeer(Peer):
    """Takes 5 s for its start, 2 s for an iteration and 0.5 s for its waveform."""

    def start(self, problem: Problem) -> int:
        Ticking.now[0] += 5
        return 7

    def run(
        self, problem: Problem, rng: np.random.Generator, n_iter: int, start: Any
    ) -> np.ndarray:
        assert start == 7
        Ticking.now[0] += 0.5 + 2 * n_iter
        return np.zeros(problem.n_samples)


@pytest.mark.parametrize("method", [Ticking(), TickingPeer()])
def test_the_clock_stops_while_the_caller_works(
    small: MelTransform, monkeypatch: pytest.MonkeyPatch, method: Method | Peer
) -> None:
    monkeypatch.setattr(module.time, "process_time", lambda: Ticking.now[0])
    problem, seconds = Problem(small(sound()), small, engine="portable"), []
    for point in solve(method, problem, checkpoints=[0, 2, 5]):
        seconds.append(point.seconds)
        Ticking.now[0] += 1000.0  # the caller's time
    assert seconds == pytest.approx([5.5, 9.5, 15.5])


@pytest.mark.parametrize("engine", ["portable", "fast"])
def test_stops_at_a_target(small: MelTransform, engine: str) -> None:
    x = sound()
    problem, method = Problem(small(x), small, length=2000, engine=engine), make_method("admm")
    values = {
        p.iteration: 20 * np.log10(problem.misfit(p.signal))
        for p in solve(method, problem, checkpoints=range(5, 101, 5))
    }
    target = (values[20] + values[80]) / 2
    first = next(k for k, value in values.items() if value < target)
    (end,) = solve(method, problem, checkpoints=[100], stop=Stop(every=5, target=target))
    assert end.iteration == first
    assert score("scm", x, end.signal, transform=small).value == pytest.approx(
        values[first], abs=1e-2
    )
    (never,) = solve(method, problem, checkpoints=[20], stop=Stop(every=5, target=-300.0))
    assert never.iteration == 20
    (at_once,) = solve(method, problem, checkpoints=[20], stop=Stop(every=5, tol=10.0))
    assert at_once.iteration == 5


def test_both_engines_stop_at_the_same_iteration(small: MelTransform) -> None:
    ends = set()
    for engine in ("portable", "fast"):
        problem = Problem(small(sound()), small, engine=engine)
        stop = Stop(every=4, tol=0.02)
        (end,) = solve(make_method("ipalm"), problem, checkpoints=[400], stop=stop)
        ends.add(end.iteration)
    assert len(ends) == 1
    assert ends.pop() < 400


@st.composite
def transforms(draw: st.DrawFn) -> MelTransform:
    n_fft = draw(st.sampled_from([16, 31, 64, 100, 128, 255, 256]))
    win = draw(st.integers(n_fft // 2, n_fft))
    center = draw(st.booleans())
    try:
        return MelTransform.preset(
            "paper",
            sr=8000,
            n_fft=n_fft,
            win_length=win,
            hop_length=draw(st.integers(1, win // 2)),
            window=draw(st.sampled_from(["hann", "hamming", "boxcar", "blackman"])),
            n_mels=draw(st.integers(1, 20)),
            fmax=None,
            center=center,
            pad_mode=draw(st.sampled_from(PAD_MODES)),
            htk=draw(st.booleans()),
            power=draw(st.sampled_from([1.0, 2.0])),
        )
    except ValueError:
        assume(False)
        raise


@given(
    transform=transforms(),
    length=st.integers(1, 1200),
    level=st.floats(1e-5, 1e5),
    method=st.sampled_from(["admm", "admm_ramp", "fgla"]),
)
def test_any_mel_of_any_transform_is_inverted(
    transform: MelTransform, length: int, level: float, method: str
) -> None:
    """Odd frames, hops that do not divide them, clips shorter than a frame, every padding."""
    assume(transform.center or length >= transform.n_fft)
    y = sound(length).astype(np.float64) * level
    mel = transform(y)
    estimate = invert(mel, transform, method=method, n_iter=15, length=length, dtype=np.float64)
    assert estimate.shape == (length,)
    assert np.isfinite(estimate).all()
    if length >= 4 * transform.n_fft and transform.power == 1:
        error = np.linalg.norm(transform(estimate) - mel)
        assert error < 0.7 * np.linalg.norm(mel)  # silence has 1


def test_a_device_needs_torch(
    small: MelTransform, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    for name in [n for n in sys.modules if n.startswith(("melexp.batch", "melexp.bench.batches"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"pip install 'melexp\[torch\]'"):
        invert(small(sound()), small, n_iter=1, device="cpu")
    assert invert(small(sound()), small, n_iter=1, length=2000).shape == (2000,)
    assert list(bench.torch_rows(1)) == []
    assert "no rows for torch" in capsys.readouterr().out


def test_public_names() -> None:
    assert sorted(dir(melexp)) == sorted([*melexp.__all__, "__version__"])
    for name in melexp.__all__:
        assert getattr(melexp, name).__doc__
    stub = (Path(melexp.__file__).parent / "__init__.pyi").read_text()
    declared = set(re.findall(r"import \w+ as (\w+)", stub))
    assert declared == {*melexp.__all__, "invert_batch"}
    exec("from melexp import *", {})  # also without torch
    assert {"admm", "ipalm", "librosa", "gla"} <= set(melexp.available_methods())
    with pytest.raises(AttributeError, match="no attribute 'inverse'"):
        _ = melexp.inverse


@pytest.mark.parametrize("name", ["admm_ramp", "fgla"])
def test_threads_change_nothing_but_the_rounding(speech: np.ndarray, name: str) -> None:
    transform = MelTransform.preset("paper")
    mel = transform(speech)
    batch = np.stack([mel, mel[:, ::-1], 0.1 * mel])
    options = {"method": name, "n_iter": 10}
    one = invert(batch, transform, **options)  # type: ignore[arg-type]
    np.testing.assert_array_equal(one, invert(batch, transform, threads=2, **options))
    split = invert(mel, transform, threads=2, **options)  # type: ignore[arg-type]
    assert np.linalg.norm(split - one[0]) < 1e-3 * np.linalg.norm(one[0])
    with pytest.raises(ValueError, match="threads must be at least 1"):
        invert(mel, transform, threads=0)


def test_any_number_of_iterations_needs_no_memory(
    small: MelTransform, speech: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The coefficients of 10^12 iterations are computed when they are needed."""
    problem = Problem(small(speech), small, length=len(speech), engine="fast")
    method = make_method("admm_ramp")
    state = method.init(problem, np.random.default_rng(0))
    asked = []
    plain = type(method).coefficients

    def counted(self: object, problem: Problem, k: int) -> tuple[float, ...]:
        asked.append(k)
        return plain(self, problem, k)

    monkeypatch.setattr(type(method), "coefficients", counted)
    stop = Stop(every=5, tol=1e9)
    assert method.advance(problem, state, 10**12, stop).iteration == 5
    assert len(asked) < 10**4
