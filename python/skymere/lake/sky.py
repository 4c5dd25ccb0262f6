"""Places on the sky: HEALPix indices, cones and polygons."""

import numpy as np
import polars as pl
from astropy import units as u
from astropy.coordinates import Latitude, Longitude
from cdshealpix.nested import cone_search, healpix_to_lonlat, lonlat_to_healpix
from numpy.typing import NDArray

from skymere.errors import InvalidInputError

__all__ = ["DEEP", "centre", "cone_ranges", "healpix29", "polygon_contains", "polygons_overlap", "separation_arcsec"]

DEEP = 29
_CELL_ARCSEC = 211076.29  # side of a HEALPix cell of order 0
_MAX_RANGES = 20
_EDGE = 1e-9  # radians on the tangent plane: 0.2 milliarcsec


def healpix29(ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the nested index of order 29 of positions [deg]."""
    if np.size(ra) == 0:
        return np.empty(0, np.int64)
    index = lonlat_to_healpix(Longitude(ra, u.deg), Latitude(dec, u.deg), DEEP)
    return np.asarray(index).astype(np.int64)


def centre(index: NDArray[np.int64], order: int = DEEP) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return ``ra, dec`` [deg] of the centres of nested cells."""
    lon, lat = healpix_to_lonlat(np.asarray(index, np.uint64), order)
    return np.asarray(lon.to_value(u.deg)), np.asarray(lat.to_value(u.deg))


def check_cone(ra: float, dec: float, radius_arcsec: float) -> None:
    """Raise InvalidInputError when a cone has no meaning."""
    if not np.isfinite(ra):
        msg = f"ra: {ra} is not allowed, it must be a finite number of degrees"
        raise InvalidInputError(msg)
    if not -90 <= dec <= 90:
        msg = f"dec: {dec} is not allowed, it must be between -90 and 90 degrees"
        raise InvalidInputError(msg)
    if not 0 <= radius_arcsec <= 180 * 3600:
        msg = f"radius_arcsec: {radius_arcsec} is not allowed, it must be between 0 and 648000"
        raise InvalidInputError(msg)


def cone_ranges(ra: float, dec: float, radius_arcsec: float) -> list[tuple[int, int]]:
    """Return at most 20 ranges ``first, last`` of `healpix29` that together cover a cone."""
    # A little wider than asked, so that rounding in the index never loses a source at the edge.
    radius = min(radius_arcsec * (1 + 1e-9) + 1e-6, 180 * 3600.0)
    depth = int(np.clip(np.floor(np.log2(_CELL_ARCSEC / radius)) + 1, 0, DEEP))
    cells, depths, _ = cone_search(
        Longitude(ra % 360.0, u.deg), Latitude(dec, u.deg), radius * u.arcsec, depth, depth_delta=0
    )
    shift = 2 * (DEEP - np.asarray(depths, np.int64))
    first = np.asarray(cells).astype(np.int64) << shift
    last = first + (np.int64(1) << shift) - 1
    order = np.argsort(first)
    first, last = first[order], last[order]
    gaps = first[1:] - last[:-1] - 1
    keep = gaps > 0
    if keep.sum() >= _MAX_RANGES:
        keep &= gaps > np.sort(gaps)[-_MAX_RANGES]
    starts = first[np.concatenate([[True], keep])]
    ends = last[np.concatenate([keep, [True]])]
    return [(int(a), int(b)) for a, b in zip(starts, ends, strict=True)]


def separation_arcsec(ra: float, dec: float) -> pl.Expr:
    """Return the angle between the columns ``ra, dec`` and a position [deg], exact at any distance.

    Notes
    -----
    ``tan s = |a x b| / (a . b)`` (Vincenty's formula on the sphere), which loses no digits at 0, at 180 degrees, at
    the poles or across RA 0.
    """
    d0 = np.deg2rad(dec)
    d = pl.col("dec").radians()
    dl = (pl.col("ra") - ra).radians()
    across = d.cos() * dl.sin()
    along = np.cos(d0) * d.sin() - np.sin(d0) * d.cos() * dl.cos()
    dot = np.sin(d0) * d.sin() + np.cos(d0) * d.cos() * dl.cos()
    return pl.arctan2((across**2 + along**2).sqrt(), dot).degrees() * 3600.0


def polygon_contains(
    polygon: NDArray[np.float64], ra: NDArray[np.float64], dec: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Whether positions lie in a polygon whose sides are great circles; vertices ``(n, 2)`` ``ra, dec`` [deg]."""
    axes = _tangent_axes(polygon)
    vertices, _ = _project(axes, polygon[:, 0], polygon[:, 1])
    points, ahead = _project(axes, np.asarray(ra), np.asarray(dec))
    return ahead & _inside(vertices, points)


def polygons_overlap(a: NDArray[np.float64], b: NDArray[np.float64]) -> bool:
    """Whether two polygons share more than their edges."""
    axes = _tangent_axes(a)
    pa, _ = _project(axes, a[:, 0], a[:, 1])
    pb, ahead = _project(axes, b[:, 0], b[:, 1])
    if not ahead.all():
        return False
    return _cross(pa, pb) or bool(_inside(pa, _inner(pb)).any() or _inside(pb, _inner(pa)).any())


def _vectors(ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.float64]:
    a, d = np.deg2rad(ra), np.deg2rad(dec)
    return np.stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)], axis=-1)


def _tangent_axes(polygon: NDArray[np.float64]) -> NDArray[np.float64]:
    middle = _vectors(polygon[:, 0], polygon[:, 1]).sum(axis=0)
    middle /= np.linalg.norm(middle)
    helper = np.eye(3)[np.argmin(np.abs(middle))]
    east = np.cross(helper, middle)
    east /= np.linalg.norm(east)
    return np.stack([east, np.cross(middle, east), middle])


def _project(
    axes: NDArray[np.float64], ra: NDArray[np.float64], dec: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return positions on the tangent plane, where great circles are straight, and whether they are in front of it."""
    turned = _vectors(ra, dec) @ axes.T
    ahead = turned[:, 2] > 0
    depth = np.where(ahead, turned[:, 2], 1.0)
    return turned[:, :2] / depth[:, None], ahead


def _inside(vertices: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether points lie in a plane polygon: an odd number of sides stand to their right."""
    x, y = points.T
    inside = np.zeros(len(points), bool)
    for (x1, y1), (x2, y2) in zip(vertices, np.roll(vertices, -1, axis=0), strict=True):
        if y1 != y2:
            inside ^= ((y1 > y) != (y2 > y)) & (x < x1 + (y - y1) * (x2 - x1) / (y2 - y1))
    return inside


def _inner(vertices: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return points just inside the corners of a polygon, on either bisector that is inside."""
    before, after = np.roll(vertices, 1, axis=0), np.roll(vertices, -1, axis=0)
    chord = (before + after) / 2
    trial = np.concatenate([vertices + 0.01 * (chord - vertices), vertices - 0.01 * (chord - vertices)])
    return trial[_inside(vertices, trial)]


def _cross(a: NDArray[np.float64], b: NDArray[np.float64]) -> bool:
    """Whether a side of one polygon truly crosses a side of the other."""
    a1, b1 = a[:, None], b[None]
    a2, b2 = np.roll(a, -1, axis=0)[:, None], np.roll(b, -1, axis=0)[None]

    def side(p: NDArray[np.float64], q: NDArray[np.float64], r: NDArray[np.float64]) -> NDArray[np.float64]:
        d, e = q - p, r - p
        height = (d[..., 0] * e[..., 1] - d[..., 1] * e[..., 0]) / np.linalg.norm(d, axis=-1)
        return np.where(np.abs(height) < _EDGE, 0.0, np.sign(height))

    apart = (side(a1, a2, b1) * side(a1, a2, b2) < 0) & (side(b1, b2, a1) * side(b1, b2, a2) < 0)
    return bool(apart.any())
