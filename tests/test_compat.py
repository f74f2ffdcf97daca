"""The drop-in functions: librosa's signature, another engine."""

import inspect
import re
from pathlib import Path

import librosa
import numpy as np
import pytest

import melexp
from melexp.metrics import score
from melexp.transforms.mel import MelTransform


def test_the_arguments_are_librosas() -> None:
    ours = inspect.signature(melexp.mel_to_audio).parameters
    theirs = inspect.signature(librosa.feature.inverse.mel_to_audio).parameters
    for name, parameter in theirs.items():
        assert ours[name].kind == parameter.kind
        if name not in ("dtype", "n_iter"):
            assert ours[name].default == parameter.default


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"n_fft": 1024, "hop_length": 256, "fmax": 8000, "n_mels": 80},
        {"n_fft": 1024, "win_length": 800, "center": False, "htk": True, "norm": None},
        {"power": 1.0, "pad_mode": "reflect", "window": "hamming"},
    ],
)
def test_one_import_changes(speech: np.ndarray, arguments: dict[str, object]) -> None:
    M = librosa.feature.melspectrogram(y=speech, **{"hop_length": 512, **arguments})
    both = {"length": len(speech), "hop_length": 512, **arguments}
    both.pop("n_mels", None)
    y = melexp.mel_to_audio(M, **both)
    z = librosa.feature.inverse.mel_to_audio(M, **both)
    assert y.shape == z.shape
    assert y.dtype == np.float32
    transform = MelTransform(
        **{
            "n_fft": 2048,
            "n_mels": 128,
            "fmax": None,
            "power": 2.0,
            "hop_length": 512,
            **arguments,
        },
        empty_filters=True,
    )
    ours, theirs = (score("scm", speech, each, transform=transform).value for each in (y, z))
    assert ours < theirs - 5


def test_lengths(speech: np.ndarray) -> None:
    M = librosa.feature.melspectrogram(y=speech)
    assert melexp.mel_to_audio(M, n_iter=2).shape == (512 * (M.shape[1] - 1),)
    for length in (len(speech), 10000, 40000):
        assert melexp.mel_to_audio(M, n_iter=2, length=length).shape == (length,)


def test_batches(speech: np.ndarray) -> None:
    y = np.stack([speech, speech[::-1]])[:, None]
    M = librosa.feature.melspectrogram(y=y)
    z = melexp.mel_to_audio(M, n_iter=3, length=len(speech))
    assert z.shape == y.shape
    np.testing.assert_array_equal(
        z[1, 0], melexp.mel_to_audio(M[1, 0], n_iter=3, length=len(speech))
    )


def test_what_is_refused(speech: np.ndarray) -> None:
    M = librosa.feature.melspectrogram(y=speech)
    with pytest.raises(TypeError, match="momentum"):
        melexp.mel_to_audio(M, momentum=0.99)
    with pytest.raises(ValueError, match="n_mels"):
        melexp.mel_to_audio(M, n_mels=80)
    with pytest.raises(ValueError, match="negative"):
        melexp.mel_to_audio(librosa.power_to_db(M))
    with pytest.raises(ValueError, match="shape"):
        melexp.mel_to_audio(M[0])


# --- The rest of the inverse chapter ------------------------------------------------------------

INVERSE = librosa.feature.inverse


@pytest.mark.parametrize("name", ["griffinlim", "mel_to_stft", "mfcc_to_mel", "mfcc_to_audio"])
def test_the_signatures_are_librosas(name: str) -> None:
    ours = inspect.signature(getattr(melexp, name)).parameters
    theirs = inspect.signature(getattr(librosa if name == "griffinlim" else INVERSE, name))
    for argument, parameter in theirs.parameters.items():
        assert ours[argument].kind == parameter.kind
        if argument not in ("rng", "random_state"):  # one argument, renamed in librosa 1
            assert ours[argument].default == parameter.default


def convergence(S: np.ndarray, y: np.ndarray, **options: object) -> float:
    made = np.abs(librosa.stft(y, **options))[..., : S.shape[-1]]
    return float(20 * np.log10(np.linalg.norm(made - S[..., : made.shape[-1]]) / np.linalg.norm(S)))


CASES = [
    {},
    {"hop_length": 1024},
    {"win_length": 1024},
    {"win_length": 1024, "hop_length": 1024, "window": "boxcar"},
    {"n_fft": 2049},
    {"n_fft": 2049, "win_length": 1025, "hop_length": 300},
    {"n_fft": 512, "window": "hamming", "pad_mode": "reflect"},
    {"center": False, "window": "hamming"},
    {"center": False},
    {"n_fft": 1023, "center": False, "hop_length": 250},
    {"pad_mode": "edge", "window": ("kaiser", 8.0)},
    {"n_fft": 1024, "window": lambda n: np.sin(np.pi * (np.arange(n) + 0.5) / n)},
]


