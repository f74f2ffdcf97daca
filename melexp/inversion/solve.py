"""The one loop that runs any method, and the one-call API."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from melexp.methods import Method, State, Stop, make_method
from melexp.problem import Problem
from melexp.prox import namespace
from melexp.transforms.mel import MelTransform


@dataclass(frozen=True)
class Checkpoint:
    """What is seen of a run at one iteration.

    Attributes
    ----------
    iteration : int
    signal : np.ndarray [shape=(n_samples,)]
        The waveform of this iteration.
    seconds : float
        Time that the start, the iterations and this waveform took, without what the observer
        did in between.
    state : State
        All that is needed to go on from here.
    """

    iteration: int
    signal: np.ndarray
    seconds: float
    state: State


def solve(
    method: Method[Any],
    problem: Problem,
    *,
    checkpoints: Sequence[int],
    seed: Any = 0,
    state: State | None = None,
    stop: Stop | None = None,
) -> Iterator[Checkpoint]:
    """Run a method and yield at the chosen iterations; the clock stops while the caller looks.

    Parameters
    ----------
    method : Method
    problem : Problem
    checkpoints : sequence of int >= 0
        Iterations to yield at, in any order; the run ends with the last.
    seed : int or sequence of int
        Of the start, as :func:`numpy.random.default_rng` takes it.
    state : State or None
        Go on from this state (warm start) instead of starting afresh.
    stop : Stop or None
        When to end early; the last checkpoint is then the iteration at which it ended.

    Yields
    ------
    Checkpoint

    Raises
    ------
    ValueError
        If a checkpoint is negative or lies before the state's iteration.
    """
    chosen = sorted(set(checkpoints))
    first = 0 if state is None else state.iteration
    if chosen and chosen[0] < first:
        raise ValueError(f"checkpoint {chosen[0]} lies before the first iteration, {first}")
    seconds = 0.0
    clock = time.perf_counter()
    problem = problem.weighted(method.frame_weights)
    if state is None:
        state = method.init(problem, np.random.default_rng(seed))
    start_seconds = time.perf_counter() - clock
    seconds = start_seconds
    for iteration in chosen:
        clock = time.perf_counter()
        if iteration > state.iteration:
            state = method.advance(problem, state, iteration - state.iteration, stop)
        now = time.perf_counter()
        seconds = (start_seconds if method.restarts else seconds) + now - clock
        signal = method.signal(problem, state)
        done = state.iteration
        yield Checkpoint(done, signal, seconds + time.perf_counter() - now, state)
        if done < iteration:
            return


def invert(
    mel: np.ndarray,
    transform: MelTransform,
    *,
    method: str = "admm",
    n_iter: int = 500,
    length: int | None = None,
    seed: int = 0,
    dtype: Any = np.float32,
    engine: str = "auto",
    stop: Stop | None = None,
    threads: int = 1,
    device: Any = None,
    **params: Any,
) -> np.ndarray:
    """Waveform of a mel-spectrogram.

    Parameters
    ----------
    mel : np.ndarray or torch.Tensor [shape=(..., n_mels, n_frames)], non-negative
        Linear mel-spectrogram (not in dB, not logarithmic).
    transform : MelTransform
        How it was computed.
    method : str
        One of `melexp.available_methods`.
    n_iter : int >= 0
        Number of iterations.
    length : int or None
        Length of the waveform in samples. Give it where it is known: n_frames fixes it only up
        to a hop.
    seed : int >= 0
        Of the random start. Each member of a batch gets the same one.
    dtype : np.float32 or np.float64
        Precision of the computation and of the result.
    engine : "auto", "fast" or "portable"
        See `melexp.Problem`.
    stop : Stop or None
        When to end before `n_iter` iterations; each member of a batch ends by itself.
    threads : int > 0
        Cores to use: for the members of a batch, or within a single mel-spectrogram, where the
        fast engine works.
    device : torch.device, str or None
        Iterate there, with torch and the whole batch at once: see `melexp.invert_batch`. By default
        where a tensor is, and with NumPy for an array.
    **params
        Parameters of the method.

    Returns
    -------
    y : np.ndarray or torch.Tensor [shape=(..., n_samples)]
        A tensor for a tensor, on the device of the computation.

    Raises
    ------
    ValueError
        For an unknown method or parameter, or a mel that does not fit the transform; with torch,
        for what it does not have: another engine, a stop, an absent device.
    ImportError
        If a device is named and torch is missing.

    Examples
    --------
    >>> import numpy as np
    >>> transform = MelTransform()
    >>> tone = np.sin(2 * np.pi * 440 / 22050 * np.arange(22050)).astype(np.float32)
    >>> invert(transform(tone), transform, n_iter=10, length=22050).shape
    (22050,)
    """
    solver = make_method(method, **params)
    if n_iter < 0:
        raise ValueError(f"n_iter must not be negative; got {n_iter}")
    solver = solver.for_budget(n_iter)
    in_torch = device is not None or _is_tensor(mel)
    mel = mel if _is_tensor(mel) else np.asarray(mel)
    if mel.ndim < 2:
        raise ValueError(f"mel must have shape (..., n_mels, n_frames); got {tuple(mel.shape)}")
    if 0 in mel.shape:
        raise ValueError(f"mel is empty: it has shape {tuple(mel.shape)}")
    members: Any = mel.reshape(-1, *mel.shape[-2:])
    if in_torch:
        if engine == "fast" or stop is not None:
            raise ValueError("with torch there is neither the fast engine nor a stop")
        from melexp.batch import invert_batch  # here, because it needs torch

        lengths = None if length is None else [length] * len(members)
        signals = invert_batch(
            members, transform, method=method, n_iter=n_iter, lengths=lengths, seeds=seed,
            device=device, dtype=dtype, **params,
        )  # fmt: skip
        return namespace(signals[0]).stack(signals).reshape(*mel.shape[:-2], -1)

    if threads < 1:
        raise ValueError(f"threads must be at least 1; got {threads}")
    within, across = (threads, 1) if len(members) == 1 else (1, threads)

    def one(m: np.ndarray) -> np.ndarray:
        problem = Problem(m, transform, length=length, dtype=dtype, engine=engine, threads=within)
        (last,) = solve(solver, problem, checkpoints=[n_iter], seed=seed, stop=stop)
        return last.signal

    if across == 1:  # in this thread, which Ctrl-C can stop
        signals = [one(m) for m in members]
    else:
        with ThreadPoolExecutor(across) as pool:
            signals = list(pool.map(one, members))
    return np.stack(signals).reshape(*mel.shape[:-2], -1)


def _is_tensor(x: Any) -> bool:
    torch = sys.modules.get("torch")  # there is no tensor where it was not imported
    return torch is not None and isinstance(x, torch.Tensor)
