"""The driver that runs any method."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from melexp.methods import Method, Peer, State, Stop
from melexp.problem import Problem
from melexp.transforms.mel import MelTransform


@dataclass(frozen=True)
class Checkpoint:
    """Waveform, CPU time and solver state at one iteration.

    Attributes
    ----------
    iteration : int
    signal : np.ndarray [shape=(n_samples,)]
        The waveform of this iteration.
    seconds : float
        CPU time of the start, the iterations and this waveform, without the time of the caller.
        Other programs hardly change it. With several threads it is their sum.
    state : State or None
        Resume from here with ``solve(..., state=state)``. A peer has none.
    """

    iteration: int
    signal: np.ndarray
    seconds: float
    state: State | None


def solve(
    method: Method[Any] | Peer,
    problem: Problem,
    *,
    checkpoints: Sequence[int],
    seed: Any = 0,
    state: State | None = None,
    stop: Stop | None = None,
) -> Iterator[Checkpoint]:
    """Run a method and yield at the chosen iterations; the clock stops while the caller works.

    Parameters
    ----------
    method : Method or Peer
        A peer runs from its start to every checkpoint; the time of each has that of the start.
    problem : Problem
    checkpoints : sequence of int >= 0
        Iterations to yield at, in any order; the run ends with the last.
    seed : int or sequence of int
        Seed of the start, as :func:`numpy.random.default_rng` takes it.
    state : State or None
        Resume from this state (warm start); None means the method's own start.
    stop : Stop or None
        Condition to end early; the last checkpoint is then the iteration at which it ended.

    Yields
    ------
    Checkpoint

    Raises
    ------
    ValueError
        If a checkpoint is negative or lies before the state's iteration; for a peer, if a state or
        a stop is given.

    See Also
    --------
    melexp.invert : The waveform after the last iteration, in one call.

    Examples
    --------
    >>> import numpy as np
    >>> from melexp import MelTransform, Problem, make_method
    >>> transform = MelTransform.preset("paper")
    >>> mel = transform(np.sin(np.arange(22050) / 10).astype(np.float32))
    >>> problem = Problem(mel, transform, length=22050)
    >>> points = solve(make_method("admm_ramp"), problem, checkpoints=[5, 10])
    >>> [(point.iteration, point.signal.shape) for point in points]
    [(5, (22050,)), (10, (22050,))]
    """
    chosen = sorted(set(checkpoints))
    first = 0 if state is None else state.iteration
    if chosen and chosen[0] < first:
        raise ValueError(f"checkpoint {chosen[0]} lies before the first iteration, {first}")
    if isinstance(method, Peer):
        yield from _solve_peer(method, problem, chosen, seed, state, stop)
        return
    clock = time.process_time()
    problem = problem.weighted(method.frame_weights)
    if state is None:
        state = method.init(problem, np.random.default_rng(seed))
    seconds = time.process_time() - clock
    for iteration in chosen:
        clock = time.process_time()
        if iteration > state.iteration:
            state = method.advance(problem, state, iteration - state.iteration, stop)
        now = time.process_time()
        seconds += now - clock
        signal = method.signal(problem, state)
        yield Checkpoint(state.iteration, signal, seconds + time.process_time() - now, state)
        if state.iteration < iteration:
            return


def _solve_peer(
    peer: Peer,
    problem: Problem,
    checkpoints: Sequence[int],
    seed: Any,
    state: State | None,
    stop: Stop | None,
) -> Iterator[Checkpoint]:
    if state is not None or stop is not None:
        raise ValueError(
            f"{type(peer).__name__} runs in another library, in a single call; leave out state "
            "and stop"
        )
    clock = time.process_time()
    start = peer.start(problem)
    before = time.process_time() - clock
    for iteration in checkpoints:
        clock = time.process_time()
        signal = peer.run(problem, np.random.default_rng(seed), iteration, start)
        yield Checkpoint(iteration, signal, before + time.process_time() - clock, None)


@cache
def warm_up(method: Method[Any] | Peer, transform: MelTransform, dtype: str = "float32") -> None:
    """Invert a short noise signal once in this process, so that no compilation is timed later."""
    noise = np.random.default_rng(0).standard_normal(4 * transform.n_fft, np.float32)
    problem = Problem(transform(noise), transform, dtype=dtype)
    for _ in solve(method, problem, checkpoints=[1, 2]):
        pass
