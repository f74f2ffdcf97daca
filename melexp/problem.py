"""A mel-spectrogram to invert, with the operators that the methods use."""

from __future__ import annotations

import copy
import logging
import warnings
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from melexp.errors import MelWarning
from melexp.transforms.arrays import relative_error
from melexp.transforms.mel import MelTransform

if TYPE_CHECKING:
    from melexp.fast import LaneEngine


#: Negative values of at most this share of the norm (-30 dB) are errors of interpolation.
LARGEST_NEGATIVE = 0.03


def checked_length(length: Any) -> int | None:
    """Return the length of a waveform as an int, or None.

    Raises
    ------
    ValueError
        If it is not a whole number above zero.
    """
    if length is None:
        return None
    if isinstance(length, bool) or not isinstance(length, int | np.integer) or length < 1:
        raise ValueError(
            f"length must be a whole number of samples above zero; got {length!r}; round it, or "
            "leave it out"
        )
    return int(length)


class Problem:
    """Mel-spectrogram scaled to a maximum of 1, with its STFT and filter bank.

    The scaling makes every method equivariant to the level of the mel, and avoids overflow and
    underflow in float32.

    Parameters
    ----------
    mel : np.ndarray [shape=(n_mels, n_frames)]
        The mel-spectrogram as `transform` makes it: compressed if the transform has a compression,
        otherwise linear and non-negative.
    transform : MelTransform
        The front end that computed it.
    length : int or None
        Length of the waveform in samples. None means the shortest with this number of frames.
    dtype : np.float32 or np.float64
        Precision of all computation.
    engine : "auto", "fast" or "portable"
        "auto" uses the fast engine if it supports the problem, otherwise the portable one with the
        reason in the log. "fast" and "portable" force one engine.
    floored : np.ndarray [shape=(n_mels, n_frames), bool] or None
        True where a linear `mel` is an upper bound. A compression determines this by itself.
    threads : int > 0
        Number of threads of the fast engine. Results differ by rounding between thread counts.

    Raises
    ------
    ValueError
        If the mel does not fit the transform or the length, or is negative or not finite.

    Attributes
    ----------
    mel : np.ndarray [shape=(n_mels, n_frames)]
        The linear mel-spectrogram M divided by its maximum.
    floored : np.ndarray [shape=(n_mels, n_frames), bool] or None
        True where the floor of the compression hides the value and `mel` is an upper bound.
    scale : float
        Factor of the waveform that restores the level of the given mel.
    stft : STFT
    filters : MelFilters
    frame_weights : float
        Exponent of :meth:`weighted`; 0 means no weights.
    frame_gains : np.ndarray [shape=(n_frames,)] or None
        Gains of the frames, set by :meth:`weighted`. `mel` and `stft` then include them.
    """

    def __init__(
        self,
        mel: np.ndarray,
        transform: MelTransform,
        *,
        length: int | None = None,
        dtype: Any = np.float32,
        engine: str = "auto",
        floored: np.ndarray | None = None,
        threads: int = 1,
    ) -> None:
        mel = np.asarray(mel)
        if mel.ndim != 2 or mel.shape[0] != transform.n_mels or mel.shape[1] == 0:
            hint = "; transpose it" if mel.ndim == 2 and mel.shape[1] == transform.n_mels else ""
            raise ValueError(
                f"mel has shape {mel.shape}, expected (n_mels = {transform.n_mels}, n_frames){hint}"
            )
        if not np.issubdtype(mel.dtype, np.floating):
            raise ValueError(f"mel must be floating-point; got {mel.dtype}")
        _check_finite(mel, transform)
        self.floored = floored
        if floored is not None and (transform.compression or floored.shape != mel.shape):
            raise ValueError("floored must have the shape of mel, which must be linear")
        if transform.compression is not None:
            mel, self.floored = transform.compression.expand(mel)
        mel = _without_negative(mel)
        self.dtype = np.dtype(dtype)
        if self.dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
            raise ValueError(f"dtype must be float32 or float64; got {self.dtype}")
        if engine not in ("auto", "fast", "portable"):
            raise ValueError(f"engine must be auto, fast or portable; got {engine!r}")
        self._engine, self._threads = engine, threads
        self.transform = transform
        length = checked_length(length)
        self.n_samples = transform.n_samples(mel.shape[1]) if length is None else length
        self.stft = transform.stft(self.n_samples, self.dtype)
        if self.stft.n_frames != mel.shape[1]:
            raise ValueError(
                f"length = {length} gives {self.stft.n_frames} frames, but mel has "
                f"{mel.shape[1]}; use length = {transform.n_samples(mel.shape[1])} or leave it out"
            )
        self.filters = transform.filters(self.dtype)
        peak = float(mel.max())
        self.scale = peak ** (1 / transform.power) if peak > 0 else 1.0
        self.mel = (mel.astype(np.float64) / (peak or 1.0)).astype(self.dtype)
        self.mel[self.filters.empty] = (
            0  # these bands are unused; a compression's floor may be here
        )
        self.frame_weights = 0.0
        self.frame_gains: np.ndarray | None = None
        self._plain: Problem | None = None

    def weighted(self, exponent: float) -> Problem:
        r"""Return a copy that gives quiet frames more weight, so that loud frames do not dominate.

        .. math::
            g_t = (e_t / \max e)^{-a}, \qquad
            e_t^2 = \|M_t\|^2 + (10^{-3} \max_\tau \|M_\tau\|)^2

        multiplies frame t of the spectrograms and of the mel (:math:`g_t^2` for a power mel). The
        consistent spectrograms are then those of the weighted STFT, so every method applies without
        changes.

        Parameters
        ----------
        exponent : float in [0, 1]
            The exponent a. 0 returns the problem without weights.

        Returns
        -------
        problem : Problem

        Raises
        ------
        ValueError
            If the exponent is not in [0, 1].
        """
        if not 0 <= exponent <= 1:
            raise ValueError(f"frame_weights must be from 0 to 1; got {exponent}")
        if exponent == self.frame_weights:
            return self
        if self.frame_weights:
            return self.plain.weighted(exponent)
        energy = np.linalg.norm(self.mel.astype(np.float64), axis=0)
        energy **= 1 / self.transform.power
        energy = np.hypot(energy, 1e-3 * energy.max())
        peak = energy.max()
        weights = (energy / peak) ** -exponent if peak > 0 else np.ones_like(energy)
        problem = copy.copy(self)
        problem.frame_weights, problem._plain = exponent, self
        for cached in ("lanes", "envelope"):
            problem.__dict__.pop(cached, None)
        problem.frame_gains = weights.astype(self.dtype)
        problem.stft = self.transform.stft(self.n_samples, self.dtype, problem.frame_gains)
        problem.mel = self.mel * self.transform.spectrum(problem.frame_gains)
        return problem

    @property
    def plain(self) -> Problem:
        """Problem without weights, which the start and the misfit use."""
        return self._plain or self

    @cached_property
    def lanes(self) -> LaneEngine | None:
        """Fast engine for this problem, or None if the portable engine is used."""
        if self._engine == "portable":
            return None
        reason = self._why_not_fast()
        if reason and self._engine == "fast":
            raise ValueError(f"the fast engine cannot be used: {reason}; use engine='auto'")
        if reason:
            logging.getLogger("melexp").info("portable engine: %s", reason)
            return None
        from melexp.fast import LaneEngine  # here, because importing LLVM is slow

        return LaneEngine(
            n_fft=self.stft.n_fft,
            hop_length=self.stft.hop_length,
            window=self.stft.window,
            pad_index=self.stft.pad_index,
            inv_norm=self.stft.inv_norm,
            n_samples=self.n_samples,
            n_frames=self.stft.n_frames,
            band=self.filters.band,
            weights=self.filters.weights,
            n_mels=self.filters.n_mels,
            power=int(self.transform.power),
            frame_gains=self.frame_gains,
            threads=self._threads,
        )

    def _why_not_fast(self) -> str | None:
        from melexp.fast import LaneEngine

        if self.transform.power not in (1, 2):
            return f"the fast engine supports power 1 and 2, not {self.transform.power:g}"
        if self.dtype != np.float32:
            return f"the fast engine supports only float32, not {self.dtype}"
        return LaneEngine.unsupported(self.stft.n_fft)

    @cached_property
    def envelope(self) -> np.ndarray:
        r"""Scale S of the squared deviations of the mel's powers [shape=(n_bins, n_frames)].

        The density of a band is its value divided by the sum of its filter. A bin takes the mean of
        its two bands, weighted by their filters. The lower limit is -80 dB of the largest density.
        For power mels S is this density. For an exponent p it is the density to the power
        :math:`2 - 2 / p`, so that :math:`(|X|^p - Y)^2 / S` has the unit of a power for all p.
        """
        density = density_of(self.mel, self.transform)
        return envelope_of(density, density.max(), self.transform.power).astype(self.dtype)

    def misfit(self, y: np.ndarray) -> float:
        """Compute ||M - E |STFT(y)|^power|| / ||M|| of a waveform at the level of the given mel."""
        p = self.plain
        y = self.transform.emphasized(y)
        X = p.stft.forward(y / self.dtype.type(self.scale))
        return float(relative_error(p.mel, self.filters.apply(self.transform.spectrum(X))))

    def waveform(self, X: np.ndarray) -> np.ndarray:
        """Return the waveform [shape=(n_samples,)] of X at the level of the given mel."""
        y = self.stft.inverse(X) if self.lanes is None else self.lanes.signal(X)
        y *= self.dtype.type(self.scale)
        return self.transform.deemphasized(y)


