"""The magnitude spectrogram of a mel-spectrogram in one call."""

from __future__ import annotations

from typing import Any

import numpy as np

from melexp.problem import Problem
from melexp.start.magnitude import MAGNITUDES, magnitude_of
from melexp.transforms.mel import MelTransform
from melexp.transforms.tensors import like, real_dtype, to_array


def mel_to_magnitude(
    mel: Any,
    transform: MelTransform,
    *,
    method: str = "kl",
    length: int | None = None,
    dtype: Any = np.float32,
) -> Any:
    r"""Estimate the STFT magnitude of a mel-spectrogram.

    Use it to combine the magnitude with a phase from another source. The result is
    :math:`|\mathrm{STFT}(x)|` for magnitude mels and for power mels alike, at the level of the mel.

    Parameters
    ----------
    mel : np.ndarray or torch.Tensor [shape=(..., n_mels, n_frames)]
        The mel-spectrogram as `transform` makes it: compressed if the transform has a compression,
        otherwise linear and non-negative.
    transform : MelTransform
        The front end that computed it.
    method : "kl", "nnls" or "pinv"
        :func:`melexp.start.kl` (spectral lines of the window's width),
        :func:`melexp.start.nnls` (non-negative least squares) or
        :func:`melexp.start.pinv` (clipped least-norm solution).
    length : int or None
        Length of the waveform in samples, which the number of frames must match.
    dtype : np.float32 or np.float64, or torch's
        Precision of the computation and of the result.

    Returns
    -------
    magnitude : np.ndarray or torch.Tensor [shape=(..., n_bins, n_frames)], non-negative
        A tensor for a tensor, on its device.

    Raises
    ------
    ValueError
        For an unknown method, or a mel that does not fit the transform or the length.

    See Also
    --------
    melexp.invert : Estimate the waveform.

    Examples
    --------
    >>> import numpy as np
    >>> from melexp import MelTransform, mel_to_magnitude
    >>> transform = MelTransform.preset("librosa_power")
    >>> mel = transform(np.sin(np.arange(22050) / 10).astype(np.float32))
    >>> magnitude = mel_to_magnitude(mel, transform)
    >>> magnitude.shape
    (513, 87)
    >>> int(magnitude[:, 40].argmax())  # 22050 / (20 pi) Hz is 351 Hz, in bin 16
    16
    """
    if method not in MAGNITUDES:
        raise ValueError(f"method must be one of {', '.join(MAGNITUDES)}; got {method!r}")
    given, mel, dtype = mel, to_array(mel), real_dtype(dtype)
    if mel.ndim < 2:
        raise ValueError(f"mel must have shape (..., n_mels, n_frames); got {mel.shape}")
    if 0 in mel.shape:
        raise ValueError(f"mel is empty: it has shape {mel.shape}")

    def one(member: np.ndarray) -> np.ndarray:
        problem = Problem(member, transform, length=length, dtype=dtype)
        Y = magnitude_of(MAGNITUDES[method](problem), transform.power)
        return Y * problem.dtype.type(problem.scale)

    members = np.stack([one(m) for m in mel.reshape(-1, *mel.shape[-2:])])
    return like(members.reshape(*mel.shape[:-2], *members.shape[-2:]), given)
