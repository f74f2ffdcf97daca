"""The work of ``melexp inspect``: read a file, and report what its mel is."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from melexp.errors import one_line
from melexp.files.mels import read_input, read_source
from melexp.files.sound import Audio
from melexp.inspection.inspect import inspect as inspect_array


@np.errstate(over="ignore", invalid="ignore")  # the report says what is not finite
def inspect(source: str, *, orientation: str = "auto", key: str | None = None) -> str:
    """Return a report on the mel-spectrogram in a file.

    Parameters
    ----------
    source : str
        A path, or "-" for the standard input.
    orientation : str
        As in :func:`melexp.inspect`.
    key : str or None
        Name of the array in a file that holds several.

    Raises
    ------
    ValueError, OSError
        If the file cannot be read or is not a mel-spectrogram; the message is one line.
    """
    try:
        folder = None if source == "-" else Path(source).parent
        given = read_input(read_source(source), key=key, folder=folder)
        if isinstance(given, Audio):
            raise ValueError("the file is sound, not a mel; melexp invert tests its round trip")
        return f"{source}: {inspect_array(given, orientation=orientation).text(source)}"
    except ValueError as error:
        raise ValueError(f"{source}: {one_line(error)}") from error
