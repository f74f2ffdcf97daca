"""Mel-spectrogram inversion without a trained vocoder, and reproducible experiments on it."""

from __future__ import annotations

import importlib as _importlib
import os as _os
from contextlib import suppress as _suppress
from importlib.util import find_spec as _find_spec
from typing import Any as _Any

__version__ = "0.1.0"

#: Public names and their modules. `__init__.pyi` tells them to editors and type checkers.
_MODULES = {
    "Checkpoint": "melexp.inversion.solve",
    "Compression": "melexp.transforms.compression",
    "MelError": "melexp.transforms.restore",
    "MelStream": "melexp.inversion.stream",
    "MelTransform": "melexp.transforms.mel",
    "Problem": "melexp.problem",
    "Stop": "melexp.methods",
    "available_methods": "melexp.methods",
    "griffinlim": "melexp.inversion.griffinlim",
    "inspect": "melexp.inspection.inspect",
    "invert": "melexp.inversion.invert",
    "invert_batch": "melexp.batch",
    "make_method": "melexp.methods",
    "mel_to_audio": "melexp.inversion.librosa_compat",
    "mel_to_magnitude": "melexp.start",
    "mel_to_stft": "melexp.inversion.librosa_compat",
    "mfcc_to_audio": "melexp.inversion.mfcc",
    "mfcc_to_mel": "melexp.inversion.mfcc",
    "restore_mel": "melexp.transforms.restore",
    "score": "melexp.metrics",
    "solve": "melexp.inversion.solve",
}


def _keep_compiled_code() -> None:
    """Let numba keep compiled code in a private temporary folder if it has no other place.

    Without a place, numba refuses to compile: also the functions of librosa.
    """
    if _os.environ.get("NUMBA_CACHE_DIR"):
        return
    librosa = _find_spec("librosa")
    installed = [__file__, librosa.origin if librosa and librosa.origin else __file__]
    if all(_os.access(_os.path.dirname(file), _os.W_OK) for file in installed):
        return
    cache = _os.environ.get("XDG_CACHE_HOME") or _os.path.expanduser("~/.cache")
    place = _os.path.join(cache, "numba")
    with _suppress(OSError):  # as numba does
        if not place.startswith("~"):  # the user has no home
            _os.makedirs(place, exist_ok=True)
            if _os.access(place, _os.W_OK):
                return
    import logging
    import tempfile

    user = _os.getuid() if hasattr(_os, "getuid") else "user"
    folder = _os.path.join(tempfile.gettempdir(), f"melexp-numba-{user}")
    try:
        _os.makedirs(folder, mode=0o700, exist_ok=True)
        status = _os.lstat(folder)
        # Compiled code runs when it is loaded, so no other user may write it.
        if status.st_uid != user or status.st_mode & 0o077 or _os.path.islink(folder):
            folder = tempfile.mkdtemp(prefix="melexp-numba-")
    except OSError:
        return
    _os.environ["NUMBA_CACHE_DIR"] = folder
    logging.getLogger("melexp").warning(
        "melexp: compiled code is kept in %s, because neither %s nor the installation is writable; "
        "set NUMBA_CACHE_DIR to a folder that lasts",
        folder,
        cache,
    )


_keep_compiled_code()


def _is_installed(name: str) -> bool:
    try:
        return _find_spec(name) is not None
    except (ImportError, ValueError):  # an import hook refuses it, or its module is unusual
        return False


# `invert_batch` needs torch; without it `from melexp import *` must still work.
_has_torch = _is_installed("torch") and _is_installed("array_api_compat")
__all__ = sorted(name for name in _MODULES if name != "invert_batch" or _has_torch)


def __getattr__(name: str) -> _Any:
    # Imported when first used, so that `import melexp` costs next to nothing.
    if name in _MODULES:
        return getattr(_importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'melexp' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
