"""Compression of mel-spectrograms (logarithms, dB, powers, normalisation) and its inverse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

#: Base of the logarithm and its factor, by unit.
LOGARITHMS = {
    "ln": (np.e, 1.0),
    "log10": (10.0, 1.0),
    "power_db": (10.0, 10.0),
    "amplitude_db": (10.0, 20.0),
}
UNITS = (*LOGARITHMS, "power")


@dataclass(frozen=True, kw_only=True)
class Compression:
    r"""Logarithm (or power) with a floor, gain and offset, and its inverse.

    .. math::
        \ell = \log\frac{\max(M + \epsilon,\, \mathrm{floor})}{\mathrm{ref}}, \qquad
        L = \mathrm{gain} \cdot \max(\ell,\; \max \ell - \mathrm{range}) + \mathrm{offset}

    With the unit "power", a power of the same ratio replaces the logarithm. The inverse is exact
    except in the bins on the floor, for which it gives an upper bound. `expand` returns a mask of
    these bins, and `melexp.Problem` treats them as bounds.

    Parameters
    ----------
    unit : str
        "ln", "log10", "power_db" (10 log10, as :func:`librosa.power_to_db`), "amplitude_db"
        (20 log10, as :func:`librosa.amplitude_to_db`) or "power" (see `exponent`).
    floor : float >= 0
        Smallest value before the logarithm (``amin``, ``clip_val``). A logarithm with `floor` zero
        requires `epsilon` > 0.
    epsilon : float >= 0
        Added before the logarithm.
    ref : float > 0 or "max"
        Value that is mapped to 0 (to 1 by a power). "max" is the largest value of the input; the
        level is then lost.
    range : float > 0 or None
        Dynamic range below the largest value (``top_db``), in the unit of the logarithm. Smaller
        values are raised to its lower end.
    gain, offset : float or sequence of float [shape=(n_mels,)]
        Scale and shift of the result, for all bands or for each. Whisper's ``(L + 4) / 4`` is 0.25
        and 1. See also `normalized` and `from_levels`.
    exponent : float > 0
        Exponent of the unit "power". Pictures of spectrograms often have 0.25; 1 is linear.

    Raises
    ------
    ValueError
        For arguments out of range.

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
    gain: Any = 1.0
    offset: Any = 0.0
    exponent: float = 1.0

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise ValueError(
                f"the unit of the compression must be one of {', '.join(UNITS)}; got {self.unit!r}"
            )
        least = max(self.floor, self.epsilon)
        if not (self.floor >= 0 and self.epsilon >= 0 and (least > 0 or self.unit == "power")):
            raise ValueError(
                "floor and epsilon must not be negative and one must be above zero, or the "
                f"logarithm of silence is not finite; got {self.floor} and {self.epsilon}"
            )
        if self.ref != "max" and (isinstance(self.ref, str) or not self.ref > 0):
            raise ValueError(f"ref must be a number above zero or 'max'; got {self.ref!r}")
        if self.range is not None and not self.range > 0:
            raise ValueError(f"range must be above zero or None; got {self.range}")
        for name in ("gain", "offset"):
            value = np.asarray(getattr(self, name), dtype=np.float64)
            if value.ndim > 1 or not np.isfinite(value).all():
                raise ValueError(f"{name} must be a finite number or one per band; got {value}")
            if value.ndim:  # a tuple, so that the object can be compared and hashed
                object.__setattr__(self, name, tuple(value.tolist()))
        if not np.all(self.gain):
            raise ValueError("gain must not be zero")
        if self.range is not None and self.unit == "power":
            raise ValueError("range is for a logarithm; leave it out with unit='power'")
        if self.range is not None and (np.ndim(self.gain) or np.ndim(self.offset)):
            raise ValueError("range needs one gain and offset for all bands")
        if not 0 < self.exponent < np.inf:
            raise ValueError(f"exponent must be above zero; got {self.exponent}")
        if self.exponent != 1 and self.unit != "power":
            raise ValueError(f"exponent needs unit='power'; got unit={self.unit!r}")

    @classmethod
    def from_levels(
        cls,
        *,
        min_level_db: float = -100.0,
        ref_level_db: float = 20.0,
        max_norm: float = 4.0,
        symmetric: bool = True,
    ) -> Compression:
        r"""Return the normalisation by levels of Tacotron, Coqui TTS and relatives.

        The range from ``min_level_db + ref_level_db`` to `ref_level_db` in amplitude dB is mapped
        to `-max_norm` (0 if not `symmetric`) to `max_norm`. Values above the range may be clipped
        by these front ends; the inverse takes them as they are.

        Parameters
        ----------
        min_level_db : float < 0
        ref_level_db : float
        max_norm : float > 0
        symmetric : bool
        """
        if not (min_level_db < 0 and max_norm > 0):
            raise ValueError(
                "min_level_db must be below zero and max_norm above it; got "
                f"{min_level_db} and {max_norm}"
            )
        least = -max_norm if symmetric else 0.0
        gain = (max_norm - least) / -min_level_db
        return cls(
            unit="amplitude_db",
            floor=10 ** ((min_level_db + ref_level_db) / 20),
            gain=gain,
            offset=least - gain * (min_level_db + ref_level_db),
        )

    def normalized(self, mean: Any, deviation: Any) -> Compression:
        """Return the compression followed by ``(L - mean) / deviation``.

        Parameters
        ----------
        mean, deviation : float or sequence of float [shape=(n_mels,)]
            Of all bands, or of each band.
        """
        mean, deviation = np.asarray(mean, np.float64), np.asarray(deviation, np.float64)
        if not (np.isfinite(mean).all() and (deviation > 0).all() and np.isfinite(deviation).all()):
            raise ValueError("mean must be finite and deviation above zero in every band")
        gain, offset = (np.asarray(value) for value in (self.gain, self.offset))
        return replace(self, gain=gain / deviation, offset=(offset - mean) / deviation)

    def compress(self, mel: np.ndarray) -> np.ndarray:
        """Compress a linear mel-spectrogram [shape=(n_mels, n_frames), non-negative]."""
        raised = np.maximum(mel + mel.dtype.type(self.epsilon), mel.dtype.type(self.floor))
        ref = float(raised.max()) if isinstance(self.ref, str) else self.ref
        if self.unit == "power":
            value = (raised / (ref or 1.0)) ** self.exponent
        else:
            base, factor = LOGARITHMS[self.unit]
            value = factor / np.log(base) * (np.log(raised) - np.log(ref))
        if self.range is not None:
            value = np.maximum(value, value.max() - self.range)
        compressed: np.ndarray = _column(self.gain) * value + _column(self.offset)
        return compressed.astype(mel.dtype)

    def expand(
        self, compressed: np.ndarray, *, largest: float | None = None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Expand a compressed mel-spectrogram to a linear one.

        Parameters
        ----------
        compressed : np.ndarray [shape=(n_mels, n_frames)]
            Values of minus infinity (with a negative gain, plus infinity) are on the floor.
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
        value = (compressed.astype(np.float64) - _column(self.offset)) / _column(self.gain)
        # Tolerance for rounding, so that the floor is recognised in any precision.
        largest_size = np.abs(value, where=np.isfinite(value), out=np.ones_like(value)).max(
            initial=1
        )
        rounding = 4 * float(np.finfo(compressed.dtype).eps) * float(largest_size)
        least = self._least(value, largest)
        floored = value <= least + rounding
        value = np.maximum(value, least)
        ref = 1.0 if isinstance(self.ref, str) else self.ref
        if self.unit == "power":
            exponent = np.log(np.maximum(value, 1e-300)) / self.exponent
        else:
            base, factor = LOGARITHMS[self.unit]
            exponent = value * (np.log(base) / factor)
        if exponent.max() > _LARGEST:
            raise ValueError(
                f"mel has values of up to {compressed.max():.4g}, far too large for {self.unit}; "
                "check whether it is linear or has another compression"
            )
        mel = np.maximum(ref * np.exp(exponent) - self.epsilon, 0)
        return mel, floored if floored.any() else None

    def _least(self, value: np.ndarray, largest: float | None) -> float:
        """Return the smallest value that this compression gives, before gain and offset."""
        lost = isinstance(self.ref, str)  # the floor is then at an unknown place
        if self.unit == "power":
            return 0.0 if lost else float((self.floor / float(self.ref)) ** self.exponent)
        least = -np.inf
        if self.floor > 0 and not lost:
            base, factor = LOGARITHMS[self.unit]
            least = factor * np.log(self.floor / float(self.ref)) / np.log(base)
        if self.range is not None:
            top = value.max() if largest is None else (largest - self.offset) / self.gain
            # The largest value of a mel with ref "max" is 0, also if only a part of it is given.
            least = max(least, (0.0 if lost else float(top)) - self.range)
        return float(least)


def _column(value: float | Sequence[float]) -> Any:
    """Return a number as it is, and one number per band as a column."""
    return np.asarray(value)[:, None] if np.ndim(value) else value


#: ln 1e15, larger than any value of a waveform's mel-spectrogram.
_LARGEST = 34.5
