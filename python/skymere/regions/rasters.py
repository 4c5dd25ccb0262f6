"""The pixels of regions."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from skymere._rust import regions as _rust
from skymere.errors import InvalidInputError, NoOverlapError
from skymere.regions.places import axes_of, local_axes, pixel_positions
from skymere.regions.shapes import Annulus, Box, Circle, Ellipse, Point, Polygon, Region
from skymere.wcs import Grid

__all__ = [
    "Membership",
    "RegionMask",
    "RegionStamp",
    "RegionStatus",
    "mask_from_region",
    "mask_from_regions",
    "stamp_region",
]

Membership = Literal["centre", "corners"]
RegionStatus = Literal["applied", "no_pixel", "outside"]
_NOWHERE = np.zeros((0, 0), bool)


@dataclass(frozen=True, eq=False)
class RegionStamp:
    """The pixels of a shape, in the smallest window of the image that holds them.

    Parameters
    ----------
    y0, x0 : int
        First pixel of the window.
    inside : ndarray, bool, shape (ny, nx)
        True where a pixel belongs to the shape; without pixels when the shape lies outside the image.
    """

    y0: int
    x0: int
    inside: NDArray[np.bool_]

    @property
    def window(self) -> tuple[slice, slice]:
        """The window as an index of the image."""
        ny, nx = self.inside.shape
        return slice(self.y0, self.y0 + ny), slice(self.x0, self.x0 + nx)

    @property
    def status(self) -> RegionStatus:
        """``applied``; ``no_pixel`` when it is too small to hold one; ``outside`` the image."""
        if not self.inside.size:
            return "outside"
        return "applied" if self.inside.any() else "no_pixel"


@dataclass(frozen=True, kw_only=True, eq=False)
class RegionMask:
    """The pixels of several regions together.

    Parameters
    ----------
    mask : ndarray, bool, shape (ny, nx)
        True inside.
    n_pixels : tuple of int
        Pixels of each shape, also of those that are taken away.
    statuses : tuple of str
        For each region ``applied``, ``no_pixel`` or ``outside``.
    """

    mask: NDArray[np.bool_]
    n_pixels: tuple[int, ...]
    statuses: tuple[RegionStatus, ...]

    @property
    def unused(self) -> tuple[int, ...]:
        """Indices of the regions that hold no pixel of the image."""
        return tuple(i for i, status in enumerate(self.statuses) if status != "applied")


def mask_from_region(
    region: Region, grid: Grid | tuple[int, int], *, membership: Membership = "centre"
) -> NDArray[np.bool_]:
    """Return the pixels of a region.

    Parameters
    ----------
    region : Region
        The region; of one that is taken away, all pixels but its own.
    grid : Grid or tuple of int
        The image; its shape ``(ny, nx)`` alone is enough for regions in pixels.
    membership : {"centre", "corners"}, optional
        A pixel belongs to a shape when its centre does, as in DS9; or when at least three of its four corners do, as in
        ``make_detect``.

    Returns
    -------
    ndarray, bool, shape (ny, nx)
        True where a pixel belongs to the region.

    Raises
    ------
    NoOverlapError
        When the region lies outside the image; see `mask_from_regions` for many.
    InvalidInputError
        When the region is one of the sky and the image has no WCS.

    Notes
    -----
    With centres the area of a shape is right on average over all places; with three corners a circle of radius 5 loses
    12 % (18 % at worst). The pixel that holds a `Point` belongs to it. On the sky shapes are mapped to first order
    around their centre, the corners of polygons one by one, so that rotation, flip, scale and skew of the image are
    right.

    Examples
    --------
    >>> from skymere.regions import Box, mask_from_region
    >>> int(mask_from_region(Box(centre=(4.5, 4.0), size=(4.0, 3.0), frame="image"), (10, 10)).sum())
    12
    """
    found = mask_from_regions([region], grid, membership=membership)
    if found.statuses[0] == "outside":
        shape = grid.shape if isinstance(grid, Grid) else grid
        msg = f"region: {region.shape} at {region.middle} ({region.frame}) lies outside the image of shape {shape}"
        raise NoOverlapError(msg)
    return found.mask


def mask_from_regions(
    regions: Iterable[Region], grid: Grid | tuple[int, int], *, membership: Membership = "centre"
) -> RegionMask:
    """Return the pixels of several regions together, and which of them hold none.

    Parameters
    ----------
    regions : iterable of Region
        The regions. What is taken away is taken from all others, in whatever order they stand; when all are taken
        away, from the whole image.
    grid, membership
        See `mask_from_region`.

    Raises
    ------
    InvalidInputError
        When a region is one of the sky and the image has no WCS.

    Examples
    --------
    >>> from skymere.regions import Circle, mask_from_regions
    >>> far = Circle(centre=(99.0, 5.0), radius=3.0, frame="image")
    >>> mask_from_regions([far], (10, 10)).statuses
    ('outside',)
    """
    shape = grid.shape if isinstance(grid, Grid) else grid
    listed = list(regions)
    stamps = [stamp_region(region, grid, membership=membership) for region in listed]
    mask = np.full(shape, bool(listed) and not any(region.is_include for region in listed))
    for is_include in (True, False):
        for region, stamp in zip(listed, stamps, strict=True):
            if region.is_include is is_include:
                mask[stamp.window][stamp.inside] = is_include
    return RegionMask(
        mask=mask,
        n_pixels=tuple(int(np.count_nonzero(stamp.inside)) for stamp in stamps),
        statuses=tuple(stamp.status for stamp in stamps),
    )


def stamp_region(region: Region, grid: Grid | tuple[int, int], *, membership: Membership = "centre") -> RegionStamp:
    """Return the pixels of a shape in a window as small as it; whether it is to be taken away is not looked at.

    Parameters
    ----------
    region : Region
        The region.
    grid, membership
        See `mask_from_region`.

    Raises
    ------
    InvalidInputError
        When the region is one of the sky and the image has no WCS.
    """
    shape = grid.shape if isinstance(grid, Grid) else grid
    on_sky = None
    if region.frame == "icrs":
        if not isinstance(grid, Grid):
            msg = f"grid: a shape alone is not allowed for a {region.shape} on the sky, it must be a Grid"
            raise InvalidInputError(msg)
        on_sky = grid
    if isinstance(region, Polygon):
        vertices = np.array(region.vertices)
        pixels = vertices if on_sky is None else pixel_positions(on_sky, vertices)
        if not np.isfinite(pixels).all():
            return RegionStamp(0, 0, _NOWHERE)
        return RegionStamp(*_rust.stamp_polygon(pixels.tolist(), shape, membership))
    axes = local_axes(region.middle, on_sky)
    if not (np.isfinite(axes.to_pixels).all() and np.isfinite([axes.x, axes.y]).all()):
        return RegionStamp(0, 0, _NOWHERE)
    if isinstance(region, Point):
        return _one_pixel(axes.x, axes.y, shape)
    half, inner = _half_axes(region)
    to_unit = np.linalg.inv(axes.to_pixels @ half).tolist()
    if isinstance(region, Box):
        return RegionStamp(*_rust.stamp_box((axes.x, axes.y), to_unit, shape, membership))
    return RegionStamp(*_rust.stamp_ellipse((axes.x, axes.y), to_unit, inner, shape, membership))


def _half_axes(region: Region) -> tuple[NDArray[np.float64], float]:
    """Return the half axes as columns in the frame of the region, and the hole as a part of the outer radius."""
    if isinstance(region, Circle):
        return np.eye(2) * region.radius, 0.0
    if isinstance(region, Annulus):
        return np.eye(2) * region.radii[1], region.radii[0] / region.radii[1]
    if isinstance(region, Box):
        return axes_of(region) * (np.array(region.size) / 2), 0.0
    turned = cast("Ellipse", region)
    return axes_of(turned) * np.array(turned.semi_axes), 0.0


def _one_pixel(x: float, y: float, shape: tuple[int, int]) -> RegionStamp:
    i, j = math.floor(y + 0.5), math.floor(x + 0.5)
    if not (0 <= i < shape[0] and 0 <= j < shape[1]):
        return RegionStamp(0, 0, _NOWHERE)
    return RegionStamp(i, j, np.ones((1, 1), bool))
