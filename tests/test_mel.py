"""The mel front end: librosa's numbers, refused arguments, the filter bank as an operator."""

import re
import warnings
from typing import Any

import librosa
import numpy as np
import pytest
import scipy.signal
from hypothesis import assume, given
from hypothesis import strategies as st

from melexp.transforms.filters import MelFilters, TridiagonalSolver
from melexp.transforms.mel import MelTransform


def noise(shape: tuple[int, ...], dtype: type = np.float64) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)


def librosas(y: np.ndarray, **arguments: Any) -> np.ndarray:
    """librosa's mel-spectrogram; its defaults, where they differ, are those of `MelTransform`."""
    given = {"sr": 22050, "n_fft": 1024, "hop_length": 256, "n_mels": 80, "fmax": 8000.0}
    given |= {"power": 1.0, **arguments}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # "n_fft is too large for input signal"
        return librosa.feature.melspectrogram(y=y, **given)


def relative(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a.astype(np.float64) - b) / np.linalg.norm(b))


# --- librosa's numbers ----------------------------------------------------------------------

GRID: list[dict[str, Any]] = [
    {},
    *({"sr": sr, "fmax": None} for sr in (8000, 16000, 44100)),
    *({"n_fft": n_fft, "hop_length": n_fft // 4} for n_fft in (512, 1023, 1025, 2048)),
    *({"hop_length": hop} for hop in (1, 100, 256, 511, 512)),
    *({"win_length": win} for win in (512, 513, 800)),
    *({"window": w} for w in ("hamming", "blackman", "boxcar", ("kaiser", 8.0), 4.0)),
    {"window": np.hanning(1024) + 0.1},
    {"window": "boxcar", "hop_length": 1024},
    *({"pad_mode": mode} for mode in ("reflect", "edge", "symmetric")),
    *({"center": False, "hop_length": hop} for hop in (256, 300)),
    *({"n_mels": n} for n in (1, 2, 3, 20, 128)),
    {"fmin": 80.0, "fmax": 7600.0},
    {"fmin": 1000.0, "fmax": 1500.0, "n_mels": 5},
    {"htk": True, "n_mels": 40},
    *({"norm": norm} for norm in (None, 1, 2.0, np.inf)),
    {"power": 2.0},
    {"power": 2.0, "htk": True, "norm": None, "n_mels": 40, "center": False, "n_fft": 512},
]


@pytest.mark.parametrize("arguments", GRID, ids=str)
def test_it_is_librosas_mel_spectrogram(arguments: dict[str, Any]) -> None:
    y = noise((5000,), np.float32)
    mel = MelTransform.preset("paper", **arguments)(y)
    expected = librosas(y, **arguments)
    assert mel.shape == expected.shape
    assert mel.dtype == np.float32
    assert relative(mel, expected) < 1e-5


@st.composite
def arguments(draw: st.DrawFn) -> dict[str, Any]:
    n_fft = draw(st.sampled_from([255, 256, 400, 512, 1024]))
    win = draw(st.none() | st.integers(n_fft // 2, n_fft))
    sr = draw(st.sampled_from([8000, 16000, 22050]))
    fmin = draw(st.floats(0, sr / 8))
    return {
        "sr": sr,
        "n_fft": n_fft,
        "win_length": win,
        "hop_length": draw(st.integers(16, (win or n_fft) // 2)),
        "window": draw(st.sampled_from(["hann", "hamming", "blackman", ("kaiser", 6.0)])),
        "center": draw(st.booleans()),
        "pad_mode": draw(st.sampled_from(["constant", "reflect", "edge", "symmetric"])),
        "n_mels": draw(st.integers(1, 128)),
        "fmin": fmin,
        "fmax": draw(st.none() | st.floats(fmin + sr / 8, sr / 2)),
        "htk": draw(st.booleans()),
        "norm": draw(st.sampled_from(["slaney", None, 1, 2])),
        "power": draw(st.sampled_from([1.0, 2.0])),
    }


@given(arguments=arguments(), n_samples=st.integers(1, 4000))
def test_it_is_librosas_mel_spectrogram_for_any_arguments(
    arguments: dict[str, Any], n_samples: int
) -> None:
    assume(arguments["center"] or n_samples >= arguments["n_fft"])
    if (librosa_basis(arguments).max(axis=1) == 0).any():  # what may be wrong with these arguments
        with pytest.raises(ValueError, match="of the mel filters empty"):
            MelTransform.preset("paper", **arguments)
        return
    transform = MelTransform.preset("paper", **arguments)
    y = noise((n_samples,))
    expected = librosas(y, **arguments)
    mel = transform(y)
    assert mel.shape == expected.shape
    if arguments["center"]:
        hop, odd = arguments["hop_length"], arguments["n_fft"] % 2
        assert mel.shape[1] == 1 + (n_samples - odd) // hop
    # librosa's filters are float32 whatever the precision of the waveform.
    assert relative(mel, expected) < 1e-6


def librosa_basis(arguments: dict[str, Any]) -> np.ndarray:
    names = ("sr", "n_fft", "n_mels", "fmin", "fmax", "htk", "norm")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return librosa.filters.mel(**{name: arguments[name] for name in names})


def test_the_number_of_frames(paper: MelTransform) -> None:
    for n_samples in (1, 255, 256, 257, 22050):
        assert paper(noise((n_samples,))).shape == (80, 1 + n_samples // 256)


@given(
    n_fft=st.integers(1, 40),
    n_frames=st.integers(1, 30),
    center=st.booleans(),
    hop=st.integers(1, 40),
)
def test_n_samples_is_the_shortest_length_with_that_many_frames(
    n_fft: int, n_frames: int, center: bool, hop: int
) -> None:
    assume(hop <= n_fft)
    transform = object.__new__(MelTransform)  # as if any window and any filters would do
    for name, value in {"n_fft": n_fft, "hop_length": hop, "center": center}.items():
        object.__setattr__(transform, name, value)
    pad = n_fft // 2 if center else 0

    def frames(n_samples: int) -> int:
        return 1 + (n_samples + 2 * pad - n_fft) // hop if n_samples + 2 * pad >= n_fft else 0

    assume(n_frames >= frames(1))  # none has fewer: two, where hop is 1 and even frames are centred
    n_samples = transform.n_samples(n_frames)
    assert frames(n_samples) == n_frames
    assert n_samples == 1 or frames(n_samples - 1) < n_frames


def test_a_batch_is_a_loop(small: MelTransform) -> None:
    y = noise((2, 3, 700), np.float32)
    mel = small(y)
    assert mel.shape == (2, 3, 12, 22)
    for i in np.ndindex(2, 3):
        np.testing.assert_array_equal(mel[i], small(y[i]))


def test_the_precision_is_that_of_the_waveform(small: MelTransform) -> None:
    y = noise((700,))
    exact = small(y)
    assert exact.dtype == np.float64
    assert small(y.astype(np.float32)).dtype == np.float32
    assert small(y.astype(np.float16)).dtype == np.float32
    assert 1e-9 < relative(small(y.astype(np.float32)), exact) < 1e-6


def test_a_window_with_a_parameter_may_be_a_list_as_yaml_has_it() -> None:
    y = noise((3000,))
    listed, named = (
        MelTransform.preset("paper", window=["kaiser", 8.0]),
        MelTransform.preset("paper", window=("kaiser", 8.0)),
    )
    np.testing.assert_array_equal(listed(y), named(y))
    assert hash(listed) == hash(named)
    given_as_samples = MelTransform.preset(
        "paper", window=scipy.signal.get_window(("kaiser", 8.0), 1024)
    )
    np.testing.assert_array_equal(given_as_samples(y), named(y))


# --- Refused arguments ----------------------------------------------------------------------

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"sr": 0}, "sr must be a number above zero; got 0"),
    ({"sr": -16000}, "sr must be a number above zero; got -16000"),
    ({"sr": np.nan}, "sr must be a number above zero; got nan"),
    ({"sr": np.inf}, "sr must be a number above zero; got inf"),
    ({"n_fft": 0}, "n_fft must be a whole number above zero; got 0"),
    ({"n_fft": 1024.0}, "n_fft must be a whole number above zero; got 1024.0"),
    ({"n_fft": "1024"}, "n_fft must be a whole number above zero; got '1024'"),
    ({"hop_length": 0}, "hop_length must be a whole number above zero; got 0"),
    ({"hop_length": 25.5}, "hop_length must be a whole number above zero; got 25.5"),
    ({"hop_length": None}, "hop_length must be a whole number above zero; got None"),
    ({"n_mels": 0}, "n_mels must be a whole number above zero; got 0"),
    ({"n_mels": True}, "n_mels must be a whole number above zero; got True"),
    ({"win_length": 0}, "win_length must be a whole number in 1 to n_fft = 1024; got 0"),
    ({"win_length": 1025}, "win_length must be a whole number in 1 to n_fft = 1024; got 1025"),
    ({"win_length": 512.5}, "win_length must be a whole number in 1 to n_fft = 1024; got 512.5"),
    ({"hop_length": 1025}, "hop_length = 1025 is larger than the window (1024 samples)"),
    ({"hop_length": 1025}, "use a hop_length of at most 512"),
    ({"hop_length": 401, "win_length": 400}, "larger than the window (400 samples)"),
    (
        {"hop_length": 1024},
        "window 'hann' with hop_length = 1024 leaves samples that hardly any frame sees",
    ),
    ({"hop_length": 1024}, "use a hop_length of at most 512"),
    ({"hop_length": 400, "win_length": 400}, "use a hop_length of at most 200"),
    ({"window": "nosuch"}, "window 'nosuch' is not known to"),
    ({"window": np.ones(5)}, "window has shape (5,); give an array of win_length = 1024 samples"),
    ({"window": np.zeros(1024)}, "leaves samples that hardly any frame sees"),
    ({"pad_mode": "mean"}, "pad_mode must be one of constant, reflect, edge, symmetric, wrap"),
    ({"power": 0}, "power must be a number above zero, such as 1 (magnitude) or 2 (power); got 0"),
    (
        {"power": "2"},
        "power must be a number above zero, such as 1 (magnitude) or 2 (power); got '2'",
    ),
    ({"center": "no"}, "center must be true or false; got 'no'"),
    ({"compression": "db"}, "the unit of the compression must be one of ln, log10"),
    ({"compression": 3}, "compression must be a Compression, its arguments or None; got 3"),
    ({"preemphasis": 1.0}, "preemphasis must be from 0 to below 1; got 1.0"),
    ({"mel_triangles": True}, "mel_triangles needs norm=None; got norm='slaney'"),
    ({"fmin": -1.0}, "fmin = -1.0 and fmax = 8000.0 must satisfy"),
    ({"fmin": 8000.0}, "fmin = 8000.0 and fmax = 8000.0 must satisfy"),
    ({"fmax": 12000.0}, "0 <= fmin < fmax <= sr / 2 = 11025.0"),
    ({"fmin": np.nan}, "fmin = nan"),
    ({"norm": "slany"}, "norm must be 'slaney', None or a number above zero; got 'slany'"),
    ({"norm": -1}, "norm must be 'slaney', None or a number above zero; got -1"),
    ({"n_mels": 500}, "n_mels = 500 leaves 94 of the mel filters empty (first: 0)"),
    ({"n_mels": 200, "n_fft": 512}, "use fewer mels, a larger n_fft or a wider fmin to fmax"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED, ids=str)
def test_arguments_without_a_transform_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        MelTransform.preset("paper", **arguments)
    assert any(name in str(error.value) for name in arguments)


def test_an_unknown_argument_is_refused() -> None:
    with pytest.raises(TypeError, match="hop_size"):
        MelTransform(hop_size=256)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (
            np.zeros(5000, np.int16),
            "y must be a floating-point waveform (..., n_samples); got int16",
        ),
        (np.zeros(5000, complex), "got complex128"),
        (np.float32(1), "of shape ()"),
        (np.full(5000, np.nan), "y has samples that are NaN or infinite"),
        (np.array([0.0, np.inf]), "y has samples that are NaN or infinite"),
        (np.zeros(0), "a signal of 0 samples"),
    ],
)
def test_what_is_no_waveform_is_refused(paper: MelTransform, y: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        paper(y)


def test_a_clip_shorter_than_an_uncentred_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="1000 samples is shorter than one frame of n_fft = 1024"):
        MelTransform.preset("paper", center=False)(np.zeros(1000))


# --- The filter bank as an operator ---------------------------------------------------------

BANKS: list[dict[str, Any]] = [
    {},
    *({"n_mels": n} for n in (1, 2, 3, 128)),
    {"htk": True, "n_mels": 60},
    {"norm": None},
    {"norm": 1, "fmin": 300.0, "fmax": 5000.0},
    {"n_fft": 1023, "hop_length": 200, "n_mels": 40},
    {"n_fft": 64, "hop_length": 16, "n_mels": 5, "sr": 8000, "fmax": None},
]
every_bank = pytest.mark.parametrize("arguments", BANKS, ids=str)


@every_bank
def test_apply_and_adjoint_are_the_dense_products(arguments: dict[str, Any]) -> None:
    transform = MelTransform.preset("paper", **arguments)
    E = transform.basis
    Y, M = noise((E.shape[1], 7)), noise((E.shape[0], 7))
    exact = transform.filters(np.float64)
    np.testing.assert_allclose(exact.apply(Y), E @ Y, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(exact.adjoint(M), E.T @ M, rtol=1e-12, atol=1e-14)
    assert np.vdot(exact.apply(Y), M) == pytest.approx(np.vdot(Y, exact.adjoint(M)), rel=1e-12)

    single = transform.filters(np.float32)
    assert single.apply(Y.astype(np.float32)).dtype == np.float32
    assert relative(single.apply(Y.astype(np.float32)), E @ Y) < 1e-6
    assert relative(single.adjoint(M.astype(np.float32)), E.T @ M) < 1e-6


@every_bank
def test_the_two_diagonals_are_the_bank(arguments: dict[str, Any]) -> None:
    transform = MelTransform.preset("paper", **arguments)
    filters = transform.filters(np.float64)
    rebuilt = np.zeros((filters.n_mels + 1, filters.n_bins))
    bins = np.arange(filters.n_bins)
    rebuilt[filters.band, bins] += filters.weights[0]
    rebuilt[filters.band + 1, bins] += filters.weights[1]
    np.testing.assert_array_equal(rebuilt[:-1], transform.basis)
    assert not rebuilt[-1].any()


@every_bank
def test_norm_squared_is_the_largest_eigenvalue(arguments: dict[str, Any]) -> None:
    transform = MelTransform.preset("paper", **arguments)
    expected = np.linalg.norm(transform.basis, 2) ** 2
    assert transform.filters().norm_squared == pytest.approx(expected, rel=1e-10)


@every_bank
@pytest.mark.parametrize("ridge", [1e-5, 2e-5, 1.0])
def test_the_mel_system_is_solved(arguments: dict[str, Any], ridge: float) -> None:
    transform = MelTransform.preset("paper", **arguments)
    E, b = transform.basis, noise((transform.n_mels, 7))
    expected = np.linalg.solve(E @ E.T + ridge * np.eye(len(E)), b)
    np.testing.assert_allclose(
        transform.filters(np.float64).solver(ridge).solve(b), expected, rtol=1e-8, atol=1e-12
    )
    single = transform.filters(np.float32).solver(ridge).solve(b.astype(np.float32))
    assert single.dtype == np.float32
    assert relative(single, expected) < 1e-4


def test_filters_that_are_no_neighbours_are_refused() -> None:
    with pytest.raises(ValueError, match="in more than two filters or in filters that are not adj"):
        MelFilters(np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.0]]))
    with pytest.raises(ValueError, match="in more than two filters or in filters that are not adj"):
        MelFilters(np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 0.0]]))


@given(n=st.integers(1, 128), columns=st.integers(1, 5), seed=st.integers(0, 1000))
def test_tridiagonal_systems_are_solved(n: int, columns: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    beside = rng.uniform(-1, 1, n - 1)
    reach = np.abs(np.append(beside, 0)) + np.abs(np.append(0, beside))
    diagonal = reach + rng.uniform(0.01, 2, n)
    A = np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1)
    b = rng.standard_normal((n, columns))
    before = b.copy()
    x = TridiagonalSolver(diagonal, beside, dtype=np.float64).solve(b)
    np.testing.assert_allclose(x, np.linalg.solve(A, b), rtol=1e-8, atol=1e-10)
    np.testing.assert_array_equal(b, before)


def test_a_singular_system_is_refused() -> None:
    with pytest.raises(ValueError, match="singular; use a ridge above zero"):
        TridiagonalSolver(np.ones(2), np.ones(1), dtype=np.float64)
