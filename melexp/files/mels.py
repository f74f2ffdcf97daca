"""Read an input of the command line: a mel-spectrogram of NumPy or torch, or sound."""

from __future__ import annotations

import io
import zipfile

import numpy as np

from melexp.errors import one_line
from melexp.files.archives import ARRAYS, ArchiveError
from melexp.files.sound import Audio, NotSound, decode
from melexp.files.torch_files import read_tensors
from melexp.transforms.mel import MelTransform

#: Suffixes of the files that are read from a folder.
MEL_SUFFIXES = (".npy", ".npz", ".pt", ".pth")
AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif")


def read_input(data: bytes, *, key: str | None = None) -> np.ndarray | Audio:
    """Read a mel-spectrogram or audio from bytes; the content decides, not the file name.

    No code of the file is executed: pickles and arrays of objects are refused.

    Parameters
    ----------
    data : bytes
    key : str or None
        Name of the array in a file that holds several; by default "mel", or the only one.

    Returns
    -------
    np.ndarray or Audio

    Raises
    ------
    ValueError
        If the file cannot be used; the message is one line with the reason.
    """
    if not data:
        raise ValueError("the file is empty")
    if data.startswith(b"\x93NUMPY"):
        return _real(_numpy(data, "npy"))
    if data.startswith(b"PK"):
        return _real(_from_archive(data, key))
    if data.startswith(b"\x80"):
        raise ValueError(
            "the file is a pickle, which could run code; save the array with numpy.save, or the "
            "tensor with torch.save of torch 1.6 or later"
        )
    return _audio(data)


def _numpy(data: bytes, kind: str) -> np.ndarray | dict[str, np.ndarray]:
    try:
        loaded = np.load(io.BytesIO(data), allow_pickle=False)
        return loaded if kind == "npy" else {name: loaded[name] for name in loaded.files}
    except Exception as error:  # a corrupt header raises any error of its parser
        if "allow_pickle" in str(error):
            raise ValueError(
                "the file holds Python objects, which could run code; save an array of numbers"
            ) from error
        raise ValueError(_corrupt(error)) from error


def _from_archive(data: bytes, key: str | None) -> np.ndarray:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            for _ in ARRAYS.check((info.file_size for info in archive.infolist()), len(data)):
                pass
    except ArchiveError:
        raise
    except Exception as error:  # a corrupt archive raises any error of its reader
        raise ValueError(_corrupt(error)) from error
    if any(name.endswith("data.pkl") for name in names):
        arrays = read_tensors(data)
    else:
        arrays = _numpy(data, "npz")  # type: ignore[assignment]
    if key is None:
        key = next(iter(arrays)) if len(arrays) == 1 else "mel"
    if key not in arrays:
        known = ", ".join(arrays) or "none"
        raise ValueError(
            f"the file has no array {key!r}; the arrays are {known} (choose with --key)"
        )
    return arrays[key]


def _real(array: object) -> np.ndarray:
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        kind = getattr(array, "dtype", type(array).__name__)
        raise ValueError(f"the file holds {kind}, not real numbers; save real numbers")
    if array.size == 0:
        raise ValueError(f"the array of the file is empty: it has shape {array.shape}")
    return array if array.dtype.kind == "f" else array.astype(np.float32)


def _audio(data: bytes) -> Audio:
    try:
        return Audio(*decode(data))
    except NotSound as error:
        raise ValueError(
            f"the file is neither a mel (.npy, .npz, .pt) nor sound that can be read ({error})"
        ) from error


def _corrupt(error: BaseException) -> str:
    return f"the file is corrupt or truncated ({one_line(error)})"


def oriented(mel: np.ndarray, transform: MelTransform, orientation: str = "auto") -> np.ndarray:
    """Return the mel with shape (n_mels, n_frames).

    Parameters
    ----------
    mel : np.ndarray
        An array of two axes; leading axes of length 1 are removed.
    transform : MelTransform
        Its number of mels decides which axis is which.
    orientation : str
        "auto", "mels-first" (rows are bands) or "frames-first" (rows are frames).

    Raises
    ------
    ValueError
        If both axes or neither have the number of mels of the transform.
    """
    while mel.ndim > 2 and mel.shape[0] == 1:
        mel = mel[0]
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
            + (f" ({orientation})" if rows or columns else "; is it of another preset?")
        )
    return np.ascontiguousarray(turned)
