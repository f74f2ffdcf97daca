"""Sounds and checksums that several test files use."""

import hashlib
from pathlib import Path

import numpy as np
import pytest


def sine(freq: float, sr: int, seconds: float = 0.5, level: float = 0.5) -> np.ndarray:
    """Return a sine [shape=(seconds * sr,)]."""
    return level * np.sin(2 * np.pi * freq * np.arange(int(seconds * sr)) / sr)


def sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def one_line(error: pytest.ExceptionInfo[BaseException]) -> str:
    """Return the message of an error, which must be one line."""
    assert "\n" not in str(error.value)
    return str(error.value)
