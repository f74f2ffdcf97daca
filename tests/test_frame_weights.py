"""Frame weights: the weighted STFT, and that every method means by them the same everywhere."""

import numpy as np
import pytest
from names import ITERATIVE
from reference import Reference, ramp

from melexp import MelTransform, Problem, Stop, invert, make_method
from melexp.datasets import load_dataset
from melexp.inversion.segments import invert_segments
from melexp.inversion.solve import solve
from melexp.methods import Method
from melexp.start import kl, pghi
from melexp.transforms.stft import STFT

LAYOUT = {"sr": 8000, "n_fft": 128, "hop_length": 32, "n_mels": 12, "fmax": 4000}


def sound(n: int = 3000) -> np.ndarray:
    """A tone that fades by 60 dB, so that the weights differ, and a little noise."""
    t = np.arange(n) / 8000
    noise = 1e-4 * np.random.default_rng(0).standard_normal(n)
    return (np.sin(2 * np.pi * (500 + 400 * t) * t) * 10 ** (-3 * t / t[-1]) + noise).astype("f4")


def problem(dtype: type = np.float64, n: int = 3000, **options: object) -> Problem:
    transform = MelTransform.preset("paper", **{**LAYOUT, "power": options.pop("power", 1.0)})
    return Problem(transform(sound(n)), transform, length=n, dtype=dtype, **options)


def run(p: Problem, method: Method, n_iter: int = 10) -> np.ndarray:
    (last,) = solve(method, p, checkpoints=[n_iter])
    return last.signal


