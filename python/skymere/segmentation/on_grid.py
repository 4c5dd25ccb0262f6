"""A segmentation and its sources on the pixels of other images."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skymere.datamodels import SegmentationMap
from skymere.errors import InvalidInputError
from skymere.wcs import Grid, map_ellipses

__all__ = ["SAME_GRID_PIX", "LocalMap", "distance_pix", "labels_on_grid", "local_map"]

# Two grids are one when their corners are so close.
SAME_GRID_PIX = 1e-2
_HALF_STEP_PIX = 0.5
_AT_A_TIME = 1 << 20


def distance_pix(one: Grid, other: Grid) -> float:
    """Return how far the corners of two grids are apart [pix of the first]; infinite when their shapes differ."""
    if one.shape != other.shape:
        return float("inf")
    (x, y), (u, v) = (one.pixels(*grid.corners().T) for grid in (one, other))
    apart = float(np.max(np.hypot(x - u, y - v)))
    return apart if np.isfinite(apart) else float("inf")


@dataclass(frozen=True, eq=False)
class LocalMap:
    """Places of an image on another one, to first order around each.

    Parameters
    ----------
    x, y : ndarray, float64, shape (n,) [pix]
        The places on the other image; NaN where its projection has none.
    derivatives : ndarray, float64, shape (n, 2, 2)
        Of ``(x, y)`` there by ``(x, y)`` here.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    derivatives: NDArray[np.float64]

    @property
    def scale(self) -> NDArray[np.float64]:
        """Length of a step of one pixel, on average over all directions [pix of the other image]."""
        return np.asarray(np.sqrt(np.abs(np.linalg.det(self.derivatives))), np.float64)

    def ellipses(
        self, a: NDArray[np.float64], b: NDArray[np.float64], theta: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return half axes [pix] and angles [rad, from x towards y] of ellipses on the other image.

        Notes
        -----
        ``J C J^T`` with the second moments C and the derivatives J.
        """
        with np.errstate(invalid="ignore", divide="ignore"):
            axis_ratio = b / a
        major, ratio, angle = map_ellipses(self.derivatives, a, axis_ratio, theta)
        # Of a point no ratio is known.
        return major, np.where(major > 0, major * ratio, major), angle


def local_map(x: NDArray[np.float64], y: NDArray[np.float64], here: Grid, there: Grid) -> LocalMap:
    """Return where places of one image are on another.

    Parameters
    ----------
    x, y : ndarray, float64, shape (n,) [pix]
        The places.
    here, there : Grid
        The two images.
    """
    h = _HALF_STEP_PIX
    steps = np.array([(0.0, 0.0), (h, 0.0), (-h, 0.0), (0.0, h), (0.0, -h)])
    sky = here.sky((x + steps[:, :1]).ravel(), (y + steps[:, 1:]).ravel())
    u, v = (np.asarray(p, np.float64).reshape(len(steps), -1) for p in there.pixels(*sky))
    rows = [np.stack([(p[1] - p[2]) / (2 * h), (p[3] - p[4]) / (2 * h)], axis=-1) for p in (u, v)]
    return LocalMap(u[0], v[0], np.stack(rows, axis=-2))


def labels_on_grid(segmentation: SegmentationMap, grid: Grid, *, target: int | None = None) -> NDArray[np.int32]:
    """Return the labels of a segmentation on other pixels; labels are never mixed.

    Parameters
    ----------
    segmentation : SegmentationMap
        With a grid.
    grid : Grid
        The pixels that are wanted.
    target : int, optional
        A label that comes first: it gets every pixel that it falls on at all, and other labels fill only what is left,
        of several on one pixel the smallest. Without it each pixel has the label at its centre.

    Returns
    -------
    ndarray, int32, shape (ny, nx)
        0 is sky, and what lies outside of the segmentation.

    Raises
    ------
    InvalidInputError
        When the segmentation has no grid.

    Notes
    -----
    "Falls on" is looked at on a grid of points as dense as the pixels of the segmentation.
    """
    if segmentation.grid is None:
        msg = "segmentation: it has no grid, so its pixels cannot be found on another one"
        raise InvalidInputError(msg)
    ratio = grid.scale_arcsec / segmentation.grid.scale_arcsec
    n = 1 if target is None else max(1, 2 * int(np.ceil(ratio / 2)) + 1)
    steps = (np.arange(n) - (n - 1) / 2) / n
    out: NDArray[np.int32] = np.zeros(grid.shape, np.int32)
    for dy in steps:
        for dx in steps:
            here = _labels_at(segmentation, grid, float(dx), float(dy))
            smaller = (here > 0) & ((out == 0) | (here < out))
            if target is not None:
                smaller = (smaller & (out != target)) | (here == target)
            out[smaller] = here[smaller]
    return out


def _labels_at(segmentation: SegmentationMap, grid: Grid, dx: float, dy: float) -> NDArray[np.int32]:
    """Return the labels at points beside the centres of pixels."""
    assert segmentation.grid is not None
    ny, nx = segmentation.shape
    out: NDArray[np.int32] = np.zeros(grid.shape, np.int32)
    columns = np.arange(grid.shape[1], dtype=np.float64)
    # A few rows at a time: positions are 30 times as large as labels.
    n_rows = max(1, _AT_A_TIME // grid.shape[1])
    for first in range(0, grid.shape[0], n_rows):
        part = out[first : first + n_rows]
        rows = np.arange(first, first + len(part), dtype=np.float64)
        u, v = np.broadcast_arrays(columns + dx, rows[:, np.newaxis] + dy)
        x, y = segmentation.grid.pixels(*grid.sky(u.ravel(), v.ravel()))
        # Rounded, because points on the edge of a pixel come back a little beside it.
        ix, iy = (np.floor(np.round(np.nan_to_num(p, nan=-9.0), 6) + 0.5).astype(np.int64) for p in (x, y))
        inside = (ix >= 0) & (iy >= 0) & (ix < nx) & (iy < ny)
        part.ravel()[inside] = segmentation.labels[iy[inside], ix[inside]]
    return out
