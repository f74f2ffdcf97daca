"""Utterances of many speakers of LibriSpeech (16 kHz, CC BY 4.0) [1]_.

The subset "core" is of test-other, the subset "train" of train-clean-100; they share no speaker.
The category of a clip is its speaker.

.. [1] V. Panayotov, G. Chen, D. Povey and S. Khudanpur, "Librispeech: An ASR corpus based on
   public domain audio books", Proc. ICASSP, 2015, doi:10.1109/ICASSP.2015.7178964
"""

from pathlib import PurePosixPath

from ._clip import Clip
from ._registry import remote_clips


def clips(*, subset: str = "core") -> list[Clip]:
    """List the utterances; the ids are those of the corpus, such as ``1688-142285-0000``.

    Parameters
    ----------
    subset : {"core", "train"}
        Six utterances of each of 7 speakers ("core"), to compare methods; or one utterance of each
        of 240 other speakers ("train"), to tune them.

    Raises
    ------
    ValueError
        For another `subset`.
    """
    if subset not in ("core", "train"):
        raise ValueError(f"subset must be core or train; got {subset!r}")
    return remote_clips(
        "librispeech",
        lambda row: PurePosixPath(row["path"]).stem,
        keep=lambda row: row["subset"] == subset,
    )
