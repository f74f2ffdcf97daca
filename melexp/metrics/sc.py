"""SC: spectral convergence on the full-band magnitude."""

from __future__ import annotations

import numpy as np

from melexp.metrics._score import Score, spectral_convergence
from melexp.transforms.mel import MelTransform


def sc(reference: np.ndarray, estimate: np.ndarray, *, transform: MelTransform) -> Score:
    r"""Compute the spectral convergence of the STFT magnitude in dB; lower is better.

    .. math:: 20 \log_{10} (\||\mathrm{STFT}(x)| - |\mathrm{STFT}(y)|\| / \|\mathrm{STFT}(x)\|)

    Range: 0 dB for silence, below 0 dB for any better estimate. Undefined for a silent reference.
    """
    stft = transform.stft(len(reference), np.float64)
    return spectral_convergence(
        np.abs(stft.forward(reference.astype(np.float64))),
        np.abs(stft.forward(estimate.astype(np.float64))),
    )
