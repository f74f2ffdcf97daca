"""Mel-spectrograms and waveforms of mel-frequency cepstral coefficients (MFCCs)."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from melexp.inversion.librosa_compat import mel_to_audio
from melexp.transforms.tensors import like, to_array


def mfcc_to_mel(
    mfcc: Any,
    *,
    n_mels: int = 128,
    dct_type: int = 2,
    norm: str | None = "ortho",
    ref: float = 1.0,
    lifter: float = 0,
) -> Any:
    r"""Invert MFCCs to a mel power spectrogram, as :func:`librosa.feature.inverse.mfcc_to_mel`.

    The coefficients that are missing count as zero, so the result is smooth along the bands.
    Liftering multiplies coefficient n by :math:`1 + \frac{L}{2} \sin(\pi n / L)`. Where this is
    zero the coefficient is lost; it becomes zero here, while librosa divides by it.

    Parameters
    ----------
    mfcc : np.ndarray or torch.Tensor [shape=(..., n_mfcc, n_frames)]
        As :func:`librosa.feature.mfcc` returns them.
    n_mels : int > 0
        Number of mel bands.
    dct_type : 1, 2 or 3
        Type of the cosine transform.
    norm : "ortho" or None
        Normalisation of the cosine transform.
    ref : float > 0
        Power at 0 dB.
    lifter : float >= 0
        The L of the formula that the MFCCs were computed with; 0 means no liftering.

    Returns
    -------
    M : np.ndarray or torch.Tensor [shape=(..., n_mels, n_frames)], non-negative

    Raises
    ------
    ValueError
        If `lifter` is negative or NaN, or the MFCCs have less than two axes.

    Warns
    -----
    UserWarning
        If liftering has lost a coefficient.

    See Also
    --------
    melexp.mfcc_to_audio : The waveform.

    Examples
    --------
    >>> import numpy as np
    >>> mfcc_to_mel(np.zeros((20, 5), np.float32)).shape
    (128, 5)
    """
    from librosa.feature import inverse  # here, because the import is slow

    given, mfcc = mfcc, to_array(mfcc)
    if mfcc.ndim < 2:
        raise ValueError(f"mfcc must have shape (..., n_mfcc, n_frames); got {mfcc.shape}")
    if not lifter >= 0:
        raise ValueError(f"lifter must be a number of at least 0; got {lifter}")
    if lifter > 0:
        n = np.arange(1, 1 + mfcc.shape[-2])
        factor = (1 + lifter / 2 * np.sin(np.pi * n / lifter))[:, None]
        lost = np.abs(factor) < 1e-6
        if lost.any():
            warnings.warn(
                f"lifter = {lifter} has lost {np.count_nonzero(lost)} of {len(n)} coefficients",
                UserWarning,
                stacklevel=2,
            )
        factor = np.where(lost, np.inf, factor)
        mfcc = (mfcc / factor).astype(np.result_type(mfcc.dtype, np.float32))
    mel = inverse.mfcc_to_mel(mfcc, n_mels=n_mels, dct_type=dct_type, norm=norm, ref=ref)
    return like(mel, given)


def mfcc_to_audio(
    mfcc: Any,
    *,
    n_mels: int = 128,
    dct_type: int = 2,
    norm: str | None = "ortho",
    ref: float = 1.0,
    lifter: float = 0,
    **kwargs: Any,
) -> Any:
    """Estimate the waveform of MFCCs, with librosa's signature: `mfcc_to_mel`, `mel_to_audio`.

    Parameters
    ----------
    mfcc, n_mels, dct_type, norm, ref, lifter
        As in :func:`melexp.mfcc_to_mel`.
    **kwargs
        Arguments of :func:`melexp.mel_to_audio`.

    Returns
    -------
    y : np.ndarray or torch.Tensor [shape=(..., n_samples)]

    Raises
    ------
    ValueError, TypeError
        As these functions.

    Examples
    --------
    >>> import librosa, numpy as np
    >>> y = np.sin(np.arange(22050) / 10).astype(np.float32)
    >>> mfcc_to_audio(librosa.feature.mfcc(y=y), length=22050, n_iter=10).shape
    (22050,)
    """
    mel = mfcc_to_mel(mfcc, n_mels=n_mels, dct_type=dct_type, norm=norm, ref=ref, lifter=lifter)
    return mel_to_audio(mel, **kwargs)
