"""Reads what people have: a mel-spectrogram in a file of NumPy or torch, or sound."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass

import numpy as np

from melexp.files.archives import ArchiveError, Limits
from melexp.transforms.mel import MelTransform

#: Of the arrays in a .npz or .pt, which are read into memory; silence packs well.
_LIMITS = Limits(size=8 * 10**9, members=10_000, free=10**9)
#: File names that a folder is searched for.
MEL_SUFFIXES = (".npy", ".npz", ".pt", ".pth")
AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif")


@dataclass(frozen=True)
class Audio:
    """A decoded sound: its channels averaged, full scale 1."""

    samples: np.ndarray
    sr: int

    def at(self, sr: float) -> np.ndarray:
        """Return the samples at another sampling rate [float32]."""
        from melexp.files.sound import resampled

        return resampled(self.samples, self.sr, sr)


def read_input(data: bytes, *, key: str | None = None) -> np.ndarray | Audio:
    """Read a mel-spectrogram or audio from bytes; the content decides, not the file name.

    Nothing in the file is ever executed: pickles and arrays of objects are refused.

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
        In one line, why it cannot be used.
    """
    if not data:
        raise ValueError("the file is empty")
    if data.startswith(b"\x93NUMPY"):
        return _real(_numpy(data, "npy"))
    if data.startswith(b"PK"):
        return _real(_from_archive(data, key))
    if data.startswith(b"\x80"):
        raise ValueError(
            "it is a pickle, which could run code; save the array with numpy.save, or the tensor "
            "with torch.save of torch 1.6 or later"
        )
    return _audio(data)


def _numpy(data: bytes, kind: str) -> np.ndarray | dict[str, np.ndarray]:
    try:
        loaded = np.load(io.BytesIO(data), allow_pickle=False)
        return loaded if kind == "npy" else {name: loaded[name] for name in loaded.files}
    except Exception as error:  # a corrupt header raises any error of its parser
        if "allow_pickle" in str(error):
            raise ValueError(
                "it holds Python objects, which could run code; save it as an array of numbers"
            ) from error
        raise ValueError(f"it is corrupt or truncated ({_line(error)})") from error


def _from_archive(data: bytes, key: str | None) -> np.ndarray:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            for _ in _LIMITS.check((info.file_size for info in archive.infolist()), len(data)):
                pass
    except ArchiveError:
        raise
    except Exception as error:  # as above
        raise ValueError(f"it is corrupt or truncated ({_line(error)})") from error
    if any(name.endswith("data.pkl") for name in names):
        from melexp.files.torch_files import read_tensors

        arrays = read_tensors(data)
    else:
        arrays = _numpy(data, "npz")  # type: ignore[assignment]
    if key is None:
        key = next(iter(arrays)) if len(arrays) == 1 else "mel"
    if key not in arrays:
        there = ", ".join(arrays) or "none"
        raise ValueError(f"it has no array {key!r}; the arrays are {there} (choose with --key)")
    return arrays[key]


def _real(array: object) -> np.ndarray:
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        kind = getattr(array, "dtype", type(array).__name__)
        raise ValueError(f"it holds {kind}, not real numbers")
    if array.size == 0:
        raise ValueError(f"its array is empty: it has shape {array.shape}")
    return array if array.dtype.kind == "f" else array.astype(np.float32)


def _audio(data: bytes) -> Audio:
    from melexp.files.sound import NotSound, decode

    try:
        return Audio(*decode(data))
    except NotSound as error:
        raise ValueError(
            f"it is neither a mel (.npy, .npz, .pt) nor sound that can be read ({error})"
        ) from error
    except ValueError as error:
        raise ValueError(f"it {error}") from error


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def oriented(mel: np.ndarray, transform: MelTransform, orientation: str = "auto") -> np.ndarray:
    """Return the mel with shape (n_mels, n_frames).

    Parameters
    ----------
    mel : np.ndarray
        Two axes, further ones of length 1 before them.
    transform : MelTransform
        Its number of mels tells the axes apart.
    orientation : str
        "auto", "mels-first" (rows are bands) or "frames-first" (rows are frames).

    Raises
    ------
    ValueError
        If it cannot be told, or neither axis has the transform's number of mels.
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
                f"mel has shape {mel.shape}, so its bands cannot be told from its frames; say "
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
