"""One sound file: what it is, where it comes from, and how it becomes samples."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from melexp.files.sound import NotSound, decode, resampled


class ClipError(ValueError):
    """A file that cannot be fetched or used; one line that names the file and the remedy."""


@dataclass(frozen=True)
class Clip:
    """A sound file with its provenance. Picklable; holds no samples.

    Attributes
    ----------
    id : str
        Unique within the data set and safe as a file name.
    dataset, category : str
        Name of the data set; class of sound within it.
    sha256 : str
        Hexadecimal SHA-256 of the file's bytes, verified on every load.
    licence, author, source : str
        Terms, maker, and address of the work.
    locate : callable
        Returns the path of the file on this machine, fetching it first where it has to.
    """

    id: str
    dataset: str
    category: str
    sha256: str
    licence: str
    author: str
    source: str
    locate: Callable[[], Path] = field(repr=False, compare=False)

    def load(self, sr: int) -> NDArray[np.float32]:
        """Decode the file, average its channels and bring it to one sampling rate.

        Parameters
        ----------
        sr : int
            Sampling rate wanted, in Hz.

        Returns
        -------
        np.ndarray [shape=(n_samples,), float32]
            Full scale is 1. Resampled (soxr, HQ) only where the file's rate differs.

        Raises
        ------
        ClipError
            The file could not be fetched, is missing, empty or changed, or has no sound that
            :func:`melexp.files.sound.decode` takes.
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
                f"{path}: its SHA-256 is {digest}, expected {self.sha256}; "
                "replace the file, or list the data set again if the change is intended"
            )
        try:
            # The channels are averaged before the rate changes: the same result, less work.
            return resampled(*decode(path), sr)
        except NotSound as error:
            raise ClipError(
                f"{path}: not readable as audio ({error}); convert it to WAV or FLAC, or remove it"
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
    """Return hexadecimal SHA-256 of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
