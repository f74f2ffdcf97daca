"""Compression of mel-spectrograms (dB, logarithms) and its inverse."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Base of the logarithm and its factor, by unit.
UNITS = {
    "ln": (np.e, 1.0),
    "log10": (10.0, 1.0),
    "power_db": (10.0, 10.0),
    "amplitude_db": (10.0, 20.0),
}


@dataclass(frozen=True, kw_only=True)
class Compression:
    r"""Logarithm with a floor, gain and offset, and its inverse.

    .. math::
        \ell = \log\frac{\max(M + \epsilon,\, \mathrm{floor})}{\mathrm{ref}}, \qquad
        L = \mathrm{gain} \cdot \max(\ell,\; \max \ell - \mathrm{range}) + \mathrm{offset}

    The inverse is exact except in the bins on the floor, for which it gives an upper bound.
    `expand` returns a mask of these bins, and `melexp.Problem` treats them as bounds.

    Parameters
    ----------
    unit : str
        "ln", "log10", "power_db" (10 log10, as :func:`librosa.power_to_db`) or "amplitude_db"
        (20 log10, as :func:`librosa.amplitude_to_db`).
    floor : float >= 0
        Smallest value before the logarithm (``amin``, ``clip_val``). Zero requires `epsilon` > 0.
    epsilon : float >= 0
        Added before the logarithm.
    ref : float > 0 or "max"
        Value that is mapped to 0. "max" is the largest value of the input; the level is then lost.
    range : float > 0 or None
        Dynamic range below the largest value (``top_db``), in the unit of the logarithm. Smaller
        values are raised to its lower end.
    gain, offset : float
        Scale and shift of the logarithm. Whisper's ``(L + 4) / 4`` is 0.25 and 1.

    Examples
    --------
    >>> import numpy as np
    >>> compression = Compression(unit="ln", floor=1e-5)
    >>> M, floored = compression.expand(compression.compress(np.array([[0.5, 0.0]])))
    >>> M.round(5).tolist(), floored.tolist()
    ([[0.5, 1e-05]], [[False, True]])
    """

    unit: str = "ln"
    floor: float = 1e-5
    epsilon: float = 0.0
    ref: float | str = 1.0
    range: float | None = None
    gain: float = 1.0
    offset: float = 0.0

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise ValueError(f"unit must be one of {', '.join(UNITS)}; got {self.unit!r}")
        if not (self.floor >= 0 and self.epsilon >= 0 and max(self.floor, self.epsilon) > 0):
            raise ValueError(
                "floor and epsilon must not be negative and one must be above zero, or the "
                f"logarithm of silence is not finite; got {self.floor} and {self.epsilon}"
            )
        if self.ref != "max" and (isinstance(self.ref, str) or not self.ref > 0):
            raise ValueError(f"ref must be a number above zero or 'max'; got {self.ref!r}")
        if self.range is not None and not self.range > 0:
            raise ValueError(f"range must be above zero or None; got {self.range}")
        if self.gain == 0:
            raise ValueError("gain must not be zero")

    def compress(self, mel: np.ndarray) -> np.ndarray:
        """Compress a linear mel-spectrogram [shape=(n_mels, n_frames), non-negative]."""
        base, factor = UNITS[self.unit]
        raised = np.maximum(mel + mel.dtype.type(self.epsilon), mel.dtype.type(self.floor))
        ref = float(raised.max()) if isinstance(self.ref, str) else self.ref
        log = factor / np.log(base) * (np.log(raised) - np.log(ref))
        if self.range is not None:
            log = np.maximum(log, log.max() - self.range)
        compressed: np.ndarray = (self.gain * log + self.offset).astype(mel.dtype)
        return compressed

    def expand(
        self, compressed: np.ndarray, *, largest: float | None = None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Expand a compressed mel-spectrogram to a linear one.

        Parameters
        ----------
        compressed : np.ndarray [shape=(n_mels, n_frames)]
        largest : float or None
            Largest value of the whole, if `compressed` is a part of it. Used by `range`.

        Returns
        -------
        mel : np.ndarray [shape=(n_mels, n_frames), float64, non-negative]
        floored : np.ndarray [shape=(n_mels, n_frames), bool] or None
            True where `mel` is an upper bound; None if there is no such bin. Values below the
            floor, which models may produce, count as on the floor.

        Raises
        ------
        ValueError
            If the values are too large for this compression.
        """
        base, factor = UNITS[self.unit]
        log = (compressed.astype(np.float64) - self.offset) / self.gain
        # Tolerance for rounding, so that the floor is recognised in any precision.
        rounding = 4 * float(np.finfo(compressed.dtype).eps) * float(np.abs(log).max(initial=1))
        least = -np.inf
        if self.floor > 0 and not isinstance(self.ref, str):
            least = factor * np.log(self.floor / self.ref) / np.log(base)
        if self.range is not None:
            top = log.max() if largest is None else (largest - self.offset) / self.gain
            least = max(least, float(top) - self.range)
        floored = log <= least + rounding
        exponent = np.maximum(log, least) * (np.log(base) / factor)
        if exponent.max() > _LARGEST:
            raise ValueError(
                f"mel has values of up to {compressed.max():.4g}, far too large for {self.unit}; "
                "check whether it is linear or has another compression"
            )
        ref = 1.0 if isinstance(self.ref, str) else self.ref
        mel = np.maximum(ref * np.exp(exponent) - self.epsilon, 0)
        return mel, floored if floored.any() else None


#: ln 1e15, larger than any value of a waveform's mel-spectrogram.
_LARGEST = 34.5
