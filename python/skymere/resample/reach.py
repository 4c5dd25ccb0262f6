"""Where the pixels of exposures fall on an output, so that of each those rows are read that a window needs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from skymere.datamodels import Exposure, Window
from skymere.resample.drizzle import DrizzleParams, pixel_scale_ratio
from skymere.wcs import Grid, pixel_map, pixel_transform

__all__ = ["ExposureReader", "ExposureRows", "HeldExposures", "Reach", "around", "drop_reach_pix"]

# Distortion makes some drops larger than those of the nominal scale.
_LARGER_PIXEL = 1.05
# Drizzle adds pixels in squares of this side, in an order that begins with the first row of what it is given.
_BLOCK = 32
# Between the middles of blocks maps are bent by less.
_BENT_PIX = 8.0


class ExposureReader(Protocol):
    """Exposures of which some rows can be read."""

    def __len__(self) -> int:
        """Return how many there are."""

    def read(self, k: int, rows: slice) -> Exposure:
        """Return an exposure with the pixels of some rows alone, and with the coordinates of all of it."""


@dataclass(frozen=True)
class HeldExposures:
    """Exposures that are in memory, or give themselves when they are asked for, as an `ExposureReader`.

    Parameters
    ----------
    exposures : sequence of Exposure
        The exposures.
    """

    exposures: Sequence[Exposure]

    def __len__(self) -> int:
        return len(self.exposures)

    def read(self, k: int, rows: slice) -> Exposure:
        """Return an exposure with the pixels of some rows alone."""
        whole = self.exposures[k]
        flags = None if whole.flags is None else whole.flags[rows]
        return replace(whole, data=whole.data[rows], error=whole.error[rows], dq=whole.dq[rows], flags=flags)


@dataclass(frozen=True, kw_only=True, eq=False)
class ExposureRows:
    """Rows of an exposure on their way to an output.

    Parameters
    ----------
    exposure : Exposure
        With the pixels of these rows.
    pixmap : ndarray, float64, shape (n_rows, nx, 2) [pix]
        Their places on the whole output.
    pixel_scale_ratio : float
        Side of an output pixel over that of one of the exposure.
    """

    exposure: Exposure
    pixmap: NDArray[np.float64]
    pixel_scale_ratio: float


@dataclass(frozen=True, kw_only=True, eq=False)
class _Place:
    """Coordinates of an exposure, and where its blocks lie on the output: lowest and highest ``x, y`` of each."""

    wcs: Any
    shape: tuple[int, int]
    ratio: float
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def drop_reach_pix(params: DrizzleParams, pixel_scale_ratio: float) -> int:
    """Return how far apart along an axis two output pixels of one drop can be [pix]."""
    width = {
        "square": np.sqrt(2.0) * params.pixfrac,
        "turbo": params.pixfrac,
        "point": 0.0,
        "gaussian": 2.0 * max(2.5 * params.pixfrac / 2.3548, 1.2),
        "lanczos2": 4.0,
        "lanczos3": 6.0,
    }[params.kernel]
    return int(_LARGER_PIXEL * width / pixel_scale_ratio) + int(width > 0)


def around(pixmap: NDArray[np.float64], shape: tuple[int, int], margin: float) -> Window | None:
    """Return the window of an image that holds the places of a map and a margin; None when there is none.

    Parameters
    ----------
    pixmap : ndarray, float64, shape (ny, nx, 2) [pix]
        Places ``x, y``.
    shape : tuple of int
        ``(ny, nx)`` of the image.
    margin : float
        Margin [pix].
    """
    edges = []
    for axis, n in ((1, shape[0]), (0, shape[1])):
        low, high = np.fmin.reduce(pixmap[..., axis], axis=None), np.fmax.reduce(pixmap[..., axis], axis=None)
        if not (low - margin < n and high + margin >= 0):
            return None
        edges.append((max(int(np.floor(max(low - margin, 0.0))), 0), int(min(np.ceil(high + margin) + 1, n))))
    rows, columns = edges
    return Window(rows, columns) if rows[0] < rows[1] and columns[0] < columns[1] else None


class Reach:
    """Exposures on an output, to be read window by window.

    Parameters
    ----------
    exposures : ExposureReader
        Exposures; whole ones are given to `look`, one at a time.
    grid : Grid
        The output.
    params : DrizzleParams
        How far drops reach.
    """

    def __init__(self, exposures: ExposureReader, grid: Grid, *, params: DrizzleParams) -> None:
        self.exposures, self.grid, self._params = exposures, grid, params
        self._places: list[_Place] = []

    def __len__(self) -> int:
        return len(self.exposures)

    @property
    def ratios(self) -> list[float]:
        """Side of an output pixel over that of one of each exposure that was looked at."""
        return [place.ratio for place in self._places]

    def look(self) -> Iterator[Exposure]:
        """Yield each exposure, whole, while its place is found; windows are asked for afterwards."""
        self._places = []
        for k in range(len(self.exposures)):
            exposure = self.exposures.read(k, slice(None))
            self._places.append(self._place(exposure))
            yield exposure

    def parts(self, window: Window) -> Iterator[ExposureRows | None]:
        """Yield what of each exposure touches a window; None where nothing does."""
        for k, place in enumerate(self._places):
            rows = self._rows(place, window)
            if rows is None:
                yield None
                continue
            yield ExposureRows(
                exposure=self.exposures.read(k, rows),
                pixmap=pixel_map(place.wcs, self.grid.wcs, place.shape, rows=rows),
                pixel_scale_ratio=place.ratio,
            )

    def _place(self, exposure: Exposure) -> _Place:
        ratio = self.grid.scale_arcsec / exposure.native_scale_arcsec
        if not np.isfinite(ratio):
            ratio = pixel_scale_ratio(pixel_map(exposure.wcs, self.grid.wcs, exposure.shape))
        ny, nx = exposure.shape
        y, x = (np.append(np.arange(0, n, _BLOCK), n) - 0.5 for n in (ny, nx))
        nodes = np.meshgrid(x, y)
        places = np.stack(pixel_transform(exposure.wcs, self.grid.wcs)(*nodes), axis=-1)
        corners = [places[a : len(y) - 1 + a, b : len(x) - 1 + b] for a in (0, 1) for b in (0, 1)]
        # A block with a corner that has no place may be anywhere.
        low, high = (
            np.where(np.isnan(found), beyond, found)
            for found, beyond in ((np.min(corners, axis=0), -np.inf), (np.max(corners, axis=0), np.inf))
        )
        return _Place(wcs=exposure.wcs, shape=exposure.shape, ratio=ratio, low=low, high=high)

    def _rows(self, place: _Place, window: Window) -> slice | None:
        """Return the rows of which drops may touch a window, with the neighbours that their corners are made of."""
        margin = drop_reach_pix(self._params, place.ratio) + 1.0 / place.ratio + _BENT_PIX
        low = np.array([window.columns[0], window.rows[0]]) - 0.5 - margin
        high = np.array([window.columns[1], window.rows[1]]) - 0.5 + margin
        touched: NDArray[np.bool_] = np.asarray(((place.high >= low) & (place.low <= high)).all(axis=-1))
        blocks = np.flatnonzero(touched.any(axis=1))
        if not len(blocks):
            return None
        first, last = int(blocks[0]), int(blocks[-1])
        return slice(max(first - 1, 0) * _BLOCK, min((last + 1) * _BLOCK + 1, place.shape[0]))
