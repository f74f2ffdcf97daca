"""ESC-10: environmental sounds in ten classes, 40 clips each, from Freesound [1]_.

The author and the licence differ between clips; ``melexp data list`` shows them.

.. [1] K. J. Piczak, "ESC: Dataset for Environmental Sound Classification", Proc. ACM
   Multimedia, 2015, doi:10.1145/2733373.2806390
"""

from pathlib import PurePosixPath

from ._clip import Clip
from ._registry import remote_clips


def clips(*, subset: str = "core") -> list[Clip]:
    """List the clips; an example of an id is ``dog_bark-1-100032-A``.

    Parameters
    ----------
    subset : {"core", "full"}
        Six clips per class ("core"), or all 400 clips ("full").

    Raises
    ------
    ValueError
        For another `subset`.
    """
    if subset not in ("core", "full"):
        raise ValueError(f"subset must be core or full; got {subset!r}")
    return remote_clips(
        "esc10",
        lambda row: f"{row['category']}-{PurePosixPath(row['path']).stem}",
        keep=lambda row: subset in ("full", row["subset"]),
    )
