"""Collect the sounds that a gallery script plays."""

from __future__ import annotations

import numpy as np

#: Label, samples and sampling rate of each sound of the current cell.
heard: list[tuple[str, np.ndarray, float]] = []


def listen(label: str, samples: np.ndarray, sr: float) -> None:
    """Put a sound on the page, lowered if it would clip."""
    heard.append((label, samples / max(1.0, float(np.abs(samples).max())), sr))
