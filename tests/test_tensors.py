"""Tensors of torch at the border: any precision in, tensors of the same device out."""

import librosa
import numpy as np
import pytest

import melexp
from melexp import MelTransform, invert

torch = pytest.importorskip("torch", reason="torch is not installed (pip install 'melexp[torch]')")
pytest.importorskip("array_api_compat", reason="array-api-compat is not installed")

from test_torch import device, error, one_thread, sounds  # noqa: E402, F401

from melexp.batch import invert_batch  # noqa: E402


@pytest.mark.parametrize("kind", ["bfloat16", "float16", "float32", "float64"])
def test_tensors_of_any_precision(small: MelTransform, device: str, kind: str) -> None:
    mel = torch.from_numpy(small(sounds()[0])).to(device, getattr(torch, kind))
    mel.requires_grad_()
    given = {"n_iter": 3, "method": "admm"}
    exact = mel.detach().double().cpu().numpy()
    for y, expected in (
        (melexp.invert(mel, small, **given), invert(exact, small, **given)),
        (melexp.mel_to_magnitude(mel, small), melexp.mel_to_magnitude(exact, small)),
    ):
        assert y.dtype == torch.float32
        assert y.device == mel.device
        assert not y.requires_grad
        assert error(y, expected) < 1e-3
    for dtype in (torch.float64, np.float64):
        assert melexp.invert(mel, small, dtype=dtype, **given).dtype == torch.float64
        assert melexp.mel_to_magnitude(mel, small, dtype=dtype).dtype == torch.float64
    with pytest.raises(ValueError, match=r"dtype must be float32 or float64; got torch\.bfloat16"):
        melexp.invert(mel, small, dtype=torch.bfloat16, **given)


@pytest.mark.parametrize("kind", ["bfloat16", "float32", "float64"])
def test_the_functions_of_librosa_take_tensors(device: str, kind: str) -> None:
    y = sounds([8000])[0]
    S = torch.from_numpy(np.abs(librosa.stft(y, n_fft=512)))
    M = torch.from_numpy(librosa.feature.melspectrogram(y=y, sr=8000, n_fft=512, n_mels=40))
    mfcc = torch.from_numpy(librosa.feature.mfcc(y=y, sr=8000, n_mels=40))
    S, M, mfcc = (x.to(device, getattr(torch, kind)).requires_grad_() for x in (S, M, mfcc))
    audio = {"sr": 8000, "n_fft": 512, "n_iter": 3, "length": 8000}
    calls = {
        "mel_to_audio": lambda f, x: f(x, **audio),
        "mel_to_stft": lambda f, x: f(x, sr=8000, n_fft=512),
        "mfcc_to_mel": lambda f, x: f(x, n_mels=40),
        "mfcc_to_audio": lambda f, x: f(x, n_mels=40, **audio),
        "griffinlim": lambda f, x: f(x, init="pghi", n_iter=3, length=8000),
    }
    for name, call in calls.items():
        given = {"mel": M, "mfcc": mfcc}.get(name.split("_")[0], S)
        made = call(getattr(melexp, name), given)
        assert isinstance(made, torch.Tensor), name
        assert made.device == given.device
        assert not made.requires_grad
        assert made.dtype in (torch.float32, given.dtype)
        host = given.detach().cpu()
        array = (host.float() if kind == "bfloat16" else host).numpy()
        assert error(made, call(getattr(melexp, name), array)) < 1e-3, name
    whole = melexp.mel_to_audio((1e4 * M).detach().long(), **audio)
    assert isinstance(whole, torch.Tensor)
    for length in (7000, 9000):
        assert melexp.mel_to_audio(M, **audio | {"length": length}).shape == (length,)


def test_a_length_of_tensors_within_a_hop(small: MelTransform, device: str) -> None:
    mel = torch.from_numpy(small(sounds()[0])).to(device)
    n = mel.shape[1] * small.hop_length
    y = melexp.invert(mel, small, n_iter=2, length=n)
    assert y.shape == (n,)
    assert y[-1] == 0
    with pytest.raises(ValueError, match="length must be a whole number"):
        invert_batch([mel], small, lengths=[-1])
