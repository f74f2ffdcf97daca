"""Each preset against the code that it stands for, or against that code's published formula."""

from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pytest
import yaml

from melexp.transforms.mel import MelTransform

ROOT = Path(__file__).resolve().parents[1]
PRESETS = MelTransform.presets()


def sound(sr: float, seconds: float = 1.0) -> np.ndarray:
    """A chord, a click and noise that fades away below every floor [float32]."""
    n = int(sr * seconds)
    t = np.arange(n) / sr
    y = 0.1 * np.sin(2 * np.pi * 220 * t) + 0.05 * np.sin(2 * np.pi * 2750 * t)
    y += 0.1 * np.random.default_rng(0).standard_normal(n)
    y[n // 2] += 0.5
    y *= 10 ** (-6 * np.maximum(t / seconds - 0.4, 0))
    y[int(0.9 * n) :] = 0
    return (y / np.abs(y).max() * 0.9).astype(np.float32)


def near(found: np.ndarray, expected: Any, atol: float) -> None:
    expected = np.asarray(expected)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=atol)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_a_file_and_a_transform(name: str) -> None:
    given = yaml.safe_load((ROOT / "conf" / "mel" / f"{name}.yaml").read_text())
    transform = MelTransform.preset(name)
    for argument, value in given.items():
        if argument not in ("compression", "picture"):
            assert getattr(transform, argument) == value
    mel = transform(sound(transform.sr))
    assert mel.shape[0] == transform.n_mels
    assert np.isfinite(mel).all()


def test_unknown_names() -> None:
    assert {"hifigan", "whisper", "whisper_128", "librosa", "paper"} <= set(PRESETS)
    with pytest.raises(ValueError, match="hifigan"):
        MelTransform.preset("hifi-gan")
    with pytest.raises(ValueError, match="no argument nmels"):
        MelTransform.preset("paper", nmels=40)
    assert MelTransform.preset("paper", n_mels=40).n_mels == 40


# --- librosa --------------------------------------------------------------------------------


def test_librosa() -> None:
    y = sound(22050)
    mel = librosa.feature.melspectrogram(y=y)
    np.testing.assert_allclose(MelTransform.preset("librosa")(y), mel, rtol=1e-4, atol=1e-7)
    near(MelTransform.preset("librosa_db")(y), librosa.power_to_db(mel, ref=np.max), 1e-3)
    arguments = {"n_fft": 1024, "hop_length": 256, "n_mels": 80, "fmax": 8000}
    mel = librosa.feature.melspectrogram(y=y, **arguments)
    np.testing.assert_allclose(MelTransform.preset("librosa_power")(y), mel, rtol=1e-4, atol=1e-7)
    mel = librosa.feature.melspectrogram(y=y, power=1, **arguments)
    np.testing.assert_allclose(MelTransform.preset("paper")(y), mel, rtol=1e-4, atol=1e-7)


# --- torchaudio -----------------------------------------------------------------------------


