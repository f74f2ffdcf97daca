"""Griffin-Lim with the signature of librosa, on the exact least-squares STFT."""

from __future__ import annotations

import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np

from melexp.inversion.lengths import lengths_of, with_length
from melexp.problem import checked_length
from melexp.start.pghi import pghi
from melexp.transforms.arrays import unit_phase
from melexp.transforms.stft import STFT
from melexp.transforms.tensors import like, real_dtype, to_array

_INITS = (None, "random", "pghi")


def griffinlim(
    S: Any,
    *,
    n_iter: int = 32,
    hop_length: int | None = None,
    win_length: int | None = None,
    n_fft: int | None = None,
    window: Any = "hann",
    center: bool = True,
    dtype: Any = None,
    length: int | None = None,
    pad_mode: str = "constant",
    momentum: float = 0.99,
    init: str | None = "random",
    rng: Any = None,
    random_state: Any = None,
) -> Any:
    r"""Estimate the waveform of an STFT magnitude, with librosa's signature of `griffinlim`.

    .. math:: X_{k+1} = A \exp\big(i \angle (Z_k + a (Z_k - Z_{k-1}))\big), \qquad Z_k = P_C(X_k)

    :math:`P_C` is the orthogonal projection onto the consistent spectrograms, also at the edges.

    Parameters
    ----------
    S : np.ndarray or torch.Tensor [shape=(..., n_fft // 2 + 1, n_frames)]
        The magnitude A. Of complex values, A is the magnitude.
    n_iter : int >= 0
        Number of iterations.
    hop_length, win_length, n_fft, window, center, pad_mode
        The arguments that S was computed with. `hop_length` None means a quarter of the window,
        `n_fft` None the even frame length of S.
    dtype : np.float32, np.float64 or None
        Precision of the computation and of the result. None means that of S.
    length : int or None
        The waveform is cut, or padded with zeros, to this number of samples.
    momentum : float >= 0
        The momentum a; 0 is the method of Griffin and Lim. Above 1 it may not converge.
    init : "random", None or "pghi"
        Initial phase: random, that of S (zero if S is real), or estimated from S by
        :func:`melexp.start.pghi`. librosa does not have the last, which is much better.
    rng, random_state : int, np.random.Generator, np.random.RandomState or None
        Source of the random phases, under the name of librosa 1 and of earlier versions.

    Returns
    -------
    y : np.ndarray or torch.Tensor [shape=(..., n_samples)]
        A tensor for a tensor, on its device.

    Raises
    ------
    ValueError
        If S does not fit these arguments, or for a bad `momentum`, `init` or source.

    Warns
    -----
    UserWarning
        For a momentum above 1.

    References
    ----------
    D. W. Griffin and J. S. Lim, "Signal estimation from modified short-time Fourier transform",
    IEEE TASSP 32(2), 1984; N. Perraudin, P. Balazs and P. L. Søndergaard, "A fast Griffin-Lim
    algorithm", WASPAA 2013.

    Examples
    --------
    >>> import librosa, numpy as np
    >>> y = np.sin(np.arange(22050) / 10).astype(np.float32)
    >>> griffinlim(np.abs(librosa.stft(y)), length=22050).shape
    (22050,)
    """
    given, S = S, to_array(S)
    if S.ndim < 2 or 0 in S.shape:
        raise ValueError(f"S must have shape (..., n_fft // 2 + 1, n_frames); got {S.shape}")
    if not np.isfinite(S).all():
        raise ValueError("S has values that are NaN or infinite; compute it again")
    if not momentum >= 0:
        raise ValueError(f"momentum must not be negative; got {momentum}")
    if momentum > 1:
        warnings.warn(f"momentum = {momentum} > 1 may not converge", UserWarning, stacklevel=2)
    if init not in _INITS:
        raise ValueError(f"init must be 'random', 'pghi' or None; got {init!r}")
    if n_iter < 0:
        raise ValueError(f"n_iter must not be negative; got {n_iter}")
    generator = _generator(rng, random_state)
    n_fft = 2 * (S.shape[-2] - 1) if n_fft is None else n_fft
    if S.shape[-2] != n_fft // 2 + 1:
        raise ValueError(f"S has {S.shape[-2]} bins, but n_fft = {n_fft} gives {n_fft // 2 + 1}")
    if dtype is None:
        dtype = np.float64 if S.dtype in (np.float64, np.complex128) else np.float32
    dtype = real_dtype(dtype)
    win_length = n_fft if win_length is None else win_length
    hop_length = win_length // 4 if hop_length is None else hop_length
    padding = n_fft // 2 if center else 0
    asked = checked_length(length)
    own = lengths_of(S.shape[-1], n_fft=n_fft, hop_length=hop_length, padding=padding)
    stft = STFT(
        own.start if asked is None else min(max(asked, own.start), own.stop - 1),
        window=_window(window, win_length, n_fft),
        hop_length=hop_length,
        pad=padding,
        pad_mode=pad_mode,
        dtype=dtype,
    )
    A = np.abs(S).astype(dtype)
    if init is None:
        X = S.astype(np.result_type(dtype, np.complex64))
    elif init == "random":
        angle = 2 * np.pi * generator.random(size=S.shape)
        X = A * np.exp(1j * angle.astype(dtype))
    else:
        problem: Any = SimpleNamespace(stft=stft)
        flat = A.reshape(-1, *A.shape[-2:])
        angles = [pghi(a, problem, np.random.default_rng(0)) for a in flat]
        X = A * np.exp(1j * np.stack(angles).reshape(A.shape))
    before = None
    for _ in range(n_iter):
        Z = stft.project(X)
        pushed = Z if before is None else Z + dtype.type(momentum) * (Z - before)
        X, before = A * unit_phase(pushed), Z
    return like(with_length(stft.inverse(X), asked), given)


def _generator(rng: Any, random_state: Any) -> Any:
    """Return the source of random numbers of the two arguments, of which one may be given."""
    if rng is not None and random_state is not None:
        raise ValueError("rng and random_state are two names of one argument; give one of them")
    source = random_state if rng is None else rng
    if isinstance(source, np.random.RandomState | np.random.Generator):
        return source
    if source is None or (isinstance(source, int | np.integer) and source >= 0):
        # The streams of librosa, so that its phases are reproduced.
        of_seed: Any = np.random.default_rng if random_state is None else np.random.RandomState
        return of_seed(source)
    raise ValueError(
        f"rng must be a whole number, a generator of numpy.random or None; got {source!r}"
    )


def _window(window: Any, win_length: int, n_fft: int) -> np.ndarray:
    """Return a window as librosa does, also of a function, padded to the frame length."""
    import librosa  # here, because the import is slow

    if not 0 < win_length <= n_fft:
        raise ValueError(f"win_length must be in 1 to n_fft = {n_fft}; got {win_length}")
    short = librosa.filters.get_window(window, win_length, fftbins=True)
    padded: np.ndarray = librosa.util.pad_center(np.asarray(short, np.float64), size=n_fft)
    return padded
