"""Embedded Harvard sentences, each in a different synthetic voice."""

from ._clip import Clip
from ._registry import embedded_clips


def clips() -> list[Clip]:
    """List the embedded utterances (2 to 4 s, 22.05 kHz, mono)."""
    return embedded_clips("demo_speech")
