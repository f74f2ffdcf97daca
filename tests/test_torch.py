"""The methods on torch tensors against the same methods on NumPy arrays."""

import dataclasses
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from names import ITERATIVE
from test_solve import transforms

from melexp import Compression, MelTransform, Problem, Stop, invert, make_method
from melexp.metrics import score
from melexp.transforms.stft import PAD_MODES, STFT, analysis_window

torch = pytest.importorskip("torch", reason="torch is not installed (pip install 'melexp[torch]')")
pytest.importorskip("array_api_compat", reason="array-api-compat is not installed")

from melexp.batch import BatchProblem, BatchSTFT, invert_batch  # noqa: E402

LENGTHS = (1500, 700, 1491, 2000)
no_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=no_cuda)]


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Threads that wait for each other on a busy machine take several times as long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def sounds(lengths: Sequence[int] = LENGTHS) -> list[np.ndarray]:
    """Gliding harmonic sounds with a little noise, of different pitch and level."""
    rng = np.random.default_rng(0)
    clips = []
    for k, n in enumerate(lengths, 1):
        t = np.arange(n) / 8000
        glide = 2 * np.pi * (100 + 30 * k) * t + 80 * np.pi * t**2
        sound = sum(np.sin(h * glide) / h for h in range(1, 12))
        clips.append((0.1 * k * sound + 0.001 * rng.standard_normal(n)).astype(np.float32))
    return clips


def error(a: Any, b: Any) -> float:
    a, b = (np.asarray(x.cpu() if isinstance(x, torch.Tensor) else x) for x in (a, b))
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def batch_of(
    transform: MelTransform, device: str, clips: Sequence[np.ndarray], dtype: str
) -> BatchProblem:
    return BatchProblem(
        [
            Problem(transform(x), transform, length=len(x), dtype=dtype, engine="portable")
            for x in clips
        ],
        device=device,
    )


# --- The STFT ---------------------------------------------------------------------------------


