"""Samples into a sound file: its format, its level, and the file as a whole or not at all."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import soundfile

from melexp.files.atomic import write_bytes


def file_format(target: Path | None, subtype: str | None) -> tuple[str, str]:
    """Format and subtype of the output, checked before anything is computed."""
    kind = "WAV" if target is None else target.suffix.lstrip(".").upper()
    if kind not in soundfile.available_formats():
        raise ValueError(f"OUTPUT must end in .wav, .flac or .ogg, or be '-'; got {target}")
    known = soundfile.available_subtypes(kind)
    chosen = (
        subtype or ("PCM_16" if "PCM_16" in known else soundfile.default_subtype(kind))
    ).upper()
    if chosen not in known:
        raise ValueError(f"a {kind} has no subtype {chosen}; it has {', '.join(known)}")
    return kind, chosen


def leveled(
    signal: np.ndarray, peak: str, subtype: str, *, lost: bool = False
) -> tuple[np.ndarray, str]:
    """The signal at the level to be written, and what was done to it, if anything.

    Parameters
    ----------
    signal : np.ndarray [shape=(n_samples,)]
    peak : str
        "auto", "keep", or a number above zero.
    subtype : str
        Of the file: integers clip beyond 1.
    lost : bool
        The mel does not know the level: "auto" then makes the peak 0.9.
    """
    top = float(np.abs(signal).max(initial=0))
    if not np.isfinite(top):
        raise ValueError("the result is not finite; is the mel what the transform makes?")
    clips = top > 1 and not subtype.startswith(("FLOAT", "DOUBLE"))
    if peak == "keep":
        over = int(np.count_nonzero(np.abs(signal) > 1))
        return signal, f"{over} samples clip (peak {top:.2f}); use --peak auto" if clips else ""
    if peak == "auto":
        wanted = 0.9 if lost else 1.0
        if top == 0 or not (clips or lost):
            return signal, ""
    else:
        try:
            wanted = float(peak)
        except ValueError:
            wanted = 0.0
        if not 0 < wanted < np.inf:
            raise ValueError(f"--peak must be auto, keep or a number above zero; got {peak!r}")
        if top == 0:
            return signal, ""
    # Just below full scale: 32767 is the largest of 16 bits.
    factor = wanted / top * (1 - 2**-15)
    return signal * signal.dtype.type(factor), f"level changed by {20 * np.log10(factor):+.1f} dB"


def write_sound(path: Path | None, samples: np.ndarray, sr: int, kind: str, subtype: str) -> None:
    """Write a sound file as a whole or not at all."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, sr, format=kind, subtype=subtype)
    if path is None:
        sys.stdout.buffer.write(buffer.getbuffer())
        sys.stdout.buffer.flush()
        return
    write_bytes(path, buffer.getvalue())
