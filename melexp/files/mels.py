"""Read an input of the command line: a mel-spectrogram in a file of any kind, or sound."""

from __future__ import annotations

import io
import os
import stat
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import BinaryIO

import numpy as np

from melexp.errors import MissingExtra, one_line
from melexp.files import array_files, hdf5, kaldi, matlab, pictures, torch_files
from melexp.files.archives import ArchiveError
from melexp.files.array_files import LARGEST, LIMITS, Arrays, Refused
from melexp.files.sound import Audio, NotSound, decode_channels
from melexp.transforms.mel import MelTransform

#: Suffixes of the files that are read from a folder. Tables and pictures must be named, because
#: they are common beside sound.
MEL_SUFFIXES = (".npy", ".npz", ".pt", ".pth", ".h5", ".hdf5", ".safetensors", ".ark", ".mat")
AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif")
#: Fewer bands than these are more often cepstral coefficients.
_MOST_MFCCS = 40
#: Number of arrays that a message names.
_NAMED = 10


def read_source(source: str) -> bytes:
    """Return the content of a file, or of the standard input for "-", see `bounded`."""
    with nullcontext(sys.stdin.buffer) if source == "-" else Path(source).open("rb") as file:
        return bounded(file, LARGEST)


def bounded(file: BinaryIO, largest: int) -> bytes:
    """Return the content of an open file.

    Raises
    ------
    Refused
        If it has more than `largest` bytes, or is a device, which may have no end.
    """
    if stat.S_ISCHR(os.fstat(file.fileno()).st_mode):
        raise Refused("the input is a device or a terminal; give a file or a pipe")
    parts, left = [], largest
    while part := file.read(2**20):
        parts.append(part)
        left -= len(part)
        if left < 0:
            raise Refused(f"the input has more than {largest} bytes; split it")
    return b"".join(parts)


def read_input(
    data: bytes, *, key: str | None = None, folder: Path | None = None
) -> np.ndarray | Audio:
    """Read a mel-spectrogram or audio from bytes; the content decides, not the file name.

    No code of the file is executed: pickles, arrays of objects and programs are refused.

    Parameters
    ----------
    data : bytes
    key : str or None
        Name of the array in a file that holds several; by default "mel", or the only one.
    folder : Path or None
        Folder of the file, for a list of Kaldi that names others.

    Returns
    -------
    np.ndarray or Audio

    Raises
    ------
    ValueError
        If the file cannot be used; the message is one line with the reason.
    """
    if not data:
        raise Refused("the file is empty")
    if pictures.is_picture(data):
        pictures.picture_settings(None)  # refuses
    with _refusing():
        arrays = _arrays(data, folder)
        if arrays is not None:
            return _real(_chosen(arrays, key))
    return _audio(data)


def read_arrays(data: bytes) -> dict[str, np.ndarray]:
    """Read all arrays of a small file by name; the content decides the format.

    Raises
    ------
    ValueError
        If the file cannot be used; the message is one line with the reason.
    """
    with _refusing():
        arrays = _arrays(data, None)
        if arrays is None:
            raise Refused("the file holds no arrays; give .npy, .npz, .h5 or .safetensors")
        return {name: read() for name, read in arrays.items()}


@contextmanager
def _refusing() -> Iterator[None]:
    """Raise every error of a reader as one line."""
    try:
        yield
    except (Refused, ArchiveError, MissingExtra):
        raise
    except MemoryError as error:
        raise Refused("the array is too large for the memory; split it") from error
    except Exception as error:  # a corrupt file raises any error of its reader
        raise Refused(f"the file is corrupt or truncated ({one_line(error)})") from error


def _arrays(data: bytes, folder: Path | None) -> Arrays | None:
    """Return the arrays of a file, or None if it is none of arrays."""
    if data.startswith(b"\x93NUMPY"):
        return array_files.npy_arrays(data)
    if data.startswith(b"PK"):
        return _zip_arrays(data)
    if torch_files.is_safetensors(data):  # before pickles: its first byte can be any
        return torch_files.safetensors_arrays(data)
    if data.startswith(b"\x80"):
        raise Refused(
            "the file is a pickle, which could run code; save the array with numpy.save, or the "
            "tensor with torch.save of torch 1.6 or later"
        )
    if hdf5.is_hdf5(data):
        return hdf5.hdf5_arrays(data)
    if matlab.is_matlab(data):
        return matlab.matlab_arrays(data)
    if kaldi.is_archive(data):
        return kaldi.archive_arrays(data)
    text = array_files.text_of(data)
    if text is None:
        return None
    if kaldi.is_text_archive(text):
        return kaldi.text_archive_arrays(text)
    if kaldi.is_list(text):
        return kaldi.list_arrays(text, folder)
    if array_files.is_table(text):
        return array_files.table_arrays(text)
    return None


