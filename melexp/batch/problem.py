"""A batch of mel-spectrograms to invert together, on any device."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from melexp.batch.filters import BatchFilters
from melexp.batch.stacking import stack
from melexp.batch.stft import BatchSTFT
from melexp.methods import Method, State
from melexp.problem import Problem
from melexp.transforms.arrays import relative_error


class BatchProblem:
    """Problems stacked into tensors, with the interface that methods expect of a `Problem`.

    The first axis of a tensor counts the clips; the number of frames is that of the longest clip.
    Frames past the end of a shorter clip are zero in the mel and in the state, and stay zero.

    Parameters
    ----------
    problems : sequence of Problem
        The clips. They may differ in length, but not in transform, precision and frame weights
        (:meth:`Problem.weighted`).
    device : torch.device or str
        Device of the computation.

    Raises
    ------
    ValueError
        If there is no problem, if the problems differ in more than their lengths, or if the device
        does not exist.

    Examples
    --------
    >>> import numpy as np
    >>> from melexp import MelTransform, make_method
    >>> transform = MelTransform.preset("paper")
    >>> clips = [np.sin(np.arange(n) / 10).astype(np.float32) for n in (22050, 15000)]
    >>> problem = BatchProblem([Problem(transform(x), transform, length=len(x)) for x in clips])
    >>> method = make_method("admm")
    >>> state = problem.start(method, seeds=[0, 0])
    >>> state = method.advance(problem, state, 10)
    >>> [len(y) for y in problem.cut(method.signal(problem, state))]
    [22050, 15000]
    """

    def __init__(self, problems: Sequence[Problem], *, device: Any = "cpu") -> None:
        if not problems:
            raise ValueError("a batch needs at least one clip")
        first = problems[0]
        kinds = [(p.transform, p.dtype, p.frame_weights) for p in problems]
        if any(kind != kinds[0] for kind in kinds):
            raise ValueError(
                "the clips of a batch must have one transform, one dtype and the same frame_weights"
            )
        device = checked_device(device)
        self.problems = list(problems)
        self.device = device
        self.transform, self.dtype = first.transform, first.dtype
        self.n_samples = max(p.n_samples for p in problems)
        self.stft: Any = BatchSTFT([p.stft for p in problems], device)
        self.filters: Any = BatchFilters(first.filters, first.transform.basis, device)
        self.mel: Any = stack([p.mel for p in problems], device)
        gains: Any = [p.frame_gains for p in problems]
        self.frame_weights = first.frame_weights
        self.frame_gains: Any = None
        if first.frame_gains is not None:
            self.frame_gains = stack([g[None] for g in gains], device, fill=1)
        self.scale: Any = stack([np.array([p.scale], self.dtype) for p in problems], device)
        self.floored: Any = None
        if any(p.floored is not None for p in problems):
            bounds = [
                np.zeros(p.mel.shape, bool) if p.floored is None else p.floored for p in problems
            ]
            self.floored = stack(bounds, device)
        if self.transform.power != 1:
            self.envelope: Any = stack([p.envelope for p in problems], device, fill=1)
        self.lanes = None

    def weighted(self, exponent: float) -> BatchProblem:
        """Return the batch of the weighted problems."""
        if exponent == self.frame_weights:
            return self
        return BatchProblem([p.weighted(exponent) for p in self.problems], device=self.device)

    @property
    def plain(self) -> BatchProblem:
        """Batch without frame weights."""
        return self.weighted(0.0)

    def start(self, method: Method[Any], seeds: Sequence[Any]) -> Any:
        """Compute the state before the first iteration, clip by clip with NumPy.

        A seed thus gives a clip the same start in any batch and on any device.

        Parameters
        ----------
        method : Method
        seeds : sequence of int
            One per clip.

        Returns
        -------
        state : State
            With tensors on the device.
        """
        states = [
            method.init(p, np.random.default_rng(seed))
            for p, seed in zip(self.problems, seeds, strict=True)
        ]
        return self.stack_states(states)

    def stack_states(self, states: Sequence[State]) -> Any:
        """Stack the states of the clips into one state on the device."""
        arrays = {
            field.name: stack([getattr(s, field.name) for s in states], self.device)
            for field in dataclasses.fields(states[0])
            if field.name != "iteration"
        }
        return dataclasses.replace(states[0], **arrays)

    def waveform(self, X: Any) -> Any:
        """Return the waveforms [shape=(n_clips, n_samples)] at the level of the given mels."""
        y = self.stft.inverse(X) * self.scale
        if not self.transform.preemphasis:
            return y
        # The recursive filter by its impulse response, which ends below the rounding of float32.
        c = self.transform.preemphasis
        n = min(y.shape[-1], math.ceil(math.log(1e-9) / math.log(c)))
        response = y.new_tensor(c) ** torch.arange(n, device=y.device)
        size = y.shape[-1] + n
        product = torch.fft.rfft(y, size) * torch.fft.rfft(response.to(y.dtype), size)
        return torch.fft.irfft(product, size)[..., : y.shape[-1]]

    def cut(self, signals: Any) -> list[Any]:
        """Cut a stack of waveforms to the lengths of the clips."""
        return [y[: p.n_samples] for y, p in zip(signals, self.problems, strict=True)]

    def misfit(self, y: Any) -> Any:
        """Compute ||M - E |STFT(y)|^power|| / ||M|| of each clip [shape=(n_clips,)]."""
        X = self.stft.forward(self.transform.emphasized(y) / self.scale)
        mel, made = self.mel, self.filters.apply(self.transform.spectrum(X))
        if self.frame_gains is not None:
            plain = self.transform.spectrum(self.frame_gains)
            mel, made = mel / plain, made / plain
        return relative_error(mel, made)


def checked_device(device: Any) -> torch.device:
    """Return the torch device of a name, and raise ValueError if it does not exist."""
    try:
        device = torch.device(device)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA raises the latter
        raise ValueError(
            f"device {str(device)!r} cannot be used ({str(error).splitlines()[0]}); use 'cpu', or "
            "leave device out for NumPy"
        ) from error
    return device
