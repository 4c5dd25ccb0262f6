"""Cutouts on the pixel grid of their mosaic."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skymere.errors import InvalidInputError

__all__ = ["Cutout", "cut_window"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Cutout:
    """A window of an image.

    Parameters
    ----------
    data : ndarray, shape (size, size)
        Pixels; NaN (0 for integers) outside the image.
    origin : tuple of int
        ``(y0, x0)`` of the first pixel on the parent's grid; may be negative.
    coverage : float
        Fraction of the window that lies inside the parent.
    """

    data: NDArray[np.generic]
    origin: tuple[int, int]
    coverage: float


def cut_window(image: NDArray[np.generic], x: float, y: float, *, size_pix: int) -> Cutout:
    """Cut a square window around a position.

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
        Parent image.
    x, y : float
        Centre, 0-based [pix]; the pixel that holds it is pixel ``size_pix // 2`` of the window.
    size_pix : int
        Side of the window [pix].

    Raises
    ------
    InvalidInputError
        When the size or the position is not allowed.
    """
    if size_pix < 1 or not (np.isfinite(x) and np.isfinite(y)):
        msg = f"size_pix, x, y: {size_pix}, {x}, {y} are not allowed, the size must be positive and the position finite"
        raise InvalidInputError(msg)
    y0, x0 = int(np.floor(y + 0.5)) - size_pix // 2, int(np.floor(x + 0.5)) - size_pix // 2
    blank = np.nan if image.dtype.kind == "f" else 0
    window = np.full((size_pix, size_pix), blank, image.dtype)
    ny, nx = image.shape
    ya, yb = max(y0, 0), min(y0 + size_pix, ny)
    xa, xb = max(x0, 0), min(x0 + size_pix, nx)
    inside = max(yb - ya, 0) * max(xb - xa, 0)
    if inside:
        window[ya - y0 : yb - y0, xa - x0 : xb - x0] = image[ya:yb, xa:xb]
    return Cutout(data=window, origin=(y0, x0), coverage=inside / size_pix**2)
