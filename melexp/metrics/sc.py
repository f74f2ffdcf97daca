"""SC: spectral convergence on the full-band magnitude."""

from __future__ import annotations

import numpy as np

from melexp.metrics._kept import ESTIMATE, REFERENCES
from melexp.metrics._score import Score, magnitude, spectral_convergence
from melexp.transforms.mel import MelTransform


def sc(reference: np.ndarray, estimate: np.ndarray, *, transform: MelTransform) -> Score:
    r"""Compute the spectral convergence of the STFT magnitude in dB; lower is better.

    .. math:: 20 \log_{10} (\||\mathrm{STFT}(x)| - |\mathrm{STFT}(y)|\| / \|\mathrm{STFT}(x)\|)

    Range: 0 dB for silence, below 0 dB for any better estimate. Undefined for a silent reference.
    """
    return spectral_convergence(
        REFERENCES.of(magnitude, reference, transform, False),
        ESTIMATE.of(magnitude, estimate, transform, False),
    )
