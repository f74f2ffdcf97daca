"""One mel-spectrogram to invert, with the operators that every method works with."""

from __future__ import annotations

from typing import Any

import numpy as np

from melexp.mel import MelTransform


class Problem:
    """A mel-spectrogram, scaled to a maximum of 1, with its STFT and filter bank.

    Scaling here makes every method equivariant to the level of the mel and keeps float32 away
    from its limits.

    Parameters
    ----------
    mel : np.ndarray [shape=(n_mels, n_frames)], non-negative
        The mel-spectrogram M.
    transform : MelTransform
        How it was computed.
    length : int or None
        Length of the waveform in samples; by default the shortest with that many frames.
    dtype : np.float32 or np.float64
        Precision of all computation.

    Raises
    ------
    ValueError
        If the mel does not fit the transform or the length, or is negative or not finite.

    Attributes
    ----------
    mel : np.ndarray [shape=(n_mels, n_frames)]
        M divided by its maximum.
    scale : float
        What the waveform is multiplied by in the end.
    stft : STFT
    filters : MelFilters
    """

    def __init__(
        self,
        mel: np.ndarray,
        transform: MelTransform,
        *,
        length: int | None = None,
        dtype: Any = np.float32,
    ) -> None:
        mel = np.asarray(mel)
        if mel.ndim != 2 or mel.shape[0] != transform.n_mels or mel.shape[1] == 0:
            hint = "; transpose it" if mel.ndim == 2 and mel.shape[1] == transform.n_mels else ""
            raise ValueError(
                f"mel has shape {mel.shape}, expected (n_mels = {transform.n_mels}, n_frames){hint}"
            )
        if not np.issubdtype(mel.dtype, np.floating):
            raise ValueError(f"mel must be floating-point; got {mel.dtype}")
        if not np.isfinite(mel).all():
            raise ValueError("mel has values that are NaN or infinite")
        if mel.min() < 0:
            raise ValueError(
                f"mel has negative values (least: {mel.min():.3g}); a log or dB mel must be "
                "converted to linear first"
            )
        self.dtype = np.dtype(dtype)
        if self.dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
            raise ValueError(f"dtype must be float32 or float64; got {self.dtype}")
        self.transform = transform
        self.n_samples = transform.n_samples(mel.shape[1]) if length is None else int(length)
        self.stft = transform.stft(self.n_samples, self.dtype)
        if self.stft.n_frames != mel.shape[1]:
            raise ValueError(
                f"length = {length} gives {self.stft.n_frames} frames, but mel has "
                f"{mel.shape[1]}; use {transform.n_samples(mel.shape[1])} or leave it out"
            )
        self.filters = transform.filters(self.dtype)
        peak = float(mel.max())
        self.scale = peak ** (1 / transform.power) if peak > 0 else 1.0
        self.mel = (mel.astype(np.float64) / (peak or 1.0)).astype(self.dtype)

    def waveform(self, X: np.ndarray) -> np.ndarray:
        """Waveform [shape=(n_samples,)] at the level of the given mel of a spectrogram X."""
        return self.stft.inverse(X) * self.dtype.type(self.scale)
