"""Training examples of the shipped prior: random crops of sounds in several front ends."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.signal
import soxr

from melexp.datasets import Clip, ClipError, load_dataset
from melexp.problem import Problem
from melexp.start import kl
from melexp.start.magnitude import magnitude_of
from melexp.start.network import level_of, planes
from melexp.start.pghi import gaussian_width
from melexp.start.phase import window_delay
from melexp.transforms.mel import MelTransform

#: Front ends, with the probability of each and the number of frames of a crop.
LAYOUTS = {
    "librosa": (MelTransform.preset("librosa"), 0.40, 64),
    "torchaudio": (MelTransform.preset("torchaudio"), 0.18, 160),
    "half": (MelTransform.preset("paper", hop_length=512), 0.24, 96),
    "paper": (MelTransform.preset("paper"), 0.12, 128),
    "audioldm": (MelTransform.preset("audioldm", compression=None), 0.03, 128),
    "clap": (MelTransform.preset("clap", compression=None), 0.03, 96),
}
#: Folds of ESC-10 to learn from. The subset "core", which tests use, is from the folds 1 to 3.
FOLDS = ("4", "5")
FOLEY_SHARE = 0.15
#: Range of the speed of playback, which changes the pitch.
SPEEDS = (0.85, 1.2)


class Sounds:
    """The training sounds, decoded once: speech at 16 kHz and foley at 44.1 kHz.

    Attributes
    ----------
    clips : list of Clip
        The clips that could be loaded.
    missing : list of str
        Ids of the clips that could not be downloaded.
    """

    def __init__(self) -> None:
        self.clips: list[Clip] = []
        self.missing: list[str] = []
        foley = [c for c in load_dataset("esc10", subset="full") if fold_of(c) in FOLDS]
        self.speech = self._load(load_dataset("librispeech", subset="train"), 16000)
        self.foley = self._load(foley, 44100)

    def _load(self, clips: list[Clip], sr: int) -> list[np.ndarray]:
        found = []
        for clip in clips:
            try:
                found.append(clip.load(sr))
                self.clips.append(clip)
            except ClipError:
                self.missing.append(clip.id)
        return found

    def draw(self, rng: np.random.Generator, sr: float, n_samples: int) -> np.ndarray:
        """Return a random part of a random sound, at a random speed and often filtered."""
        foley = rng.random() < FOLEY_SHARE
        sounds, own = (self.foley, 44100) if foley else (self.speech, 16000)
        for _ in range(20):  # the first part that is not silent
            y, speed = sounds[rng.integers(len(sounds))], rng.uniform(*SPEEDS)
            need = int(n_samples * own * speed / sr) + 64
            y = np.pad(y, (0, max(0, need - len(y))))
            at = rng.integers(len(y) - need + 1)
            part = y[at : at + need]
            if np.abs(part).max() > 1e-3:
                break
        x = soxr.resample(part, own * speed, sr, quality="MQ")[:n_samples]
        x = np.pad(x, (0, n_samples - len(x)))
        if rng.random() < 0.5:  # a broad slope or bump of up to 9 dB
            gains = 10 ** (rng.uniform(-9, 9, 6) / 20)
            taps = scipy.signal.firwin2(129, np.linspace(0, 1, 6), gains)
            x = scipy.signal.fftconvolve(x, taps, mode="same")
        return (0.5 * x / (np.abs(x).max() or 1.0)).astype(np.float32)


def fold_of(clip: Clip) -> str:
    """Return the fold of a clip of ESC-10, such as 1 of ``dog_bark-1-100032-A``."""
    return clip.id.split("-")[1]


def example(x: np.ndarray, transform: MelTransform) -> dict[str, np.ndarray]:
    """Return the input of the network and the truth for a sound."""
    p = Problem(transform(x), transform, length=len(x))
    A = magnitude_of(kl(p), transform.power)
    X = p.stft.forward(x / np.float32(p.scale))
    return {"planes": planes(p, A), "A": A, "X": X, "M": p.mel, "level": level_of(A)[None]}


def constants(transform: MelTransform) -> dict[str, Any]:
    """Return what all examples of a front end share: the filters and the gradients of `pghi`."""
    stft = transform.stft(transform.n_samples(8))
    step, gamma = stft.hop_length / stft.n_fft, gaussian_width(stft.window)
    turns = stft.hop_length * np.arange(stft.n_fft // 2 + 1) % stft.n_fft / stft.n_fft
    return {
        "E": transform.basis.astype(np.float32),
        "power": int(transform.power),
        "advance": (2 * np.pi * turns).astype(np.float32),
        "along_t": step * stft.n_fft**2 / gamma,
        "along_f": -gamma / (step * stft.n_fft**2),
        "delay": window_delay(stft.window),
    }


def draw_batch(sounds: Sounds, rng: np.random.Generator, n: int) -> dict[str, Any]:
    """Return n examples of a random front end, stacked."""
    names = list(LAYOUTS)
    name = names[rng.choice(len(names), p=[LAYOUTS[k][1] for k in names])]
    transform, _, n_frames = LAYOUTS[name]
    n_samples = transform.n_samples(n_frames)
    crops = [example(sounds.draw(rng, transform.sr, n_samples), transform) for _ in range(n)]
    stacked = {k: np.stack([c[k] for c in crops]) for k in crops[0]}
    return stacked | constants(transform) | {"name": name}
