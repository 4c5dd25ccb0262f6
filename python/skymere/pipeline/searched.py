"""Where sources of a lake were looked for: light elsewhere is of sources that nobody knows."""

import json
from collections.abc import Iterable

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.datamodels import SegmentationMap
from skymere.lake import Lake, stored_edits
from skymere.mosaic import enough_exposures
from skymere.pipeline.products import stored_mosaics
from skymere.segmentation import bad_pixels, labels_on_grid
from skymere.wcs import Grid

__all__ = ["searched_on_grid", "searched_pixels"]

_ROWS = 2048
# Points along each side of an image that say where it is on another one.
_STEPS = 9


def searched_pixels(lake: Lake, tile: str) -> NDArray[np.bool_]:
    """Return the pixels of a tile on which a source could be detected.

    Parameters
    ----------
    lake : Lake
        With a segmentation of the tile.
    tile : str
        The tile.

    Returns
    -------
    ndarray, bool, shape (ny, nx)
        Pixels that enough exposures of a band that was searched look at, and that nobody masked.
    """
    row = lake.table("segmentation").filter(pl.col("tile") == tile).select("bands", "params").collect().row(0)
    bands, params = ([str(band) for band in json.loads(row[0])], json.loads(row[1] or "{}"))
    grid = lake.tiles[tile].grid
    edits, _ = stored_edits(lake, tile)
    bad = bad_pixels([one.edit for one in edits], grid, bands)
    found = np.zeros(grid.shape, np.bool_)
    for mosaic in stored_mosaics(lake, tile, bands):
        for first in range(0, grid.shape[0], _ROWS):
            rows = slice(first, min(first + _ROWS, grid.shape[0]))
            # Segmentations that were made elsewhere do not say how many exposures it took.
            enough = enough_exposures(mosaic, params.get("min_exposures", 1), rows)
            found[rows] |= enough & ~bad[mosaic.band][rows] if mosaic.band in bad else enough
    return found


def searched_on_grid(lake: Lake, tiles: Iterable[str], grid: Grid) -> NDArray[np.bool_]:
    """Return the pixels of an image whose middles lie where sources of some tiles could be detected.

    Parameters
    ----------
    lake : Lake
        With segmentations of the tiles.
    tiles : iterable of str
        The tiles.
    grid : Grid
        Of the image.

    Returns
    -------
    ndarray, bool, shape (ny, nx)
        Of the image.
    """
    found = np.zeros(grid.shape, np.bool_)
    for tile in tiles:
        if not _touches(lake.tiles[tile].grid, grid):
            continue
        searched = SegmentationMap(labels=searched_pixels(lake, tile).astype(np.int32), grid=lake.tiles[tile].grid)
        found |= labels_on_grid(searched, grid) > 0
    return found


def _touches(one: Grid, other: Grid) -> bool:
    """Whether the box around an image, on the pixels of another one, reaches that."""
    rows, columns = (np.linspace(-0.5, n - 0.5, _STEPS) for n in one.shape)
    u, v = np.meshgrid(columns, rows)
    with np.errstate(invalid="ignore"):
        x, y = other.pixels(*one.sky(u.ravel(), v.ravel()))
        if not np.isfinite(x + y).any():
            return False
        ny, nx = other.shape
        across = np.nanmin(x) <= nx - 0.5 and np.nanmax(x) >= -0.5
        return bool(across and np.nanmin(y) <= ny - 0.5 and np.nanmax(y) >= -0.5)