def test_torchaudio_itself() -> None:
    torch = pytest.importorskip("torch")
    torchaudio = pytest.importorskip("torchaudio", exc_type=(ImportError, OSError))
    y = sound(16000)
    expected = torchaudio.transforms.MelSpectrogram()(torch.from_numpy(y)).numpy()
    found = MelTransform.preset("torchaudio")(y)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def test_torchaudio_transcribed() -> None:
    """torchaudio 2: functional.melscale_fbanks (HTK, norm None) and functional.spectrogram."""
    sr, n_fft, hop, n_mels = 16000, 400, 200, 128
    freqs = np.linspace(0, sr // 2, n_fft // 2 + 1)
    m = np.linspace(0, 2595 * np.log10(1 + sr / 2 / 700), n_mels + 2)
    f = 700 * (10 ** (m / 2595) - 1)
    slopes = f[None] - freqs[:, None]
    down, up = -slopes[:, :-2] / np.diff(f)[:-1], slopes[:, 2:] / np.diff(f)[1:]
    bank = np.maximum(0, np.minimum(down, up))
    y = sound(sr)
    padded = np.pad(y.astype(np.float64), n_fft // 2, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)  # torch.hann_window
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop]
    power = np.abs(np.fft.rfft(frames * window)) ** 2
    found = MelTransform.preset("torchaudio")(y.astype(np.float64))
    np.testing.assert_allclose(found, (power @ bank).T, rtol=1e-4, atol=1e-7)


# --- Vocoders: formulas transcribed from their repositories ------------------------------------


def vocoder_mel(y: np.ndarray, t: dict[str, Any], *, centred: bool, eps: float) -> np.ndarray:
    """ln clamp(E sqrt(|STFT|^2 + eps), 1e-5) with reflected padding, in plain NumPy."""
    n_fft, hop = t["n_fft"], t["hop"]
    pad = n_fft // 2 if centred else (n_fft - hop) // 2
    padded = np.pad(y.astype(np.float64), pad, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop]
    magnitude = np.sqrt(np.abs(np.fft.rfft(frames * window)) ** 2 + eps)
    bank = librosa.filters.mel(sr=t["sr"], n_fft=n_fft, n_mels=t["n_mels"], fmin=0, fmax=t["fmax"])
    return np.log(np.maximum(bank @ magnitude.T, 1e-5))


VOCODERS = {
    # jik876/hifi-gan: meldataset.py (mel_spectrogram), config_v1.json
    "hifigan": (
        {"sr": 22050, "n_fft": 1024, "hop": 256, "n_mels": 80, "fmax": 8000},
        {"centred": False, "eps": 1e-9},
    ),
    # NVIDIA/BigVGAN: meldataset.py (mel_spectrogram), configs/bigvgan_24khz_100band.json
    "bigvgan": (
        {"sr": 24000, "n_fft": 1024, "hop": 256, "n_mels": 100, "fmax": 12000},
        {"centred": False, "eps": 1e-9},
    ),
    # NVIDIA/tacotron2: layers.py (TacotronSTFT), stft.py (STFT.transform), hparams.py
    "tacotron2": (
        {"sr": 22050, "n_fft": 1024, "hop": 256, "n_mels": 80, "fmax": 8000},
        {"centred": True, "eps": 0.0},
    ),
    # haoheliu/AudioLDM: audioldm/audio/stft.py (TacotronSTFT), audioldm/utils.py
    "audioldm": (
        {"sr": 16000, "n_fft": 1024, "hop": 160, "n_mels": 64, "fmax": 8000},
        {"centred": True, "eps": 0.0},
    ),
}


@pytest.mark.parametrize("name", VOCODERS)
def test_vocoders(name: str) -> None:
    arguments, how = VOCODERS[name]
    y = sound(arguments["sr"])
    expected = vocoder_mel(y, arguments, **how)
    found = MelTransform.preset(name)(y.astype(np.float64))
    # The 1e-9 that is left out matters where a band is barely above the floor.
    near(found, expected, 0.1 if how["eps"] else 1e-5)
    loud = expected > np.log(1e-3)
    assert loud.mean() > 0.3
    assert np.abs(found - expected)[loud].max() < (2e-3 if how["eps"] else 1e-5)
    assert (expected == np.log(1e-5)).any()


def test_bigvgan_against_transformers_univnet() -> None:
    # The same formula and numbers in code that is installed from a package.
    pytest.importorskip("transformers")
    from transformers import UnivNetFeatureExtractor

    y = sound(24000)
    extractor = UnivNetFeatureExtractor()
    mel = np.asarray(extractor.mel_spectrogram(y))
    mel = mel.T if mel.shape[0] != 100 else mel
    found = MelTransform.preset("bigvgan")(y)
    assert found.shape == mel.shape
    # There 1e-9 stands under the root too.
    loud = mel > np.log(1e-3)
    assert np.abs(found - mel)[loud].max() < 5e-3


# --- transformers ---------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "n_mels"), [("whisper", 80), ("whisper_128", 128)])
def test_whisper(name: str, n_mels: int) -> None:
    pytest.importorskip("transformers")
    from transformers import WhisperFeatureExtractor

    y = np.pad(sound(16000, 3.0), (0, 27 * 16000))
    extractor = WhisperFeatureExtractor(feature_size=n_mels)
    expected = extractor(y, sampling_rate=16000, return_tensors="np")["input_features"][0]
    near(MelTransform.preset(name)(y)[:, :-1], expected, 2e-3)


def test_whisper_transcribed() -> None:
    """openai/whisper: whisper/audio.py (log_mel_spectrogram)."""
    y = sound(16000)
    padded = np.pad(y.astype(np.float64), 200, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    frames = np.lib.stride_tricks.sliding_window_view(padded, 400)[::160][:-1]
    power = np.abs(np.fft.rfft(frames * window)) ** 2
    bank = librosa.filters.mel(sr=16000, n_fft=400, n_mels=80)
    log = np.log10(np.maximum(bank @ power.T, 1e-10))
    log = (np.maximum(log, log.max() - 8) + 4) / 4
    near(MelTransform.preset("whisper")(y.astype(np.float64))[:, :-1], log, 1e-5)


def test_clap() -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from transformers import ClapFeatureExtractor

    y = sound(48000, 10.0)
    extractor = ClapFeatureExtractor()
    expected = extractor(y, sampling_rate=48000, return_tensors="np")["input_features"][0, 0]
    near(MelTransform.preset("clap")(y).T, expected, 0.02)


def test_speecht5() -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from transformers import SpeechT5FeatureExtractor

    y = sound(16000)
    extractor = SpeechT5FeatureExtractor()
    given = extractor(audio_target=y, sampling_rate=16000, return_tensors="np")
    near(MelTransform.preset("speecht5")(y).T, given["input_values"][0], 2e-3)
