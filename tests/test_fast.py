"""The lane engine against a slow transcription of the equations in float64."""

import os
import subprocess
import sys

import librosa
import numpy as np
import pytest
from reference import Reference, error

from melexp.fast import LaneEngine
from melexp.fast.engine import _aligned
from melexp.fast.memory import Rows
from melexp.fast.ops import cubic_root
from melexp.fast.tracing import kernel
from melexp.methods import Stop, admm_gla, fgla, gla, ipalm
from melexp.methods._prox import magnitude_coefficients
from melexp.methods._splitting import MAGNITUDE
from melexp.transforms.filters import MelFilters


class Slow(Reference):
    """The oracle, with the arguments of the engine."""

    def __init__(self, n_fft=256, hop=64, n_samples=8000, n_mels=40, padding="reflect"):
        E = librosa.filters.mel(sr=22050, n_fft=n_fft, n_mels=n_mels, fmax=8000, dtype=np.float64)
        super().__init__(n_fft, hop, n_samples, E, padding)

    def engine(self, threads=1, power=1):
        n_mels, n_bins = self.E.shape
        first = np.argmax(self.E > 0, axis=0)
        band = np.minimum(first, max(0, n_mels - 2))
        weights = np.zeros((2, n_bins))
        weights[0] = self.E[band, np.arange(n_bins)]
        if n_mels > 1:
            weights[1] = self.E[band + 1, np.arange(n_bins)]
        return LaneEngine(
            n_fft=self.n_fft, hop_length=self.hop, window=self.window, pad_index=self.index,
            inv_norm=self.inv_norm, n_samples=self.n_samples, n_frames=self.n_frames, band=band,
            weights=weights, n_mels=n_mels, power=power,
            threads=threads,
        )  # fmt: skip

    def problem(self, seed=0):
        """A mel-spectrogram of noise with an envelope, and a start."""
        rng = np.random.default_rng(seed)
        x = rng.standard_normal(self.n_samples) * np.hanning(self.n_samples + 2)[1:-1]
        M = (self.E @ np.abs(self.stft(x))).astype(np.float32)
        A = np.maximum(0, np.linalg.pinv(self.E, rcond=1e-12) @ M).astype(np.float32)
        X = (A * np.exp(2j * np.pi * rng.random(A.shape))).astype(np.complex64)
        return M, A, X


def noise(*shape, seed=1):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    return x.astype(np.complex64)


METHODS = ("admm", "ipalm", "gla", "fgla", "admm_gla")
BINS = {
    "admm": MAGNITUDE,
    "ipalm": ipalm.BINS,
    "gla": gla.BINS,
    "fgla": fgla.BINS,
    "admm_gla": admm_gla.BINS,
}
RHO1, RHO2 = np.linspace(0.1, 0.3, 20), np.linspace(0.2, 0.1, 20)
INERTIA = np.arange(20) / np.arange(3, 23)
LAM, C = 5000.0, 2e-5


def start(method, A, X):
    """The complex, real and fixed arrays of a state."""
    zero = np.zeros_like(X)
    return {
        "admm": ([X], [A], []),
        "ipalm": ([X, zero], [A, np.zeros_like(A)], []),
        "gla": ([X], [], [A]),
        "fgla": ([X, zero], [], [A]),
        "admm_gla": ([X], [], [A]),
    }[method]


def coefficients(method, slow):
    """Those of the 20 iterations."""
    lipschitz = 1 + LAM * np.linalg.norm(slow.E, 2) ** 2
    return {
        "admm": [magnitude_coefficients(a, b) for a, b in zip(RHO1, RHO2, strict=True)],
        "ipalm": [(a, 1 / lipschitz, LAM / lipschitz) for a in INERTIA],
        "gla": [()] * 20,
        "fgla": [(0.99,)] * 20,
        "admm_gla": [(r / (1 + r), 1 / (1 + r)) for r in RHO1],
    }[method]


