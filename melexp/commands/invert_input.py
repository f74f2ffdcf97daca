"""The input of ``melexp invert`` and ``melexp picture``: mel-spectrograms, and their sound."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from melexp.commands.invert_options import InvertOptions
from melexp.files.mels import members, read_input
from melexp.files.pictures import is_picture, picture_settings, read_picture
from melexp.files.sound import Audio
from melexp.inversion.lengths import nearest_length
from melexp.transforms.blocks import long_mel
from melexp.transforms.mel import MelTransform


class Given(NamedTuple):
    """Mel-spectrograms of one input, their front end, and the sound they were computed from.

    Attributes
    ----------
    mels : list of np.ndarray [shape=(n_mels, n_frames)]
        As the transform makes them.
    transform : MelTransform
    references : list of np.ndarray [shape=(n_samples,)] or None
        The sound of each, if it is known.
    length : int or None
        Length of the sound in samples.
    are_channels : bool
        Whether the mels are channels of one sound, not sounds by themselves.
    notes : list of str
    """

    mels: list[np.ndarray]
    transform: MelTransform
    references: list[np.ndarray] | None
    length: int | None
    are_channels: bool
    notes: list[str]

    @property
    def level_unknown(self) -> bool:
        """Whether the mel was normalised, so that the level of the sound is lost."""
        compression = self.transform.compression
        return self.references is None and compression is not None and compression.ref == "max"

    def sounds(self) -> list[list[int]]:
        """Return the numbers of the mels of each sound."""
        numbers = list(range(len(self.mels)))
        return [numbers] if self.are_channels else [[number] for number in numbers]


def read_given(data: bytes, options: InvertOptions, folder: Path | None = None) -> Given:
    """Read mel-spectrograms, or compute them from sound.

    Parameters
    ----------
    data : bytes
        Content of the file.
    options : InvertOptions
    folder : Path or None
        Folder of the file.

    Raises
    ------
    ValueError
        If the content cannot be used; the message is one line.
    """
    if is_picture(data):
        settings = picture_settings(options.transform.get("preset"))
        mels = members(read_picture(data, **settings), options.front_end(), "mels-first")
        return _checked(mels, options.front_end(), options)
    given = read_input(data, key=options.key, folder=folder)
    transform = options.front_end(required=not isinstance(given, Audio))
    if not isinstance(given, Audio):
        return _checked(members(given, transform, options.orientation), transform, options)
    references = given.at(transform.sr)
    mels = [long_mel(reference, transform) for reference in references]
    compression = transform.compression
    if compression is not None and compression.ref == "max":
        # Together, so that the channels keep their levels.
        whole = compression.compress(np.concatenate(mels, axis=1))
        mels = np.split(whole, len(mels), axis=1)
    elif compression is not None:
        mels = [compression.compress(mel) for mel in mels]
    _check_finite(mels)
    return Given(mels, transform, references, len(references[0]), True, [])


def _checked(mels: list[np.ndarray], transform: MelTransform, options: InvertOptions) -> Given:
    """Return mels that are not of sound, with notes on what looks wrong."""
    _check_finite(mels)
    notes = []
    compression = transform.compression
    if (
        compression is not None
        and compression.unit in ("ln", "log10")
        and compression.gain == 1
        and min(mel.min() for mel in mels) >= 0
    ):
        notes.append("no value of the mel is negative: it may be linear (--compression none)")
    length, n_frames = options.length, mels[0].shape[1]
    own = nearest_length(length, n_frames, transform)
    if length is not None and own is not None and own != length:
        change = "padded with zeros" if length > own else "cut"
        notes.append(f"the {n_frames} frames end at sample {own}: {change} to {length}")
    return Given(mels, transform, None, length, len(mels) in (1, 2), notes)


def _check_finite(mels: list[np.ndarray]) -> None:
    if not all(np.isfinite(mel).all() for mel in mels):
        raise ValueError("mel has values that are NaN or infinite; compute it again")
