"""Initialisation: the magnitudes, the phases, and their properties."""

import heapq
import subprocess
import sys

import numpy as np
import pytest

from melexp.problem import Problem
from melexp.start import MAGNITUDES, PHASES, kl, nnls, pghi, pinv, spsi, start
from melexp.start._kernels import integrate
from melexp.start.magnitude import main_lobe
from melexp.start.pghi import gaussian_width
from melexp.start.phase import window_delay
from melexp.transforms.mel import MelTransform
from melexp.transforms.stft import analysis_window

LAYOUTS = {
    "default": {},
    "few wide filters": {"n_mels": 20, "fmax": 4000.0},
    "filters narrower than the main lobe": {"n_fft": 512, "hop_length": 128, "n_mels": 60},
    "htk": {"sr": 16000, "n_fft": 512, "hop_length": 128, "n_mels": 40, "htk": True},
    "short window": {"win_length": 512, "hop_length": 128},
    "from 300 Hz": {"fmin": 300.0, "n_mels": 40},
}


def sound(n: int = 12000, seed: int = 0) -> np.ndarray:
    """A gliding harmonic tone, clicks and some noise."""
    rng = np.random.default_rng(seed)
    time = np.arange(n) / 22050
    glide = 2 * np.pi * (150 * time + 60 * time**2)
    tone = sum(np.sin(k * glide) / k for k in range(1, 15))
    return (
        0.1 * tone * (1 + np.sin(25 * time))
        + (np.arange(n) % 5000 == 1234)
        + (0.003 * rng.standard_normal(n))
    )


def problem(y: np.ndarray | None = None, dtype: type = np.float64, **layout: object) -> Problem:
    y = sound() if y is None else y
    transform = MelTransform.preset("paper", **layout)  # type: ignore[arg-type]
    return Problem(transform(y.astype(np.float64)), transform, length=len(y), dtype=dtype)


def convolved(a: np.ndarray, lobe: np.ndarray) -> np.ndarray:
    """Every column with the lobe, one entry at a time."""
    n, out = len(lobe) // 2, np.zeros_like(a)
    for f in range(len(a)):
        for g in range(max(0, f - n), min(len(a), f + n + 1)):
            out[f] += lobe[n + f - g] * a[g]
    return out


def divergence(M: np.ndarray, model: np.ndarray) -> float:
    seen = M > 0
    return float(np.sum(M[seen] * np.log(M[seen] / model[seen])) - M.sum() + model.sum())


