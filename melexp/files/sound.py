"""Read and write sound files."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from melexp.files.atomic import write_bytes

#: Samples of all channels that are decoded at once, 4 GB: 13 hours of one channel at 22.05 kHz.
LARGEST = 2**30
#: Sampling rates in Hz; a header with another rate is corrupt.
RATES = (1_000, 1_000_000)
#: What libsndfile notes of a chunk that its header makes longer than it is (WAV, AIFF, AU; W64,
#: RF64). Of CAF it notes nothing.
_CUT = re.compile(r"(?:data|SSND|Data Size|riff|Riff size) *: (\d+) \(should be (\d+)\)")
#: Programs that write to a pipe put such a size or a larger one, as they do not know it yet.
_UNKNOWN = 0x7FFFF000


class NotSound(ValueError):
    """Bytes that no decoder reads."""


class _Bytes(io.BytesIO):
    """Bytes in which a corrupt header may seek past the end; the decoder detects it."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        try:
            return super().seek(offset, whence)
        except (ValueError, OverflowError):  # raised in a callback, it would be printed
            return self.tell()


def decode(source: Path | bytes) -> tuple[NDArray[np.float32], int]:
    """Decode a sound file.

    Parameters
    ----------
    source : Path or bytes
        A file or the content of one.

    Returns
    -------
    samples : np.ndarray [shape=(n_samples,), float32]
        The mean of its channels; finite, full scale is 1, at least one sample.
    sr : int
        Its sampling rate in Hz.

    Raises
    ------
    NotSound
        With the decoder's words.
    ValueError
        In one line, without the file's name, the fault of the sound and the remedy: no
        samples, fewer than its header says, too many, NaN or infinite ones, an absurd rate.
    """
    file = _Bytes(source) if isinstance(source, bytes) else source
    try:
        with soundfile.SoundFile(file) as sound:
            sr, size = sound.samplerate, sound.frames * sound.channels
            if not RATES[0] <= sr <= RATES[1]:
                raise ValueError(f"has a sampling rate of {sr} Hz; convert it to a common rate")
            if size > LARGEST:
                raise ValueError(
                    f"declares {size} samples, more than the limit of {LARGEST}; split the file"
                )
            # Their number is given, as some codecs (GSM, G.721) cannot seek to find it out.
            samples = sound.read(sound.frames, dtype="float32", always_2d=True)
            whole = len(samples) == sound.frames
            cut = _CUT.search(sound.extra_info)
    except (soundfile.SoundFileError, OSError, TypeError) as error:
        raise NotSound(" ".join(str(error).split())) from error
    except MemoryError as error:
        raise ValueError(
            f"holds {size} samples, too many for the memory; split the file"
        ) from error
    if not whole or (cut and int(cut[2]) < int(cut[1]) < _UNKNOWN):
        raise ValueError(
            "is truncated: it holds less than its header declares; download or export it again"
        )
    if not len(samples):
        raise ValueError("holds no samples; remove it")
    # Not of the mean, which may be infinite where no sample is.
    if not np.isfinite(samples).all():
        raise ValueError("holds NaN or infinite samples; repair or remove it")
    with np.errstate(over="ignore"):
        mono = samples.mean(axis=1)
    if not np.isfinite(mono).all():
        raise ValueError("holds samples too large for float32; lower the level")
    return mono, sr


def resampled(samples: NDArray[np.float32], sr: float, wanted: float) -> NDArray[np.float32]:
    """Resample (soxr, HQ); return the same samples if the rates are equal.

    Raises
    ------
    ValueError
        If they are so few that none is left.
    """
    if sr == wanted:
        return np.ascontiguousarray(samples, dtype=np.float32)
    import soxr

    made = np.ascontiguousarray(soxr.resample(samples, sr, wanted, quality="HQ"), dtype=np.float32)
    if not len(made):
        raise ValueError(f"holds no samples at {wanted:g} Hz; remove it")
    return made


def file_format(target: Path | None, subtype: str | None) -> tuple[str, str]:
    """Return the format and subtype of the output; raise ValueError before anything is computed."""
    kind = "WAV" if target is None else target.suffix.lstrip(".").upper()
    if kind not in soundfile.available_formats():
        raise ValueError(f"OUTPUT must end in .wav, .flac or .ogg, or be '-'; got {target}")
    known = soundfile.available_subtypes(kind)
    chosen = (
        subtype or ("PCM_16" if "PCM_16" in known else soundfile.default_subtype(kind))
    ).upper()
    if chosen not in known:
        raise ValueError(f"a {kind} file has no subtype {chosen}; use one of {', '.join(known)}")
    return kind, chosen


def write_sound(path: Path | None, samples: np.ndarray, sr: int, kind: str, subtype: str) -> None:
    """Write a sound file atomically; None is the standard output."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, sr, format=kind, subtype=subtype)
    if path is None:
        sys.stdout.buffer.write(buffer.getbuffer())
        sys.stdout.buffer.flush()
        return
    write_bytes(path, buffer.getvalue())
