"""Embedded synthesised sounds in the seven classes of DCASE 2023 task 7."""

from ._clip import Clip
from ._registry import embedded_clips


def clips() -> list[Clip]:
    """List the embedded sounds, two per class (2 to 4 s, 22.05 kHz, mono)."""
    return embedded_clips("demo_foley")
