"""Full-band magnitude from a mel-spectrogram, at its level."""

from __future__ import annotations

from typing import Any

import numpy as np

from melexp.problem import Problem
from melexp.start.magnitude import MAGNITUDES, magnitude_of
from melexp.transforms.mel import MelTransform


def mel_to_magnitude(
    mel: np.ndarray,
    transform: MelTransform,
    *,
    method: str = "kl",
    length: int | None = None,
    dtype: Any = np.float32,
) -> np.ndarray:
    """Estimate the magnitude spectrogram of a mel-spectrogram.

    Use it to combine the magnitude with a phase from another source. The magnitude has the level of
    the given mel-spectrogram. For power mels it is the square root of the estimated power.

    Parameters
    ----------
    mel : np.ndarray [shape=(..., n_mels, n_frames)]
        Mel-spectrogram as `transform` computes it, compressed if the transform has a compression.
        Each mel-spectrogram of a stack is processed separately.
    transform : MelTransform
        How `mel` was computed.
    method : "kl", "nnls" or "pinv"
        Estimator: :func:`melexp.start.kl`, :func:`melexp.start.nnls` or :func:`melexp.start.pinv`.
    length : int or None
        Length of the waveform in samples, checked against the number of frames if given.
    dtype : np.float32 or np.float64
        Precision of the computation and of the result.

    Returns
    -------
    magnitude : np.ndarray [shape=(..., n_fft // 2 + 1, n_frames), dtype], non-negative

    Raises
    ------
    ValueError
        If `method` is unknown, or if the mel-spectrogram does not fit the transform or the length.

    See Also
    --------
    melexp.invert : Estimate the waveform.

    Examples
    --------
    >>> import numpy as np
    >>> from melexp import MelTransform
    >>> transform = MelTransform(power=2.0)
    >>> y = np.sin(2 * np.pi * 440 / 22050 * np.arange(22050)).astype(np.float32)
    >>> magnitude = mel_to_magnitude(transform(y), transform)
    >>> magnitude.shape
    (513, 87)
    >>> int(magnitude[:, 40].argmax()), round(440 * transform.n_fft / transform.sr)
    (20, 20)
    """
    if method not in MAGNITUDES:
        raise ValueError(f"method must be one of {', '.join(MAGNITUDES)}; got {method!r}")
    mel = np.asarray(mel)
    shape = (*mel.shape[:-2], transform.n_fft // 2 + 1, mel.shape[-1] if mel.ndim else 0)
    magnitude = np.empty(shape, dtype)
    for index in np.ndindex(mel.shape[:-2]):
        problem = Problem(mel[index], transform, length=length, dtype=dtype, engine="portable")
        scale = problem.dtype.type(problem.scale)
        np.multiply(magnitude_of(problem, method), scale, out=magnitude[index])
    return magnitude