def run(method, slow, engine, M, state, which=slice(None), **stop):
    """Some of the 20 iterations; their number and the new state."""
    done, C_, R_ = engine.iterate(
        BINS[method],
        *state,
        coefficients(method, slow)[which],
        mel=M,
        factors=MelFilters(slow.E).solver(C).factors if method == "admm" else (),
        stop=Stop(**stop) if stop else None,
    )
    return done, (C_, R_, state[2])


def arrays(state):
    """The first complex and the first real array of a state."""
    return [x[0] for x in state[:2] if len(x)]


def projected(engine, X):
    """P_C(X), as one iteration of Griffin-Lim from |X|."""
    mel = np.zeros((engine.n_mels, engine.n_frames), np.float32)
    _, (Z,), _ = engine.iterate(gla.BINS, [X], [], [np.abs(X)], [()], mel=mel)
    return Z


def reference(method, slow, M, A, X, which=slice(None)):
    if method == "admm":
        return slow.admm(M, A, X, list(zip(RHO1, RHO2, strict=True))[which], C)
    if method == "ipalm":
        return slow.ipalm(M, A, X, INERTIA[which], LAM)
    if method == "admm_gla":
        return (slow.admm_gla(A, X, RHO1[which]),)
    return (slow.fgla(A, X, np.full(20, 0.99 if method == "fgla" else 0.0)[which]),)