# --- Magnitudes -----------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_kl_is_the_dense_recursion(layout: dict[str, object]) -> None:
    p = problem(**layout)
    E, M, lobe = p.transform.basis, p.mel, main_lobe(p.stft.window)
    a = np.maximum(np.linalg.pinv(E) @ M, 1e-6 * M.max())
    total = convolved(E.T, lobe).sum(axis=1, keepdims=True)
    total[total == 0] = 1
    for omega in [2] * 14 + [1]:
        a *= (convolved(E.T @ (M / (E @ convolved(a, lobe))), lobe) / total) ** omega
    A = np.where(E.sum(axis=0)[:, None] > 0, convolved(a, lobe), 0)
    np.testing.assert_allclose(kl(p), A, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_kl_divergence_decreases(dtype: type) -> None:
    p = problem(dtype=dtype)
    # Where the bins above the highest filter have nothing to add, H a is the model itself.
    costs = [divergence(p.mel, p.filters.apply(kl(p, n_iter=n))) for n in range(0, 40, 3)]
    assert (np.diff(costs) < 0).all()
    assert costs[-1] < 0.01 * costs[0]


def test_kl_comes_as_far_as_twice_as_many_plain_updates() -> None:
    p = problem()
    E, M, lobe = p.transform.basis, p.mel, main_lobe(p.stft.window)
    a = np.maximum(np.linalg.pinv(E) @ M, 1e-6 * M.max())
    total = convolved(E.T, lobe).sum(axis=1, keepdims=True)
    total[total == 0] = 1
    for _ in range(28):
        a *= convolved(E.T @ (M / (E @ convolved(a, lobe))), lobe) / total
    plain = divergence(M, E @ convolved(a, lobe))
    assert divergence(M, E @ kl(p)) < 1.05 * plain


def test_kl_in_both_precisions() -> None:
    np.testing.assert_allclose(kl(problem(dtype=np.float32)), kl(problem()), rtol=1e-3, atol=1e-6)


def test_kl_of_silence_and_of_one_frame() -> None:
    silent = problem(np.zeros(5000))
    assert np.isfinite(kl(silent)).all()
    assert np.abs(kl(silent)).max() == 0
    assert kl(problem(sound(1024), center=False)).shape == (513, 1)


def test_filters_that_coincide_do_not_make_the_least_norm_huge() -> None:
    layout = MelTransform.preset("paper", n_fft=256, hop_length=64, n_mels=40, fmax=8000)
    assert np.linalg.matrix_rank(layout.basis, tol=1e-12) < 40
    mel = layout(sound())
    assert pinv(Problem(mel, layout, length=12000)).max() < 1e4  # the mel's maximum being 1


def test_kl_finds_a_line_where_the_least_norm_spreads_it() -> None:
    """A stationary sinusoid: the magnitude of the main lobe, not of the whole filter."""
    y = np.sin(2 * np.pi * 3000 / 22050 * np.arange(8000))
    p = problem(y)
    truth = np.abs(p.stft.forward(y))[:, 10] / p.scale
    error = {f: np.linalg.norm(f(p)[:, 10] - truth) / np.linalg.norm(truth) for f in (kl, pinv)}
    assert error[kl] < 0.8 * error[pinv]


def test_main_lobe() -> None:
    hann = analysis_window("hann", win_length=1024, n_fft=1024)
    np.testing.assert_allclose(main_lobe(hann), [0.25, 1, 0.25], atol=1e-12)
    half = analysis_window("hann", win_length=512, n_fft=1024)
    assert len(main_lobe(half)) == 7
    np.testing.assert_allclose(main_lobe(half)[[1, 3, 5]], [0.25, 1, 0.25], atol=1e-12)
    boxcar = analysis_window("boxcar", win_length=64, n_fft=64)
    np.testing.assert_array_equal(main_lobe(boxcar), [1.0])


def test_nnls_still_fits_best() -> None:
    p = problem()
    residual = {f: np.linalg.norm(p.mel - p.filters.apply(f(p))) for f in (pinv, nnls)}
    assert residual[nnls] < residual[pinv]


# --- Phase from the gradient ----------------------------------------------------------------


def slow_pghi(
    magnitude: np.ndarray, *, n_fft: int, hop: int, gamma: float, centre: float, tol: float
) -> tuple[np.ndarray, np.ndarray]:
    """Phase gradient heap integration, bin by bin on Python's heap (NaN: not reached)."""
    n_bins, n_frames = magnitude.shape
    L = np.log(np.maximum(magnitude, 1e-9 * magnitude.max()))
    d_f, d_t = np.gradient(L)
    d_f[0] = d_f[-1] = 0  # the spectrum of a real signal is symmetric about both ends
    to_next_frame = 2 * np.pi * hop * np.arange(n_bins)[:, None] / n_fft + hop * n_fft / gamma * d_f
    to_next_bin = -2 * np.pi * centre / n_fft - gamma / (hop * n_fft) * d_t
    angle = np.full(magnitude.shape, np.nan)
    waits = magnitude > tol * magnitude.max()
    islands = 0
    while waits.any():
        f, t = np.unravel_index(np.argmax(np.where(waits, magnitude, -1)), magnitude.shape)
        angle[f, t], waits[f, t] = 0, False
        islands += 1
        heap = [(-magnitude[f, t], f, t)]
        while heap:
            _, f, t = heapq.heappop(heap)
            for g, u in ((f, t + 1), (f, t - 1), (f + 1, t), (f - 1, t)):
                if 0 <= g < n_bins and 0 <= u < n_frames and waits[g, u]:
                    field = to_next_bin if u == t else to_next_frame
                    rise = (field[f, t] + field[g, u]) / 2 * (g - f + u - t)
                    angle[g, u], waits[g, u] = angle[f, t] + rise, False
                    heapq.heappush(heap, (-magnitude[g, u], g, u))
    return angle, np.array(islands)


def turned(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Distance of angles on the circle."""
    return np.abs(np.angle(np.exp(1j * (a - b))))


@pytest.mark.parametrize("seed", range(5))
def test_pghi_is_the_slow_integration_where_no_two_magnitudes_tie(seed: int) -> None:
    # 17 x 40 levels, each its own in the queue, in a random landscape; a third below tol.
    rng = np.random.default_rng(seed)
    levels = np.linspace(-20, 0, 17 * 40)
    magnitude = np.exp(rng.permutation(levels).reshape(17, 40))
    layout = MelTransform.preset("paper", sr=8000, n_fft=32, hop_length=8, n_mels=4, fmax=None)
    n = layout.n_samples(40)
    p = Problem(np.ones((4, 40)), layout, length=n, dtype=np.float64)
    gamma = gaussian_width(p.stft.window)
    expected, islands = slow_pghi(magnitude, n_fft=32, hop=8, gamma=gamma, centre=16, tol=1e-6)
    assert islands > 3
    angle = pghi(magnitude, p, rng, tol=1e-6)
    reached = np.isfinite(expected)
    np.testing.assert_array_equal(reached, magnitude > 1e-6 * magnitude.max())
    assert turned(angle, expected)[reached].max() < 1e-9


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pghi_of_a_sound_takes_the_paths_of_the_slow_one(dtype: type) -> None:
    p = problem(dtype=dtype)
    magnitude = np.abs(p.stft.forward(sound().astype(dtype)))
    gamma = gaussian_width(p.stft.window)
    expected, _ = slow_pghi(
        magnitude.astype(np.float64), n_fft=1024, hop=256, gamma=gamma, centre=512, tol=1e-6
    )
    angle = pghi(magnitude, p, np.random.default_rng(0), tol=1e-6)
    reached = np.isfinite(expected)
    # Near ties go another way round: it is the loud bins that must agree.
    weight = np.where(reached, magnitude, 0) ** 2
    same = turned(angle, np.where(reached, expected, 0)) < 1e-3
    assert np.sum(weight * same) > 0.95 * weight.sum()


def test_pghi_of_a_sinusoid_advances_by_its_frequency() -> None:
    for hz in (1000.0, 1007.3, 5000.0):
        y = np.sin(2 * np.pi * hz / 22050 * np.arange(20000))
        p = problem(y)
        magnitude = np.abs(p.stft.forward(y))
        angle = pghi(magnitude, p, np.random.default_rng(0))
        k = round(hz / 22050 * 1024)
        middle = slice(5, p.stft.n_frames - 5)
        steps = np.diff(angle[k - 1 : k + 2, middle], axis=1)
        # Hann is not the Gaussian: up to 0.05 of a bin, 0.08 of a radian a frame.
        assert turned(steps, 2 * np.pi * hz / 22050 * 256).max() < 0.08
        # All over the main lobe: the phase of a window centred on sample n_fft / 2.
        across = np.diff(angle[k - 1 : k + 2, middle], axis=0)
        assert turned(across, np.pi).max() < 1e-3


def test_pghi_of_an_impulse_is_a_linear_phase() -> None:
    at = 5000
    y = np.zeros(10000)
    y[at] = 1
    p = problem(y)
    X = p.stft.forward(y)
    angle = pghi(np.abs(X), p, np.random.default_rng(0))
    seen = np.flatnonzero(np.abs(X).max(axis=0) > 0.1)
    assert len(seen) >= 3
    for t in seen:
        # From bin to bin the phase falls by the impulse's place in the frame (padded by 512).
        place = 2 * np.pi * (at + 512 - 256 * t) / 1024
        assert turned(np.diff(angle[5:-5, t]), -place).max() < 0.15


def test_pghi_is_exact_for_a_gaussian_window() -> None:
    """The theory is; cutting the window off at four standard deviations costs the rest."""
    layout = {"window": ("gaussian", 128), "hop_length": 128}
    n = np.arange(20000)
    bend = 2e-5
    p = problem(**layout, y=np.cos(0.31 * n))
    k = round(0.31 / (2 * np.pi) * 1024)
    magnitude = np.abs(p.stft.forward(np.cos(0.31 * n)))
    angle = pghi(magnitude, p, np.random.default_rng(0))
    assert turned(np.diff(angle[k - 2 : k + 3, 8:-8], axis=1), 0.31 * 128).max() < 2e-3
    # A chirp: its own frequency in the middle of each frame, along the ridge.
    y = np.cos(0.3 * n + 0.5 * bend * n**2)
    p = problem(**layout, y=y)
    X = p.stft.forward(y)
    angle = pghi(np.abs(X), p, np.random.default_rng(0))
    error = np.angle(X * np.exp(-1j * angle))
    loud = np.abs(X) > 0.1 * np.abs(X).max()
    loud[:, :8] = loud[:, -8:] = False
    assert turned(error[loud], error[loud][0]).max() < 0.02


def consistency(magnitude: np.ndarray, angle: np.ndarray, p: Problem) -> float:
    """Return the errors of magnitude and phase against a signal, in dB."""
    X = magnitude * np.exp(1j * angle)
    off = np.abs(p.stft.project(X)) - magnitude
    return float(20 * np.log10(np.linalg.norm(off) / np.linalg.norm(magnitude)))


def test_pghi_of_a_chirp_is_its_phase() -> None:
    time = np.arange(30000) / 22050
    y = np.sin(2 * np.pi * (500 * time + 0.5 * 2000 * time**2))
    p = problem(y)
    X = p.stft.forward(y)
    angle = pghi(np.abs(X), p, np.random.default_rng(0))
    middle = slice(5, p.stft.n_frames - 5)
    # One number, the phase of the whole, is free.
    likeness = np.abs(np.vdot(X[:, middle], (np.abs(X) * np.exp(1j * angle))[:, middle]))
    assert likeness > 0.95 * np.linalg.norm(X[:, middle]) ** 2
    assert consistency(np.abs(X), angle, p) < -30


@pytest.mark.parametrize(
    "layout",
    [
        {},
        {"win_length": 800, "hop_length": 200},
        {"window": "hamming"},
        {"window": "blackman", "hop_length": 128},
        {"n_fft": 1000, "hop_length": 250},
        {"n_fft": 512, "hop_length": 64},
        {"center": False},
    ],
    ids=str,
)
def test_pghi_beats_spsi_and_both_beat_chance(layout: dict[str, object]) -> None:
    p = problem(**layout)
    rng = np.random.default_rng(0)
    magnitude = np.abs(p.stft.forward(sound()))
    db = {name: consistency(magnitude, PHASES[name](magnitude, p, rng), p) for name in PHASES}
    assert db["pghi"] < db["spsi"] - 2
    assert db["spsi"] < db["random"] - 2
    assert db["pghi"] < -15


def test_pghi_leaves_what_is_faint_to_chance() -> None:
    p = problem()
    magnitude = np.full((513, p.stft.n_frames), 1e-8)
    magnitude[100, 5:10] = 1
    a, b = (pghi(magnitude, p, np.random.default_rng(seed)) for seed in (1, 2))
    np.testing.assert_array_equal(a[100, 5:10], b[100, 5:10])
    differs = a != b
    assert differs.sum() > 0.99 * (differs.size - 5)  # some of the 256 are the same by chance
    np.testing.assert_array_equal(a, pghi(magnitude, p, np.random.default_rng(1)))
    assert np.isfinite(pghi(np.zeros_like(magnitude), p, np.random.default_rng(0))).all()


def test_the_queue_serves_one_bin_and_one_frame() -> None:
    for shape in ((1, 1), (1, 7), (5, 1)):
        log = np.linspace(-1, 0, shape[0] * shape[1]).reshape(shape)
        angle = np.full(shape, np.nan)
        integrate(log, -2.0, 1.0, 1.0, np.zeros(shape[0]), 0.0, True, angle)
        assert np.isfinite(angle).all()


def test_gaussian_width() -> None:
    n = np.arange(4096) - 2048
    for gamma in (1e4, 2e5):
        assert gaussian_width(np.exp(-np.pi * n**2 / gamma)) == pytest.approx(gamma, rel=1e-6)
    # The tables of the LTFAT phase retrieval toolbox, found on a grid of heights.
    for name, constant in {"hann": 0.25645, "hamming": 0.29794, "blackman": 0.17954}.items():
        window = analysis_window(name, win_length=1024, n_fft=1024)
        assert gaussian_width(window) == pytest.approx(constant * 1024**2, rel=2e-3)
        padded = analysis_window(name, win_length=1024, n_fft=2048)
        assert gaussian_width(padded) == pytest.approx(gaussian_width(window), rel=1e-6)


def test_window_delay() -> None:
    hann = analysis_window("hann", win_length=512, n_fft=1024)
    assert window_delay(hann) == pytest.approx(np.pi)


# --- Single pass ----------------------------------------------------------------------------


@pytest.mark.parametrize("hz", [440.0, 1000.0, 5017.0])
def test_spsi_of_a_sinusoid(hz: float) -> None:
    y = np.sin(2 * np.pi * hz / 22050 * np.arange(20000))
    p = problem(y)
    magnitude = np.abs(p.stft.forward(y))
    angle = spsi(magnitude, p, np.random.default_rng(0))
    k = round(hz / 22050 * 1024)
    middle = slice(3, p.stft.n_frames - 3)
    steps = np.diff(angle[k - 1 : k + 2, middle], axis=1)
    assert turned(steps, 2 * np.pi * hz / 22050 * 256).max() < 0.1
    assert turned(np.diff(angle[k - 1 : k + 2, middle], axis=0), np.pi).max() < 1e-9
    assert consistency(magnitude, angle, p) < -20


# --- By name --------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("magnitude", MAGNITUDES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_start_is_a_spectrogram(magnitude: str, phase: str, dtype: type) -> None:
    for power in (1.0, 2.0):
        p = problem(sound(4000), dtype=dtype, power=power)
        Y, X = start(p, np.random.default_rng(0), magnitude=magnitude, phase=phase)
        assert Y.dtype == dtype
        assert X.dtype == np.result_type(dtype, np.complex64)
        assert Y.shape == X.shape == (513, p.stft.n_frames)
        assert (Y >= 0).all()
        np.testing.assert_allclose(np.abs(X), Y, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("phase", ["random", "zero"])
def test_the_drawn_phases_keep_their_bits(phase: str) -> None:
    p = problem(dtype=np.float32)
    Y, X = start(p, np.random.default_rng(3), magnitude="pinv", phase=phase)
    rng = np.random.default_rng(3)
    angle = rng.uniform(-np.pi, np.pi, Y.shape) if phase == "random" else np.zeros(Y.shape)
    np.testing.assert_array_equal(X, Y * np.exp(1j * angle.astype(np.float32)))


def test_unknown_names_say_what_there_is() -> None:
    p = problem(sound(4000))
    with pytest.raises(ValueError, match="magnitude must be one of pinv, nnls, kl; got 'nmf'"):
        start(p, np.random.default_rng(0), magnitude="nmf", phase="zero")
    with pytest.raises(ValueError, match="phase must be one of random, zero, spsi, pghi; got"):
        start(p, np.random.default_rng(0), magnitude="kl", phase="vocoder")


def test_the_compiler_is_not_imported_before_it_is_used() -> None:
    code = "import sys, melexp.start, melexp.start.pghi; print('numba' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == "False"