def error(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


# --- The weights, and the STFT with them --------------------------------------------------------


@pytest.mark.parametrize("power", [1, 2])
def test_the_weights_are_those_of_the_formula(power: int) -> None:
    p = problem(power=float(power))
    w = p.weighted(0.25)
    energy = np.array([np.sqrt(sum(m**2)) ** (1 / power) for m in p.mel.T])
    energy = np.sqrt(energy**2 + (1e-3 * max(energy)) ** 2)
    np.testing.assert_allclose(w.frame_gains, (energy / max(energy)) ** -0.25, rtol=1e-9)
    np.testing.assert_allclose(w.mel, p.mel * w.frame_gains**power, rtol=1e-9)
    assert w.frame_gains.max() > 3
    assert (p.frame_gains, w.plain, p.plain) == (None, p, p)


def test_no_exponent_no_weights_and_silence_has_equal_ones() -> None:
    p = problem()
    assert p.weighted(0) is p
    transform = MelTransform.preset("paper", **LAYOUT)
    silent = Problem(np.zeros((12, 20)), transform).weighted(0.5)
    np.testing.assert_array_equal(silent.frame_gains, 1)


@pytest.mark.parametrize("pad_mode", ["constant", "reflect"])
@pytest.mark.parametrize("hop", [32, 48])
def test_the_weighted_projection_is_orthogonal(pad_mode: str, hop: int) -> None:
    rng = np.random.default_rng(0)
    layout = {"window": np.hanning(129)[:-1], "hop_length": hop, "pad": 64, "pad_mode": pad_mode}
    plain = STFT(1000, dtype=np.float64, **layout)
    g = 10 ** rng.uniform(-1, 1, plain.n_frames)
    stft = STFT(1000, dtype=np.float64, weights=g, **layout)
    x = rng.standard_normal(1000)
    np.testing.assert_allclose(stft.forward(x), plain.forward(x) * g, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(stft.inverse(stft.forward(x)), x, rtol=1e-9, atol=1e-9)
    X = rng.standard_normal((65, plain.n_frames)) + 1j * rng.standard_normal((65, plain.n_frames))
    X[[0, -1]] = X[[0, -1]].real  # as those of real signals are
    double = np.full((65, 1), 2.0)
    double[[0, -1]] = 1  # each other bin stands for its conjugate too
    rest = X - stft.project(X)
    consistent = stft.forward(x)
    inner = np.sum(double * (rest.conj() * consistent).real)
    assert abs(inner) < 1e-9 * np.linalg.norm(X) * np.linalg.norm(consistent)


# --- The methods --------------------------------------------------------------------------------


def reference_ramp(p: Problem, n_iter: int, g: np.ndarray) -> np.ndarray:
    """Return the waveform of `admm_ramp` with the frame weights g, from the reference."""
    reference = Reference(128, 32, p.n_samples, p.transform.basis, weights=g)
    Y = kl(p)
    X = Y * np.exp(1j * pghi(Y, p, np.random.default_rng(0)))
    P, _ = reference.admm(p.mel * g, Y * g, X * g, ramp(n_iter), 2e-5)
    return reference.istft(P) * p.scale


def test_the_method_with_weights_is_the_reference() -> None:
    p = problem()
    method = make_method("admm_ramp", frame_weights=0.25, ramp=20)
    expected = reference_ramp(p, 20, np.asarray(p.weighted(0.25).frame_gains))
    assert error(run(p, method, 20), expected) < 1e-8


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", ITERATIVE)
def test_the_fast_engine_does_the_same(name: str, threads: int) -> None:
    method = make_method(name, frame_weights=0.25)
    slow = run(problem(), method)
    fast = run(problem(np.float32, engine="fast", threads=threads), method)
    assert error(fast, slow) < 1e-4
    assert error(run(problem(), make_method(name)), slow) > 1e-3  # as the weights count


@pytest.mark.parametrize("n", [200, 1000, 3003])
@pytest.mark.parametrize("layout", [{"pad_mode": "reflect"}, {"center": False}, {"power": 2.0}])
def test_the_fast_engine_at_all_edges(n: int, layout: dict[str, object]) -> None:
    transform = MelTransform.preset("paper", **{**LAYOUT, **layout})
    mel = transform(sound(n))
    method = make_method("admm", magnitude="kl", phase="pghi", frame_weights=0.5)
    slow = run(Problem(mel, transform, length=n, dtype=np.float64), method)
    fast = run(Problem(mel, transform, length=n, engine="fast"), method)
    assert error(fast, slow) < 1e-3


def test_the_target_to_stop_at_is_that_of_the_plain_mel() -> None:
    method = make_method("admm_ramp", frame_weights=0.5, ramp=100)
    ends = []
    for p in (problem(np.float32, engine="portable"), problem(np.float32, engine="fast")):
        stop = Stop(every=1, target=-30)
        (last,) = solve(method, p, checkpoints=[100], stop=stop)
        assert 20 * np.log10(p.misfit(last.signal)) < -30
        (before,) = solve(method, p, checkpoints=[last.iteration - 1])
        assert 20 * np.log10(p.misfit(before.signal)) >= -30
        ends.append(last.iteration)
    assert ends[0] == ends[1]
    assert 1 < ends[0] < 100


def test_weights_favour_what_is_quiet() -> None:
    """Each frame's own relative error, in the mean: of speech, which has pauses."""
    transform = MelTransform.preset("paper", **LAYOUT)
    x = load_dataset("demo_speech")[0].load(8000)
    mel = transform(x)
    wrong = []
    for a in (0, 0.25, 0.5):
        y = invert(mel, transform, method="admm_ramp", n_iter=30, length=len(x), frame_weights=a)
        size = np.linalg.norm(mel, axis=0) + 1e-6 * mel.max()
        wrong.append(np.mean(np.linalg.norm(transform(y) - mel, axis=0) / size))
    assert wrong[2] < 0.9 * wrong[1] < 0.9 * 0.9 * wrong[0]


def test_every_entry_takes_them() -> None:
    p = problem(np.float32)
    y = run(p, make_method("admm_ramp", frame_weights=0.25, ramp=10))
    settings = {"method": "admm_ramp", "frame_weights": 0.25, "n_iter": 10, "length": 3000}
    mel = p.transform(sound())
    np.testing.assert_array_equal(invert(mel, p.transform, **settings), y)
    np.testing.assert_array_equal(invert(mel, p.transform, **settings, segment=10), y)
    short = {"n_iter": 10, "length": 3000, "seed": 0, "segment": 0.3, "overlap": 0.14}
    cut, plain = (
        invert_segments(
            make_method("admm_ramp", ramp=10, frame_weights=a), mel, p.transform, **short
        )
        for a in (0.25, 0.0)
    )
    assert p.misfit(cut) < 2 * p.misfit(y)
    assert error(cut, plain) > 1e-3


def test_torch_does_the_same() -> None:
    pytest.importorskip("torch", reason="torch is not installed (pip install 'melexp[torch]')")
    pytest.importorskip("array_api_compat", reason="array-api-compat is not installed")
    from torch import from_numpy

    from melexp.batch import BatchProblem, invert_batch

    lengths, method = (3000, 1500), make_method("admm_ramp", frame_weights=0.25, ramp=10)
    problems = [problem(n=n) for n in lengths]
    alone = [run(p, method) for p in problems]
    together = invert_batch(
        [p.transform(sound(n)) for p, n in zip(problems, lengths, strict=True)],
        problems[0].transform,
        method="admm_ramp",
        n_iter=10,
        lengths=lengths,
        frame_weights=0.25,
        dtype=np.float64,
    )
    for one, other in zip(together, alone, strict=True):
        assert error(one, other) < 1e-9
    batch = BatchProblem(problems).weighted(0.25)
    assert batch.weighted(0.25) is batch
    assert batch.plain.frame_gains is None
    padded = np.zeros((2, 3000))
    for row, y in zip(padded, alone, strict=True):
        row[: len(y)] = y
    misfits = [p.misfit(y) for p, y in zip(problems, alone, strict=True)]
    np.testing.assert_allclose(batch.misfit(from_numpy(padded)), misfits, rtol=1e-9)
    with pytest.raises(ValueError, match="the same frame_weights"):
        BatchProblem([problems[0], problems[1].weighted(0.25)])


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="frame_weights must be from 0 to 1; got 2"):
        make_method("admm", frame_weights=2)
    with pytest.raises(ValueError, match="frame_weights must be from 0 to 1; got -3"):
        run(problem(), type(make_method("admm"))(frame_weights=-3.0))
    with pytest.raises(ValueError, match="librosa has no parameter frame_weights"):
        make_method("librosa", frame_weights=0.25)
    p, rng = problem(), np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"problem\.weighted"):
        make_method("admm", frame_weights=0.25).init(p, rng)
    with pytest.raises(ValueError, match=r"problem\.weighted"):
        make_method("admm").init(p.weighted(0.25), rng)
    with pytest.raises(ValueError, match=r"problem\.weighted"):
        make_method("admm", frame_weights=0.5).init(p.weighted(0.25), rng)


def test_weights_are_given_once() -> None:
    p, method = problem(), make_method("admm_ramp", frame_weights=0.25, ramp=10)
    w = p.weighted(0.25)
    assert w.weighted(0.25) is w
    np.testing.assert_array_equal(run(w, method), run(p, method))
    np.testing.assert_array_equal(run(w, make_method("admm")), run(p, make_method("admm")))
    np.testing.assert_array_equal(w.weighted(0.5).frame_gains, p.weighted(0.5).frame_gains)
