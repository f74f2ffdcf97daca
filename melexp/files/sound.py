"""Read and write sound files."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from melexp.errors import one_line
from melexp.files.atomic import write_bytes

#: Largest number of samples of a file, of all channels: 4 GB, 13 hours of one channel at 22.05 kHz.
LARGEST = 2**30
#: Samples up to which the size of the file does not matter (100 MB), and the largest number of
#: samples for each of its bytes: Opus at 6 kbit/s has 64.
_FREE, _PER_BYTE = 25 * 10**6, 100
#: Sampling rates in Hz; a header with another rate is corrupt.
RATES = (1_000, 1_000_000)
#: Formats of libsndfile that hold matrices of any meaning, not sound.
_MATRICES = ("MAT4", "MAT5")
#: Line in the log of libsndfile for a chunk that is shorter than its header declares, in WAV, AIFF,
#: AU, W64 and RF64. For CAF the log has no such line.
_CUT = re.compile(r"(?:data|SSND|Data Size|riff|Riff size) *: (\d+) \(should be (\d+)\)")
#: A program that writes to a pipe does not know the size and declares this one or a larger one.
_UNKNOWN = 0x7FFFF000


class NotSound(ValueError):
    """The data cannot be decoded as sound; the message is the decoder's."""


@dataclass(frozen=True)
class Audio:
    """A decoded sound.

    Attributes
    ----------
    channels : np.ndarray [shape=(n_channels, n_samples), float32]
        Full scale is 1.
    sr : int
        Sampling rate in Hz.
    packed : int
        Bytes of the file.
    """

    channels: NDArray[np.float32]
    sr: int
    packed: int

    def at(self, sr: float) -> list[NDArray[np.float32]]:
        """Return the samples of each channel at another sampling rate [float32].

        Raises
        ------
        ValueError
            If they are too many, or none.
        """
        _check_length(int(self.channels.size * sr / self.sr), self.packed)
        return [resampled(samples, self.sr, sr) for samples in self.channels]


def _check_length(n_samples: int, packed: int) -> None:
    """Check the number of samples, of all channels, that a file of `packed` bytes gives."""
    most = min(LARGEST, max(_FREE, _PER_BYTE * packed))
    if n_samples > most:
        raise ValueError(
            f"the sound of {packed} bytes gives {n_samples} samples, more than the limit of "
            f"{most}, and may be a decompression bomb; split the file, or convert it to WAV"
        )


