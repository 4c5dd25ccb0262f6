"""HEALPix tiles: the whole sky in cells, each with a tangent-plane image of its own at one pixel scale per lake."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import Latitude, Longitude
from cdshealpix.nested import cone_search, lonlat_to_healpix, neighbours, vertices
from numpy.typing import NDArray

from skymere.errors import FormatError, InvalidInputError, NotFoundError
from skymere.lake.sky import DEEP, centre, polygon_middle, polygons_overlap
from skymere.wcs import Grid

__all__ = ["OVERLAP_ARCSEC", "WIDTH_PIX", "HealpixTile", "HealpixTiles"]

OVERLAP_ARCSEC = 10.0
WIDTH_PIX = 8192
_NAME = re.compile(r"t(0|[1-9]\d*)")
_RADIAN_ARCSEC = 180.0 / np.pi * 3600.0
_SIDE_STEPS = 8


def widest_cell_arcsec(order: int) -> float:
    """Return a size that no cell of an order exceeds, north-south or east-west, on its own tangent plane [arcsec].

    Notes
    -----
    The largest are those at ``sin dec = 2/3``, ``4 / sqrt(5)`` radians over ``2**order`` for small cells; the sphere's
    curvature adds at most a quarter at order 0, where a facet spans ``sqrt(5)``, and half as much with each order.
    """
    nside = 2**order
    return float(4.0 / np.sqrt(5.0) / nside * (1.0 + 0.25 / nside) * _RADIAN_ARCSEC)


def lowest_order(scale_arcsec: float, width_pix: int) -> int:
    """Return the lowest order whose tiles, with their overlap, are at most so many pixels wide.

    Raises
    ------
    InvalidInputError
        When the scale is not positive, or no order will do.
    """
    if not (np.isfinite(scale_arcsec) and scale_arcsec > 0):
        msg = f"scale_arcsec: {scale_arcsec} is not allowed, it must be positive"
        raise InvalidInputError(msg)
    room = width_pix * scale_arcsec - 2.0 * OVERLAP_ARCSEC
    for order in range(DEEP + 1):
        if widest_cell_arcsec(order) <= room:
            return order
    least = int(2.0 * OVERLAP_ARCSEC / scale_arcsec) + 1
    msg = f"width_pix: {width_pix} is not allowed, the overlap of {OVERLAP_ARCSEC:g} arcsec alone takes {least} pixels"
    raise InvalidInputError(msg)


@dataclass(frozen=True)
class HealpixTile:
    """A tile that owns one nested HEALPix cell; made by `HealpixTiles`.

    Parameters
    ----------
    order, cell : int
        Order and nested index of the cell.
    scale_arcsec : float
        Side of a pixel [arcsec].
    """

    order: int
    cell: int
    scale_arcsec: float

    @property
    def name(self) -> str:
        """``t<cell>``."""
        return f"t{self.cell}"

    @cached_property
    def polygon(self) -> NDArray[np.float64]:
        """Points along the border of the cell, ``(n, 2)`` ``ra, dec`` [deg]."""
        lon, lat = vertices(np.array([self.cell], np.uint64), self.order, _SIDE_STEPS)
        return np.column_stack([np.asarray(lon.to_value(u.deg))[0], np.asarray(lat.to_value(u.deg))[0]])

    @cached_property
    def grid(self) -> Grid:
        """TAN grid centred on the cell, north up, with the overlap on every side."""
        (ra,), (dec,) = centre(np.array([self.cell]), self.order)
        single = Grid.tangent(ra, dec, shape=(1, 1), scale_arcsec=self.scale_arcsec)
        x, y = single.pixels(self.polygon[:, 0], self.polygon[:, 1])
        margin = OVERLAP_ARCSEC / self.scale_arcsec
        width, height = (2 * int(np.ceil(np.abs(edge).max() + margin)) for edge in (x, y))
        return Grid.tangent(ra, dec, shape=(height, width), scale_arcsec=self.scale_arcsec)

    def owns(self, ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether positions [deg] belong to this tile."""
        return np.asarray(_cells(ra, dec, self.order) == self.cell)

    @property
    def healpix29(self) -> int:
        """Index of order 29 of the first place in the cell; where a tile without sources is filed."""
        return self.cell << 2 * (DEEP - self.order)