@pytest.mark.parametrize("options", CASES, ids=lambda o: re.sub(r"<.*>", "a function", str(o)))
@pytest.mark.parametrize("with_length", [False, True])
@pytest.mark.parametrize("momentum", [0, 0.99])
def test_griffinlim_is_as_good(
    speech: np.ndarray, options: dict[str, object], with_length: bool, momentum: float
) -> None:
    """From the same random phase; the edges differ, and with them what the iterations find."""
    S = np.abs(librosa.stft(speech, **options))
    given = {"n_fft": 2048} | options | {"momentum": momentum}
    given |= {"length": len(speech)} if with_length else {}
    state = np.random.RandomState
    y = melexp.griffinlim(S, n_iter=8, random_state=state(0), **given)
    theirs = {k: v for k, v in given.items() if with_length or k != "length"}
    z = librosa.griffinlim(S, n_iter=8, random_state=state(0), **theirs)
    assert y.shape == z.shape
    assert y.dtype == np.float32
    assert np.isfinite(y).all()
    ours, theirs = (convergence(S, each, **options) for each in (y, z))
    assert ours < theirs + 0.5


@pytest.mark.parametrize("options", [{}, {"n_fft": 1024, "hop_length": 256}, {"center": False}])
def test_griffinlim_from_pghi_is_much_better(
    speech: np.ndarray, options: dict[str, object]
) -> None:
    S = np.abs(librosa.stft(speech, **options))
    given = {"n_fft": 2048, "length": len(speech)} | options
    y = melexp.griffinlim(S, init="pghi", **given)
    z = librosa.griffinlim(S, random_state=0, **given)
    assert convergence(S, y, **options) < convergence(S, z, **options) - 3


def test_griffinlim_starts_from_a_given_phase(speech: np.ndarray) -> None:
    X = librosa.stft(speech)
    y = melexp.griffinlim(X, init=None, n_iter=3, length=len(speech))
    np.testing.assert_allclose(y, speech, atol=1e-5)
    zero = melexp.griffinlim(np.abs(X), init=None, n_iter=0, length=len(speech))
    np.testing.assert_allclose(zero, librosa.istft(np.abs(X) + 0j, length=len(speech)), atol=1e-4)


def test_griffinlim_random_numbers(speech: np.ndarray) -> None:
    S = np.abs(librosa.stft(speech))

    def sound(**source: object) -> np.ndarray:
        return melexp.griffinlim(S, n_iter=1, **source)

    np.testing.assert_array_equal(sound(rng=5), sound(rng=5))
    np.testing.assert_array_equal(sound(rng=5), sound(rng=np.random.default_rng(5)))
    state = np.random.RandomState(5)
    np.testing.assert_array_equal(sound(random_state=5), sound(random_state=state))
    for free in ({}, {"rng": None}, {"rng": state}):
        assert np.abs(sound(**free) - sound(**free)).max() > 1e-3
    with pytest.raises(ValueError, match="two names of one argument"):
        sound(rng=0, random_state=0)


