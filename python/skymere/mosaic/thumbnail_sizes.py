"""Sides of thumbnails that hold the segments of their sources."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from skymere.datamodels import SegmentationMap
from skymere.errors import InvalidInputError
from skymere.mosaic.stamps import column_numbers, position_table
from skymere.wcs import Grid

__all__ = ["source_sizes"]

# First and last column and row: of skymere, of grizli and sep, and of SExtractor, which counts from 1.
_BOXES = (
    (("x_min", "x_max", "y_min", "y_max"), 0.0),
    (("xmin", "xmax", "ymin", "ymax"), 0.0),
    (("xmin_image", "xmax_image", "ymin_image", "ymax_image"), 1.0),
)


def source_sizes(
    positions: ArrayLike | pl.DataFrame,
    *,
    segmentation: SegmentationMap | None = None,
    scale_arcsec: float | None = None,
    limits: tuple[float, float] = (4.0, 15.0),
) -> NDArray[np.float64]:
    """Return sides of thumbnails that hold the bounding boxes of their sources, for `thumbnails`.

    Parameters
    ----------
    positions : array_like, float64, shape (n, 2) [deg], or polars.DataFrame
        ``ra, dec`` and the number of the source, as in `thumbnails`, and bounding boxes, where the catalogue has them:
        columns ``x_min, x_max, y_min, y_max`` (0-based), ``xmin, xmax, ymin, ymax`` (0-based) or ``XMIN_IMAGE, ...``
        (1-based) in any case of letters, first and last pixel [pix].
    segmentation : SegmentationMap, optional
        Gives the boxes when the catalogue has none, and with its grid where they lie around the positions.
    scale_arcsec : float, optional
        Side of the pixels of boxes, needed where there is no segmentation with a grid [arcsec].
    limits : tuple of float, optional
        Least and largest side [arcsec].

    Returns
    -------
    ndarray, float64, shape (n,) [arcsec]
        Sides. The least one for a source without a box.

    Raises
    ------
    InvalidInputError
        When limits do not rise, there are no boxes, their scale is not known, or a number is missing.

    Notes
    -----
    With a grid the side is that of the smallest square around the position, north up, that holds the corners of the
    box: ``2 max(|xi|, |eta|)`` of their offsets in the tangential plane. With a scale alone it is the longer side of
    the box, as if the position was its middle. Then it is brought within the limits.

    Examples
    --------
    >>> import polars as pl
    >>> from skymere.mosaic import source_sizes
    >>> box = {"x_min": [10, 0], "x_max": [69, 9], "y_min": [5, 0], "y_max": [44, 999]}
    >>> source_sizes(pl.DataFrame({"ra": [1.0, 2.0], "dec": [0.0, 0.0], **box}), scale_arcsec=0.1).tolist()
    [6.0, 15.0]
    """
    least, most = (float(value) for value in limits)
    if not 0 < least <= most < np.inf:
        msg = f"limits: {tuple(limits)} is not allowed, it must be two positive numbers that rise [arcsec]"
        raise InvalidInputError(msg)
    ra, dec, ids = position_table(positions)
    boxes = _listed_boxes(positions) if isinstance(positions, pl.DataFrame) else None
    if boxes is None:
        if segmentation is None:
            have = positions.columns if isinstance(positions, pl.DataFrame) else "no columns"
            msg = (
                f"positions: no bounding boxes (x_min, x_max, y_min, y_max) are in {have}, nor is there a segmentation"
            )
            raise InvalidInputError(msg)
        boxes = _drawn_boxes(segmentation, ids)
    grid = None if segmentation is None else segmentation.grid
    if grid is not None:
        sides = _sides_around(grid, ra, dec, boxes)
    elif scale_arcsec is not None and 0 < scale_arcsec < np.inf:
        sides = scale_arcsec * (1.0 + np.maximum(boxes[:, 1] - boxes[:, 0], boxes[:, 3] - boxes[:, 2]))
    else:
        msg = f"scale_arcsec: {scale_arcsec} is not allowed, it must be positive where no segmentation has a grid"
        raise InvalidInputError(msg)
    return np.clip(np.where(np.isfinite(sides), sides, least), least, most)


def _listed_boxes(table: pl.DataFrame) -> NDArray[np.float64] | None:
    """Return first and last column and row of each source [pix], 0-based; None when the table does not say."""
    names = {name.lower(): name for name in reversed(table.columns)}
    for wanted, first in _BOXES:
        if all(name in names for name in wanted):
            columns = [column_numbers(table[names[name]], pl.Float64).to_numpy() for name in wanted]
            return np.column_stack(columns) - first
    return None


def _drawn_boxes(segmentation: SegmentationMap, ids: Sequence[int | None]) -> NDArray[np.float64]:
    """Return first and last column and row of each label [pix]; NaN for one that is not there."""
    labels = segmentation.labels
    y, x = np.nonzero(labels)
    there = labels[y, x]
    order = np.argsort(there, kind="stable")
    known, first = np.unique(there[order], return_index=True)
    out = np.full((len(ids), 4), np.nan)
    if not known.size:
        return out
    ends = [bound.reduceat(place[order], first) for place in (x, y) for bound in (np.minimum, np.maximum)]
    at = {int(label): k for k, label in enumerate(known)}
    for i, label in enumerate(ids):
        if label in at:
            out[i] = [end[at[label]] for end in ends]
    return out


def _sides_around(
    grid: Grid, ra: NDArray[np.float64], dec: NDArray[np.float64], boxes: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the side of the smallest square around each position, north up, that holds a box [arcsec]."""
    low, high = boxes[:, [0, 2]] - 0.5, boxes[:, [1, 3]] + 0.5
    x = np.column_stack([low[:, 0], high[:, 0], high[:, 0], low[:, 0]])
    y = np.column_stack([low[:, 1], low[:, 1], high[:, 1], high[:, 1]])
    has_box = np.isfinite(boxes).all(axis=1)
    sides = np.full(len(ra), np.nan)
    if not has_box.any():
        return sides
    corner_ra, corner_dec = (np.deg2rad(v).reshape(-1, 4) for v in grid.sky(x[has_box].ravel(), y[has_box].ravel()))
    a0, d0 = (np.deg2rad(v[has_box])[:, np.newaxis] for v in (ra, dec))
    # Gnomonic projection (Calabretta & Greisen 2002, section 5.1.3).
    below = np.sin(d0) * np.sin(corner_dec) + np.cos(d0) * np.cos(corner_dec) * np.cos(corner_ra - a0)
    xi = np.cos(corner_dec) * np.sin(corner_ra - a0) / below
    eta = (np.cos(d0) * np.sin(corner_dec) - np.sin(d0) * np.cos(corner_dec) * np.cos(corner_ra - a0)) / below
    sides[has_box] = 2.0 * 3600.0 * np.rad2deg(np.maximum(np.abs(xi), np.abs(eta)).max(axis=1))
    return sides
