"""Functions with the signatures of librosa, so that one import changes."""

from __future__ import annotations

from typing import Any

import numpy as np

from melexp.inversion.invert import invert
from melexp.inversion.lengths import lengths_of, with_length
from melexp.problem import checked_length
from melexp.start import mel_to_magnitude
from melexp.transforms.mel import MelTransform
from melexp.transforms.tensors import is_tensor, like, to_array

#: Arguments of :func:`librosa.filters.mel` besides sr, n_fft and n_mels.
_FILTER_ARGUMENTS = ("fmin", "fmax", "htk", "norm")


def mel_to_audio(
    M: Any,
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
) -> Any:
    """Estimate the waveform of a mel power spectrogram, with the signature of librosa.

    The arguments and defaults are those of :func:`librosa.feature.inverse.mel_to_audio`, except the
    default of `n_iter`. Full-band magnitude and phase are estimated together, not one after the
    other.

    Parameters
    ----------
    M : np.ndarray or torch.Tensor [shape=(..., n_mels, n_frames)], non-negative
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
    y : np.ndarray or torch.Tensor [shape=(..., n_samples)]
        A tensor for a tensor, on its device.

    Raises
    ------
    TypeError
        For an unknown argument.
    ValueError
        If M does not fit these arguments.

    See Also
    --------
    melexp.invert : The same for any front end.
    melexp.mel_to_stft : The magnitude only.

    Examples
    --------
    >>> import librosa, numpy as np
    >>> y = np.sin(np.arange(22050) / 10).astype(np.float32)
    >>> mel_to_audio(librosa.feature.melspectrogram(y=y, sr=22050), length=22050).shape
    (22050,)
    """
    M = _spectrogram(M, dtype)
    n_mels = kwargs.pop("n_mels", M.shape[-2])
    if n_mels != M.shape[-2]:
        raise ValueError(f"n_mels = {n_mels}, but M has {M.shape[-2]} bands")
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
        **_filter_arguments("mel_to_audio", kwargs),
    )
    asked = checked_length(length)
    if asked is not None:  # librosa takes any length; the frames determine it up to a hop
        own = lengths_of(
            M.shape[-1],
            n_fft=n_fft,
            hop_length=transform.hop_length,
            padding=transform.padding,
        )
        length = min(max(asked, own.start), own.stop - 1)
    y = invert(M, transform, method=method, n_iter=n_iter, length=length, seed=seed, dtype=dtype)
    return with_length(y, asked)


def mel_to_stft(
    M: Any, *, sr: float = 22050, n_fft: int = 2048, power: float = 2.0, **kwargs: Any
) -> Any:
    """Estimate the STFT magnitude of a mel spectrogram, with the signature of librosa.

    The arguments and defaults are those of :func:`librosa.feature.inverse.mel_to_stft`. The result
    consists of spectral lines of the width of a Hann window (:func:`melexp.start.kl`), so it is
    nearer to a real spectrum than the least-squares solution of librosa.

    Parameters
    ----------
    M : np.ndarray or torch.Tensor [shape=(..., n_mels, n_frames)]
        As :func:`librosa.feature.melspectrogram` returns it. Negative values count as zero.
    sr, n_fft
        The arguments that M was computed with.
    power : float > 0
        Exponent of the magnitude in M.
    **kwargs
        ``fmin``, ``fmax``, ``htk`` and ``norm`` of the filters.

    Returns
    -------
    S : np.ndarray or torch.Tensor [shape=(..., n_fft // 2 + 1, n_frames)], non-negative
        The magnitude. float64 for float64 input, otherwise float32.

    Raises
    ------
    TypeError
        For an unknown argument.
    ValueError
        If M does not fit these arguments.

    See Also
    --------
    melexp.mel_to_magnitude : The same for any front end.

    Examples
    --------
    >>> import librosa, numpy as np
    >>> y = np.sin(np.arange(22050) / 10).astype(np.float32)
    >>> mel_to_stft(librosa.feature.melspectrogram(y=y)).shape
    (1025, 44)
    """
    given, M = M, to_array(_spectrogram(M, np.float32))
    transform = MelTransform(
        sr=sr,
        n_fft=n_fft,
        hop_length=max(1, n_fft // 4),
        n_mels=M.shape[-2],
        power=power,
        **_filter_arguments("mel_to_stft", kwargs),
    )
    dtype = np.float64 if M.dtype == np.float64 else np.float32
    S = mel_to_magnitude(np.maximum(M, 0), transform, dtype=dtype)
    return like(S, given)


def _spectrogram(M: Any, dtype: Any) -> Any:
    """Return M with floating-point values, which has a shape of (..., n_mels, n_frames)."""
    M = M if is_tensor(M) else np.asarray(M)
    if M.ndim < 2:
        raise ValueError(f"M must have shape (..., n_mels, n_frames); got {tuple(M.shape)}")
    if not is_tensor(M):
        return M if np.issubdtype(M.dtype, np.floating) else M.astype(dtype)
    return M if M.is_floating_point() else M.float()


def _filter_arguments(function: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of the filters, with the defaults of librosa."""
    if unknown := sorted(set(given) - set(_FILTER_ARGUMENTS)):
        raise TypeError(f"{function} has no argument {', '.join(unknown)}")
    # librosa only warns of empty filters when it computes the mel.
    return {"fmax": None, "empty_filters": True} | given
