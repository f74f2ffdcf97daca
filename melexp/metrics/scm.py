"""SCM: spectral convergence on the mel-spectrogram."""

from __future__ import annotations

import numpy as np

from melexp.metrics._score import Score, spectral_convergence
from melexp.transforms.mel import MelTransform


def scm(reference: np.ndarray, estimate: np.ndarray, *, transform: MelTransform) -> Score:
    r"""Spectral convergence of the mel-spectrogram in dB; lower is better.

    .. math:: 20 \log_{10} (\|M - E\,|\mathrm{STFT}(y)|^p\| / \|M\|)

    The mel-spectrograms are linear, also where the transform has a compression.

    Range: below 0 for anything better than silence, about -140 dB for a float32 copy.
    Without a value where the reference is silent.
    """
    return spectral_convergence(
        transform.linear(reference.astype(np.float64)),
        transform.linear(estimate.astype(np.float64)),
    )
