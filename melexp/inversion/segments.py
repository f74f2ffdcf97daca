"""Waveforms of any length in bounded memory: overlapping segments, one after the other."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from melexp.inversion.solve import solve
from melexp.methods import Method, make_method
from melexp.problem import Problem
from melexp.start import start
from melexp.transforms.mel import MelTransform

#: Memory of a segment of 20 s at 22.05 kHz: about 0.2 GB.
SEGMENT, OVERLAP = 20.0, 2.0


def invert_long(
    mel: np.ndarray,
    transform: MelTransform,
    *,
    method: str = "admm",
    n_iter: int = 200,
    length: int | None = None,
    seed: int = 0,
    segment: float = SEGMENT,
    overlap: float = OVERLAP,
    progress: Callable[[int, int], None] | None = None,
    **params: Any,
) -> np.ndarray:
    """As `melexp.invert`, in memory that does not grow with the length (but for input and output).

    A mel-spectrogram determines the phase only up to the sign of each island of sound, so two
    segments that were solved by themselves do not fit together. Here a segment starts, where it
    overlaps with the one before, from that one's waveform, and stays near it. The two are joined by
    a short cross-fade at the place of the overlap where they differ least.

    Parameters
    ----------
    mel : np.ndarray [shape=(n_mels, n_frames)]
        As `transform` makes it.
    transform : MelTransform
    method : str
        One of `melexp.available_methods` that can be started from a given spectrogram.
    n_iter : int >= 0
        Number of iterations for each segment.
    length : int or None
        Length of the waveform in samples.
    seed : int >= 0
    segment, overlap : float > 0
        Seconds; a segment must be more than two overlaps long.
    progress : callable or None
        Called with the numbers of segments done and in all.
    **params
        Parameters of the method. Unlike elsewhere its start is `kl` and `pghi` if none is given:
        random phases find ends of different quality in different segments.

    Returns
    -------
    y : np.ndarray [shape=(n_samples,), float32]

    Raises
    ------
    ValueError
        As `melexp.invert`, and if the segments are too short.
    """
    solver = make_method(method)
    if not solver.restarts:
        params = {"magnitude": "kl", "phase": "pghi"} | params
    solver = make_method(method, **params).for_budget(n_iter)
    mel = np.asarray(mel)
    n_samples = transform.n_samples(mel.shape[-1]) if length is None else length
    plan = _segments(mel.shape[-1], transform, segment, overlap)
    if len(plan) > 1 and solver.restarts:
        raise ValueError(f"{method} cannot be started where another segment ended")
    if len(plan) == 1:
        problem = Problem(mel, transform, length=length)
        (last,) = solve(solver, problem, checkpoints=[n_iter], seed=seed)
        if progress is not None:
            progress(1, 1)
        return last.signal

    hop, largest = transform.hop_length, float(mel.max())
    bare = dataclasses.replace(transform, compression=None)
    y = np.zeros(n_samples, np.float32)
    end = 0  # the samples of y that are there
    for place, (first, last_frame) in enumerate(plan):
        at = first * hop
        part, floored = linear_part(mel[:, first:last_frame], transform, largest)
        problem = Problem(
            part,
            bare,
            length=n_samples - at if last_frame == mel.shape[-1] else None,
            floored=floored,
        )
        signal = _segment(solver, problem, y[at:end], n_iter, [seed, place])
        join(y[at:end], signal, fade=transform.n_fft, margin=2 * transform.n_fft)
        y[end : at + len(signal)] = signal[end - at :]
        end = at + len(signal)
        if progress is not None:
            progress(place + 1, len(plan))
    return y


def linear_part(
    mel: np.ndarray, transform: MelTransform, largest: float
) -> tuple[np.ndarray, np.ndarray | None]:
    """Linear mel, and the bins on a floor, of a part of a mel with that largest value."""
    if transform.compression is None:
        return mel, None
    expanded, floored = transform.compression.expand(mel, largest=largest)
    return expanded.astype(np.float32), floored


def _segments(
    n_frames: int, transform: MelTransform, segment: float, overlap: float
) -> list[tuple[int, int]]:
    """First frame of each segment and the frame behind its last."""
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


def _segment(
    method: Method[Any], problem: Problem, known: np.ndarray, n_iter: int, seed: list[int]
) -> np.ndarray:
    """Waveform of a segment whose first samples are known, but for what follows them."""
    problem = problem.weighted(method.frame_weights)
    rng = np.random.default_rng(seed)
    if not known.size:
        return method.signal(problem, method.advance(problem, method.init(problem, rng), n_iter))
    Y, X = start(problem, rng, magnitude=method.magnitude, phase=method.phase)
    x = np.zeros(problem.n_samples, problem.dtype)
    x[: known.size] = known / problem.scale
    stft = problem.stft
    # The frames that see known samples only.
    n = max(0, 1 + (known.size + stft.pad - stft.n_fft) // stft.hop_length)
    X = X.astype(np.result_type(problem.dtype, np.complex64))
    X[:, :n] = stft.forward(x)[:, :n]
    Y = Y.copy()
    Y[:, :n] = np.abs(X[:, :n])
    state = method.advance(problem, method.begin(problem, Y, X), n_iter)
    return method.signal(problem, state)


def join(before: np.ndarray, after: np.ndarray, *, fade: int, margin: int) -> None:
    """Let `before` go over into `after`, in place, where the two differ least.

    Parameters
    ----------
    before : np.ndarray [shape=(n_samples,)]
        The end of what is there; changed from the fade on.
    after : np.ndarray [shape=(at least n_samples,)]
        What begins at the same sample and goes on.
    fade : int > 0
        Length of the cross-fade in samples.
    margin : int >= 0
        Samples at either end that take no part: the edge of a segment lacks its neighbours.
    """
    n = len(before)
    if n <= 2 * margin + fade:
        before[:] = after[:n]
        return
    until = np.zeros(n + 1)  # sum of what comes before a sample
    np.cumsum(np.square(before - after[:n], dtype=np.float64), out=until[1:])
    apart = until[margin + fade : n - margin + 1] - until[margin : n - margin - fade + 1]
    at = margin + int(np.argmin(apart))
    rising = np.square(np.sin(np.pi / 2 * (np.arange(fade) + 0.5) / fade)).astype(before.dtype)
    before[at : at + fade] += rising * (after[at : at + fade] - before[at : at + fade])
    before[at + fade :] = after[at + fade : n]


def mel_blocks(
    y: np.ndarray, transform: MelTransform, *, block: int = 2000
) -> Iterator[tuple[slice, np.ndarray]]:
    """`transform.linear` of a waveform in blocks of frames: which frames, and their mel."""
    n_fft, hop, pad = transform.n_fft, transform.hop_length, transform.padding
    n_frames = 1 + (len(y) + 2 * pad - n_fft) // hop
    if n_frames <= block:
        yield slice(0, max(n_frames, 0)), transform.linear(y)
        return
    padded = np.pad(y, pad, mode=transform.pad_mode)  # type: ignore[call-overload]
    bare = dataclasses.replace(transform, center=False, pad=None, compression=None)
    for a in range(0, n_frames, block):
        b = min(a + block, n_frames)
        yield slice(a, b), bare.linear(padded[a * hop : (b - 1) * hop + n_fft])


def long_mel(y: np.ndarray, transform: MelTransform, *, block: int = 2000) -> np.ndarray:
    """Linear mel-spectrogram of a waveform of any length, computed in blocks.

    Parameters
    ----------
    y : np.ndarray [shape=(n_samples,)]
    transform : MelTransform
    block : int > 0
        Number of frames at a time.

    Returns
    -------
    mel : np.ndarray [shape=(n_mels, n_frames)], non-negative
        What `transform.linear` returns.
    """
    return np.concatenate([mel for _, mel in mel_blocks(y, transform, block=block)], axis=1)


def long_scm(mel: np.ndarray, y: np.ndarray, transform: MelTransform) -> float:
    """SCM of a waveform to a given mel of any length, in dB; NaN for a silent mel.

    Where the compression has lost the level (``ref = "max"``), the waveform is compared at the
    level at which its largest value is the mel's.
    """
    largest, scale = float(mel.max()), 1.0
    if transform.compression is not None and transform.compression.ref == "max":
        peak = max(float(made.max()) for _, made in mel_blocks(y, transform))
        scale = float(linear_part(mel[:1, :1] * 0 + largest, transform, largest)[0].item())
        scale /= peak or 1.0
    error = norm = 0.0
    for frames, made in mel_blocks(y, transform):
        given = linear_part(mel[:, frames], transform, largest)[0].astype(np.float64)
        error += float(np.sum((given - scale * made) ** 2))
        norm += float(np.sum(given**2))
    return 10 * math.log10(max(error / norm, 1e-30)) if norm else float("nan")