def density_of(mel: np.ndarray, transform: MelTransform) -> np.ndarray:
    """Return the density of a linear mel at each bin [shape=(n_bins, n_frames), float64]."""
    E = transform.basis
    rows, columns = E.sum(axis=1)[:, None], E.sum(axis=0)[:, None]
    density = np.divide(mel, rows, out=np.zeros_like(mel, np.float64), where=rows > 0)
    spread = E.T @ density
    return np.divide(spread, columns, out=np.zeros_like(spread), where=columns > 0)


def envelope_of(density: np.ndarray, peak: Any, power: float) -> np.ndarray:
    """Return `Problem.envelope` of a density, for the largest density or that of each frame."""
    floor = 10 ** (-4 * power) * np.where(peak > 0, peak, 10 ** (4 * power))
    density = np.maximum(density, floor)
    return density if power == 2 else density ** (2 - 2 / power)


def unusable(mel: np.ndarray, transform: MelTransform) -> np.ndarray:
    """Return where a mel is NaN or infinite, except the logarithm of silence."""
    bad = ~np.isfinite(mel)
    compression = transform.compression
    if compression is not None and compression.unit != "power":
        bad &= mel != -np.inf * np.sign(np.max(compression.gain))
    return bad


def _check_finite(mel: np.ndarray, transform: MelTransform) -> None:
    """Raise ValueError for NaN and infinite values, except the logarithm of silence."""
    bad, compression = unusable(mel, transform), transform.compression
    if np.isinf(mel).any() and not bad.any():
        warnings.warn(
            f"the mel has {np.count_nonzero(np.isinf(mel))} infinite values, the logarithm of "
            "zero; they are taken as values below the floor",
            MelWarning,
            stacklevel=4,
        )
    if bad.any():
        hint = "; a logarithm may be minus infinity: give its compression"
        raise ValueError(
            f"mel has values that are NaN or infinite ({np.count_nonzero(bad)} of {bad.size})"
            + (hint if compression is None and (mel == -np.inf).any() else "; compute it again")
        )


def _without_negative(mel: np.ndarray) -> np.ndarray:
    """Return a linear mel with small negative values set to zero; refuse larger ones."""
    least = mel.min()
    if least >= 0:
        return mel
    share = np.linalg.norm(np.minimum(mel, 0)) / np.linalg.norm(mel)
    if share > LARGEST_NEGATIVE:
        raise ValueError(
            f"mel has negative values (least: {least:.3g}), so it is not linear; give its "
            "compression (argument of MelTransform, or a preset)"
        )
    warnings.warn(
        f"the mel has small negative values (least: {least:.3g}); they are taken as zero",
        MelWarning,
        stacklevel=4,
    )
    return np.maximum(mel, 0)
