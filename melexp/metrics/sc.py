"""SC: spectral convergence on the full-band magnitude."""

from __future__ import annotations

import numpy as np

from melexp.metrics._score import Score, spectral_convergence
from melexp.transforms.mel import MelTransform


def sc(reference: np.ndarray, estimate: np.ndarray, *, transform: MelTransform) -> Score:
    r"""Compute the spectral convergence of the STFT magnitude in dB; lower is better.

    .. math:: 20 \log_{10} (\||\mathrm{STFT}(x)| - |\mathrm{STFT}(y)|\| / \|\mathrm{STFT}(x)\|)

    Range: below 0 for anything better than silence. Without a value where the reference is silent.
    """
    stft = transform.stft(len(reference), np.float64)
    return spectral_convergence(
        np.abs(stft.forward(reference.astype(np.float64))),
        np.abs(stft.forward(estimate.astype(np.float64))),
    )
