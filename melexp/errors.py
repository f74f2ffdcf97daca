"""Errors and warnings: one line of an exception, missing packages, doubtful mels."""

from __future__ import annotations

import unicodedata
from importlib.util import find_spec


class MissingExtra(ValueError):
    """An optional package is not installed, or cannot be imported."""


class MelWarning(UserWarning):
    """A mel-spectrogram does not look like what it is said to be."""


#: Characters of the longest message.
LONGEST = 2000


def one_line(error: BaseException | str) -> str:
    """Return the message of an exception in one line; its type's name if it has none.

    A long message, such as one with an array, is cut to `LONGEST` characters.
    """
    text = printable(" ".join(str(error)[: 4 * LONGEST].split()))
    text = text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
    return text or (error if isinstance(error, str) else type(error).__name__)


def printable(text: str) -> str:
    """Return text in one line of valid UTF-8: other characters are escaped as in Python.

    These are control characters, line separators, and bytes of a file name that are not UTF-8.
    """
    if text.isprintable():
        return text
    kinds = ("Cc", "Cs", "Zl", "Zp")
    return "".join(
        c.encode("unicode_escape").decode() if unicodedata.category(c) in kinds else c for c in text
    )


def require(extra: str, *modules: str, what: str) -> None:
    """Raise `MissingExtra` if a module of an extra is not installed.

    Parameters
    ----------
    extra : str
        Name of the extra in ``pyproject.toml``.
    *modules : str
        Modules that must be importable.
    what : str
        The subject of the message, such as "the report".
    """
    missing = [name for name in modules if not _is_installed(name)]
    if missing:
        raise MissingExtra(
            f"{what} needs {', '.join(missing)}, which is not installed; run: "
            f"pip install 'melexp[{extra}]'"
        )


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # its parent package is missing
        return False