@pytest.mark.parametrize("pad_mode", PAD_MODES)
@pytest.mark.parametrize(
    ("n_fft", "hop", "win", "pad"),
    [
        (16, 4, 16, 8),
        (15, 4, 15, 7),
        (16, 5, 12, 8),
        (16, 7, 16, 0),
        (16, 4, 16, 6),
        (30, 11, 30, 15),
        (1, 1, 1, 0),
    ],
)
def test_the_projection_is_that_of_each_clip(
    device: str, n_fft: int, hop: int, win: int, pad: int, pad_mode: str
) -> None:
    window = analysis_window("hamming", win_length=win, n_fft=n_fft)
    stfts = [
        STFT(n, window=window, hop_length=hop, pad=pad, pad_mode=pad_mode, dtype=np.float64)
        for n in (40, 60, 33, 31, 59)
    ]
    batch = BatchSTFT(stfts, device)
    rng = np.random.default_rng(0)
    X = np.zeros((len(stfts), n_fft // 2 + 1, batch.n_frames), complex)
    for row, stft in zip(X, stfts, strict=True):
        real, imaginary = rng.standard_normal((2, len(row), stft.n_frames))
        row[:, : stft.n_frames] = real + 1j * imaginary
    tensor = torch.from_numpy(X).to(device)
    x, Z = batch.inverse(tensor).cpu().numpy(), batch.project(tensor).cpu().numpy()
    for k, stft in enumerate(stfts):
        own = X[k, :, : stft.n_frames]
        np.testing.assert_allclose(x[k, : stft.n_samples], stft.inverse(own), atol=1e-12)
        np.testing.assert_allclose(Z[k, :, : stft.n_frames], stft.project(own), atol=1e-12)
        assert not x[k, stft.n_samples :].any()
        assert not Z[k, :, stft.n_frames :].any()


def test_spectrograms_lie_frame_by_frame_in_memory(small: MelTransform, device: str) -> None:
    """As the FFT wants them: else every iteration copies them back and forth."""
    method, batch = make_method("admm"), batch_of(small, device, sounds(), "float32")
    state = method.advance(batch, batch.start(method, [0] * 4), 2)
    for array in (state.P, state.R, batch.mel):
        assert array.mT.is_contiguous()


# --- Equal to NumPy ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("name", "power"),
    [p for p in product(ITERATIVE, (1, 2)) if not (p[0].startswith("ipalm") and p[1] == 2)],
)
def test_twenty_iterations_are_those_of_numpy(
    small: MelTransform, device: str, name: str, power: int, dtype: str
) -> None:
    """Within what float32 leaves: a last bit of P alone changes what NumPy has after 20 iterations
    of `admm_gla` by 4e-3, of `admm_ramp` by 6e-4 (4e-2 for power mels), so these have six.

    For power mels it is 4e-4 in `admm` and 1e-4 in `fgla`: both float32 results must lie within
    4e-4 of the float64 one.
    """
    transform = dataclasses.replace(small, power=power)
    chaotic = name in ("admm_gla", "admm_ramp") and dtype == "float32"
    n_iter = 6 if chaotic else 20
    given = {"method": name, "n_iter": n_iter, "dtype": dtype, "phase": "random"}
    clips = sounds()
    mels = [transform(x) for x in clips]
    signals = invert_batch(mels, transform, lengths=LENGTHS, device=device, **given)
    for mel, y, n in zip(mels, signals, LENGTHS, strict=True):
        expected = invert(mel, transform, length=n, engine="portable", **given)
        assert y.dtype == expected.dtype
        bound = 1e-4 if dtype == "float32" else 1e-9
        if (name, power, dtype) in (("admm", 2, "float32"), ("fgla", 2, "float32")):
            double = given | {"dtype": "float64"}
            exact = invert(mel, transform, length=n, engine="portable", **double)
            assert max(error(y, exact), error(expected, exact)) < 4e-4
        else:
            assert error(y, expected) < bound


@pytest.mark.parametrize(
    "change",
    [
        {"n_fft": 150, "hop_length": 40},
        {"n_fft": 127, "hop_length": 31, "win_length": 100},
        {"center": False},
        {"center": False, "pad": 48, "pad_mode": "reflect"},
        {"pad_mode": "wrap"},
        {"n_mels": 1},
        {"n_mels": 40, "power": 2, "empty_filters": True},
        {"compression": Compression(unit="power_db", floor=1e-10, range=30)},
        {"compression": Compression(unit="ln", floor=1e-2), "power": 2},
    ],
    ids=str,
)
def test_any_transform(small: MelTransform, device: str, change: dict) -> None:
    transform = dataclasses.replace(small, **change)
    clips = sounds()
    mels = [transform(x) for x in clips]
    signals = invert_batch(
        mels, transform, n_iter=20, lengths=LENGTHS, device=device, dtype=np.float64
    )
    for mel, y, n in zip(mels, signals, LENGTHS, strict=True):
        assert error(y, invert(mel, transform, n_iter=20, length=n, dtype=np.float64)) < 1e-8


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["portable", "fast"])
def test_after_500_iterations_it_is_as_good(
    speech: np.ndarray, paper: MelTransform, device: str, engine: str
) -> None:
    """SCM within 0.02 dB."""
    x = speech[11025:]
    given = {"method": "admm", "n_iter": 500, "length": len(x)}
    ours = invert(paper(x), paper, device=device, **given)
    theirs = invert(paper(x), paper, engine=engine, **given)
    scm = [score("scm", x, y, transform=paper).value for y in (ours, theirs)]
    assert scm[0] == pytest.approx(scm[1], abs=0.02)
    assert scm[0] < -20


@pytest.mark.parametrize("name", ITERATIVE)
def test_a_batch_is_its_clips(small: MelTransform, device: str, name: str) -> None:
    clips = sounds()
    given = {"method": name, "n_iter": 20, "device": device, "dtype": np.float64}
    together = invert_batch(
        [small(x) for x in clips], small, lengths=LENGTHS, seeds=[4, 5, 6, 7], **given
    )
    for seed, x, y in zip([4, 5, 6, 7], clips, together, strict=True):
        (alone,) = invert_batch([small(x)], small, lengths=[len(x)], seeds=seed, **given)
        assert error(y, alone) < 1e-9


