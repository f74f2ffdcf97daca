"""Error messages: one line of an exception, and missing optional packages."""

from __future__ import annotations

from importlib.util import find_spec


class MissingExtra(ValueError):
    """An optional package is not installed, or cannot be imported."""


def one_line(error: BaseException | str) -> str:
    """Return the message of an exception in one line; its type's name if it has none."""
    text = " ".join(str(error).split())
    return text or (error if isinstance(error, str) else type(error).__name__)


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
