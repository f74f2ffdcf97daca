"""The magnitude of a mel-spectrogram, for those who bring their own phase."""

from __future__ import annotations

from typing import Any

import numpy as np

from melexp.problem import Problem
from melexp.start.magnitude import kl, nnls, pinv
from melexp.transforms.mel import MelTransform

_METHODS = {"pinv": pinv, "nnls": nnls, "kl": kl}


def mel_to_magnitude(
    mel: np.ndarray,
    transform: MelTransform,
    *,
    method: str = "kl",
    length: int | None = None,
    dtype: Any = np.float32,
) -> np.ndarray:
    """Estimate the full-band magnitude of a mel-spectrogram.

    Parameters
    ----------
    mel : np.ndarray [shape=(..., n_mels, n_frames)]
        The mel-spectrogram as `transform` makes it, of magnitudes or powers, also compressed.
    transform : MelTransform
        The front end that computed it.
    method : "kl", "nnls" or "pinv"
        See :func:`melexp.start.kl`, :func:`melexp.start.nnls` and :func:`melexp.start.pinv`.
    length : int or None
        Length of the waveform in samples, if it is known.
    dtype : np.float32 or np.float64
        Precision of the computation and of the result.

    Returns
    -------
    magnitude : np.ndarray [shape=(..., n_fft // 2 + 1, n_frames)], non-negative
        An estimate of the magnitude |STFT(x)|, also for power mels.

    Raises
    ------
    ValueError
        For an unknown method, or a mel that does not fit the transform.

    See Also
    --------
    melexp.invert : Magnitude and phase together, which is more accurate.

    Examples
    --------
    >>> import numpy as np
    >>> from melexp import MelTransform, mel_to_magnitude
    >>> transform = MelTransform(power=2)
    >>> mel = transform(np.sin(np.arange(22050) / 10).astype(np.float32))
    >>> mel_to_magnitude(mel, transform).shape
    (513, 87)
    """
    if method not in _METHODS:
        raise ValueError(f"method must be one of {', '.join(_METHODS)}; got {method!r}")
    mel = np.asarray(mel)
    if mel.ndim < 2:
        raise ValueError(f"mel must have shape (..., n_mels, n_frames); got {mel.shape}")

    def one(m: np.ndarray) -> np.ndarray:
        problem = Problem(m, transform, length=length, dtype=dtype, engine="portable")
        estimate = _METHODS[method](problem)
        magnitude = estimate if transform.power == 1 else estimate ** (1 / transform.power)
        return magnitude * problem.dtype.type(problem.scale)

    members = [one(m) for m in mel.reshape(-1, *mel.shape[-2:])]
    return np.stack(members).reshape(*mel.shape[:-2], *members[0].shape)
