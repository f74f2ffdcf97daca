"""The first 32 utterances of LJ Speech 1.1 (one speaker, 22.05 kHz, public domain) [1]_.

To use all 13,100 utterances, give a full download to the data set ``folder``.

.. [1] K. Ito and L. Johnson, "The LJ Speech Dataset", 2017,
   https://keithito.com/LJ-Speech-Dataset/
"""

from pathlib import PurePosixPath

from ._clip import Clip
from ._registry import remote_clips


def clips() -> list[Clip]:
    """List the utterances; the ids are those of the corpus, such as ``LJ001-0001``."""
    return remote_clips("ljspeech", lambda row: PurePosixPath(row["path"]).stem)
