"""The STFT, its least-squares inverse and the projection P_C, against loops and dense matrices."""

import re
from typing import NamedTuple

import librosa
import numpy as np
import pytest
import scipy.signal
from hypothesis import assume, given
from hypothesis import strategies as st

from melexp.transforms.mel import MelTransform
from melexp.transforms.stft import PAD_MODES, STFT, analysis_window


class Frames(NamedTuple):
    """How a signal is cut into frames."""

    n_samples: int
    n_fft: int
    hop: int
    win: int | None = None
    window: str = "hann"
    center: bool = True
    pad_mode: str = "constant"

    @property
    def w(self) -> np.ndarray:
        win = self.win or self.n_fft
        left = (self.n_fft - win) // 2
        w = scipy.signal.get_window(self.window, win)
        return np.pad(w, (left, self.n_fft - win - left))

    @property
    def pad(self) -> int:
        return self.n_fft // 2 if self.center else 0

    def stft(self, dtype: type = np.float64) -> STFT:
        return STFT(
            self.n_samples,
            window=self.w,
            hop_length=self.hop,
            pad=self.pad,
            pad_mode=self.pad_mode,
            dtype=dtype,
        )


CASES = [
    Frames(40, 16, 4),
    Frames(41, 16, 4, pad_mode="reflect"),
    Frames(40, 16, 4, pad_mode="edge"),
    Frames(39, 16, 4, pad_mode="symmetric"),
    Frames(40, 16, 4, pad_mode="wrap"),
    Frames(43, 16, 4, center=False),
    Frames(16, 16, 4, center=False),
    Frames(40, 15, 4),
    Frames(40, 15, 5, pad_mode="reflect"),
    Frames(40, 16, 5),
    Frames(40, 16, 7, pad_mode="edge"),
    Frames(47, 16, 6, center=False),
    Frames(40, 16, 4, win=10),
    Frames(40, 16, 3, win=7, pad_mode="reflect"),
    Frames(40, 17, 4, win=9, center=False),
    Frames(40, 16, 16, window="boxcar"),
    Frames(43, 16, 16, window="boxcar", pad_mode="reflect"),
    Frames(30, 16, 11, window="hamming"),
    Frames(40, 16, 4, window="blackman"),
    Frames(5, 16, 4),
    Frames(5, 16, 4, pad_mode="reflect"),
    Frames(3, 16, 4, pad_mode="wrap"),
    Frames(2, 16, 4, pad_mode="symmetric"),
    Frames(1, 16, 4),
    Frames(1, 15, 4, pad_mode="edge"),
    Frames(7, 2, 1),
    Frames(9, 1, 1),
]


def name(case: Frames) -> str:
    words = f"{case.n_samples}-{case.n_fft}-{case.hop}-{case.win}-{case.window}-{case.pad_mode}"
    return words if case.center else f"{words}-uncentred"


every_case = pytest.mark.parametrize("case", CASES, ids=name)


@st.composite
def frames(draw: st.DrawFn) -> Frames:
    n_fft = draw(st.integers(1, 24))
    win = draw(st.integers(1, n_fft))
    case = Frames(
        n_samples=draw(st.integers(1, 60)),
        n_fft=n_fft,
        hop=draw(st.integers(1, win)),
        win=win,
        window=draw(st.sampled_from(["hann", "hamming", "boxcar", "blackman"])),
        center=draw(st.booleans()),
        pad_mode=draw(st.sampled_from(PAD_MODES)),
    )
    assume(case.n_samples + 2 * case.pad >= n_fft)
    return case


def slow_stft(x: np.ndarray, case: Frames) -> np.ndarray:
    """A frame at a time, with numpy's padding and FFT."""
    if case.pad:
        x = np.pad(x, case.pad, mode=case.pad_mode)  # type: ignore[call-overload]
    starts = range(0, len(x) - case.n_fft + 1, case.hop)
    return np.stack([np.fft.rfft(case.w * x[s : s + case.n_fft]) for s in starts], axis=1)


