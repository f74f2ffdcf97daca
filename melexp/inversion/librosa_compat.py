"""Functions with the signatures of librosa, so that one import changes."""

from __future__ import annotations

from typing import Any

import numpy as np

from melexp.inversion.invert import invert
from melexp.transforms.mel import MelTransform

#: Arguments of :func:`librosa.filters.mel` besides sr, n_fft and n_mels.
_FILTER_ARGUMENTS = ("fmin", "fmax", "htk", "norm")


def mel_to_audio(
    M: np.ndarray,
    *,
    sr: float = 22050,
    n_fft: int = 2048,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Any = "hann",
    center: bool = True,
    pad_mode: str = "constant",
    power: float = 2.0,
    n_iter: int = 100,
    length: int | None = None,
    dtype: Any = np.float32,
    method: str = "admm_ramp",
    seed: int = 0,
    **kwargs: Any,
) -> np.ndarray:
    """Estimate the waveform of a mel power spectrogram, with the signature of librosa.

    The arguments and defaults are those of :func:`librosa.feature.inverse.mel_to_audio`, except the
    default of `n_iter`. Full-band magnitude and phase are estimated together, not one after the
    other.

    Parameters
    ----------
    M : np.ndarray [shape=(..., n_mels, n_frames)], non-negative
        As :func:`librosa.feature.melspectrogram` returns it.
    sr, n_fft, hop_length, win_length, window, center, pad_mode, power
        The arguments that M was computed with; `hop_length` None means a quarter of the window.
    n_iter : int >= 0
        Number of iterations.
    length : int or None
        The waveform is cut, or padded with zeros, to this number of samples.
    dtype : np.float32 or np.float64
        Precision of the computation and of the result.
    method : str
        One of `melexp.available_methods`.
    seed : int >= 0
        Seed of the random part of the start.
    **kwargs
        ``fmin``, ``fmax``, ``htk`` and ``norm`` of the filters (and ``n_mels``, which must be M's).

    Returns
    -------
    y : np.ndarray [shape=(..., n_samples)]

    Raises
    ------
    TypeError
        For an unknown argument.
    ValueError
        If M does not fit these arguments.

    See Also
    --------
    melexp.invert : The same for any front end.

    Examples
    --------
    >>> import librosa, numpy as np
    >>> y = np.sin(np.arange(22050) / 10).astype(np.float32)
    >>> mel_to_audio(librosa.feature.melspectrogram(y=y, sr=22050), length=22050).shape
    (22050,)
    """
    M = np.asarray(M)
    if M.ndim < 2:
        raise ValueError(f"M must have shape (..., n_mels, n_frames); got {M.shape}")
    n_mels = kwargs.pop("n_mels", M.shape[-2])
    if n_mels != M.shape[-2]:
        raise ValueError(f"n_mels = {n_mels}, but M has {M.shape[-2]} bands")
    if unknown := sorted(set(kwargs) - set(_FILTER_ARGUMENTS)):
        raise TypeError(f"mel_to_audio has no argument {', '.join(unknown)}")
    transform = MelTransform(
        sr=sr,
        n_fft=n_fft,
        hop_length=(win_length or n_fft) // 4 if hop_length is None else hop_length,
        win_length=win_length,
        window=window,
        center=center,
        pad_mode=pad_mode,
        n_mels=n_mels,
        power=power,
        empty_filters=True,  # librosa only warns of them when it computes the mel
        **({"fmax": None} | kwargs),
    )
    if not np.issubdtype(M.dtype, np.floating):
        M = M.astype(dtype)
    # librosa takes any length; the problem needs a length with as many frames as M.
    fits = length is not None and _n_frames(transform, length) == M.shape[-1]
    y = invert(
        M,
        transform,
        method=method,
        n_iter=n_iter,
        length=length if fits else None,
        seed=seed,
        dtype=dtype,
    )
    if length is None or fits:
        return y
    missing = max(0, length - y.shape[-1])
    return np.pad(y[..., :length], [(0, 0)] * (y.ndim - 1) + [(0, missing)])


def _n_frames(transform: MelTransform, length: int) -> int:
    return 1 + (length + 2 * transform.padding - transform.n_fft) // transform.hop_length
