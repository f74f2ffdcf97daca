"""STFT of a batch in torch, its least-squares inverse and the projection P_C."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.functional import pad as pad_zeros

from melexp.batch.stacking import stack
from melexp.transforms.stft import STFT


class BatchSTFT:
    """STFT of clips of different lengths, as :class:`melexp.transforms.stft.STFT` for one clip.

    Signals have shape ``(n_clips, n_samples)`` and spectrograms ``(n_clips, n_bins, n_frames)``,
    both of the size of the longest clip. They are zero past the end of a shorter clip.

    Parameters
    ----------
    stfts : sequence of STFT
        STFT of each clip. They may differ only in the length.
    device : torch.device or str
    """

    def __init__(self, stfts: Sequence[STFT], device: Any) -> None:
        first = stfts[0]
        self.n_fft, self.hop_length, self.pad = first.n_fft, first.hop_length, first.pad
        self.n_samples = max(s.n_samples for s in stfts)
        self.n_frames = max(s.n_frames for s in stfts)
        # Hops that a frame spans, and all frames.
        self._span = -(-self.n_fft // self.hop_length)
        self._n_rows = self.n_frames - 1 + self._span
        # Samples of the longest clip that lie in a frame.
        self._seen = min(self.n_samples, self._n_rows * self.hop_length - self.pad)
        self._window = torch.from_numpy(first.window.astype(first.dtype)).to(device)
        self._inv_norm = stack([s.inv_norm for s in stfts], device)
        # Weights of the frames, zero past the end of a clip.
        self._weights = None
        if first.weights is not None or any(s.n_frames < self.n_frames for s in stfts):
            weights = [np.ones(s.n_frames) if s.weights is None else s.weights for s in stfts]
            self._weights = stack([g.astype(first.dtype)[None] for g in weights], device).mT
        at, source = zip(*(_copies(s) for s in stfts), strict=True)
        self._edge_at = _flat(at, self._n_rows * self.hop_length, device)
        self._edge_from = _flat(source, self.n_samples, device)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the spectrograms of signals that are zero past their ends."""
        padded = x.new_zeros(len(x), self._n_rows * self.hop_length)
        padded[:, self.pad : self.pad + self._seen] = x[:, : self._seen]
        if len(self._edge_at):
            padded.view(-1)[self._edge_at] = x.reshape(-1)[self._edge_from]
        frames = padded.unfold(-1, self.n_fft, self.hop_length)[:, : self.n_frames] * self._window
        if self._weights is not None:  # the first frames past an end still contain samples
            frames *= self._weights
        return torch.fft.rfft(frames).mT

    def inverse(self, X: torch.Tensor) -> torch.Tensor:
        """Return the least-squares signals of spectrograms that are zero past their ends."""
        hop, span = self.hop_length, self._span
        frames = torch.fft.irfft(X.mT, n=self.n_fft) * self._window
        if self._weights is not None:
            frames *= self._weights
        if self.n_fft % hop:
            frames = pad_zeros(frames, (0, -self.n_fft % hop))
        hops = frames.unflatten(-1, (span, hop))
        rows = frames.new_zeros(len(X), self._n_rows, hop)
        for q in range(span):
            rows[:, q : q + self.n_frames] += hops[:, :, q]
        padded = rows.flatten(1)
        x = pad_zeros(
            padded[:, self.pad : self.pad + self._seen], (0, self.n_samples - self._seen)
        ).contiguous()
        if len(self._edge_at):
            x.view(-1).index_add_(0, self._edge_from, padded.view(-1)[self._edge_at])
        return x * self._inv_norm

    def project(self, X: torch.Tensor) -> torch.Tensor:
        """Return P_C X, the consistent spectrograms nearest to `X`, zero past their ends."""
        return self.forward(self.inverse(X))


def _copies(stft: STFT) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions in the padded signal that copy a sample, and their sources."""
    index = stft.pad_index
    at = np.flatnonzero(index >= 0)
    at = at[index[at] != at - stft.pad]
    return at, index[at]


def _flat(positions: Sequence[np.ndarray], width: int, device: Any) -> torch.Tensor:
    """Convert positions in each row to positions in the flattened rows of length `width`."""
    flat = np.concatenate([b * width + p for b, p in enumerate(positions)])
    return torch.from_numpy(flat.astype(np.int64)).to(device)
