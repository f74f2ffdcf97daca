"""SCM: spectral convergence on the mel-spectrogram."""

from __future__ import annotations

import math

import numpy as np

from melexp.metrics._kept import ESTIMATE, REFERENCES
from melexp.metrics._score import Score, mel_of, mel_of_reference, spectral_convergence
from melexp.transforms.blocks import linear_part, mel_blocks
from melexp.transforms.mel import MelTransform


def scm(reference: np.ndarray, estimate: np.ndarray, *, transform: MelTransform) -> Score:
    r"""Compute the spectral convergence of the mel-spectrogram in dB; lower is better.

    .. math:: 20 \log_{10} (\|M - E\,|\mathrm{STFT}(y)|^p\| / \|M\|)

    The mel-spectrograms are linear, even if the transform has a compression.

    Range: 0 dB for silence, below 0 dB for any better estimate, about -140 dB for a float32 copy.
    Undefined for a silent reference.
    """
    return spectral_convergence(
        REFERENCES.of(mel_of_reference, reference, transform),
        mel_of(ESTIMATE, estimate, transform),
    )


def long_scm(mel: np.ndarray, y: np.ndarray, transform: MelTransform) -> float:
    """Return the SCM of a waveform against a mel of any length, in dB; NaN for a silent mel.

    If the compression discards the level (``ref = "max"``), the mel of the waveform is first scaled
    to the maximum of the given mel.
    """
    largest, scale = float(mel.max()), 1.0
    if transform.compression is not None and transform.compression.ref == "max":
        peak = max(float(made.max()) for _, made in mel_blocks(y, transform))
        scale = float(linear_part(mel[:1, :1] * 0 + largest, transform, largest)[0].item())
        scale /= peak or 1.0
    error = norm = 0.0
    for frames, made in mel_blocks(y, transform):
        given = linear_part(mel[:, frames], transform, largest)[0].astype(np.float64)
        error += float(np.sum((given - scale * made) ** 2))
        norm += float(np.sum(given**2))
    return 10 * math.log10(max(error / norm, 1e-30)) if norm else float("nan")