@pytest.mark.parametrize("n_fft", [64, 128, 256, 512, 1024, 2048, 4096])
def test_transforms_of_one_frame(n_fft):
    slow = Slow(n_fft, n_fft // 2, n_fft, 1, padding="none")
    assert slow.n_frames == 1
    engine, X = slow.engine(), noise(n_fft // 2 + 1, 1)
    inner = slice(n_fft // 8, -n_fft // 8)  # away from where the window is zero
    x = np.fft.irfft(X[:, 0], n=n_fft)
    inverse = engine.signal(X)[inner] * slow.window[inner]
    assert error(inverse, x[inner]) < 1e-6
    assert error(projected(engine, X), slow.project(X)) < 1e-6


@pytest.mark.parametrize("padding", ["reflect", "zeros", "none"])
@pytest.mark.parametrize("overlap", [1, 2, 4, 8])
@pytest.mark.parametrize("n_samples", [33, 64, 65, 127, 500, 1001, 5003])
def test_projection(n_samples, overlap, padding):
    slow = Slow(64, 64 // overlap, n_samples, 10, padding)
    engine = slow.engine()
    X = noise(33, slow.n_frames)
    assert np.array_equal(engine.unpack(engine.pack(X)), X)
    x = engine.signal(X)
    assert x.shape == (n_samples,)
    assert x.dtype == np.float32
    assert error(x, slow.istft(X)) < 1e-6
    assert error(projected(engine, X), slow.project(X)) < 2e-6


@pytest.mark.filterwarnings("ignore:Empty filters")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("n_mels", "iterations", "bound"),
    # The phases of the smallest bins are chaotic: float32 differs from float64 ever faster.
    [(40, 20, 1e-4), (40, 5, 2e-5), (1, 5, 2e-5), (128, 5, 2e-5)],
)
def test_methods(method, n_mels, iterations, bound):
    slow = Slow(n_mels=n_mels)
    engine = slow.engine()
    M, A, X = slow.problem()
    part = slice(0, iterations)
    done, state = run(method, slow, engine, M, start(method, A, X), part)
    assert done == iterations
    results = reference(method, slow, M, A, X, part)
    for got, expected in zip(arrays(state), results, strict=True):
        assert error(got, expected) < bound


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("stop", [{}, {"every": 3, "tol": 1e-9}, {"every": 3, "target": 20.0}])
def test_looking_at_signals_changes_no_bit(method, threads, stop, monkeypatch):
    """However many iterations are between two looks; also where a stop ends them."""
    slow = Slow()
    M, A, X = slow.problem()
    runs = []
    for block in (20, 1, 7):
        monkeypatch.setattr("melexp.fast.engine._BLOCK", block * slow.n_frames * slow.n_fft)
        engine = slow.engine(threads)
        done, state = run(method, slow, engine, M, start(method, A, X), **stop)
        runs.append((done, [part.tobytes() for part in arrays(state)]))
    assert runs[0][0] == (3 if "target" in stop else 20)
    assert runs[1:] == runs[:1] * 2


def test_cubic_root_of_all_sizes():
    rng, n = np.random.default_rng(0), 3000
    p, q, b = (_aligned(n) for _ in range(3))
    p[:] = 10 ** rng.uniform(-9, 1, p.shape) * rng.choice([-1, 1], p.shape)
    q[:] = 10 ** rng.uniform(-14, 1, q.shape)
    p[0], q[0] = np.abs(p[0]), 0  # no positive root
    p[1], q[1] = -np.abs(p[1]), 0
    kernel(all_roots, Rows, Rows, Rows, int)(p, q, b, n)
    wide_p, wide_q = p.astype(np.float64), q.astype(np.float64)
    expected = np.sqrt(np.maximum(-wide_p, 0)) + np.cbrt(wide_q)
    for _ in range(80):  # Newton's steps from above
        expected = (2 * expected**3 + wide_q) / (3 * expected**2 + wide_p)
    expected[0] = 0
    np.testing.assert_allclose(b[1:], expected[1:], rtol=3e-7)
    assert b[0].max() < 1e-10


def all_roots(trace, p, q, b, n):
    for i in trace.range(n):
        b[i] = cubic_root(p[i], q[i])


def test_admm_at_full_size():
    slow = Slow(1024, 256, 30000, 80)
    engine = slow.engine()
    M, A, X = slow.problem()
    _, state = run("admm", slow, engine, M, start("admm", A, X))
    P, R = reference("admm", slow, M, A, X)
    got_P, got_R = arrays(state)
    assert error(got_P, P) < 1e-4
    assert error(got_R, R) < 1e-4
    assert error(engine.signal(got_P), slow.istft(P)) < 1e-4


@pytest.mark.parametrize("method", METHODS)
def test_continues_bit_for_bit(method):
    slow = Slow()
    M, A, X = slow.problem()
    results = []
    for parts in ([slice(0, 20)], [slice(0, 10), slice(10, 20)], [slice(0, 20)]):
        engine = slow.engine()
        state = start(method, A, X)
        for part in parts:
            _, state = run(method, slow, engine, M, state, part)
        results.append(arrays(state))
    for other, repeated in zip(results[1:], (False, True), strict=True):
        for a, b in zip(results[0], other, strict=True):
            if method == "admm_gla" and not repeated:
                # There the compiler may round a bin once less within a run than at its start, and
                # the phases of small bins are chaotic.
                assert error(np.abs(a), np.abs(b)) < 0.02
            else:
                assert np.array_equal(a, b)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n_samples", [100, 3000, 20000])
def test_threads(method, n_samples):
    slow = Slow(64, 16, n_samples, 10)
    M, A, X = slow.problem()
    results = []
    for threads in (1, 2, 3):
        engine = slow.engine(threads)
        part = slice(0, 5)
        done, state = run(method, slow, engine, M, start(method, A, X), part, every=2, tol=1e-9)
        assert done == 5
        results.append([*arrays(state), engine.signal(arrays(state)[0])])
        assert run(method, slow, engine, M, state, part, every=2, tol=1e9)[0] == 2
    for other in results[1:]:
        for got, expected in zip(other, results[0], strict=True):
            assert error(got, expected) < 1e-5


@pytest.mark.parametrize("method", METHODS)
def test_silence(method):
    slow = Slow(n_samples=3000)
    engine = slow.engine()
    M, A, X = slow.problem()
    for factor in (0, 1e-20):
        f = np.float32(factor)
        _, state = run(method, slow, engine, f * M, start(method, f * A, f * X))
        assert all(np.isfinite(x).all() for x in arrays(state))
        assert np.isfinite(engine.signal(arrays(state)[0])).all()
    if method == "admm":  # no sound is found where there is none
        _, state = run(method, slow, engine, 0 * M, start(method, 0 * A, 0 * X))
        assert not np.any(engine.signal(arrays(state)[0]))


@pytest.mark.parametrize("method", METHODS)
def test_stops_at_target(method):
    slow = Slow()
    engine = slow.engine()
    M, A, X = slow.problem()

    def misfit(iterations):
        _, state = run(method, slow, engine, M, start(method, A, X), slice(0, iterations))
        x = engine.signal(arrays(state)[0])
        return np.linalg.norm(M - slow.E @ np.abs(slow.stft(x))) / np.linalg.norm(M)

    values = [misfit(n) for n in (4, 8, 12, 16, 20)]
    target = (values[1] + values[2]) / 2
    expected = 4 * (1 + next(i for i, v in enumerate(values) if v < target))
    target = 20 * np.log10(target)
    state = start(method, A, X)
    assert run(method, slow, engine, M, state, every=4, target=target)[0] == expected
    assert run(method, slow, engine, M, state, every=3, tol=1e9)[0] == 3
    assert run(method, slow, engine, M, state, every=3, tol=1e-9)[0] == 20


@pytest.mark.parametrize("method", METHODS)
def test_stops_in_the_first_iteration_that_reaches_the_target(method):
    slow = Slow()
    engine = slow.engine()
    M, A, X = slow.problem()
    values = []
    for n in range(1, 9):
        _, state = run(method, slow, engine, M, start(method, A, X), slice(0, n))
        x = engine.signal(arrays(state)[0])
        values.append(np.linalg.norm(M - slow.E @ np.abs(slow.stft(x))) / np.linalg.norm(M))
    for n in range(1, 8):
        if values[n] < 0.999 * min(values[:n]):  # the first below a target between the two
            target = 20 * np.log10((values[n] + min(values[:n])) / 2)
            done, _ = run(method, slow, engine, M, start(method, A, X), every=1, target=target)
            assert done == n + 1


def test_unsupported():
    assert LaneEngine.unsupported(1024) is None
    assert LaneEngine.unsupported(17640) is None
    for n_fft in (1103, 1025, 2 * 11 * 32, 8):  # prime, odd, with a factor 11, short
        assert f"not {n_fft}" in LaneEngine.unsupported(n_fft)
    with pytest.raises(ValueError, match="product of 2, 3, 5 and 7, not 286"):
        Slow(286, 60).engine()
    with pytest.raises(ValueError, match="power must be 1 or 2"):
        Slow().engine(power=1.5)


@pytest.mark.long
def test_eight_lanes():
    """The width of processors without AVX-512 gives the same results."""
    tests = [f"{__file__}::test_methods[40-20-0.0001-admm]", f"{__file__}::test_projection"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    subprocess.run(command, env={**os.environ, "MELEXP_LANES": "8"}, check=True)


@pytest.mark.parametrize("every", [0, 4, 5, 40])
def test_coefficients_are_read_in_blocks(every, monkeypatch):
    """However few of them are in memory, no bit changes, also where a stop ends the run."""
    slow = Slow()
    M, A, X = slow.problem()
    runs = []
    for rows in (2**12, 1, 7):
        monkeypatch.setattr("melexp.fast.engine._ROWS", rows)
        stop = {"every": every, "tol": 1e-9} if every else {}
        done, state = run("ipalm", slow, slow.engine(), M, start("ipalm", A, X), **stop)
        runs.append((done, [part.tobytes() for part in arrays(state)]))
        if every == 5:
            stop["tol"] = 1e9
            assert run("ipalm", slow, slow.engine(), M, start("ipalm", A, X), **stop)[0] == 5
    assert runs[0][0] == 20
    assert runs[1:] == runs[:1] * 2
