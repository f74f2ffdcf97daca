"""The mel front end: all parameters that determine a mel-spectrogram, in one object."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from typing import Any

import numpy as np
import scipy.signal

from melexp import discovery
from melexp.transforms.compression import Compression
from melexp.transforms.filters import MelFilters, mel_basis
from melexp.transforms.stft import (
    PAD_MODES,
    STFT,
    analysis_window,
    hashable_window,
    sees_all,
    window_text,
)


@dataclass(frozen=True, kw_only=True)
class MelTransform:
    r"""Compute mel-spectrograms from waveforms, as :func:`librosa.feature.melspectrogram` does.

    .. math:: M = E\, |\mathrm{STFT}(x)|^p

    The defaults are librosa's. The setting of the paper is ``MelTransform.preset("paper")``.

    Parameters
    ----------
    sr : float > 0
        Sampling rate in Hz.
    n_fft : int > 0
        Frame length in samples.
    hop_length : int > 0
        Samples between frames, at most `win_length`.
    win_length : int or None
        Window length in samples, at most `n_fft`. None means `n_fft`. A shorter window is centred
        in the frame.
    window : str, float, tuple, sequence of float [shape=(win_length,)] or function
        "povey" (Kaldi's), a function of `win_length` that returns the samples, or as in
        :func:`scipy.signal.get_window`.
    center : bool
        Frame t is centred on sample ``t * hop_length``; the signal is padded with
        ``n_fft // 2`` samples at either end.
    pad_mode : str
        Padding of centred frames: constant (zeros), reflect, edge, symmetric or wrap.
    n_mels : int > 0
        Number of mel bands.
    fmin, fmax : float
        Lowest and highest frequency of the filters in Hz. `fmax` None means ``sr / 2``.
    htk : bool
        Use HTK's mel formula instead of Slaney's.
    norm : "slaney", None or float
        Normalisation of the filters, as in :func:`librosa.filters.mel`.
    power : float > 0
        Exponent p of the magnitude: usually 1 (magnitude) or 2 (power).
    pad : int >= 0 or None
        Samples added at either end, in the mode `pad_mode`. Valid only with `center` False. None
        adds no samples. HiFi-GAN adds ``(n_fft - hop_length) // 2``. Adding
        ``(n_fft - win_length) // 2`` zeros puts a short window at the start of frame t, at sample
        ``t * hop_length``, as Kaldi and TensorFlow do.
    compression : Compression, dict of its arguments, its unit, or None
        Compression of the mel-spectrogram. None leaves it linear.
    empty_filters : bool
        Accept filters without a frequency bin. Their bands are zero and are ignored. torchaudio's
        defaults produce such filters.
    preemphasis : float in [0, 1)
        Coefficient c of the pre-emphasis y[n] - c y[n - 1] before the STFT. Inversion undoes it.
    mel_triangles : bool
        The sides of the filters are straight in mel, not in Hz, as in Kaldi and TensorFlow. Such
        filters are not normalised: `norm` must be None.

    Raises
    ------
    ValueError
        For arguments for which the transform or its inverse is not defined. The message names
        the argument and the remedy.

    Examples
    --------
    >>> import numpy as np
    >>> transform = MelTransform(n_mels=64)
    >>> transform(np.zeros(22050, dtype=np.float32)).shape
    (64, 44)
    """

    sr: float = 22050
    n_fft: int = 2048
    hop_length: int = 512
    win_length: int | None = None
    window: Any = "hann"
    center: bool = True
    pad_mode: str = "constant"
    n_mels: int = 128
    fmin: float = 0.0
    fmax: float | None = None
    htk: bool = False
    norm: Any = "slaney"
    power: float = 2.0
    pad: int | None = None
    compression: Any = None
    empty_filters: bool = False
    preemphasis: float = 0.0
    mel_triangles: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.compression, str):
            object.__setattr__(self, "compression", Compression(unit=self.compression))
        elif isinstance(self.compression, Mapping):  # from YAML
            object.__setattr__(self, "compression", Compression(**self.compression))
        if not isinstance(self.compression, Compression | None):
            raise ValueError(
                "compression must be a Compression, its arguments or None; got "
                f"{self.compression!r}"
            )
        for name in ("n_fft", "hop_length", "n_mels"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
                raise ValueError(f"{name} must be a whole number above zero; got {value!r}")
        for name in ("center", "htk", "empty_filters", "mel_triangles"):
            if not isinstance(getattr(self, name), bool | np.bool_):
                raise ValueError(f"{name} must be true or false; got {getattr(self, name)!r}")
        if not 0 < self.sr < np.inf:
            raise ValueError(f"sr must be a number above zero; got {self.sr!r}")
        win: Any = self.n_fft if self.win_length is None else self.win_length
        if not (isinstance(win, int | np.integer) and 0 < win <= self.n_fft):
            raise ValueError(
                f"win_length must be a whole number in 1 to n_fft = {self.n_fft}; "
                f"got {self.win_length!r}"
            )
        object.__setattr__(self, "window", hashable_window(self.window, int(win)))
        if self.hop_length > win:
            raise ValueError(
                f"hop_length = {self.hop_length} is larger than the window ({win} samples), so "
                f"samples are lost; use a hop_length of at most {win // 2}"
            )
        if self.pad_mode not in PAD_MODES:
            raise ValueError(
                f"pad_mode must be one of {', '.join(PAD_MODES)}; got {self.pad_mode!r}"
            )
        if not (_is_number(self.power) and 0 < self.power < np.inf):
            raise ValueError(
                f"power must be a number above zero, such as 1 (magnitude) or 2 (power); got "
                f"{self.power!r}"
            )
        top = self.sr / 2 if self.fmax is None else self.fmax
        if not 0 <= self.fmin < top <= self.sr / 2:
            raise ValueError(
                f"fmin = {self.fmin} and fmax = {self.fmax} must satisfy "
                f"0 <= fmin < fmax <= sr / 2 = {self.sr / 2}"
            )
        if not (
            self.norm in (None, "slaney") or (isinstance(self.norm, Real) and float(self.norm) > 0)
        ):
            raise ValueError(
                f"norm must be 'slaney', None or a number above zero; got {self.norm!r}"
            )
        if self.mel_triangles and self.norm is not None:
            raise ValueError(f"mel_triangles needs norm=None; got norm={self.norm!r}")
        if not (_is_number(self.preemphasis) and 0 <= self.preemphasis < 1):
            raise ValueError(f"preemphasis must be from 0 to below 1; got {self.preemphasis!r}")
        whole = isinstance(self.pad, int | np.integer) and not isinstance(self.pad, bool)
        if self.pad is not None and not (whole and self.pad >= 0):
            raise ValueError(f"pad must be a whole number of samples or None; got {self.pad!r}")
        if self.pad is not None and self.center:
            raise ValueError(
                "pad is for center=False only; centred frames are padded by n_fft // 2"
            )
        empty = np.flatnonzero(self.basis.max(axis=1) == 0)
        if empty.size and not self.empty_filters:
            raise ValueError(
                f"n_mels = {self.n_mels} leaves {empty.size} of the mel filters empty (first: "
                f"{empty[0]}); use fewer mels, a larger n_fft or a wider fmin to fmax, or accept "
                "them with empty_filters (--empty-filters)"
            )
        if not sees_all(self._window, self.hop_length):
            raise ValueError(
                f"window {window_text(self.window)} with hop_length = {self.hop_length} leaves "
                f"samples that hardly any frame sees; use a hop_length of at most {win // 2}"
            )

    @classmethod
    def preset(cls, name: str, **changes: Any) -> MelTransform:
        """Return a preset front end, with changes to its arguments.

        Parameters
        ----------
        name : str
            One of `presets`.
        **changes
            Arguments of `MelTransform` that replace those of the preset.

        Returns
        -------
        transform : MelTransform

        Raises
        ------
        ValueError
            For an unknown name or argument.

        Examples
        --------
        >>> MelTransform.preset("hifigan").compression.unit
        'ln'
        """
        if name not in cls.presets():
            raise ValueError(
                f"there is no preset {name!r}; the presets are {', '.join(cls.presets())}"
            )
        given = discovery.read_config("mel", name)
        given.pop("picture", None)
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(changes) - known):
            raise ValueError(f"the transform has no argument {', '.join(unknown)}")
        return cls(**given | changes)

    @staticmethod
    def preset_picture(name: str) -> dict[str, bool]:
        """Return how a preset stores a mel as a picture, for `melexp.files.pictures`.

        Parameters
        ----------
        name : str
            One of `presets`.

        Returns
        -------
        settings : dict
            ``inverted`` (white is 0) and ``flipped`` (the highest band on top), of the section
            ``picture`` of the preset. Empty if it has no such section: it is not for pictures.
        """
        given = discovery.read_config("mel", name)
        if "picture" not in given:
            return {}
        return {"inverted": False, "flipped": True} | (given["picture"] or {})

    @staticmethod
    def presets() -> list[str]:
        """Return the names of the front ends in ``conf/mel``, sorted."""
        return discovery.config_names("mel")

    def settings(self) -> dict[str, Any]:
        """Return the arguments as JSON values, without the stages that are not used.

        Results are stored by these values, so a new optional stage must not change those of old
        front ends.
        """
        values = dataclasses.asdict(self)
        for stage in ("preemphasis", "mel_triangles"):
            if not values[stage]:
                del values[stage]
        if self.compression is not None and self.compression.unit != "power":
            del values["compression"]["exponent"]
        return values

    @property
    def padding(self) -> int:
        """Number of samples added at either end of the waveform."""
        return self.n_fft // 2 if self.center else self.pad or 0

    @cached_property
    def _window(self) -> np.ndarray:
        win_length = self.n_fft if self.win_length is None else self.win_length
        return analysis_window(self.window, win_length=win_length, n_fft=self.n_fft)

    @property
    def basis(self) -> np.ndarray:
        """Filter bank E [shape=(n_mels, n_fft // 2 + 1), float64, non-negative]."""
        return mel_basis(
            self.sr, self.n_fft, self.n_mels, self.fmin, self.fmax, self.htk, self.norm,
            self.mel_triangles,
        )  # fmt: skip

    @cached_property
    def _filters(self) -> dict[np.dtype, MelFilters]:
        return {}

    def filters(self, dtype: Any = np.float32) -> MelFilters:
        """Return the filter bank as an operator of the given precision."""
        dtype = np.dtype(dtype)
        if dtype not in self._filters:
            self._filters[dtype] = MelFilters(self.basis, dtype=dtype)
        return self._filters[dtype]

    def stft(
        self, n_samples: int, dtype: Any = np.float32, weights: np.ndarray | None = None
    ) -> STFT:
        """Return the STFT of signals of `n_samples` samples, with optional frame weights."""
        return STFT(
            n_samples, window=self._window, hop_length=self.hop_length, pad=self.padding,
            pad_mode=self.pad_mode, dtype=dtype, weights=weights,
        )  # fmt: skip

    def n_samples(self, n_frames: int) -> int:
        """Return the shortest signal length with `n_frames` frames, as librosa's ``istft``."""
        return max(1, self.n_fft + self.hop_length * (n_frames - 1) - 2 * self.padding)

    def __call__(self, y: np.ndarray) -> np.ndarray:
        """Compute the mel-spectrogram of a waveform, compressed if `compression` is set.

        Parameters
        ----------
        y : np.ndarray [shape=(..., n_samples)]
            Real, finite waveform. float64 input is computed in float64, any other in float32.

        Returns
        -------
        mel : np.ndarray [shape=(..., n_mels, n_frames)]
            Non-negative if there is no compression.

        Raises
        ------
        ValueError
            If `y` is not floating-point, not finite, or shorter than one frame.
        """
        mel = self.linear(y)
        if self.compression is None:
            return mel
        flat = mel.reshape(-1, *mel.shape[-2:])
        return np.stack([self.compression.compress(m) for m in flat]).reshape(mel.shape)

    def linear(self, y: np.ndarray) -> np.ndarray:
        """Compute the mel-spectrogram without compression [shape=(..., n_mels, n_frames)]."""
        y = np.asarray(y)
        if y.ndim == 0 or not np.issubdtype(y.dtype, np.floating):
            raise ValueError(
                f"y must be a floating-point waveform (..., n_samples); got {y.dtype} of shape "
                f"{y.shape}"
            )
        if not np.isfinite(y).all():
            raise ValueError("y has samples that are NaN or infinite; repair or drop the clip")
        dtype = np.float64 if y.dtype == np.float64 else np.float32
        stft = self.stft(y.shape[-1], dtype)
        flat = self.emphasized(y.astype(dtype, copy=False)).reshape(-1, y.shape[-1])
        mels = [self.filters(dtype).apply(self.spectrum(stft.forward(row))) for row in flat]
        return np.stack(mels).reshape(*y.shape[:-1], self.n_mels, stft.n_frames)

    def invert(self, mel: np.ndarray, **options: Any) -> np.ndarray:
        """Estimate the waveform of a mel-spectrogram of this transform.

        Parameters
        ----------
        mel : np.ndarray [shape=(..., n_mels, n_frames)]
        **options
            Options of :func:`melexp.invert`.

        Returns
        -------
        y : np.ndarray [shape=(..., n_samples)]

        Examples
        --------
        >>> import numpy as np
        >>> transform = MelTransform.preset("paper")
        >>> mel = transform(np.sin(np.arange(22050) / 10).astype(np.float32))
        >>> transform.invert(mel, n_iter=10, length=22050).shape
        (22050,)
        """
        from melexp.inversion.invert import invert  # here, because it imports this module

        y: np.ndarray = invert(mel, self, **options)
        return y

    def spectrum(self, X: np.ndarray) -> np.ndarray:
        """Return |X|^power, the input of the filter bank."""
        magnitude = abs(X)
        if self.power == 1:
            return magnitude
        return magnitude * magnitude if self.power == 2 else magnitude**self.power

    def emphasized(self, y: np.ndarray) -> np.ndarray:
        """Return the waveform after pre-emphasis [shape=(..., n_samples)]."""
        if not self.preemphasis or not y.shape[-1]:
            return y
        # Works for tensors, too.
        out = y + 0
        out[..., 1:] -= float(self.preemphasis) * y[..., :-1]
        return out

    def deemphasized(self, y: np.ndarray) -> np.ndarray:
        """Return the waveform before pre-emphasis, the inverse of `emphasized`."""
        if not self.preemphasis:
            return y
        out: np.ndarray = scipy.signal.lfilter([1.0], [1.0, -self.preemphasis], y)
        return out.astype(y.dtype)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
