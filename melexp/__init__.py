"""melexp: mel-spectrogram inversion without a trained vocoder, and experiments on it."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "MelTransform": "melexp.transforms.mel",
    "Compression": "melexp.transforms.compression",
    "invert": "melexp.inversion.solve",
    "invert_batch": "melexp.batch",
    "invert_long": "melexp.inversion.segments",
    "mel_to_audio": "melexp.inversion.librosa_compat",
    "Stop": "melexp.methods",
    "Problem": "melexp.problem",
    "available_methods": "melexp.methods",
    "make_method": "melexp.methods",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    # Imported when first used, so that `import melexp` costs next to nothing.
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'melexp' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_PUBLIC]
