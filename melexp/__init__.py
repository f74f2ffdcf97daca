"""Mel-spectrogram inversion without a trained vocoder, and reproducible experiments on it."""

from __future__ import annotations

import importlib as _importlib
from importlib.util import find_spec as _find_spec
from typing import Any as _Any

__version__ = "0.1.0"

#: Public names and their modules. `__init__.pyi` tells them to editors and type checkers.
_MODULES = {
    "Checkpoint": "melexp.inversion.solve",
    "Compression": "melexp.transforms.compression",
    "MelTransform": "melexp.transforms.mel",
    "Problem": "melexp.problem",
    "Stop": "melexp.methods",
    "available_methods": "melexp.methods",
    "inspect": "melexp.inspection.inspect",
    "invert": "melexp.inversion.invert",
    "invert_batch": "melexp.batch",
    "make_method": "melexp.methods",
    "mel_to_audio": "melexp.inversion.librosa_compat",
    "mel_to_magnitude": "melexp.start",
    "score": "melexp.metrics",
    "solve": "melexp.inversion.solve",
}

# `invert_batch` needs torch; without it `from melexp import *` must still work.
__all__ = sorted(name for name in _MODULES if name != "invert_batch" or _find_spec("torch"))


def __getattr__(name: str) -> _Any:
    # Imported when first used, so that `import melexp` costs next to nothing.
    if name in _MODULES:
        return getattr(_importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'melexp' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
