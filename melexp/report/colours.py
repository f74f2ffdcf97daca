"""Colours that can be told from the panels of the report in both schemes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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


def darken(figure: Figure) -> None:
    """Change the colours of a drawn figure to those of the dark scheme, in place.

    Greys change places, from black on white to light grey on the dark panel. Other colours are
    mixed with white until they can be told from the panel.
    """
    from matplotlib.collections import Collection
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch
    from matplotlib.text import Text

    kinds = (Collection, Line2D, Patch, Text)
    parts = figure.findobj(lambda artist: isinstance(artist, kinds))
    # All colours are read before one is set, as that of a mark follows that of its line.
    colours = [
        (getattr(part, f"set_{name}"), _darkened(getattr(part, f"get_{name}")()))
        for part in dict.fromkeys(parts)
        for name in ("color", "facecolor", "edgecolor", "markerfacecolor", "markeredgecolor")
        if hasattr(part, f"get_{name}")
    ]
    for assign, colour in colours:
        assign(colour)


def _darkened(colours: Any) -> Any:
    """Return one or several colours of matplotlib in the dark scheme, with their opacity."""
    from matplotlib.colors import to_hex, to_rgba, to_rgba_array

    if isinstance(colours, np.ndarray) and colours.ndim == 2:
        return [_darkened(colour) for colour in to_rgba_array(colours)]
    red, green, blue, opacity = to_rgba(colours)
    if max(red, green, blue) - min(red, green, blue) > 0.05:
        return to_rgba(readable(to_hex((red, green, blue)), PANELS["dark"]), opacity)
    panel = np.array(_channels(PANELS["dark"])) / 255
    return (*(panel + (1 - (red + green + blue) / 3) * (0.9 - panel)), opacity)


def _channels(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[at : at + 2], 16) for at in (1, 3, 5))


def _luminance(colour: str) -> float:
    """Return the relative luminance of a colour, from 0 to 1 (WCAG 2.2)."""
    c = np.array(_channels(colour)) / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])
