"""The peer in common use: mel_to_stft and griffinlim of librosa."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from melexp.methods._base import Peer
from melexp.problem import Problem
from melexp.transforms.stft import analysis_window


@dataclass(frozen=True, kw_only=True)
class Librosa(Peer):
    """`librosa.feature.inverse.mel_to_audio` with its defaults, called and not rewritten.

    It draws its own random phase and starts from it in every call.

    Parameters
    ----------
    momentum : float >= 0
        As in :func:`librosa.griffinlim`.

    Raises
    ------
    ValueError
        If the momentum is negative.
    """

    momentum: float = 0.99

    def __post_init__(self) -> None:
        if not self.momentum >= 0:
            raise ValueError(f"momentum must not be negative; got {self.momentum}")

    def start(self, problem: Problem) -> np.ndarray:
        """Return librosa's magnitude [shape=(n_bins, n_frames)].

        Raises
        ------
        ValueError
            For filters with `mel_triangles`.
        """
        from librosa.feature.inverse import mel_to_stft

        t = problem.transform
        if t.mel_triangles:
            raise ValueError("librosa has no filters with mel_triangles; use another method")
        magnitude: np.ndarray = mel_to_stft(
            problem.mel,
            sr=t.sr,
            n_fft=t.n_fft,
            power=t.power,
            fmin=t.fmin,
            fmax=t.fmax,
            htk=t.htk,
            norm=t.norm,
        )
        return magnitude

    def run(
        self, problem: Problem, rng: np.random.Generator, n_iter: int, start: Any
    ) -> np.ndarray:
        from librosa import griffinlim

        t = problem.transform
        win_length = t.n_fft if t.win_length is None else t.win_length
        # griffinlim pads centred frames only: other padded samples are computed, then cut off.
        extra = 0 if t.center else t.padding
        y = griffinlim(
            start,
            n_iter=n_iter,
            hop_length=t.hop_length,
            win_length=t.win_length,
            n_fft=t.n_fft,
            window=analysis_window(t.window, win_length=win_length, n_fft=win_length),
            center=t.center,
            length=problem.n_samples + 2 * extra,
            pad_mode=t.pad_mode,  # type: ignore[arg-type]
            momentum=self.momentum,
            random_state=int(rng.integers(2**31)),
        )
        y = y[extra : extra + problem.n_samples]
        return t.deemphasized((y * problem.scale).astype(problem.dtype))
