"""The waveforms of a batch of mel-spectrograms in one call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from melexp.batch.problem import BatchProblem
from melexp.methods import Peer, make_method
from melexp.problem import Problem
from melexp.transforms.mel import MelTransform
from melexp.transforms.tensors import real_dtype, to_array


def invert_batch(
    mels: Sequence[Any],
    transform: MelTransform,
    *,
    method: str = "admm_ramp",
    n_iter: int = 100,
    lengths: Sequence[int] | None = None,
    seeds: int | Sequence[int] = 0,
    device: Any = None,
    dtype: Any = np.float32,
    **params: Any,
) -> list[Any]:
    """Estimate the waveforms of mel-spectrograms of different lengths together, in torch.

    The clips are padded to the longest and do not influence each other: each result equals that of
    :func:`melexp.invert` for the same seed, up to rounding. NumPy computes the starts; the
    iterations copy nothing from the device.

    Parameters
    ----------
    mels : sequence of np.ndarray or torch.Tensor [shape=(n_mels, n_frames of the clip)]
        The mel-spectrograms as `transform` makes them. Group clips of similar length, because
        padding takes as much time as sound.
    transform : MelTransform
        The front end that computed them.
    method : str
        One of `melexp.available_methods`, except the peer `librosa`.
    n_iter : int >= 0
        Number of iterations.
    lengths : sequence of int or None
        Length of each waveform in samples. Give it if it is known: see :func:`melexp.invert`.
    seeds : int >= 0 or sequence of int
        Seed of the random part of the start, common or per clip.
    device : torch.device, str or None
        Device of the iterations, such as "cuda". None means the device of the mels.
    dtype : np.float32 or np.float64, or torch's
        Precision of the computation and of the result.
    **params
        Parameters of the method.

    Returns
    -------
    signals : list of np.ndarray or torch.Tensor [shape=(n_samples of the clip,)]
        Arrays for arrays; tensors, on the device of the computation, for tensors.

    Raises
    ------
    ValueError
        As :func:`melexp.invert`; also if the number of `lengths` or `seeds` differs from the number
        of clips, or the device does not exist.

    See Also
    --------
    melexp.invert : Clips of one length, in NumPy, the fast engine or torch.

    Examples
    --------
    >>> import numpy as np
    >>> from melexp import MelTransform
    >>> transform = MelTransform.preset("paper")
    >>> clips = [np.sin(np.arange(n) / 10).astype(np.float32) for n in (22050, 15000)]
    >>> mels = [transform(x) for x in clips]
    >>> [y.shape for y in invert_batch(mels, transform, n_iter=3, lengths=[22050, 15000])]
    [(22050,), (15000,)]
    """
    solver = make_method(method, **params)
    if isinstance(solver, Peer):
        raise ValueError(
            f"{method} runs in another library, in a single call, and takes NumPy arrays only; use "
            "melexp.invert without a device"
        )
    if n_iter < 0:
        raise ValueError(f"n_iter must not be negative; got {n_iter}")
    n = len(mels)
    if not n:
        raise ValueError("a batch needs at least one clip")
    every_length = [None] * n if lengths is None else list(lengths)
    every_seed = [seeds] * n if isinstance(seeds, int | np.integer) else list(seeds)
    for name, values in (("lengths", every_length), ("seeds", every_seed)):
        if len(values) != n:
            raise ValueError(f"{name} must have one entry per clip, {n}; got {len(values)}")
    dtype = real_dtype(dtype)
    tensors = isinstance(mels[0], torch.Tensor)
    if device is None:
        device = mels[0].device if tensors else "cpu"
    given = list(map(to_array, mels))
    solvers = [solver.for_budget(n_iter, mel.shape[-1]) for mel in given]
    found: list[Any] = [None] * n
    for one in dict.fromkeys(solvers):  # short clips may have other parameters
        places = [place for place in range(n) if solvers[place] == one]
        problems = [
            Problem(
                given[k], transform, length=every_length[k], dtype=dtype, engine="portable"
            ).weighted(one.frame_weights)
            for k in places
        ]
        with torch.no_grad():
            batch = BatchProblem(problems, device=device)
            state = batch.start(one, [every_seed[k] for k in places])
            signals: Any = one.signal(batch, one.advance(batch, state, n_iter))
        ours = batch.cut(signals if tensors else signals.cpu().numpy())
        for place, signal in zip(places, ours, strict=True):
            found[place] = signal
    return found