class HealpixTiles:
    """The tiles of a lake that covers any part of the sky: one for each nested HEALPix cell of one order.

    Parameters
    ----------
    order : int
        Order of the cells.
    scale_arcsec : float
        Side of a pixel [arcsec].

    Raises
    ------
    InvalidInputError
        When the order or the scale is not allowed.
    """

    def __init__(self, order: int, scale_arcsec: float) -> None:
        if not 0 <= order <= DEEP:
            msg = f"tile_order: {order} is not allowed, it must be between 0 and {DEEP}"
            raise InvalidInputError(msg)
        if not (np.isfinite(scale_arcsec) and scale_arcsec > 0):
            msg = f"scale_arcsec: {scale_arcsec} is not allowed, it must be positive"
            raise InvalidInputError(msg)
        self.order = order
        self.scale_arcsec = float(scale_arcsec)

    @classmethod
    def fitting(cls, scale_arcsec: float, *, width_pix: int = WIDTH_PIX) -> "HealpixTiles":
        """Return the largest tiles that are at most so many pixels wide at the finest scale.

        Parameters
        ----------
        scale_arcsec : float
            Side of a pixel [arcsec].
        width_pix : int, optional
            Largest width or height of a tile's image, with 10 arcsec of overlap on every side [pix].

        Raises
        ------
        InvalidInputError
            When the scale is not positive, or no order will do.
        """
        return cls(lowest_order(scale_arcsec, width_pix), scale_arcsec)

    def __repr__(self) -> str:
        return f"HEALPix cells of order {self.order} at {self.scale_arcsec:g} arcsec"

    def __getitem__(self, name: str) -> HealpixTile:
        if name not in self:
            last = 12 * 4**self.order - 1
            msg = f"tile {name!r} is not in the lake, it must be one of 't0' to 't{last}'"
            raise NotFoundError(msg)
        return HealpixTile(self.order, int(name[1:]), self.scale_arcsec)

    def __contains__(self, name: object) -> bool:
        found = _NAME.fullmatch(name) if isinstance(name, str) else None
        return found is not None and int(found[1]) < 12 * 4**self.order

    def at(self, ra: NDArray[np.float64], dec: NDArray[np.float64]) -> list[str]:
        """Return the tile that owns each position [deg]."""
        return [f"t{cell}" for cell in _cells(ra, dec, self.order).tolist()]

    def touching(self, polygon: NDArray[np.float64]) -> list[str]:
        """Return the tiles that own a part of a convex polygon, ``(n, 2)`` ``ra, dec`` [deg], by increasing cell."""
        ra, dec, radius_deg = polygon_middle(polygon)
        cells, _, _ = cone_search(
            Longitude(ra, u.deg), Latitude(dec, u.deg), 1.01 * radius_deg * u.deg, self.order, flat=True
        )
        near = (HealpixTile(self.order, int(cell), self.scale_arcsec) for cell in sorted(cells))
        return [tile.name for tile in near if polygons_overlap(tile.polygon, polygon)]

    def neighbours(self, name: str) -> list[str]:
        """Return the tiles that share a border or a corner with a tile, by increasing cell."""
        cell = self[name].cell
        found = np.unique(neighbours(np.array([cell], np.uint64), self.order))
        return [f"t{other}" for other in found.tolist() if other >= 0 and other != cell]

    def to_json(self) -> dict[str, Any]:
        """Return what ``lake.json`` keeps."""
        return {"tiles": "healpix", "tile_order": self.order, "scale_arcsec": self.scale_arcsec}

    @classmethod
    def from_json(cls, config: Mapping[str, Any]) -> "HealpixTiles":
        """Return the tiles that ``lake.json`` describes.

        Raises
        ------
        FormatError
            When it does not.
        """
        try:
            return cls(int(config["tile_order"]), float(config["scale_arcsec"]))
        except (KeyError, TypeError, ValueError) as error:
            msg = f"lake.json: healpix tiles need tile_order and scale_arcsec: {error!r}"
            raise FormatError(msg) from error


def _cells(ra: NDArray[np.float64], dec: NDArray[np.float64], order: int) -> NDArray[np.int64]:
    if np.size(ra) == 0:
        return np.empty(0, np.int64)
    cells = lonlat_to_healpix(Longitude(np.atleast_1d(ra), u.deg), Latitude(np.atleast_1d(dec), u.deg), order)
    return np.asarray(cells).astype(np.int64)
