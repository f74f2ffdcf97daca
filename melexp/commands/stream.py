"""Sound while mel frames arrive, for ``melexp stream``."""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from melexp.errors import one_line
from melexp.inversion.stream import MelStream
from melexp.transforms.mel import MelTransform

#: Seconds between two looks at a file that grows.
_PAUSE = 0.005
#: Bytes to read at a time.
_BLOCK = 2**16
#: Sample formats of the output, and the factor of full scale.
FORMATS = {"PCM_16": ("<i2", 32767.0), "FLOAT": ("<f4", 1.0)}


@dataclass
class Playback:
    """The sound that a player would have, and when it would have run out of it.

    The player starts `buffer` seconds after the first samples. When it runs out, it waits.
    """

    sr: float
    buffer: float = 0.0
    clock: Callable[[], float] = time.monotonic
    samples: int = 0
    underruns: int = 0
    missing: float = 0.0  # seconds of silence that the player had to insert
    _began: float | None = field(default=None, repr=False)

    def add(self, n_samples: int) -> None:
        """Note that samples have been written."""
        if n_samples == 0:
            return
        now = self.clock()
        if self._began is None:
            self._began = now + self.buffer
        late = now - (self._began + self.samples / self.sr + self.missing)
        if self.samples and late > 0:
            self.underruns += 1
            self.missing += late
        self.samples += n_samples


def stream(
    source: str,
    target: str,
    transform: MelTransform,
    *,
    subtype: str,
    wait: float,
    buffer: float,
    **options: Any,
) -> str:
    """Invert frames as they arrive, write the samples at once, and return a report.

    Parameters
    ----------
    source : str
        "-" for raw float32 frames on the standard input (little-endian, the bands of a frame
        together), or a ``.npy`` file of shape (n_frames, n_mels) that may grow.
    target : str
        "-" for the standard output, or a file; samples without a header, little-endian.
    transform : MelTransform
    subtype : str
        One of `FORMATS`.
    wait : float >= 0
        Seconds without new frames after which a file has ended.
    buffer : float >= 0
        Seconds that the player of the report waits after the first samples.
    **options
        Of :class:`melexp.MelStream`.

    Raises
    ------
    ValueError
        If the frames are bad or the input ends within a frame.
    """
    if subtype not in FORMATS:
        raise ValueError(f"--subtype must be one of {', '.join(FORMATS)}; got {subtype!r}")
    for name, value in (("wait", wait), ("buffer", buffer)):
        if not value >= 0:
            raise ValueError(f"--{name} must not be negative; got {value}")
    kind, full = FORMATS[subtype]
    mel_stream = MelStream(transform, **options)
    silence = transform(np.zeros(transform.n_fft, np.float32))
    mel_stream.push(silence)  # compiles what the first frame would wait for
    mel_stream.reset()
    playback, slowest, clipped, n_frames = Playback(transform.sr, buffer), 0.0, 0, 0
    if source == "-":
        frames = raw_frames(sys.stdin.buffer, transform.n_mels)
    else:
        if target != "-" and os.path.exists(target) and os.path.samefile(source, target):
            raise ValueError(f"{target}: it is the input; name another file for the sound")
        frames = npy_frames(Path(source), transform.n_mels, wait=wait)
    first = list(itertools.islice(frames, 1))  # an input that is bad leaves the output as it is
    with _opened(target) as out:

        def write(samples: np.ndarray) -> None:
            nonlocal clipped
            clipped += int(np.count_nonzero(np.abs(samples) > 1))
            if subtype == "PCM_16":
                samples = np.rint(np.clip(samples, -1, 1) * full)
            out.write(samples.astype(kind).tobytes())
            out.flush()
            playback.add(len(samples))

        for frame in itertools.chain(first, frames):
            began = time.perf_counter()
            samples = mel_stream.push(frame[:, None])
            slowest, n_frames = max(slowest, time.perf_counter() - began), n_frames + 1
            write(samples)
        concealed = mel_stream.concealed
        write(mel_stream.flush())
    name = "standard output" if target == "-" else target
    hop = 1e3 * transform.hop_length / transform.sr
    lines = [
        f"{name}: {playback.samples / transform.sr:.2f} s of {n_frames} frames",
        f"  latency {1e3 * mel_stream.latency / transform.sr:.0f} ms, underruns "
        f"{playback.underruns} ({1e3 * playback.missing:.0f} ms), slowest frame "
        f"{1e3 * slowest:.1f} ms of {hop:.1f} ms",
    ]
    if concealed:
        lines.append(f"  note: {concealed} bad frames were replaced by the frame before")
    if clipped and subtype == "PCM_16":
        lines.append(f"  note: {clipped} samples clip; use --subtype FLOAT")
    return "\n".join(lines)


def _opened(target: str) -> BinaryIO:
    """Return the output, opened for writing; the standard output stays open when it is closed."""
    if target == "-":
        return os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    return open(target, "wb")


def raw_frames(source: BinaryIO, n_mels: int) -> Iterator[np.ndarray]:
    """Yield frames [shape=(n_mels,), float32] of raw bytes as soon as each is complete."""
    size, rest = 4 * n_mels, b""
    read = getattr(source, "read1", source.read)
    while block := read(_BLOCK):
        rest += block
        for at in range(0, len(rest) - size + 1, size):
            yield np.frombuffer(rest, "<f4", n_mels, at).astype(np.float32)
        rest = rest[len(rest) // size * size :]
    if rest:
        raise ValueError(
            f"the input ends within a frame: {len(rest)} of its {size} bytes; it must be raw "
            f"float32 frames of {n_mels} bands"
        )


def npy_frames(path: Path, n_mels: int, *, wait: float) -> Iterator[np.ndarray]:
    """Yield frames of a ``.npy`` file that may still grow, whatever length its header states.

    The file ends when it has not grown for `wait` seconds.

    Raises
    ------
    ValueError
        If it is not an array of shape (n_frames, n_mels), float16, float32 or float64.
    """
    with path.open("rb") as file:
        try:
            npy: Any = np.lib.format
            headers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
            shape, by_columns, dtype = headers[npy.read_magic(file)](file)
        except Exception as error:  # of the parser of Python, too
            raise ValueError(f"{path}: it is not a .npy file ({one_line(error)})") from error
        # The bands of a frame are together in memory.
        n_bands = shape[0] if by_columns and len(shape) == 2 else shape[-1] if shape else 0
        if len(shape) != 2 or n_bands != n_mels or min(shape) < 0 or dtype.kind != "f":
            raise ValueError(
                f"{path}: it holds {dtype} of shape {str(shape)[:80]}, not floating-point frames "
                f"of shape (n_frames, n_mels = {n_mels}); transpose it"
            )
        size, rest, last = dtype.itemsize * n_mels, b"", time.monotonic()
        while True:
            block = file.read(_BLOCK)
            if not block:
                if time.monotonic() - last >= wait:
                    break
                time.sleep(_PAUSE)
                continue
            rest += block
            for at in range(0, len(rest) - size + 1, size):
                yield np.frombuffer(rest, dtype, n_mels, at).astype(dtype.newbyteorder("="))
            rest = rest[len(rest) // size * size :]
            last = time.monotonic()
    if rest:
        raise ValueError(f"{path}: it ends within a frame: {len(rest)} of its {size} bytes")
