"""Waveforms of any length in bounded memory: overlapping segments, one after the other."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from melexp.inversion.solve import solve
from melexp.methods import Method, Peer, State
from melexp.problem import Problem
from melexp.transforms.blocks import linear_part
from melexp.transforms.mel import MelTransform

#: Seconds that two segments share at most; at least a quarter of a segment if that is shorter.
OVERLAP = 2.0


def invert_segments(
    method: Method[Any] | Peer,
    mel: np.ndarray,
    transform: MelTransform,
    *,
    n_iter: int,
    length: int | None,
    seed: int,
    segment: float,
    overlap: float | None = None,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> np.ndarray:
    """Invert in segments, in memory that does not grow with the length (input and output aside).

    A mel-spectrogram determines the phase only up to the sign of each island of sound. Two segments
    that are solved independently therefore do not fit together. Here the iteration of a segment
    starts, in its overlap with the segment before, from the waveform of that segment, and stays
    near it. A short cross-fade joins the two at the place of the overlap where they differ least.

    Parameters
    ----------
    method : Method or Peer
        A peer can invert a mel-spectrogram of a single segment only.
    mel : np.ndarray [shape=(n_mels, n_frames)]
        As `transform` makes it.
    transform : MelTransform
    n_iter : int >= 0
        Number of iterations for each segment.
    length : int or None
        Length of the waveform in samples.
    seed : int >= 0
    segment : float > 0
        Seconds of a segment; more than two overlaps.
    overlap : float > 0 or None
        Seconds that two segments share; None means `OVERLAP`, or a quarter of `segment` if shorter.
    progress : callable or None
        Called with the number of segments done and the number of all.
    **options
        Further arguments of :class:`melexp.Problem`.

    Returns
    -------
    y : np.ndarray [shape=(n_samples,)]

    Raises
    ------
    ValueError
        If the segments are too short, or a peer would have to be started in the middle.
    """
    n_samples = transform.n_samples(mel.shape[-1]) if length is None else length
    overlap = min(OVERLAP, segment / 4) if overlap is None else overlap
    plan = segment_frames(mel.shape[-1], transform, segment, overlap)
    if len(plan) > 1 and isinstance(method, Peer):
        raise ValueError(
            f"{type(method).__name__} runs in another library, in a single call, and cannot "
            "invert in segments; give segment=None or another method"
        )
    if len(plan) == 1:
        problem = Problem(mel, transform, length=length, **options)
        (last,) = solve(method, problem, checkpoints=[n_iter], seed=seed)
        if progress is not None:
            progress(1, 1)
        return last.signal
    hop, largest = transform.hop_length, float(mel.max())
    bare = dataclasses.replace(transform, compression=None, preemphasis=0)
    y = np.zeros(n_samples, options.get("dtype", np.float32))
    end = 0  # number of samples of y that are computed
    for place, (first, last_frame) in enumerate(plan):
        at = first * hop
        part, floored = linear_part(mel[:, first:last_frame], transform, largest)
        n = n_samples - at if last_frame == mel.shape[-1] else None
        problem = Problem(part, bare, length=n, floored=floored, **options)
        state = None
        if end > at and isinstance(method, Method):
            problem = problem.weighted(method.frame_weights)
            state = _continued(method, problem, y[at:end], [seed, place])
        (last,) = solve(method, problem, checkpoints=[n_iter], seed=[seed, place], state=state)
        signal = last.signal
        join(y[at:end], signal, fade=transform.n_fft, margin=2 * transform.n_fft)
        y[end : at + len(signal)] = signal[end - at :]
        end = at + len(signal)
        if progress is not None:
            progress(place + 1, len(plan))
    return transform.deemphasized(y)


def segment_frames(
    n_frames: int, transform: MelTransform, segment: float, overlap: float
) -> list[tuple[int, int]]:
    """Return the first frame of each segment and the frame after its last."""
    frames = transform.sr / transform.hop_length
    size, common = round(segment * frames), round(overlap * frames)
    least = 8 * -(-transform.n_fft // transform.hop_length)
    if common < least or size <= 2 * common:
        raise ValueError(
            f"overlap must be at least {least / frames:.2f} s and segment more than twice as long "
            f"as it; got {overlap} and {segment} s"
        )
    starts = range(0, max(1, n_frames - common), size - common)
    return [(a, min(a + size, n_frames)) for a in starts]


def _continued(method: Method[Any], problem: Problem, known: np.ndarray, seed: list[int]) -> State:
    """Return the start of a segment whose first samples are known."""
    rng = np.random.default_rng(seed)
    Y, X = method.start(problem, rng)
    x = np.zeros(problem.n_samples, problem.dtype)
    x[: known.size] = known / problem.scale
    stft = problem.stft
    # The number of frames that see known samples only.
    n = max(0, 1 + (known.size + stft.pad - stft.n_fft) // stft.hop_length)
    X = X.astype(np.result_type(problem.dtype, np.complex64))
    X[:, :n] = stft.forward(x)[:, :n]
    Y = Y.copy()
    Y[:, :n] = np.abs(X[:, :n])
    state: State = method.begin(problem, Y, X)
    return state


def join(before: np.ndarray, after: np.ndarray, *, fade: int, margin: int) -> None:
    """Cross-fade `before` into `after` in place, where the two differ least.

    Parameters
    ----------
    before : np.ndarray [shape=(n_samples,)]
        The last samples computed so far; changed from the start of the fade.
    after : np.ndarray [shape=(at least n_samples,)]
        The samples of the next segment, beginning at the same position.
    fade : int > 0
        Length of the cross-fade in samples.
    margin : int >= 0
        Samples at either end that take no part: the edge of a segment lacks its neighbours.
    """
    n = len(before)
    if n <= 2 * margin + fade:
        before[:] = after[:n]
        return
    until = np.zeros(n + 1)  # sum of squared differences before each sample
    np.cumsum(np.square(before - after[:n], dtype=np.float64), out=until[1:])
    apart = until[margin + fade : n - margin + 1] - until[margin : n - margin - fade + 1]
    at = margin + int(np.argmin(apart))
    rising = np.square(np.sin(np.pi / 2 * (np.arange(fade) + 0.5) / fade)).astype(before.dtype)
    before[at : at + fade] += rising * (after[at : at + fade] - before[at : at + fade])
    before[at + fade :] = after[at + fade : n]
