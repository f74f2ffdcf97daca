"""The waveform of a mel-spectrogram in one call."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from melexp import inspection
from melexp.inversion.lengths import nearest_length, with_length
from melexp.inversion.segments import invert_segments
from melexp.inversion.solve import solve
from melexp.methods import Peer, Stop, make_method
from melexp.problem import Problem, checked_length
from melexp.transforms.arrays import namespace
from melexp.transforms.mel import MelTransform
from melexp.transforms.tensors import is_tensor, real_dtype


def invert(
    mel: Any,
    transform: MelTransform,
    *,
    method: str = "admm_ramp",
    n_iter: int = 100,
    length: int | None = None,
    seed: int = 0,
    dtype: Any = np.float32,
    engine: str = "auto",
    stop: Stop | None = None,
    threads: int = 1,
    device: Any = None,
    segment: float | None = None,
    progress: Callable[[int, int], None] | None = None,
    **params: Any,
) -> Any:
    """Estimate the waveform of a mel-spectrogram.

    Parameters
    ----------
    mel : np.ndarray or torch.Tensor [shape=(..., n_mels, n_frames)]
        The mel-spectrogram as `transform` makes it: compressed if the transform has a compression,
        otherwise linear and non-negative.
    transform : MelTransform
        The front end that computed it.
    method : str
        One of `melexp.available_methods`.
    n_iter : int >= 0
        Number of iterations.
    length : int or None
        Length of the waveform in samples. Give it if it is known: the number of frames determines
        it only up to a hop. A length that differs by at most a hop from those of the frames is
        cut, or padded with zeros at the end.
    seed : int >= 0
        Seed of the random part of the start. Each member of a batch gets the same one.
    dtype : np.float32 or np.float64
        Precision of the computation and of the result.
    engine : "auto", "fast" or "portable"
        See `melexp.Problem`.
    stop : Stop or None
        Condition to end before `n_iter` iterations; each member of a batch ends by itself.
    threads : int > 0
        Number of cores: shared by the members of a batch, or within a single mel-spectrogram if
        the fast engine is used.
    device : torch.device, str or None
        Iterate on this device, with torch and the whole batch at once: see `melexp.invert_batch`.
        None means the device of a tensor, and NumPy for an array.
    segment : float > 0 or None
        Seconds: invert long input in overlapping segments, so that the memory stays bounded. None
        inverts the input as a whole.
    progress : callable or None
        Called with the iterations (or segments) done and the number of all.
    **params
        Parameters of the method.

    Returns
    -------
    y : np.ndarray or torch.Tensor [shape=(..., n_samples)]
        A tensor for a tensor, on the device of the computation.

    Raises
    ------
    ValueError
        For an unknown method or parameter, or a mel that does not fit the transform or the length;
        with torch,
        if the fast engine, a stop or segments are asked for, or the device does not exist.
    ImportError
        If a device is named and torch is missing.

    Warns
    -----
    melexp.inspection.MelWarning
        If the values do not look like those of `transform`; the message names the options that
        explain them.

    See Also
    --------
    melexp.inspect : A report on a mel-spectrogram of unknown origin.
    melexp.invert_batch : Clips of different lengths in torch.
    melexp.mel_to_audio : The same with the signature of librosa.
    melexp.solve : The waveforms of several iterations, and the state to resume from.

    Examples
    --------
    >>> import numpy as np
    >>> from melexp import MelTransform, invert
    >>> transform = MelTransform.preset("paper")
    >>> tone = np.sin(2 * np.pi * 440 / 22050 * np.arange(22050)).astype(np.float32)
    >>> invert(transform(tone), transform, n_iter=10, length=22050).shape
    (22050,)
    """
    solver = make_method(method, **params)
    if n_iter < 0:
        raise ValueError(f"n_iter must not be negative; got {n_iter}")
    if threads < 1:
        raise ValueError(f"threads must be at least 1; got {threads}")
    dtype = real_dtype(dtype)
    in_torch = device is not None or is_tensor(mel)
    mel = mel if is_tensor(mel) else np.asarray(mel)
    if mel.ndim < 2:
        raise ValueError(f"mel must have shape (..., n_mels, n_frames); got {tuple(mel.shape)}")
    if 0 in mel.shape:
        raise ValueError(f"mel is empty: it has shape {tuple(mel.shape)}")
    if not isinstance(solver, Peer):
        solver = solver.for_budget(n_iter, mel.shape[-1])
    asked = checked_length(length)
    length = nearest_length(asked, mel.shape[-1], transform)
    members: Any = mel.reshape(-1, *mel.shape[-2:])
    inspection.warn(members, transform)
    if in_torch:
        if engine == "fast" or stop is not None or segment is not None:
            raise ValueError(
                "engine='fast', stop and segment are not supported with torch; leave them out, or "
                "pass a NumPy array without a device"
            )
        from melexp.batch import invert_batch  # here, because it needs torch

        lengths = None if length is None else [length] * len(members)
        signals = invert_batch(
            members, transform, method=method, n_iter=n_iter, lengths=lengths, seeds=seed,
            device=device, dtype=dtype, **params,
        )  # fmt: skip
        y = namespace(signals[0]).stack(signals).reshape(*mel.shape[:-2], -1)
        return with_length(y, asked)

    within, across = (threads, 1) if len(members) == 1 else (1, threads)
    options: dict[str, Any] = {"dtype": dtype, "engine": engine, "threads": within}

    def one(m: np.ndarray) -> np.ndarray:
        if segment is not None:
            if stop is not None:
                raise ValueError("stop is not supported with segment; leave one of them out")
            return invert_segments(
                solver, m, transform, n_iter=n_iter, length=length, seed=seed, segment=segment,
                progress=progress, **options,
            )  # fmt: skip
        problem = Problem(m, transform, length=length, **options)
        looks = [n_iter]
        if progress is not None and not isinstance(solver, Peer):
            looks = [n_iter * k // 20 for k in range(21)]
        for point in solve(solver, problem, checkpoints=looks, seed=seed, stop=stop):
            if progress is not None:
                progress(point.iteration, n_iter)
        return point.signal

    if across == 1:  # in this thread, which Ctrl-C can stop
        signals = [one(m) for m in members]
    else:
        with ThreadPoolExecutor(across) as pool:
            signals = list(pool.map(one, members))
    return with_length(np.stack(signals).reshape(*mel.shape[:-2], -1), asked)
