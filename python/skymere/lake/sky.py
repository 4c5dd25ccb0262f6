"""Places on the sky: HEALPix indices, cones and polygons."""

import numpy as np
import polars as pl
from astropy import units as u
from astropy.coordinates import Latitude, Longitude
from cdshealpix.nested import cone_search, healpix_to_lonlat, lonlat_to_healpix
from numpy.typing import NDArray

from skymere.errors import InvalidInputError

__all__ = [
    "CELL_ARCSEC",
    "DEEP",
    "around",
    "centre",
    "check_box",
    "check_cone",
    "cone_ranges",
    "healpix29",
    "in_box",
    "in_cone",
    "in_ranges",
    "merge_ranges",
    "polygon_contains",
    "polygon_middle",
    "polygons_overlap",
    "separation",
    "unit_vectors",
]

Place = str | float | pl.Expr

DEEP = 29
CELL_ARCSEC = 211076.29  # side of a HEALPix cell of order 0
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
    depth = int(np.clip(np.floor(np.log2(CELL_ARCSEC / radius)) + 1, 0, DEEP))
    cells, depths, _ = cone_search(
        Longitude(ra % 360.0, u.deg), Latitude(dec, u.deg), radius * u.arcsec, depth, depth_delta=0
    )
    shift = 2 * (DEEP - np.asarray(depths, np.int64))
    first = np.asarray(cells).astype(np.int64) << shift
    return merge_ranges(first, first + (np.int64(1) << shift) - 1)


def in_ranges(ranges: list[tuple[int, int]]) -> pl.Expr:
    """Return whether the column ``_healpix_29`` is in one of the ranges."""
    return pl.any_horizontal([pl.col("_healpix_29").is_between(a, b) for a, b in ranges] or [pl.lit(value=False)])


