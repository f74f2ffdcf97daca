"""The clip: one sound file with its provenance, decoded on demand."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from melexp.errors import printable
from melexp.files.sound import Audio, NotSound, decode


class ClipError(ValueError):
    """A file cannot be downloaded or used; the message is one line with its path and the remedy."""


@dataclass(frozen=True)
class Clip:
    """A sound file with its provenance; it can be pickled and holds no samples.

    All text is in one line of valid UTF-8; other characters are escaped.

    Attributes
    ----------
    id : str
        Name of the clip: unique within the data set and safe as a file name.
    dataset : str
        Name of the data set.
    category : str
        Class of the sound within the data set.
    sha256 : str
        Hexadecimal SHA-256 of the file, verified on every load; empty if it was not readable.
    licence, author, source : str
        Licence, author, and address of the recording.
    locate : callable
        Returns the local path of the file; downloads it first if necessary.
    """

    id: str
    dataset: str
    category: str
    sha256: str
    licence: str
    author: str
    source: str
    locate: Callable[[], Path] = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("id", "dataset", "category", "licence", "author", "source"):
            object.__setattr__(self, name, printable(getattr(self, name)))

    def load(self, sr: int) -> NDArray[np.float32]:
        """Decode the file, average its channels and resample it.

        Parameters
        ----------
        sr : int
            Sampling rate of the result, in Hz.

        Returns
        -------
        np.ndarray [shape=(n_samples,), float32]
            The samples; full scale is 1. They are resampled (soxr, HQ) if the rates differ.

        Raises
        ------
        ClipError
            If the file cannot be downloaded, is missing, empty or changed, or cannot be decoded
            by :func:`melexp.files.sound.decode`.
        """
        path = self.locate()
        try:
            digest = sha256_of(path)
        except OSError as error:
            raise ClipError(f"{path}: {error.strerror}; restore the file") from error
        if path.stat().st_size == 0:
            raise ClipError(f"{path}: the file is empty; replace it")
        if digest != self.sha256:
            raise ClipError(
                f"{path}: the SHA-256 is {digest}, expected {self.sha256}; "
                "replace the file, or list the data set again if the change is intended"
            )
        try:
            # Averaging the channels before resampling gives the same result with less work.
            mono, own = decode(path)
            (samples,) = Audio(mono[None], own, path.stat().st_size).at(sr)
            return samples
        except NotSound as error:
            raise ClipError(
                f"{path}: the file is not readable as audio ({error}); convert it to WAV or FLAC, "
                "or remove it"
            ) from error
        except ValueError as error:
            raise ClipError(f"{path}: {error}") from error

    def provenance(self) -> dict[str, str]:
        """Return the facts that identify and credit the clip, as strings."""
        return {
            "dataset": self.dataset,
            "id": self.id,
            "category": self.category,
            "licence": self.licence,
            "author": self.author,
            "source": self.source,
            "sha256": self.sha256,
        }


def sha256_of(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
