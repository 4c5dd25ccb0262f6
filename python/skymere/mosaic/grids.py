"""Which pixel grid a mosaic, or the single drizzles of its exposures, get."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from skymere.datamodels import Exposure
from skymere.errors import InvalidInputError, NoOverlapError
from skymere.io import read_grid
from skymere.resample import covering_grid
from skymere.wcs import Grid

__all__ = ["GridParams", "make_grid"]


@dataclass(frozen=True, kw_only=True)
class GridParams:
    """Parameters of `make_grid`.

    Parameters
    ----------
    reference_image : str
        FITS file whose grid is taken as it is; with it nothing else may be given. Empty = none.
    scale_arcsec : float or None
        Side of a pixel [arcsec]; the detector's own when None.
    rotation_deg : float
        Position angle of the y axis, from north through east [deg].
    nx, ny : int or None
        Size [pix]; what covers all exposures when None.
    ra, dec : float or None
        Sky at the reference pixel [deg]; the middle of the exposures when None.
    crpix1, crpix2 : float or None
        Reference pixel, FITS convention (1-based); the middle of the grid when None.

    Raises
    ------
    InvalidInputError
        When a value is not allowed, or given beside a reference image.
    """

    reference_image: str = ""
    scale_arcsec: float | None = None
    rotation_deg: float = 0.0
    nx: int | None = None
    ny: int | None = None
    ra: float | None = None
    dec: float | None = None
    crpix1: float | None = None
    crpix2: float | None = None

    def __post_init__(self) -> None:
        given = [name for name in _NUMBERS if getattr(self, name) is not None] + ["rotation_deg"] * bool(
            self.rotation_deg
        )
        if self.reference_image and given:
            msg = f"{given[0]}: {getattr(self, given[0])} is not allowed beside reference_image, whose grid is taken"
            raise InvalidInputError(msg)
        for name in ("scale_arcsec", "nx", "ny"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                msg = f"{name}: {value} is not allowed, it must be positive"
                raise InvalidInputError(msg)
        for pair in (("nx", "ny"), ("ra", "dec"), ("crpix1", "crpix2")):
            if (getattr(self, pair[0]) is None) != (getattr(self, pair[1]) is None):
                msg = f"{pair[0]}, {pair[1]}: both must be given, or none"
                raise InvalidInputError(msg)


_NUMBERS = ("scale_arcsec", "nx", "ny", "ra", "dec", "crpix1", "crpix2")


def make_grid(exposures: Iterable[Exposure], *, params: GridParams | None = None) -> Grid:
    """Return the grid on which exposures are drizzled.

    Parameters
    ----------
    exposures : iterable of Exposure
        They are taken one at a time; only their coordinates are looked at.
    params : GridParams, optional
        What the grid is like.

    Returns
    -------
    Grid
        North up unless rotated, covering all footprints unless it has a size.

    Raises
    ------
    InvalidInputError
        When there is no exposure.
    NoOverlapError
        When they lie so far apart that the grid that covers them is almost empty.
    NotFoundError, FormatError, StorageError
        When the reference image cannot be read.
    """
    p = params or GridParams()
    if p.reference_image:
        return read_grid(p.reference_image)
    seen: dict[str, tuple[Any, tuple[int, int]]] = {}
    covering = covering_grid(_noted(exposures, seen), scale_arcsec=p.scale_arcsec, rotation_deg=p.rotation_deg)
    if p.nx is None and _size(covering) > _LARGEST_PIX:
        _check_together(covering, seen, p.rotation_deg)
    return _placed(covering, p)


# A grid of more pixels than the first number, and more times those of the exposures than the second, is a mistake.
_LARGEST_PIX, _EMPTIEST = 200_000_000, 10


def _size(grid: Grid) -> int:
    return grid.shape[0] * grid.shape[1]


def _noted(exposures: Iterable[Exposure], seen: dict[str, tuple[Any, tuple[int, int]]]) -> Iterator[Exposure]:
    for exposure in exposures:
        seen[exposure.exposure_id] = (exposure.wcs, exposure.shape)
        yield exposure


def _check_together(covering: Grid, seen: Mapping[str, tuple[Any, tuple[int, int]]], rotation_deg: float) -> None:
    scale = covering.scale_arcsec
    own = sum(_size(Grid.covering([one], scale_arcsec=scale, rotation_deg=rotation_deg)) for one in seen.values())
    if _size(covering) > _EMPTIEST * own:
        ny, nx = covering.shape
        msg = (
            f"exposures: {', '.join(seen)} have {own} pixels, but the grid that covers them {nx} x {ny}; combine by "
            "themselves those that lie together, or give a size (nx, ny) or a reference_image"
        )
        raise NoOverlapError(msg)


def _placed(grid: Grid, p: GridParams) -> Grid:
    """Move and cut a grid that covers everything to where it is wanted."""
    if p.nx is None and p.ra is None and p.crpix1 is None:
        return grid
    shape = grid.shape if p.nx is None or p.ny is None else (p.ny, p.nx)
    middle = (np.array([(grid.shape[1] - 1) / 2]), np.array([(grid.shape[0] - 1) / 2]))
    ra, dec = (float(v[0]) for v in grid.sky(*middle)) if p.ra is None or p.dec is None else (p.ra, p.dec)
    placed = Grid.tangent(ra, dec, shape=shape, scale_arcsec=grid.scale_arcsec, rotation_deg=p.rotation_deg)
    if p.crpix1 is None or p.crpix2 is None:
        return placed
    # The sky position that was asked for moves from the middle to the pixel that was asked for.
    x0, y0 = (shape[1] + 1) / 2 - p.crpix1, (shape[0] + 1) / 2 - p.crpix2
    wcs = placed.wcs.deepcopy()
    wcs.wcs.crpix = [wcs.wcs.crpix[0] - x0, wcs.wcs.crpix[1] - y0]
    wcs.wcs.set()
    return Grid(wcs=wcs, shape=shape)
