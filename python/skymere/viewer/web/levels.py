"""Images of a lake at the resolution of the screen: windows of the levels that were published with a mosaic."""

import threading
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from skymere.errors import InvalidInputError, NotFoundError
from skymere.lake import ArrayGroup, StoredArray
from skymere.viewer.web.scaling import Limits, limits_of
from skymere.wcs import Grid

__all__ = ["SMALLEST_PIX", "TILE_PIX", "LevelledImage", "n_levels"]

TILE_PIX = 256
# The last level of `skymere.lake.pyramid` is the first that is not larger.
SMALLEST_PIX = 512
_SAMPLES = 4
# Above this many pixels of the finest level a window of a level that was not stored costs more than the whole level.
_WIDEST_PIX = 2048


def n_levels(shape: tuple[int, int]) -> int:
    """Return how often an image is halved until it is at most 512 pixels wide and high."""
    n, side = 0, max(shape)
    while side > SMALLEST_PIX:
        side = -(-side // 2)
        n += 1
    return n


class LevelledImage:
    """One band of a mosaic at every level.

    Parameters
    ----------
    arrays : ArrayGroup
        Arrays of a mosaic.
    band : str
        Filter.

    Attributes
    ----------
    shape : tuple of int
        ``(ny, nx)`` of level 0.
    n_levels : int
        Levels above 0.
    unit : str
        FITS unit.

    Raises
    ------
    NotFoundError
        When there is no such band.

    Notes
    -----
    Pixel ``(i, j)`` of level L covers the pixels ``i 2^L .. (i + 1) 2^L`` of level 0. Levels that were not published
    (by an older skymere, or for an imported image) are made from the finest that was, as means of what is known.
    """

    def __init__(self, arrays: ArrayGroup, band: str) -> None:
        self.path = f"{band}/sci"
        if self.path not in arrays:
            bands = sorted(path.rpartition("/")[0] for path in arrays if path.endswith("/sci"))
            msg = f"band: {band!r} is not in {arrays.folder}, it must be one of {bands}"
            raise NotFoundError(msg)
        self._arrays = arrays
        base = arrays[self.path]
        self.unit = base.unit
        self.shape: tuple[int, int] = (base.shape[0], base.shape[1])
        self.n_levels = n_levels(self.shape)
        names = {0: self.path} | {level: f"{band}/level{level}" for level in range(1, self.n_levels + 1)}
        self._stored: dict[int, StoredArray] = {level: arrays[name] for level, name in names.items() if name in arrays}
        self._made: dict[int, NDArray[np.float32]] = {}
        self._lock = threading.Lock()

    @cached_property
    def grid(self) -> Grid:
        """WCS and shape of level 0."""
        return self._arrays.grid(self.path)

    @cached_property
    def limits(self) -> Limits:
        """Limits that suit the image, from windows all over it."""
        ny, nx = self.shape
        size = min(TILE_PIX, ny, nx)
        starts = [
            (int(y), int(x))
            for y in np.linspace(0, ny - size, min(_SAMPLES, -(-ny // size)))
            for x in np.linspace(0, nx - size, min(_SAMPLES, -(-nx // size)))
        ]
        return limits_of(np.stack([self.window(0, y, x, size, size) for y, x in starts]))

    def shape_at(self, level: int) -> tuple[int, int]:
        """Return ``(ny, nx)`` of a level.

        Raises
        ------
        InvalidInputError
            When there is no such level.
        """
        if not 0 <= level <= self.n_levels:
            msg = f"level: {level} is not allowed, it must be from 0 to {self.n_levels}"
            raise InvalidInputError(msg)
        step = 1 << level
        return -(-self.shape[0] // step), -(-self.shape[1] // step)

    def tile(self, level: int, x: int, y: int) -> NDArray[np.float32]:
        """Return a tile of 256 x 256 pixels of a level, less at the border.

        Raises
        ------
        InvalidInputError
            When there is no such level or tile.
        """
        ny, nx = self.shape_at(level)
        y0, x0 = y * TILE_PIX, x * TILE_PIX
        if not (0 <= y0 < ny and 0 <= x0 < nx):
            msg = f"tile: {x}, {y} of level {level} is not there, the level has {nx} x {ny} pixels"
            raise InvalidInputError(msg)
        return self.window(level, y0, x0, min(TILE_PIX, ny - y0), min(TILE_PIX, nx - x0))

    def window(self, level: int, y0: int, x0: int, ny: int, nx: int) -> NDArray[np.float32]:
        """Return a window of a level that lies inside it, float32, shape (ny, nx)."""
        if level in self._stored:
            return np.asarray(self._stored[level][y0 : y0 + ny, x0 : x0 + nx], np.float32)
        finest = max(one for one in self._stored if one < level)
        step = 1 << (level - finest)
        if step * max(ny, nx) > _WIDEST_PIX:
            return self._whole(level, finest)[y0 : y0 + ny, x0 : x0 + nx]
        return _means(self._stored[finest], (y0 * step, x0 * step), (ny, nx), step)

    def _whole(self, level: int, finest: int) -> NDArray[np.float32]:
        """Return a level that was not stored, made once."""
        with self._lock:
            if level not in self._made:
                ny, nx = self.shape_at(level)
                step = 1 << (level - finest)
                rows = max(1, _WIDEST_PIX // step)
                parts = [
                    _means(self._stored[finest], (y * step, 0), (min(rows, ny - y), nx), step)
                    for y in range(0, ny, rows)
                ]
                self._made[level] = np.concatenate(parts)
            return self._made[level]


def _means(stored: StoredArray, origin: tuple[int, int], shape: Sequence[int], step: int) -> NDArray[np.float32]:
    """Return the means of the finite pixels of blocks of ``step`` x ``step`` pixels, NaN where there is none."""
    y0, x0 = origin
    ny, nx = shape
    values = np.asarray(stored[y0 : y0 + ny * step, x0 : x0 + nx * step], np.float32)
    known = np.isfinite(values)
    border = ((0, ny * step - values.shape[0]), (0, nx * step - values.shape[1]))
    total = np.pad(np.where(known, values, np.float32(0.0)), border)
    blocks = (ny, step, nx, step)
    counts = np.pad(known, border).reshape(blocks).sum(axis=(1, 3), dtype=np.float32)
    mean = np.full((ny, nx), np.nan, np.float32)
    np.divide(total.reshape(blocks).sum(axis=(1, 3), dtype=np.float32), counts, out=mean, where=counts > 0)
    return mean