def _zip_arrays(data: bytes) -> Arrays:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = archive.namelist()
        for _ in LIMITS.check((info.file_size for info in archive.infolist()), len(data)):
            pass
    if any(name.endswith("data.pkl") for name in names):
        return torch_files.torch_arrays(data)
    return array_files.npz_arrays(data)


def _chosen(arrays: Arrays, key: str | None) -> np.ndarray:
    """Read the array of a name; the only one, or "mel", if there is no name."""
    if key is None:
        key = next(iter(arrays)) if len(arrays) == 1 else "mel"
    if key not in arrays:
        known = ", ".join(list(arrays)[:_NAMED]) or "none"
        more = f" and {len(arrays) - _NAMED} more" if len(arrays) > _NAMED else ""
        raise Refused(
            f"the file has no array {key!r}; the arrays are {known}{more} (choose with --key)"
        )
    return arrays[key]()


def _real(array: object) -> np.ndarray:
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        kind = getattr(array, "dtype", type(array).__name__)
        raise Refused(f"the file holds {kind}, not real numbers; save real numbers")
    if array.size == 0:
        raise Refused(f"the array of the file is empty: it has shape {array.shape}")
    kind = array.dtype.newbyteorder("=") if array.dtype.kind == "f" else np.dtype(np.float32)
    return array.astype(kind, copy=False)


def _audio(data: bytes) -> Audio:
    try:
        return Audio(*decode_channels(data), len(data))
    except NotSound as error:
        raise Refused(
            "the file is neither a mel (.npy, .npz, .pt, .h5, .safetensors, .mat, .ark, .scp, .csv "
            f"or a picture) nor sound that can be read ({error})"
        ) from error


def oriented(mel: np.ndarray, transform: MelTransform, orientation: str = "auto") -> np.ndarray:
    """Return the mel with shape (n_mels, n_frames).

    Parameters
    ----------
    mel : np.ndarray
        An array of two axes.
    transform : MelTransform
        Its number of mels decides which axis is which.
    orientation : str
        "auto", "mels-first" (rows are bands) or "frames-first" (rows are frames).

    Raises
    ------
    ValueError
        If both axes or neither have the number of mels of the transform.
    """
    n = transform.n_mels
    if mel.ndim != 2:
        raise ValueError(f"mel has shape {mel.shape}; give one mel of (n_mels = {n}, n_frames)")
    rows, columns = (size == n for size in mel.shape)
    if orientation == "auto":
        if rows and columns:
            raise ValueError(
                f"mel has shape {mel.shape}: either axis can be that of the bands; choose "
                "--orientation mels-first or frames-first"
            )
        orientation = "frames-first" if columns else "mels-first"
    turned = mel.T if orientation == "frames-first" else mel
    if turned.shape[0] != n:
        raise ValueError(
            f"mel has shape {mel.shape}, but there must be n_mels = {n} bands"
            + (f" ({orientation})" if rows or columns else _of_what(mel.shape))
        )
    return np.ascontiguousarray(turned)


def _of_what(shape: tuple[int, ...]) -> str:
    """Return what an array with another number of bands may be."""
    if min(shape) <= _MOST_MFCCS:
        return "; if these are MFCCs, use melexp.mfcc_to_audio in Python"
    return "; is it of another preset?"


def members(
    mel: np.ndarray, transform: MelTransform, orientation: str = "auto"
) -> list[np.ndarray]:
    """Return the mels of an array (..., n_mels, n_frames), each as `oriented` returns it."""
    if mel.ndim > 2 and mel.shape[-2] == transform.n_mels and mel.shape[-1] <= 2 < mel.shape[-3]:
        raise ValueError(
            f"mel has shape {mel.shape}: the channels seem to be last; save it with the channels "
            "first, (n_channels, n_mels, n_frames)"
        )
    batch = mel.reshape(-1, *mel.shape[-2:]) if mel.ndim > 2 else mel[None]
    return [oriented(m, transform, orientation) for m in batch]
