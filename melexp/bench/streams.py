"""Time of a frame of streams side by side, relative to the FFTs of its iterations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from melexp.bench._rows import Row, clip, interleaved, row
from melexp.bench.iterations import floors
from melexp.inversion.stream import MelStream
from melexp.transforms.mel import MelTransform

#: Number of streams, look-ahead and iterations for each frame.
SETTINGS = (
    *((1, 0, 20), (1, 0, 100), (1, 2, 30), (1, 6, 50)),
    *((8, 6, 50), (32, 2, 30), (32, 6, 50), (64, 0, 20), (64, 2, 30)),
)
#: Frames of a round.
FRAMES = 12


def rows(
    rounds: int, *, settings: Sequence[tuple[int, int, int]] = SETTINGS, engine: str = "fast"
) -> Iterator[Row]:
    """Time the push of a frame of all streams, against the FFTs of the windows' frames.

    A window holds the frames that overlap, and the look-ahead.
    """
    transform = MelTransform.preset("paper")
    mel = transform(clip(3))
    overlapping = transform.n_fft // transform.hop_length
    n_frames = mel.shape[1]
    entries: dict[str, Callable[[], Any]] = {"FFTs": floors(transform, n_frames)["scipy.fft"]}
    work = {}
    for n, lookahead, n_iter in settings:
        stream = MelStream(transform, lookahead=lookahead, n_iter=n_iter, engine=engine)
        frames = np.stack([np.roll(mel, 17 * k, axis=1) for k in range(n)])
        stream.push(frames[..., : lookahead + 8])  # a full window
        name = f"{n} streams, {lookahead} ahead, {n_iter} iterations"
        entries[name] = partial(_push, stream, frames[..., 100:])
        work[name] = n * (lookahead + overlapping) * n_iter
    times = interleaved(entries, rounds=rounds)
    one_frame = times["FFTs"] / n_frames
    for name, frames_done in work.items():
        yield row(
            "a frame of streams side by side", name, times[name] / FRAMES * 1e3, "ms",
            one_frame * frames_done * 1e3, "scipy.fft of the same frames",
        )  # fmt: skip


def _push(stream: MelStream, frames: np.ndarray) -> None:
    for t in range(FRAMES):
        stream.push(frames[..., t : t + 1])