@settings(max_examples=25)
@given(
    transform=transforms(),
    lengths=st.lists(st.integers(1, 1200), min_size=1, max_size=3),
    method=st.sampled_from(["admm", "fgla"]),
)
def test_any_batch_of_any_transform(
    transform: MelTransform, lengths: list[int], method: str
) -> None:
    assume(transform.center or min(lengths) >= transform.n_fft)
    mels = [transform(x.astype(np.float64)) for x in sounds(lengths)]
    options = {"method": method, "n_iter": 8, "dtype": np.float64}
    signals = invert_batch(mels, transform, lengths=lengths, **options)
    for mel, y, n in zip(mels, signals, lengths, strict=True):
        expected = invert(mel, transform, length=n, **options)
        np.testing.assert_allclose(y, expected, atol=1e-9 * np.abs(expected).max())


def test_ten_and_ten_are_twenty(small: MelTransform, device: str) -> None:
    method, batch = make_method("ipalm"), batch_of(small, device, sounds(), "float32")
    start = batch.start(method, range(4))
    before = {k: v.clone() for k, v in vars(start).items() if k != "iteration"}
    half = method.advance(batch, start, 10)
    assert half.iteration == 10
    twice, once = method.advance(batch, half, 10), method.advance(batch, start, 20)
    assert torch.equal(twice.X, once.X)
    for key, value in before.items():
        assert torch.equal(getattr(start, key), value)  # a step leaves its state as it was


def test_the_misfit_is_that_of_each_problem(small: MelTransform, device: str) -> None:
    for power in (1, 2):
        transform = dataclasses.replace(small, power=power)
        batch = batch_of(transform, device, sounds(), "float64")
        signals = [0.5 * x.astype(np.float64) for x in sounds()]
        padded = np.stack([np.pad(y, (0, 2000 - len(y))) for y in signals])
        got = batch.misfit(torch.from_numpy(padded).to(device)).cpu().numpy()
        expected = [p.misfit(y) for p, y in zip(batch.problems, signals, strict=True)]
        np.testing.assert_allclose(got, expected, rtol=1e-9)


def test_silence_and_a_single_sample(small: MelTransform, device: str) -> None:
    lengths = [1, 2000, 700]
    mels = [small(np.ones(1, np.float32)), np.zeros((12, 63), np.float32), small(sounds()[1])]
    for name in ITERATIVE:
        one, silent, sound = invert_batch(
            mels, small, method=name, n_iter=30, lengths=lengths, device=device
        )
        assert np.isfinite(one).all()
        assert np.abs(silent).max() < 1e-6
        assert np.linalg.norm(sound) == pytest.approx(np.linalg.norm(sounds()[1]), rel=0.3)


