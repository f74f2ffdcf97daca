"""The data sets: one module each, with a function ``clips``.

The name of the module is the name of the data set. ``clips`` lists :class:`Clip` objects and
neither downloads nor decodes anything. Its parameters are those of ``conf/dataset/<name>.yaml``.
A module whose name begins with an underscore is not a data set.
"""

import inspect
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from melexp import discovery

from ._clip import Clip, ClipError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Clip", "ClipError", "available_datasets", "catalogue", "limited", "load_dataset"]

__path__ = discovery.search_path(__path__, "datasets")


def available_datasets() -> list[str]:
    """Return the names of the data sets, sorted; imports none of their modules."""
    return discovery.names(__name__)


def load_dataset(name: str, **params: Any) -> list[Clip]:
    """List the clips of a data set.

    Parameters
    ----------
    name : str
        One of :func:`available_datasets`.
    **params
        Parameters of the data set, as in ``conf/dataset/<name>.yaml``.

    Returns
    -------
    list of Clip
        The clips, in the same order on every call. Their ids are unique.

    Raises
    ------
    ValueError
        For an unknown name, an unknown or missing parameter, or an invalid value.

    Examples
    --------
    >>> clip = load_dataset("demo_speech")[0]
    >>> clip.load(16000).dtype
    dtype('float32')
    """
    function = _clips_function(name)
    accepted = inspect.signature(function).parameters
    exist = f"its parameters are: {', '.join(accepted) or 'none'}"
    if unknown := [key for key in params if key not in accepted]:
        raise ValueError(f"data set {name} has no parameter {', '.join(unknown)}; {exist}")
    if missing := [key for key in _required(function) if key not in params]:
        raise ValueError(f"data set {name} needs the parameter {', '.join(missing)}; {exist}")
    clips = function(**params)
    if len({clip.id for clip in clips}) != len(clips):
        raise ValueError(f"data set {name} lists two clips with the same id; make the ids unique")
    return clips


def limited(clips: list[Clip], limit: int | None, *, spread: bool = False) -> list[Clip]:
    """Return the clips that a limit leaves, in the order of the data set.

    Parameters
    ----------
    clips : list of Clip
    limit : int > 0 or None
        Number of clips; None means all.
    spread : bool
        Take a clip of each category in turn until there are enough. Otherwise take the first clips.
    """
    if not spread or limit is None:
        return clips[:limit]
    places: Counter[str] = Counter()
    turns = []
    for n, clip in enumerate(clips):
        turns.append((places[clip.category], n))
        places[clip.category] += 1
    return [clips[n] for n in sorted(n for _, n in sorted(turns)[:limit])]


def catalogue() -> "pd.DataFrame":
    """Return a table of the clips of all data sets that need no parameter.

    Returns
    -------
    pandas.DataFrame
        One row per clip, with the columns ``dataset``, ``id``, ``category``, ``licence``,
        ``author``, ``source`` and ``sha256``, all strings. The parameters have their defaults.
    """
    import pandas as pd

    columns = ["dataset", "id", "category", "licence", "author", "source", "sha256"]
    names = [name for name in available_datasets() if not _required(_clips_function(name))]
    table = [clip.provenance() for name in names for clip in load_dataset(name)]
    return pd.DataFrame(table, columns=columns)


def _clips_function(name: str) -> Callable[..., list[Clip]]:
    module = discovery.load(__name__, name)
    function: Callable[..., list[Clip]] = module.clips
    return function


def _required(function: Callable[..., list[Clip]]) -> list[str]:
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if p.default is p.empty]
