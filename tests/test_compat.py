"""The drop-in functions: librosa's signature, another engine."""

import inspect

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
