"""Colours that can be told from the panels of the report in both schemes."""

from __future__ import annotations

import numpy as np

#: Colour of the panels behind the plots in each scheme, as in ``static/report.css``.
PANELS = {"light": "#f6f7f9", "dark": "#1d2128"}
#: Least contrast of a line or a mark on its panel (WCAG 2.2, 1.4.11).
CONTRAST = 3.0


def contrast(colour: str, other: str) -> float:
    """Return the contrast of two colours ``#rrggbb``, from 1 to 21 (WCAG 2.2)."""
    dark, light = sorted(map(_luminance, (colour, other)))
    return (light + 0.05) / (dark + 0.05)


def readable(colour: str, background: str) -> str:
    """Return a colour, mixed with white or black until its contrast is at least `CONTRAST`."""
    end = np.full(3, 255.0 if _luminance(background) < 0.18 else 0.0)
    start = np.array(_channels(colour))
    for share in np.linspace(0, 1, 51):
        mixed = "#" + "".join(f"{round(c):02x}" for c in start + share * (end - start))
        if contrast(mixed, background) >= CONTRAST:
            break
    return mixed


def _channels(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[at : at + 2], 16) for at in (1, 3, 5))


def _luminance(colour: str) -> float:
    """Return the relative luminance of a colour, from 0 to 1 (WCAG 2.2)."""
    c = np.array(_channels(colour)) / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])
