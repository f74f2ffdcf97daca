"""Presets of speech and sound models against transcriptions of their code."""

from typing import Any

import librosa
import numpy as np
import pytest
from test_presets import PRESETS, VOCODERS, near, sound, vocoder_mel

from melexp.transforms.mel import MelTransform


def htk_bank(sr: int, n_fft: int, n_mels: int, low: float, high: float) -> np.ndarray:
    """torchaudio.functional.melscale_fbanks with mel_scale "htk" and norm None, in Hz."""
    ends = 2595 * np.log10(1 + np.array([low, high]) / 700)
    f = 700 * (10 ** (np.linspace(*ends, n_mels + 2) / 2595) - 1)
    bins = np.linspace(0, sr // 2, n_fft // 2 + 1)
    up = (bins - f[:-2, None]) / np.diff(f)[:-1, None]
    down = (f[2:, None] - bins) / np.diff(f)[1:, None]
    return np.maximum(0, np.minimum(up, down))


def mel_bank(sr: int, n_fft: int, n_mels: int, low: float, high: float) -> np.ndarray:
    """torchaudio.compliance.kaldi.get_mel_banks: the sides are straight in mel."""

    def mel(f: Any) -> Any:
        return 1127.0 * np.log(1 + np.asarray(f) / 700)

    edges = np.linspace(mel(low), mel(high), n_mels + 2)
    bins = mel(np.arange(n_fft // 2 + 1) * sr / n_fft)
    up = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    down = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    return np.maximum(0, np.minimum(up, down))


def magnitudes(y: np.ndarray, window: np.ndarray, n_fft: int, hop: int, pad: Any = None) -> Any:
    """|STFT| [shape=(n_bins, n_frames)]; the window lies in the middle of the frame."""
    left = (n_fft - len(window)) // 2
    window = np.pad(window, (left, n_fft - len(window) - left))
    y = y.astype(np.float64)
    if pad is not None:
        y = np.pad(y, pad[0], mode=pad[1])
    frames = np.lib.stride_tricks.sliding_window_view(y, n_fft)[::hop]
    return np.abs(np.fft.rfft(frames * window)).T


def hann(n: int) -> np.ndarray:
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / n)


def kaldi(y: np.ndarray, window: np.ndarray, n_mels: int, scale: float = 1.0) -> np.ndarray:
    """torchaudio.compliance.kaldi.fbank with dither 0: each frame by itself."""
    frames = np.lib.stride_tricks.sliding_window_view(y.astype(np.float64) * scale, 400)[::160]
    frames = frames - frames.mean(axis=1, keepdims=True)  # remove_dc_offset
    before = np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
    frames = (frames - 0.97 * before) * window
    power = np.abs(np.fft.rfft(frames, 512)) ** 2
    return np.log(np.maximum(mel_bank(16000, 512, n_mels, 20, 8000) @ power.T, 1.1920929e-7))


HANNING = np.hanning(400)
KALDI = {
    "kaldi_fbank": (lambda y: kaldi(y, HANNING**0.85, 80), 1.0),
    "kaldi_fbank_128": (lambda y: kaldi(y, HANNING**0.85, 128), 1.0),
    # facebookresearch/AudioMAE: dataset.py, main_finetune_as.py (norm_mean, norm_std)
    "audiomae": (
        lambda y: (kaldi(y - y.mean(), HANNING, 128) + 4.2677393) / (2 * 4.5689974),
        2 * 4.5689974,
    ),
    # microsoft/unilm: beats/BEATs.py (preprocess)
    "beats": (
        lambda y: (kaldi(y, HANNING**0.85, 128, 2**15) - 15.41663) / (2 * 6.55582),
        2 * 6.55582,
    ),
}


@pytest.mark.parametrize("name", KALDI)
def test_kaldi(name: str) -> None:
    """The mean of a frame, which the presets do not remove, matters below 125 Hz only."""
    formula, deviation = KALDI[name]
    y = sound(16000)
    found, expected = MelTransform.preset(name)(y.astype(np.float64)), formula(y)
    assert found.shape == expected.shape
    basis = MelTransform.preset(name).basis
    high = (basis.max(axis=1) > 0) & (basis[:, :5].max(axis=1) == 0)  # no bin below 125 Hz
    loud = (expected > expected.max() - 14 / deviation) & high[:, None]
    assert loud.mean() > 0.5
    assert np.abs(found - expected)[loud].max() < 0.01 / deviation
    below = np.abs(found - expected)[~high & (basis.max(axis=1) > 0)]
    assert np.median(below) < 0.1 / deviation


def test_kaldi_itself() -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("torchaudio", exc_type=(ImportError, OSError))
    from torchaudio.compliance.kaldi import fbank

    y = sound(16000)
    expected = fbank(torch.from_numpy(y)[None], num_mel_bins=80, sample_frequency=16000).numpy().T
    transform = MelTransform.preset("kaldi_fbank")
    high = transform.basis[:, :5].max(axis=1) == 0
    loud = (expected > expected.max() - 14) & high[:, None]
    assert np.abs(transform(y) - expected)[loud].max() < 0.02


def audioset(y: np.ndarray, offset: float) -> np.ndarray:
    """tensorflow/models: research/audioset/vggish/mel_features.py; the first bin is left out."""
    frames = np.lib.stride_tricks.sliding_window_view(y.astype(np.float64), 400)[::160]
    magnitude = np.abs(np.fft.rfft(frames * hann(400), 512)).T
    bank = mel_bank(16000, 512, 64, 125, 7500)
    bank[:, 0] = 0
    return np.log(bank @ magnitude + offset)


def autovc(y: np.ndarray) -> np.ndarray:
    """auspicious3000/autovc: make_spect.py, after the high-pass filter."""
    bank = librosa.filters.mel(sr=16000, n_fft=1024, n_mels=80, fmin=90, fmax=7600)
    mel = bank @ magnitudes(y, hann(1024), 1024, 256, (512, "reflect"))
    return np.clip((20 * np.log10(np.maximum(1e-5, mel)) - 16 + 100) / 100, 0, 1)


def coqui(y: np.ndarray) -> np.ndarray:
    """coqui-ai/TTS: utils/audio/processor.py (melspectrogram, normalize), BaseAudioConfig."""
    bank = librosa.filters.mel(sr=22050, n_fft=1024, n_mels=80)
    mel = bank @ magnitudes(y, hann(1024), 1024, 256, (512, "reflect"))
    scaled = (20 * np.log10(np.maximum(1e-5, mel)) - 20 + 100) / 100
    return np.clip(2 * 4 * scaled - 4, -4, 4)


def espnet(y: np.ndarray, sr: int, n_fft: int, win: int, hop: int) -> np.ndarray:
    """kan-bayashi/ParallelWaveGAN: bin/preprocess.py (logmelfilterbank)."""
    bank = librosa.filters.mel(sr=sr, n_fft=n_fft, n_mels=80, fmin=80, fmax=7600)
    mel = bank @ magnitudes(y, hann(win), n_fft, hop, (n_fft // 2, "reflect"))
    return np.log10(np.maximum(1e-10, mel))


def nemo(y: np.ndarray) -> np.ndarray:
    """NVIDIA/NeMo: collections/asr/parts/preprocessing/features.py, FastPitch at 22.05 kHz."""
    bank = librosa.filters.mel(sr=22050, n_fft=1024, n_mels=80, fmax=8000)
    mel = bank @ magnitudes(y, np.hanning(1024), 1024, 256, (512, "constant"))
    return np.log(mel + 1e-5)


def matcha(y: np.ndarray) -> np.ndarray:
    """shivammehta25/Matcha-TTS: utils/audio.py and configs/data/ljspeech.yaml."""
    mel = vocoder_mel(y, VOCODERS["hifigan"][0], centred=False, eps=0.0)
    return (mel - -5.536622) / 2.116101


def vocos(y: np.ndarray, floor: float) -> np.ndarray:
    """gemelo-ai/vocos: feature_extractors.py (torchaudio's MelSpectrogram with power 1)."""
    mel = htk_bank(24000, 1024, 100, 0, 12000) @ magnitudes(
        y, hann(1024), 1024, 256, (512, "reflect")
    )
    return np.log(np.maximum(mel, floor))


def audiocraft(y: np.ndarray) -> np.ndarray:
    """facebookresearch/audiocraft: losses/specloss.py, n_mels 64 and f_min 64."""
    power = magnitudes(y, hann(1024), 1024, 256, (384, "reflect")) ** 2
    return np.log10(1e-5 + htk_bank(32000, 1024, 64, 64, 16000) @ power)


def riffusion(y: np.ndarray) -> np.ndarray:
    """riffusion-hobby: the values of the picture before they are rounded to 8 bits."""
    mel = htk_bank(44100, 17640, 512, 0, 10000) @ magnitudes(
        y, hann(4410), 17640, 441, (8820, "reflect")
    )
    return (mel / mel.max()) ** 0.25


def audio_diffusion(y: np.ndarray) -> np.ndarray:
    """diffusers: Mel.audio_slice_to_image before the values are rounded to 8 bits."""
    mel = librosa.feature.melspectrogram(y=y.astype(np.float64), sr=22050, n_mels=256)
    return (librosa.power_to_db(mel, ref=np.max, top_db=80) + 80) / 80


TRANSCRIBED = {
    "yamnet": lambda y: audioset(y, 0.001),
    "vggish": lambda y: audioset(y, 0.01),
    "autovc": autovc,
    "coqui": coqui,
    "parallel_wavegan": lambda y: espnet(y, 22050, 1024, 1024, 256),
    "espnet": lambda y: espnet(y, 24000, 2048, 1200, 300),
    "nemo": nemo,
    "matcha": matcha,
    "speecht5": lambda y: np.log10(
        np.maximum(
            librosa.filters.mel(sr=16000, n_fft=1024, n_mels=80, fmin=80, fmax=7600)
            @ magnitudes(y, hann(1024), 1024, 256, (512, "reflect")),
            1e-10,
        )
    ),
    "vocos_24k": lambda y: vocos(y, 1e-7),
    "f5": lambda y: vocos(y, 1e-5),
    "audiocraft_32k": audiocraft,
    "riffusion": riffusion,
    "audio_diffusion": audio_diffusion,
}


@pytest.mark.parametrize("name", TRANSCRIBED)
def test_transcribed(name: str) -> None:
    transform = MelTransform.preset(name)
    y = sound(round(transform.sr))
    near(transform(y.astype(np.float64)), TRANSCRIBED[name](y), 1e-5)


def test_every_preset_is_compared() -> None:
    elsewhere = {"librosa", "librosa_db", "librosa_power", "paper", "torchaudio", "clap"}
    elsewhere |= {"whisper", "whisper_128"}
    assert {*TRANSCRIBED, *KALDI, *VOCODERS, *elsewhere} == set(PRESETS)
