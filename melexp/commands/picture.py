"""The work of ``melexp picture``: a mel-spectrogram, or that of sound, as a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from melexp.commands.front_end import front_end
from melexp.commands.invert_input import read_given
from melexp.commands.invert_options import InvertOptions
from melexp.files.atomic import write_bytes
from melexp.files.mels import read_source
from melexp.files.pictures import picture_settings, write_picture


def write(source: str, output: Path, options: InvertOptions, *, bits: int) -> str:
    """Write the picture of a file, and return the report.

    Parameters
    ----------
    source : str
        As given on the command line.
    output : Path
        The picture, which ``melexp invert`` reads with the same preset.
    options : InvertOptions
        With the preset.
    bits : int
        Bits of a pixel.

    Raises
    ------
    ValueError, OSError
        If the input or the preset cannot be used; no file is written then.
    """
    if output.suffix.lower() != ".png":
        raise ValueError(f"OUTPUT must end in .png; got {output}")
    front_end(options.transform, options.compression)
    settings = picture_settings(options.transform["preset"])
    try:
        folder = None if source == "-" else Path(source).parent
        given = read_given(read_source(source), options, folder)
        values = given.mels[0] if len(given.mels) == 1 else np.stack(given.mels)
        content = write_picture(values, bits=bits, **settings)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error
    write_bytes(output, content)
    height, width = given.mels[0].shape
    return f"{output}: {width} x {height} pixels"
