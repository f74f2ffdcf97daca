"""Error messages that several commands share."""

from __future__ import annotations

import importlib.util


class MissingExtra(ValueError):
    """An optional dependency is not installed; the message gives the command to install it."""


def one_line(error: BaseException | str) -> str:
    """Return an error's message on one line, or its type's name if it has no message."""
    return " ".join(str(error).split()) or type(error).__name__


def require(extra: str, *modules: str, what: str) -> None:
    """Check that the modules of an optional dependency are installed; imports none of them.

    Parameters
    ----------
    extra : str
        Name of the extra in ``pyproject.toml``, such as "torch".
    *modules : str
        Names of top-level modules.
    what : str
        Subject of the message, such as "melexp search".

    Raises
    ------
    MissingExtra
        If a module is not installed.
    """
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtra(
            f"{what} needs {', '.join(missing)}, which is not installed; "
            f"run: pip install 'melexp[{extra}]'"
        )