def test_the_bench_has_its_rows(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from melexp.bench import batches

    monkeypatch.setattr(batches, "SECONDS", 1)
    rows = list(batches._on(device, "any", sizes=(1, 2), n=2, rounds=1))
    names = {r.name for r in rows}
    assert {"1 clips, admm", "2 clips, griffin-lim of torch.stft", "2 clips, fgla"} <= names
    assert all(r.value > 0 and r.ratio > 0 for r in rows)


# --- Where it runs ----------------------------------------------------------------------------


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("name", ITERATIVE)
def test_the_loop_copies_nothing_to_the_host(small: MelTransform, name: str, power: int) -> None:
    """On torch's device without data, which whatever looks at a value fails on."""
    if name.startswith("ipalm") and power == 2:
        pytest.skip("ipalm is for magnitude mels")
    compression = Compression(unit="ln", floor=0.1**power)
    transform = dataclasses.replace(small, power=power, compression=compression)
    method, batch = make_method(name), batch_of(transform, "meta", sounds(), "float32")
    assert batch.floored is not None
    state = method.advance(batch, batch.start(method, range(4)), 3)
    signals = method.signal(batch, state)
    assert signals.is_meta
    assert signals.shape == (4, 2000)
    with pytest.raises((RuntimeError, NotImplementedError)):
        signals.cpu()


@no_cuda
@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("name", ITERATIVE)
def test_the_loop_does_not_wait_for_the_device(
    small: MelTransform, name: str, power: int, synchronising_fails: None
) -> None:
    if name.startswith("ipalm") and power == 2:
        pytest.skip("ipalm is for magnitude mels")
    compression = Compression(unit="ln", floor=0.1**power)
    transform = dataclasses.replace(small, power=power, compression=compression)
    method, batch = make_method(name), batch_of(transform, "cuda", sounds(), "float32")
    state = method.advance(batch, batch.start(method, range(4)), 2)  # the solvers are made
    torch.cuda.set_sync_debug_mode("error")
    method.signal(batch, method.advance(batch, state, 5))


@pytest.fixture
def synchronising_fails() -> Iterator[None]:
    yield
    torch.cuda.set_sync_debug_mode("default")


def test_tensors_come_back_as_tensors(small: MelTransform, device: str) -> None:
    mels = small(np.stack([[s[:700] for s in sounds()]] * 2))
    tensors = torch.from_numpy(mels).to(device)
    y = invert(tensors, small, n_iter=3, length=700)
    assert y.device == tensors.device
    assert y.dtype == torch.float32
    assert y.shape == (2, 4, 700)
    arrays = invert(mels, small, n_iter=3, length=700, device=device)
    assert isinstance(arrays, np.ndarray)
    np.testing.assert_array_equal(arrays, y.cpu().numpy())
    listed = invert_batch(list(tensors[0]), small, n_iter=3, lengths=[700] * 4)
    assert torch.equal(torch.stack(listed), y[0])
    given = {"method": "admm", "n_iter": 3, "length": 700}
    exact = invert(tensors.double(), small, dtype=torch.float64, **given)
    assert exact.dtype == torch.float64
    assert error(invert(tensors, small, **given), exact) < 1e-4
    assert invert(tensors[0, 0], small, n_iter=0).shape == (small.n_samples(mels.shape[-1]),)


def test_gradients_are_not_followed(small: MelTransform, device: str) -> None:
    mel = torch.from_numpy(small(sounds()[0])).to(device).requires_grad_()
    assert not invert(mel, small, n_iter=2).requires_grad


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "librosa"}, "librosa runs in another library"),
        ({"lengths": [1500]}, "lengths must have one entry per clip, 4; got 1"),
        ({"seeds": [1, 2]}, "seeds must have one entry per clip, 4; got 2"),
        ({"n_iter": -1}, "n_iter must not be negative"),
        ({"device": "abacus"}, "device 'abacus' cannot be used"),
        ({"magnitude": "magic"}, "magnitude must be one of"),
        ({"speed": 3}, "has no parameter speed"),
    ],
)
def test_bad_options_are_refused(small: MelTransform, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        invert_batch([small(x) for x in sounds()], small, **{"n_iter": 1} | options)


def test_bad_batches_are_refused(small: MelTransform) -> None:
    with pytest.raises(ValueError, match="a batch needs at least one clip"):
        invert_batch([], small)
    with pytest.raises(ValueError, match="negative values"):
        invert_batch([small(sounds()[0]), torch.full((12, 9), -1.0)], small)
    other = dataclasses.replace(small, n_mels=13)
    problems = [Problem(t(sounds()[0]), t) for t in (small, other)]
    with pytest.raises(ValueError, match="one transform, one dtype"):
        BatchProblem(problems)


@pytest.mark.parametrize(
    "options", [{"engine": "fast"}, {"stop": Stop(tol=1e-3)}, {"segment": 20.0}]
)
def test_what_torch_does_not_have(small: MelTransform, options: dict) -> None:
    with pytest.raises(ValueError, match="stop and segment are not supported with torch"):
        invert(small(sounds()[0]), small, device="cpu", **options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_an_absent_device_is_named(small: MelTransform) -> None:
    with pytest.raises(ValueError, match=r"device 'cuda' cannot be used \(.*\); use 'cpu', or"):
        invert(small(sounds()[0]), small, device="cuda")