def merge_ranges(first: NDArray[np.int64], last: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return at most 20 ranges ``first, last`` that together cover ranges which do not overlap."""
    order = np.argsort(first)
    first, last = first[order], last[order]
    gaps = first[1:] - last[:-1] - 1
    keep = gaps > 0
    if keep.sum() >= _MAX_RANGES:
        keep &= gaps > np.sort(gaps)[-_MAX_RANGES]
    starts = first[np.concatenate([[True], keep])]
    ends = last[np.concatenate([keep, [True]])]
    return [(int(a), int(b)) for a, b in zip(starts, ends, strict=True)]


def separation(ra: Place, dec: Place, ra0: Place, dec0: Place) -> pl.Expr:
    """Return the angle between positions as a Polars expression [arcsec], exact at any distance.

    Parameters
    ----------
    ra, dec, ra0, dec0 : str, float or polars.Expr
        The two positions, ICRS [deg]; a text is the name of a column.

    Notes
    -----
    ``tan s = |a x b| / (a . b)`` (Vincenty's formula on the sphere), which loses no digits at 0, at 180 degrees, at
    the poles or across RA 0.

    Examples
    --------
    >>> import polars as pl
    >>> from skymere.lake import separation
    >>> table = pl.DataFrame({"ra": [359.9999, 0.0], "dec": [0.0, 0.0]})
    >>> table.select(separation("ra", "dec", 0.0001, 0.0).round(6))["ra"].to_list()
    [0.72, 0.36]
    """
    a, d, a0, d0 = (_expression(place) for place in (ra, dec, ra0, dec0))
    d, d0, dl = d.radians(), d0.radians(), (a - a0).radians()
    across = d.cos() * dl.sin()
    along = d0.cos() * d.sin() - d0.sin() * d.cos() * dl.cos()
    dot = d0.sin() * d.sin() + d0.cos() * d.cos() * dl.cos()
    name = ra if isinstance(ra, str) else "separation"
    return (pl.arctan2((across**2 + along**2).sqrt(), dot).degrees() * 3600.0).alias(name)


def in_cone(ra: Place, dec: Place, ra0: Place, dec0: Place, *, radius_arcsec: float) -> pl.Expr:
    """Return whether positions are within an angle of others, as a Polars expression.

    Parameters
    ----------
    ra, dec, ra0, dec0 : str, float or polars.Expr
        The positions and the centre, ICRS [deg]; a text is the name of a column.
    radius_arcsec : float
        Largest separation, inclusive [arcsec].

    Notes
    -----
    `Lake.cone` does the same and also skips the files and row groups that the cone does not touch.

    Raises
    ------
    InvalidInputError
        When the cone has no meaning.

    Examples
    --------
    >>> import polars as pl
    >>> from skymere.lake import in_cone
    >>> table = pl.DataFrame({"ra": [0.0, 180.0, 0.0], "dec": [89.9999, 89.9999, 89.99]})
    >>> table.filter(in_cone("ra", "dec", 33.0, 90.0, radius_arcsec=1.0)).height
    2
    """
    centre_ra, centre_dec = (place if isinstance(place, int | float) else 0.0 for place in (ra0, dec0))
    check_cone(centre_ra, centre_dec, radius_arcsec)
    return separation(ra, dec, ra0, dec0) <= radius_arcsec


def check_box(ra: tuple[float, float], dec: tuple[float, float]) -> None:
    """Raise InvalidInputError when a box has no meaning."""
    for name, pair, low, high in (("ra", ra, -360.0, 360.0), ("dec", dec, -90.0, 90.0)):
        if len(pair) != 2 or not all(low <= value <= high for value in pair):
            msg = f"{name}: {pair} is not allowed, it must be two numbers from {low:g} to {high:g} degrees"
            raise InvalidInputError(msg)
    if dec[0] > dec[1]:
        msg = f"dec: {dec} is not allowed, the smaller one comes first"
        raise InvalidInputError(msg)


def in_box(ra: Place, dec: Place, *, ra_range: tuple[float, float], dec_range: tuple[float, float]) -> pl.Expr:
    """Return whether positions are between meridians and parallels, borders included, as a Polars expression.

    Parameters
    ----------
    ra, dec : str, float or polars.Expr
        The positions, ICRS, 0 to 360 and -90 to 90 [deg]; a text is the name of a column.
    ra_range : tuple of float
        Western and eastern border [deg]: ``(359, 1)`` and ``(-1, 1)`` are the same two degrees across RA 0, and
        ``(0, 360)`` is the whole circle.
    dec_range : tuple of float
        Southern and northern border [deg].

    Raises
    ------
    InvalidInputError
        When the box has no meaning.

    Examples
    --------
    >>> import polars as pl
    >>> from skymere.lake import in_box
    >>> table = pl.DataFrame({"ra": [359.5, 0.5, 2.0], "dec": [0.0, 0.0, 0.0]})
    >>> table.filter(in_box("ra", "dec", ra_range=(-1, 1), dec_range=(-1, 1)))["ra"].to_list()
    [359.5, 0.5]
    """
    check_box(ra_range, dec_range)
    a, d = _expression(ra), _expression(dec)
    west, east = (float(value) % 360.0 for value in ra_range)
    if abs(ra_range[1] - ra_range[0]) >= 360.0:
        return d.is_between(*dec_range)
    # A table may write the meridian of RA 0 as 0 or as 360.
    within = (a >= west) | (a <= east) if west > east else a.is_between(west, east)
    if west > east or west == 0.0:
        within |= a == 360.0
    elif east == 0.0:
        within |= a == 0.0
    return within & d.is_between(*dec_range)


def around(
    ra: NDArray[np.float64], dec: NDArray[np.float64], radius_arcsec: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return eight places ``(8, n)`` on the circle of ``radius_arcsec`` around each position ``ra, dec`` [deg]."""
    d, r = np.deg2rad(dec), np.deg2rad(radius_arcsec / 3600.0)
    turn = np.deg2rad(np.arange(0, 360, 45))[:, None]
    sin_d = np.sin(d) * np.cos(r) + np.cos(d) * np.sin(r) * np.cos(turn)
    dl = np.arctan2(np.sin(turn) * np.sin(r) * np.cos(d), np.cos(r) - np.sin(d) * sin_d)
    return (ra + np.rad2deg(dl)) % 360.0, np.rad2deg(np.arcsin(np.clip(sin_d, -1.0, 1.0)))


def polygon_middle(polygon: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return ``ra, dec`` and the radius of a circle [deg] around a polygon, ``(n, 2)`` ``ra, dec`` [deg]."""
    corners = unit_vectors(polygon[:, 0], polygon[:, 1])
    middle = corners.mean(axis=0)
    middle /= np.linalg.norm(middle)
    apart = np.arctan2(np.linalg.norm(np.cross(corners, middle), axis=1), corners @ middle)
    ra, dec = np.arctan2(middle[1], middle[0]), np.arctan2(middle[2], np.hypot(middle[0], middle[1]))
    return float(np.rad2deg(ra) % 360.0), float(np.rad2deg(dec)), float(np.rad2deg(apart.max()))


def _expression(place: Place) -> pl.Expr:
    if isinstance(place, str):
        return pl.col(place)
    return place if isinstance(place, pl.Expr) else pl.lit(float(place))


def polygon_contains(
    polygon: NDArray[np.float64], ra: NDArray[np.float64], dec: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Whether positions lie in a polygon whose sides are great circles; vertices ``(n, 2)`` ``ra, dec`` [deg]."""
    axes = _tangent_axes(polygon)
    vertices, _ = _project(axes, polygon[:, 0], polygon[:, 1])
    points, ahead = _project(axes, np.asarray(ra), np.asarray(dec))
    return ahead & _inside(vertices, points)


def polygons_overlap(a: NDArray[np.float64], b: NDArray[np.float64]) -> bool:
    """Whether two polygons ``a`` and ``b``, ``(n, 2)`` ``ra, dec`` [deg], share more than their edges."""
    axes = _tangent_axes(a)
    pa, _ = _project(axes, a[:, 0], a[:, 1])
    pb, ahead = _project(axes, b[:, 0], b[:, 1])
    if not ahead.all():
        return False
    return _cross(pa, pb) or bool(_inside(pa, _inner(pb)).any() or _inside(pb, _inner(pa)).any())


def unit_vectors(ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``(n, 3)`` unit vectors of positions [deg]."""
    a, d = np.deg2rad(ra), np.deg2rad(dec)
    return np.stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)], axis=-1)


def _tangent_axes(polygon: NDArray[np.float64]) -> NDArray[np.float64]:
    middle = unit_vectors(polygon[:, 0], polygon[:, 1]).sum(axis=0)
    middle /= np.linalg.norm(middle)
    helper = np.eye(3)[np.argmin(np.abs(middle))]
    east = np.cross(helper, middle)
    east /= np.linalg.norm(east)
    return np.stack([east, np.cross(middle, east), middle])


def _project(
    axes: NDArray[np.float64], ra: NDArray[np.float64], dec: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return positions on the tangent plane, where great circles are straight, and whether they are in front of it."""
    turned = unit_vectors(ra, dec) @ axes.T
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
