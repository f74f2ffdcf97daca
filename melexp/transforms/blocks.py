"""Mel-spectrograms of long waveforms, computed and expanded in blocks of frames."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from melexp.transforms.mel import MelTransform


def linear_part(
    mel: np.ndarray, transform: MelTransform, largest: float
) -> tuple[np.ndarray, np.ndarray | None]:
    """Expand a part of a mel-spectrogram whose largest value is `largest`.

    Returns
    -------
    mel : np.ndarray [shape=(n_mels, n_frames)]
        Linear mel-spectrogram.
    floored : np.ndarray [shape=(n_mels, n_frames), bool] or None
        Bins on a floor of the compression.
    """
    if transform.compression is None:
        return mel, None
    expanded, floored = transform.compression.expand(mel, largest=largest)
    return expanded.astype(np.float32), floored


def mel_blocks(
    y: np.ndarray, transform: MelTransform, *, block: int = 2000
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield the linear mel-spectrogram of a waveform in blocks: slice of the frames, and mel."""
    n_fft, hop, pad = transform.n_fft, transform.hop_length, transform.padding
    n_frames = 1 + (len(y) + 2 * pad - n_fft) // hop
    if n_frames <= block:
        yield slice(0, max(n_frames, 0)), transform.linear(y)
        return
    padded = np.pad(transform.emphasized(y), pad, mode=transform.pad_mode)  # type: ignore[call-overload]
    bare = dataclasses.replace(transform, center=False, pad=None, compression=None, preemphasis=0)
    for a in range(0, n_frames, block):
        b = min(a + block, n_frames)
        yield slice(a, b), bare.linear(padded[a * hop : (b - 1) * hop + n_fft])


def long_mel(y: np.ndarray, transform: MelTransform, *, block: int = 2000) -> np.ndarray:
    """Compute the linear mel-spectrogram of a waveform of any length, in blocks.

    Parameters
    ----------
    y : np.ndarray [shape=(n_samples,)]
    transform : MelTransform
    block : int > 0
        Number of frames per block.

    Returns
    -------
    mel : np.ndarray [shape=(n_mels, n_frames)], non-negative
        Equal to the result of `transform.linear`.
    """
    return np.concatenate([mel for _, mel in mel_blocks(y, transform, block=block)], axis=1)