def test_griffinlim_types_and_channels(speech: np.ndarray) -> None:
    y = np.stack([speech, speech[::-1]])
    S = np.abs(librosa.stft(y))
    z = melexp.griffinlim(S, n_iter=2, length=y.shape[-1], init="pghi")
    assert z.shape == y.shape
    alone = melexp.griffinlim(S[1], n_iter=2, length=y.shape[-1], init="pghi")
    np.testing.assert_allclose(z[1], alone, atol=1e-6)
    for dtype in (np.float32, np.float64):
        assert melexp.griffinlim(S, dtype=dtype, n_iter=1).dtype == dtype
        assert melexp.griffinlim(S.astype(dtype), n_iter=1).dtype == dtype
    for length in (1000, 22050, 22051, 30000):
        assert melexp.griffinlim(S[0], n_iter=1, length=length).shape == (length,)
    assert not melexp.griffinlim(np.zeros((33, 3)), n_iter=2).any()


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"momentum": -1}, "momentum must not be negative"),
        ({"init": "garbage"}, "init must be"),
        ({"rng": "garbage"}, "rng must be"),
        ({"random_state": -1}, "rng must be"),
        ({"n_iter": -1}, "n_iter must not be negative"),
        ({"n_fft": 128}, "S has 33 bins"),
        ({"win_length": 100}, "win_length must be in 1 to n_fft = 64"),
        ({"length": -1}, "length must be a whole number"),
        ({"dtype": np.int16}, "dtype must be float32 or float64"),
        ({"pad_mode": "magic"}, "pad_mode must be one of"),
    ],
)
def test_what_griffinlim_refuses(options: dict[str, object], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        melexp.griffinlim(np.ones((33, 9)), **options)


def test_griffinlim_warns_of_a_large_momentum() -> None:
    with pytest.warns(UserWarning, match="may not converge"):
        melexp.griffinlim(np.ones((33, 9)), momentum=2, n_iter=1)
    for wrong in (np.ones(9), np.ones((33, 0)), np.full((33, 3), np.nan)):
        with pytest.raises(ValueError, match="S "):
            melexp.griffinlim(wrong)


@pytest.mark.parametrize(
    ("power", "dtype", "filters"),
    [
        (1, np.float32, {}),
        (2, np.float64, {}),
        (1.5, np.float32, {}),
        (1, np.float32, {"htk": True, "norm": None}),
        (2, np.float32, {"fmin": 50, "fmax": 7000, "norm": 1}),
    ],
    ids=str,
)
def test_mel_to_stft_is_nearer(
    speech: np.ndarray, power: float, dtype: type, filters: dict[str, object]
) -> None:
    S = np.abs(librosa.stft(speech, n_fft=1024))[:, 20:32].astype(dtype)
    M = librosa.feature.melspectrogram(S=S**power, n_mels=80, **filters)
    A = melexp.mel_to_stft(M, n_fft=1024, power=power, **filters)
    B = INVERSE.mel_to_stft(M, n_fft=1024, power=power, **filters)
    assert A.dtype == dtype
    assert A.shape == S.shape
    assert A.min() >= 0
    assert np.linalg.norm(A - S) < np.linalg.norm(B - S)
    back = librosa.feature.melspectrogram(S=A**power, n_mels=80, **filters)
    assert np.linalg.norm(back - M) < 0.1 * np.linalg.norm(M)


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("n_fft", [1024, 2048, 1025])
def test_mel_to_stft_of_noise(power: int, n_fft: int) -> None:
    """Of any numbers, also negative ones, which count as zero; the channels are independent."""
    spectra = np.random.default_rng(0).standard_normal((2, n_fft // 2 + 1, 4)) ** power
    basis = librosa.filters.mel(sr=22050, n_fft=n_fft, n_mels=128)
    M = basis @ spectra
    A = melexp.mel_to_stft(M, n_fft=n_fft, power=power)
    assert A.shape == spectra.shape
    assert np.sqrt(np.mean((basis @ A**power - M) ** 2)) < 0.05
    for channel in range(2):
        alone = melexp.mel_to_stft(M[channel], n_fft=n_fft, power=power)
        np.testing.assert_allclose(A[channel], alone, atol=1e-9)
    assert not np.allclose(A[0], A[1])
    with pytest.raises(ValueError, match="power must be a number above zero"):
        melexp.mel_to_stft(M, power=0)
    with pytest.raises(TypeError, match="mel_to_stft has no argument n_mels"):
        melexp.mel_to_stft(M, n_mels=80)


MFCC_CASES = [
    {},
    {"n_mels": 64},
    {"n_mels": 64, "dct_type": 3},
    {"dct_type": 2, "norm": None},
    {"lifter": 1},
    {"lifter": 3, "n_mels": 64, "dct_type": 3},
    {"lifter": 22},
]


@pytest.mark.parametrize("n_mfcc", [13, 20])
@pytest.mark.parametrize("options", MFCC_CASES, ids=str)
def test_mfcc_to_mel(speech: np.ndarray, n_mfcc: int, options: dict[str, object]) -> None:
    y = np.stack([speech, speech[::-1]])
    mfcc = librosa.feature.mfcc(y=y, n_mfcc=n_mfcc, **options)
    mel = melexp.mfcc_to_mel(mfcc, **options)
    assert mel.shape == (2, options.get("n_mels", 128), mfcc.shape[-1])
    assert mel.min() >= 0
    assert mel.dtype == mfcc.dtype
    np.testing.assert_allclose(mel, INVERSE.mfcc_to_mel(mfcc, **options), rtol=2e-2)
    given = {k: v for k, v in options.items() if k != "n_mels"}
    again = librosa.feature.mfcc(S=librosa.power_to_db(mel, top_db=None), n_mfcc=n_mfcc, **given)
    np.testing.assert_allclose(again, mfcc, atol=0.05 * np.abs(mfcc).max())


def test_liftering_that_loses_coefficients(speech: np.ndarray) -> None:
    mfcc = librosa.feature.mfcc(y=speech, lifter=2)
    with pytest.warns(UserWarning, match="has lost 5 of 20 coefficients"):
        mel = melexp.mfcc_to_mel(mfcc, lifter=2)
    assert np.isfinite(mel).all()
    kept = librosa.feature.mfcc(y=speech)
    kept[2::4] = 0
    np.testing.assert_allclose(mel, INVERSE.mfcc_to_mel(kept), rtol=1e-3)
    for lifter in (-1, np.nan):
        with pytest.raises(ValueError, match="lifter must be a number of at least 0"):
            melexp.mfcc_to_mel(mfcc, lifter=lifter)
    with pytest.raises(ValueError, match="mfcc must have shape"):
        melexp.mfcc_to_mel(mfcc[0])


@pytest.mark.parametrize("dct_type", [2, 3])
@pytest.mark.parametrize("lifter", [0, 3])
def test_mfcc_to_audio(speech: np.ndarray, dct_type: int, lifter: int) -> None:
    made = {"n_mels": 64, "dct_type": dct_type, "lifter": lifter}
    mfcc = librosa.feature.mfcc(y=speech, n_mfcc=13, **made)
    y = melexp.mfcc_to_audio(mfcc, length=len(speech), n_iter=20, **made)
    assert y.shape == speech.shape
    assert librosa.util.valid_audio(y)
    again = librosa.feature.mfcc(y=y, n_mfcc=13, **made)
    z = INVERSE.mfcc_to_audio(mfcc, length=len(speech), n_iter=20, **made)
    theirs = librosa.feature.mfcc(y=z, n_mfcc=13, **made)
    assert np.linalg.norm(again - mfcc) < 1.05 * np.linalg.norm(theirs - mfcc)
    with pytest.raises(TypeError, match="momentum"):
        melexp.mfcc_to_audio(mfcc, momentum=0.5)


@pytest.mark.parametrize("length", [-1, 0, 30000.5, "all", True])
def test_lengths_that_are_none(speech: np.ndarray, length: object) -> None:
    paper = MelTransform.preset("paper")
    M, mel = librosa.feature.melspectrogram(y=speech), paper(speech)
    for call in (
        lambda: melexp.mel_to_audio(M, length=length),
        lambda: melexp.invert(mel, paper, length=length),
        lambda: melexp.mel_to_magnitude(mel, paper, length=length),
        lambda: melexp.griffinlim(M, length=length),
    ):
        with pytest.raises(ValueError, match="length must be a whole number of samples") as error:
            call()
        assert "\n" not in str(error.value)


def test_a_length_within_a_hop(speech: np.ndarray) -> None:
    paper = MelTransform.preset("paper")
    mel = paper(speech)[:, :80]
    own = melexp.invert(mel, paper, n_iter=2)
    assert own.shape == (79 * 256,)
    for length in (78 * 256, 79 * 256 - 1, 80 * 256, 80 * 256 + 255):
        y = melexp.invert(mel, paper, n_iter=2, length=length)
        assert y.shape == (length,)
    full = melexp.invert(mel, paper, n_iter=2, length=80 * 256 - 1)
    padded = melexp.invert(mel, paper, n_iter=2, length=80 * 256 + 9)
    np.testing.assert_array_equal(padded[:-10], full)
    assert not padded[-10:].any()
    batch = melexp.invert(np.stack([mel, mel]), paper, n_iter=2, length=80 * 256)
    assert batch.shape == (2, 80 * 256)
    for length in (78 * 256 - 1, 81 * 256 + 256):
        with pytest.raises(ValueError, match="frames, but mel has 80"):
            melexp.invert(mel, paper, n_iter=2, length=length)


def test_the_recipe_of_the_inverse_chapter(speech: np.ndarray) -> None:
    text = (Path(__file__).parents[1] / "docs" / "invert.md").read_text()
    (block,) = [b for b in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "griffinlim" in b]
    y = speech[:11025]
    M = librosa.feature.melspectrogram(y=y)
    names: dict[str, object] = {"librosa": librosa, "y": y, "sr": 22050, "M": M}
    exec(compile(block, "docs/invert.md", "exec"), names)
    assert names["S"].shape == (1025, M.shape[1])
    assert names["M"].shape == M.shape
    assert names["z"].shape == y.shape