class _Bytes(io.BytesIO):
    """Bytes that accept a seek past the end; the decoder detects the corrupt header."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        try:
            return super().seek(offset, whence)
        except (ValueError, OverflowError):  # an error in a callback would be printed
            return self.tell()


def decode(source: Path | bytes) -> tuple[NDArray[np.float32], int]:
    """Decode a sound file to one channel.

    Parameters
    ----------
    source : Path or bytes
        Path or content of the file.

    Returns
    -------
    samples : np.ndarray [shape=(n_samples,), float32]
        The mean of the channels. There is at least one sample, all are finite; full scale is 1.
    sr : int
        Sampling rate in Hz.

    Raises
    ------
    NotSound
        If no decoder can read the data.
    ValueError
        If the sound has no samples, fewer than its header declares, too many, NaN or infinite
        samples, or an implausible sampling rate. The message is one line with the fault and the
        remedy, without the name of the file.
    """
    channels, sr = decode_channels(source)
    with np.errstate(over="ignore"):
        mono = channels.T.mean(axis=1)
    if not np.isfinite(mono).all():
        raise ValueError("the sound holds samples too large for float32; lower the level")
    return mono, sr


def decode_channels(source: Path | bytes) -> tuple[NDArray[np.float32], int]:
    """Decode the channels of a sound file [shape=(n_channels, n_samples)]; see `decode`."""
    if isinstance(source, Path) and not _is_utf8(source):
        source = source.read_bytes()  # the decoder cannot open a name that is not UTF-8
    file = source if isinstance(source, Path) else _Bytes(source)
    try:
        packed = source.stat().st_size if isinstance(source, Path) else len(source)
        with soundfile.SoundFile(file) as sound:
            if sound.format in _MATRICES:
                raise NotSound("it is a MATLAB file")
            sr, size = sound.samplerate, sound.frames * sound.channels
            if not RATES[0] <= sr <= RATES[1]:
                raise ValueError(
                    f"the sound has a sampling rate of {sr} Hz; convert it to a common rate"
                )
            _check_length(size, packed)
            # The number is given, because some codecs (GSM, G.721) cannot seek to determine it.
            samples = sound.read(sound.frames, dtype="float32", always_2d=True)
            complete = len(samples) == sound.frames
            cut = _CUT.search(sound.extra_info)
    except (soundfile.SoundFileError, OSError, TypeError) as error:
        # The message of the decoder; in full it has the address of the object.
        raise NotSound(one_line(getattr(error, "error_string", error))) from error
    except MemoryError as error:
        raise ValueError(
            f"the sound has {size} samples, too many for the memory; split the file"
        ) from error
    if not complete or (cut and int(cut[2]) < int(cut[1]) < _UNKNOWN):
        raise ValueError(
            "the sound is truncated: it is shorter than its header declares; download or export "
            "it again"
        )
    if not len(samples):
        raise ValueError("the sound holds no samples; remove it")
    # Each sample is checked before the mean, which can overflow although all samples are finite.
    if not np.isfinite(samples).all():
        raise ValueError("the sound holds NaN or infinite samples; repair or remove it")
    return samples.T, sr


def _is_utf8(path: Path) -> bool:
    return os.fsencode(path).decode("utf-8", "ignore") == str(path)


def resampled(samples: NDArray[np.float32], sr: float, wanted: float) -> NDArray[np.float32]:
    """Resample (soxr, HQ); return the same samples if the rates are equal.

    Raises
    ------
    ValueError
        If no sample is left at the new rate.
    """
    if sr == wanted:
        return np.ascontiguousarray(samples, dtype=np.float32)
    import soxr

    made = np.ascontiguousarray(soxr.resample(samples, sr, wanted, quality="HQ"), dtype=np.float32)
    if not len(made):
        raise ValueError(f"the sound holds no samples at {wanted:g} Hz; remove it")
    return made


def file_format(target: Path | None, subtype: str | None) -> tuple[str, str]:
    """Return the format and subtype of an output file.

    Parameters
    ----------
    target : Path or None
        The file; its suffix gives the format. None is the standard output, in WAV.
    subtype : str or None
        Sample format, such as "PCM_16", "PCM_24" or "FLOAT"; by default 16 bits if possible.

    Raises
    ------
    ValueError
        If the format is unknown or has no such subtype.
    """
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


def encoded(
    samples: np.ndarray, sr: int, kind: str, subtype: str, *, comment: str
) -> tuple[bytes, np.ndarray]:
    """Encode a sound file; return its content, and its samples as a player reads them.

    Parameters
    ----------
    samples : np.ndarray [shape=(n_samples, n_channels)]
    sr : int
    kind, subtype : str
        Of `file_format`.
    comment : str
        Text of the comment, if the format has one.

    Raises
    ------
    ValueError
        If the format has not as many channels, or no such rate.

    Returns
    -------
    content : bytes
    heard : np.ndarray [shape=(n_channels, n_samples), float32]
        With the rounding, clipping and losses of the format.
    """
    buffer = io.BytesIO()
    n_channels = samples.shape[1]
    try:
        with soundfile.SoundFile(buffer, "w", sr, n_channels, subtype, format=kind) as file:
            with contextlib.suppress(soundfile.SoundFileError, RuntimeError):
                file.comment = comment
            file.write(samples)
    except soundfile.SoundFileError as error:
        raise ValueError(
            f"a {kind} file ({subtype}) cannot hold {n_channels} channels at {sr} Hz "
            f"({one_line(error)}); write a .wav file"
        ) from error
    heard, _ = soundfile.read(io.BytesIO(buffer.getvalue()), dtype="float32", always_2d=True)
    return buffer.getvalue(), heard.T


def write_bytes_to(path: Path | None, content: bytes) -> None:
    """Write a file atomically; None is the standard output."""
    if path is None:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    write_bytes(path, content)
