"""Colours that people tell apart whatever their eyes see, and by lightness on grey paper."""

from typing import Any

__all__ = ["COLOURS", "MARKED", "MARKERS", "MODEL", "OWN", "SIGNED", "SPECTRUM", "WEIGHT", "rgb", "style"]

# Okabe & Ito 2008, "Color universal design": blue, vermilion, green, purple, orange, sky blue, black.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
# Beside the colours, so that curves are told apart without any.
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
MODEL, MARKED, OWN = COLOURS[1], COLOURS[3], COLOURS[4]
# Maps of colours: cividis and viridis rise in lightness; purple and orange are both dark at their ends.
WEIGHT, SPECTRUM, SIGNED = "cividis", "viridis", "PuOr_r"


def rgb(colour: str) -> tuple[float, float, float]:
    """Return red, green and blue in [0, 1] of ``#rrggbb``."""
    red, green, blue = (int(colour[i : i + 2], 16) / 255.0 for i in (1, 3, 5))
    return red, green, blue


def style(i: int) -> dict[str, Any]:
    """Return colour and marker of the i-th of several curves."""
    return {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)]}