def weights(n_fft: int) -> np.ndarray:
    """How often a bin of the one-sided spectrum occurs in the full one [shape=(n_bins, 1)]."""
    count = np.full(n_fft // 2 + 1, 2.0)
    count[0] = 1
    if n_fft % 2 == 0:
        count[-1] = 1
    return count[:, None]


def real_vector(X: np.ndarray, case: Frames) -> np.ndarray:
    """Real coordinates of a spectrogram in which the norm is that of the full spectrum."""
    X = np.sqrt(weights(case.n_fft)) * X
    return np.concatenate([X.real.ravel(), X.imag.ravel()])


def dense(case: Frames) -> np.ndarray:
    """The STFT as a matrix from samples to real coordinates, one impulse after the other."""
    impulses = np.eye(case.n_samples)
    return np.stack([real_vector(slow_stft(x, case), case) for x in impulses], axis=1)


def seen(case: Frames) -> np.ndarray:
    """Whether the frames see a sample: its column's energy against that of an inner sample."""
    energy = np.sum(dense(case) ** 2, axis=0) / case.n_fft
    return np.asarray(energy >= 0.02 * np.sum(case.w**2) / case.hop * (1 - 1e-12))


def pseudo_inverse(case: Frames) -> np.ndarray:
    """The least-squares inverse for signals that are zero where no frame sees them."""
    return np.linalg.pinv(dense(case) * seen(case), rcond=1e-12)


def inner(A: np.ndarray, B: np.ndarray, case: Frames) -> float:
    return float(real_vector(A, case) @ real_vector(B, case))


def noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def inconsistent(stft: STFT, seed: int = 0) -> np.ndarray:
    """Random complex numbers: a spectrogram of no signal, as the iterations have them.

    Real where a spectrum of a real signal is real: what is imaginary there is in no full spectrum.
    """
    shape = (stft.n_fft // 2 + 1, stft.n_frames)
    X = noise(shape, seed) + 1j * noise(shape, seed + 1)
    X[0] = X[0].real
    if stft.n_fft % 2 == 0:
        X[-1] = X[-1].real
    return X


# --- Forward --------------------------------------------------------------------------------


@every_case
def test_forward_is_the_loop_over_frames(case: Frames) -> None:
    x = noise((case.n_samples,))
    X = case.stft().forward(x)
    expected = slow_stft(x, case)
    assert X.shape == expected.shape == (case.n_fft // 2 + 1, case.stft().n_frames)
    np.testing.assert_allclose(X, expected, atol=1e-12)


@given(case=frames())
def test_forward_is_the_loop_over_frames_for_any_shape(case: Frames) -> None:
    x = noise((case.n_samples,))
    np.testing.assert_allclose(case.stft().forward(x), slow_stft(x, case), atol=1e-12)


@pytest.mark.parametrize("pad_mode", [mode for mode in PAD_MODES if mode != "wrap"])
@pytest.mark.parametrize(("n_fft", "hop", "win"), [(256, 64, None), (255, 50, 101), (64, 32, 64)])
def test_forward_is_librosas(n_fft: int, hop: int, win: int | None, pad_mode: str) -> None:
    case = Frames(1000, n_fft, hop, win, pad_mode=pad_mode)
    x = noise((case.n_samples,))
    expected = librosa.stft(
        x, n_fft=n_fft, hop_length=hop, win_length=win, window="hann", pad_mode=pad_mode
    )
    np.testing.assert_allclose(case.stft().forward(x), expected, atol=1e-10)


def test_forward_without_centring_is_librosas() -> None:
    case = Frames(1000, 256, 60, center=False)
    x = noise((case.n_samples,))
    expected = librosa.stft(x, n_fft=256, hop_length=60, center=False)
    np.testing.assert_allclose(case.stft().forward(x), expected, atol=1e-10)


@every_case
def test_pad_index_says_which_sample_a_padded_one_copies(case: Frames) -> None:
    stft = case.stft()
    x = noise((case.n_samples,))
    padded = np.pad(x, case.pad, mode=case.pad_mode) if case.pad else x  # type: ignore[call-overload]
    copied = np.where(stft.pad_index >= 0, x[stft.pad_index], 0)
    np.testing.assert_array_equal(copied, padded[: stft.n_padded])


# --- Inverse --------------------------------------------------------------------------------


@every_case
def test_inverse_is_the_least_squares_solution(case: Frames) -> None:
    stft = case.stft()
    X = inconsistent(stft)
    expected = pseudo_inverse(case) @ real_vector(X, case)
    np.testing.assert_allclose(stft.inverse(X), expected, atol=1e-9)


@given(case=frames())
def test_inverse_is_the_least_squares_solution_for_any_shape(case: Frames) -> None:
    stft = case.stft()
    X = inconsistent(stft)
    expected = pseudo_inverse(case) @ real_vector(X, case)
    np.testing.assert_allclose(stft.inverse(X), expected, atol=1e-8, rtol=1e-8)


@given(case=frames())
def test_samples_that_a_frame_sees_are_reconstructed_and_the_others_are_zero(case: Frames) -> None:
    x = noise((case.n_samples,))
    y = case.stft().inverse(case.stft().forward(x))
    np.testing.assert_allclose(y, np.where(seen(case), x, 0), atol=1e-9)


@pytest.mark.parametrize("n_fft", [1023, 1024])
@pytest.mark.parametrize("hop", [128, 256, 300, 380])
@pytest.mark.parametrize("pad_mode", PAD_MODES)
def test_perfect_reconstruction(n_fft: int, hop: int, pad_mode: str) -> None:
    transform = MelTransform.preset("paper", n_fft=n_fft, hop_length=hop, pad_mode=pad_mode)
    stft = transform.stft(5000, np.float64)
    x = noise((5000,))
    np.testing.assert_allclose(stft.inverse(stft.forward(x)), x, atol=1e-11)


# --- Projection -----------------------------------------------------------------------------


@every_case
def test_projection_is_the_dense_projector(case: Frames) -> None:
    stft = case.stft()
    X = inconsistent(stft)
    projected = dense(case) @ (pseudo_inverse(case) @ real_vector(X, case))
    np.testing.assert_allclose(real_vector(stft.project(X), case), projected, atol=1e-10)


@given(case=frames(), seed=st.integers(0, 100))
def test_projection_is_orthogonal_onto_the_consistent_spectrograms(case: Frames, seed: int) -> None:
    stft = case.stft()
    A, B = inconsistent(stft, seed), inconsistent(stft, seed + 1000)
    PA, PB = stft.project(A), stft.project(B)
    scale = inner(A, A, case) + inner(B, B, case)
    # Equal to STFT(iSTFT), idempotent, self-adjoint, and the identity on the image of the STFT.
    np.testing.assert_array_equal(PA, stft.forward(stft.inverse(A)))
    np.testing.assert_allclose(stft.project(PA), PA, atol=1e-10)
    assert inner(PA, B, case) == pytest.approx(inner(A, PB, case), abs=1e-10 * scale)
    C = stft.forward(seen(case) * noise((case.n_samples,), seed))
    np.testing.assert_allclose(stft.project(C), C, atol=1e-10)
    # Hence nothing consistent is nearer.
    nearer = inner(A - PA, A - PA, case)
    assert nearer <= inner(A - C, A - C, case) + 1e-10 * scale


@pytest.mark.parametrize("pad_mode", PAD_MODES)
def test_projection_on_the_papers_frames(pad_mode: str) -> None:
    case = Frames(3000, 1024, 256, pad_mode=pad_mode)
    stft = case.stft()
    A, B = inconsistent(stft, 0), inconsistent(stft, 2)
    PA, PB = stft.project(A), stft.project(B)
    np.testing.assert_allclose(stft.project(PA), PA, atol=1e-10)
    assert inner(PA, B, case) == pytest.approx(inner(A, PB, case), rel=1e-10)
    # Pythagoras: the error is orthogonal to what is kept.
    assert inner(A, A, case) == pytest.approx(
        inner(PA, PA, case) + inner(A - PA, A - PA, case), rel=1e-12
    )


# --- Precision, batches ---------------------------------------------------------------------


@every_case
def test_single_precision_is_double_precision_rounded(case: Frames) -> None:
    single, double = case.stft(np.float32), case.stft()
    x = noise((case.n_samples,))
    X = single.forward(x.astype(np.float32))
    assert X.dtype == np.complex64
    assert np.abs(X - double.forward(x)).max() < 1e-6 * np.abs(x).sum()
    A = inconsistent(double)
    assert single.inverse(A.astype(np.complex64)).dtype == np.float32
    difference = single.project(A.astype(np.complex64)) - double.project(A)
    assert np.linalg.norm(difference) < 1e-6 * np.linalg.norm(A)


@every_case
def test_a_batch_is_a_loop(case: Frames) -> None:
    stft = case.stft()
    x = noise((2, 3, case.n_samples))
    X = stft.forward(x)
    y = stft.inverse(X)
    for i in np.ndindex(2, 3):
        np.testing.assert_allclose(X[i], stft.forward(x[i]), atol=1e-14)
        np.testing.assert_allclose(y[i], stft.inverse(X[i]), atol=1e-14)


def test_arguments_are_left_as_they_were() -> None:
    stft = Frames(40, 16, 4, pad_mode="reflect").stft()
    x, X = noise((40,)), inconsistent(stft)
    x_before, X_before = x.copy(), X.copy()
    stft.forward(x)
    stft.project(X)
    np.testing.assert_array_equal(x, x_before)
    np.testing.assert_array_equal(X, X_before)


# --- Windows and refusals -------------------------------------------------------------------


@pytest.mark.parametrize(("win", "n_fft"), [(8, 8), (8, 13), (5, 8), (1, 4)])
def test_a_window_is_centred_in_the_frame_as_librosa_does(win: int, n_fft: int) -> None:
    expected = librosa.util.pad_center(librosa.filters.get_window("hann", win), size=n_fft)
    w = analysis_window("hann", win_length=win, n_fft=n_fft)
    np.testing.assert_allclose(w, expected, atol=1e-15)
    np.testing.assert_array_equal(analysis_window(list(w), win_length=n_fft, n_fft=n_fft), w)


def test_an_array_of_another_length_is_no_window() -> None:
    with pytest.raises(ValueError, match=r"window has shape \(5,\); give an array of win_length"):
        analysis_window(np.ones(5), win_length=8, n_fft=8)


@pytest.mark.parametrize("window", ["nosuch", ("nosuch", 1.0), None])
def test_an_unknown_window_is_named(window: object) -> None:
    with pytest.raises(ValueError, match=re.escape(f"window {window!r} is not known to")):
        analysis_window(window, win_length=8, n_fft=8)  # type: ignore[arg-type]


def test_a_signal_shorter_than_an_uncentred_frame_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"15 samples is shorter than one frame of n_fft = 16.*cent"
    ):
        Frames(15, 16, 4, center=False).stft()
    with pytest.raises(ValueError, match="0 samples"):
        Frames(0, 16, 4).stft()


def test_an_unknown_padding_is_refused() -> None:
    with pytest.raises(ValueError, match=r"pad_mode must be one of constant.*'linear_ramp'"):
        Frames(40, 16, 4, pad_mode="linear_ramp").stft()
