"""Where shapes of the sky lie on an image, and the other way round."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skymere.errors import InvalidInputError
from skymere.regions.shapes import Box, Ellipse, Pair, Polygon, Region, region_from_numbers
from skymere.wcs import Grid

__all__ = ["local_axes", "pixel_positions", "to_sky"]

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class LocalAxes:
    """A position on an image, and the pixels that offsets in the frame of a region are there.

    Parameters
    ----------
    x, y : float
        Position [pix]; NaN where the image's projection has no place for it.
    to_pixels : ndarray, float64, shape (2, 2)
        Takes offsets ``(east, north)`` [arcsec], or ``(x, y)`` [pix], to pixels.
    """

    x: float
    y: float
    to_pixels: Matrix


def pixel_positions(grid: Grid, positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``(n, 2)`` 0-based ``x, y`` of ``(n, 2)`` ``ra, dec`` [deg]; NaN where the projection has no place."""
    return np.column_stack(grid.pixels(positions[:, 0], positions[:, 1]))


def local_axes(centre: Pair, grid: Grid | None) -> LocalAxes:
    """Return the axes of an image around a position; ``grid`` None means a position in pixels of that image."""
    if grid is None:
        return LocalAxes(*centre, np.eye(2))
    step = 0.5 * grid.scale_arcsec
    sky = _neighbours(centre, math.radians(step / 3600.0))
    x, y = pixel_positions(grid, sky).T
    columns = np.array([[x[1] - x[2], x[3] - x[4]], [y[1] - y[2], y[3] - y[4]]]) / (2.0 * step)
    return LocalAxes(float(x[0]), float(y[0]), columns)


def _neighbours(centre: Pair, step: float) -> NDArray[np.float64]:
    """Return a position and those a step [rad] to its east, west, north and south, ``ra, dec`` [deg]."""
    a, d = np.deg2rad(centre)
    out = np.array([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)])
    east = np.array([-np.sin(a), np.cos(a), 0.0])
    north = np.array([-np.sin(d) * np.cos(a), -np.sin(d) * np.sin(a), np.cos(d)])
    near = np.array([out, out + step * east, out - step * east, out + step * north, out - step * north])
    dec = np.arctan2(near[:, 2], np.hypot(near[:, 0], near[:, 1]))
    return np.column_stack([np.rad2deg(np.arctan2(near[:, 1], near[:, 0])) % 360.0, np.rad2deg(dec)])


def axes_of(region: Box | Ellipse) -> Matrix:
    """Return the unit vectors of both axes as columns, in the frame of the region: ``(east, north)`` or ``(x, y)``."""
    cos, sin = math.cos(math.radians(region.angle_deg)), math.sin(math.radians(region.angle_deg))
    if region.frame == "image":
        return np.array([[cos, -sin], [sin, cos]])
    return np.array([[-cos, sin], [sin, cos]])


def to_sky(region: Region, grid: Grid) -> Region:
    """Return a region in ICRS, so that it means the same on any other image.

    Parameters
    ----------
    region : Region
        In pixels of ``grid``; one of the sky is returned as it is.
    grid : Grid
        The image that it was drawn on.

    Raises
    ------
    InvalidInputError
        When the position has no place on the sky.

    Notes
    -----
    To first order around the centre. On pixels that are not square a circle keeps its area, and an axis of a box or an
    ellipse its direction and length.

    Examples
    --------
    >>> from skymere.regions import Circle, to_sky
    >>> from skymere.wcs import Grid
    >>> grid = Grid.tangent(150.0, 2.0, shape=(11, 11), scale_arcsec=0.1)
    >>> round(to_sky(Circle(centre=(5.0, 5.0), radius=4.0, frame="image"), grid).radius, 6)
    0.4
    """
    if region.frame == "icrs":
        return region
    if isinstance(region, Polygon):
        numbers = [value for vertex in region.vertices for value in _sky(grid, vertex)]
    else:
        centre = _sky(grid, region.middle)
        numbers = [
            *centre,
            *_sizes_on_sky(region, np.asarray(np.linalg.inv(local_axes(centre, grid).to_pixels), np.float64)),
        ]
    return region_from_numbers(region.shape, numbers, is_include=region.is_include, text=region.text)


def _sizes_on_sky(region: Region, to_arcsec: Matrix) -> list[float]:
    """Return what stands after the position in the numbers of a region, in arcsec and degrees."""
    sizes = np.array(region.numbers[2:])
    if isinstance(region, Box | Ellipse):
        axes = to_arcsec @ axes_of(region)
        east, north = axes[:, 0]
        angle = math.degrees(math.atan2(north, -east)) % 360.0
        return [*(sizes[:2] * np.hypot(*axes)).tolist(), angle]
    return [float(size) for size in sizes * math.sqrt(abs(float(np.linalg.det(to_arcsec))))]


def _sky(grid: Grid, position: Pair) -> Pair:
    ra, dec = grid.sky(np.array([position[0]]), np.array([position[1]]))
    if not (np.isfinite(ra[0]) and np.isfinite(dec[0])):
        msg = f"region: x, y {position} have no place on the sky"
        raise InvalidInputError(msg)
    return float(ra[0]), float(dec[0])
