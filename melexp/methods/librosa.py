"""The peer that users have today: librosa's own mel_to_stft and griffinlim."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from melexp.methods._base import Method, State, Stop
from melexp.problem import Problem


@dataclass
class LibrosaState(State):
    """librosa's magnitude [shape=(n_bins, n_frames)], its waveform and its random seed."""

    A: np.ndarray
    y: np.ndarray
    seed: int


@dataclass(frozen=True, kw_only=True)
class Librosa(Method[LibrosaState]):
    """`librosa.feature.inverse.mel_to_audio` with its defaults, called and not rewritten.

    It draws its own random phase and cannot go on from where it stopped, so n more iterations
    run all of them again from its start.

    Parameters
    ----------
    momentum : float >= 0
        As in :func:`librosa.griffinlim`.
    """

    restarts: ClassVar[bool] = True

    magnitude: str = "librosa"
    phase: str = "librosa"
    momentum: float = 0.99

    def __post_init__(self) -> None:
        if (self.magnitude, self.phase) != ("librosa", "librosa"):
            raise ValueError("librosa has its own start: leave out magnitude and phase")
        if self.frame_weights:
            raise ValueError("librosa has no frame weights")
        if not self.momentum >= 0:
            raise ValueError(f"momentum must not be negative; got {self.momentum}")

    def init(self, problem: Problem, rng: np.random.Generator) -> LibrosaState:
        from librosa.feature.inverse import mel_to_stft

        t = problem.transform
        A = mel_to_stft(
            problem.mel,
            sr=t.sr,
            n_fft=t.n_fft,
            power=t.power,
            fmin=t.fmin,
            fmax=t.fmax,
            htk=t.htk,
            norm=t.norm,
        )
        seed = int(rng.integers(2**31))
        return self._after(0, A, seed, problem)

    def begin(self, problem: Problem, Y: np.ndarray, X: np.ndarray) -> LibrosaState:
        raise ValueError("librosa cannot be started from a given spectrogram")

    def step(self, problem: Problem, state: LibrosaState) -> LibrosaState:
        return self.advance(problem, state, 1)

    def advance(
        self, problem: Problem, state: LibrosaState, n_iter: int, stop: Stop | None = None
    ) -> LibrosaState:
        if stop is not None:
            raise ValueError("librosa cannot end early: it shows no iteration before the last")
        return self._after(state.iteration + n_iter, state.A, state.seed, problem)

    def _after(self, iteration: int, A: np.ndarray, seed: int, problem: Problem) -> LibrosaState:
        """The state after so many iterations, all of them run from its start."""
        from librosa import griffinlim

        t = problem.transform
        # It has no padding but that of centred frames: other padded samples are made and cut off.
        extra = 0 if t.center else t.padding
        y = griffinlim(
            A,
            n_iter=iteration,
            hop_length=t.hop_length,
            win_length=t.win_length,
            n_fft=t.n_fft,
            window=t.window,
            center=t.center,
            length=problem.n_samples + 2 * extra,
            pad_mode=t.pad_mode,  # type: ignore[arg-type]
            momentum=self.momentum,
            random_state=seed,
        )
        y = y[extra : extra + problem.n_samples]
        return LibrosaState(iteration=iteration, A=A, y=y, seed=seed)

    def signal(self, problem: Problem, state: LibrosaState) -> np.ndarray:
        return (state.y * problem.scale).astype(problem.dtype)
