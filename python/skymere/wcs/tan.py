"""From a coordinate system of astropy or of APE 14 to functions between pixels and sky."""

import copy
import re
from collections.abc import Callable
from typing import Any

import numpy as np
from astropy.wcs import WCS, DistortionLookupTable, NoConvergence
from numpy.typing import NDArray

from skymere._rust.wcs import Tan
from skymere.errors import InvalidInputError

__all__ = ["Transform", "as_tan", "pixel_transform", "pixels_to_sky"]

_Floats = NDArray[np.float64]
_Pair = tuple[float, float]

Transform = Callable[[NDArray[np.float64], NDArray[np.float64]], tuple[NDArray[np.float64], NDArray[np.float64]]]
"""``transform(x, y) -> (x, y)`` of float64 arrays of one shape."""

_INVERSE_TOLERANCE_PIX = 1e-9


def as_tan(wcs: Any) -> Tan | None:
    """Return the all-Rust form of an astropy WCS with TAN axes, or None for any other WCS.

    SIP polynomials are used in the forward direction only, and inverted by iteration; AP and BP are not read. Look-up
    tables (D2IM, CPDIS) are read as astropy reads them.
    """
    if not isinstance(wcs, WCS) or wcs.naxis != 2 or not wcs.has_celestial:
        return None
    header = copy.deepcopy(wcs.wcs)
    header.set()
    if header.get_pv() or not _is_plain_tan(header.to_header(relax=True)):
        return None
    sky = [header.lng, header.lat]
    matrix = (np.diag(header.get_cdelt()) @ header.get_pc())[sky]
    sip = None
    if wcs.sip is not None and wcs.sip.a is not None and wcs.sip.b is not None:
        a, b = (np.array(c, dtype=np.float64, order="C") for c in (wcs.sip.a, wcs.sip.b))
        sip = (a, b, _pair(wcs.sip.crpix - 1.0))
    return Tan(
        _pair(header.crval[sky]),
        _pair(header.crpix - 1.0),
        matrix.tolist(),
        float(header.lonpole),
        sip=sip,
        detector=(_table(wcs.det2im1), _table(wcs.det2im2)),
        residual=(_table(wcs.cpdis1), _table(wcs.cpdis2)),
    )


def _is_plain_tan(text: str) -> bool:
    """Whether the header that wcslib writes has TAN axes without a distortion of wcslib's own, such as TPV."""
    projections = re.findall(r"CTYPE\d *= '.{5}(...)", text)
    return projections == ["TAN", "TAN"] and "CPDIS" not in text and "CQDIS" not in text


def _table(table: DistortionLookupTable | None) -> tuple[NDArray[np.float32], _Pair, _Pair, _Pair] | None:
    if table is None:
        return None
    shifts = np.array(table.data, dtype=np.float32)
    return shifts, _pair(table.crpix), _pair(table.crval), _pair(table.cdelt)


def distortion_cards(wcs: WCS) -> dict[str, str | float]:
    """Return CTYPE and the coefficients of a distortion that wcslib itself evaluates, such as TPV; empty without one.

    A WCS that was read from TPV says that its axes are TAN; only its header names the distortion.
    """
    header = wcs.to_header(relax=True)
    cards = {key: header[key] for key in header if key.startswith(("PV", "DP", "DQ", "CPDIS", "CQDIS"))}
    is_hidden = str(header.get("CTYPE1", ""))[5:8] != str(wcs.wcs.ctype[0])[5:8] or "CQDIS1" in cards
    return cards | {key: header[key] for key in ("CTYPE1", "CTYPE2")} if is_hidden else {}


def _pair(values: _Floats) -> _Pair:
    return float(values[0]), float(values[1])


def pixel_transform(from_wcs: Any, to_wcs: Any) -> Transform:
    """Return the exact map from the pixels of one image to the pixels of another.

    Parameters
    ----------
    from_wcs, to_wcs : astropy.wcs.WCS or APE-14 object
        Two-dimensional celestial coordinate systems of the same kind of sky coordinates.

    Returns
    -------
    transform : callable
        ``transform(x, y) -> (x, y)``, 0-based positions [pix], NaN where there is none.

    Raises
    ------
    InvalidInputError
        When one of them is not a coordinate system of the sky, or their sky coordinates differ.

    Notes
    -----
    Sky coordinates of equatorial systems (ICRS, FK5) are taken as equal, as drizzle and AstroDrizzle take them.

    Examples
    --------
    >>> import numpy as np
    >>> from skymere.wcs import Grid, pixel_transform
    >>> fine = Grid.tangent(150.0, 2.0, shape=(200, 200), scale_arcsec=0.06)
    >>> transform = pixel_transform(fine.wcs, fine.cutout(10, 20, (50, 50)).wcs)
    >>> [float(axis.round(6)) for axis in transform(np.array(30.0), np.array(30.0))]
    [10.0, 20.0]
    """
    check_same_sky(from_wcs, to_wcs)
    tan_from, tan_to = as_tan(from_wcs), as_tan(to_wcs)
    if tan_from is not None and tan_to is not None:
        return _pointwise(lambda points: tan_from.map_points(tan_to, points))
    to_sky = _to_sky(from_wcs) if tan_from is None else _pointwise(tan_from.sky)
    to_pixels = _to_pixels(to_wcs) if tan_to is None else _pointwise(tan_to.pixels)

    def transform(x: _Floats, y: _Floats) -> tuple[_Floats, _Floats]:
        return to_pixels(*to_sky(x, y))

    return transform


def pixels_to_sky(wcs: Any, x: _Floats, y: _Floats) -> tuple[_Floats, _Floats]:
    """Return ``ra, dec`` [deg] of 0-based pixel positions of any coordinate system of the sky, without its bounds.

    Parameters
    ----------
    wcs : astropy.wcs.WCS or APE-14 object
        The coordinate system.
    x, y : ndarray, float64 [pix]
        Positions.

    Raises
    ------
    InvalidInputError
        When it is not a coordinate system of the sky.
    """
    return _to_sky(wcs, bounded=False)(x, y)


def check_same_sky(from_wcs: Any, to_wcs: Any) -> None:
    """Raise when two coordinate systems cannot be joined on the sky; radec systems (ICRS, FK5) are not told apart."""
    kinds = []
    for name, wcs in (("from_wcs", from_wcs), ("to_wcs", to_wcs)):
        if getattr(wcs, "pixel_n_dim", None) != 2 or getattr(wcs, "world_n_dim", None) != 2:
            msg = f"{name}: {type(wcs).__name__} is not allowed, it must be a two-dimensional WCS of the sky"
            raise InvalidInputError(msg)
        kinds.append(_sky_axes(wcs, name)[0])
    if kinds[0] != kinds[1]:
        msg = f"to_wcs: its sky coordinates {kinds[1]} are not those of from_wcs, {kinds[0]}"
        raise InvalidInputError(msg)


def _sky_axes(wcs: Any, name: str = "wcs") -> tuple[tuple[str, str], tuple[int, int]]:
    """Return the physical types of longitude and latitude, and the world axes on which they are."""
    types = [str(kind) for kind in wcs.world_axis_physical_types]
    for longitude, latitude in (("ra", "dec"), ("lon", "lat")):
        for first, second in ((0, 1), (1, 0)):
            if types[first].endswith(f".{longitude}") and types[second].endswith(f".{latitude}"):
                return (types[first], types[second]), (first, second)
    msg = f"{name}: world axes {types} are not allowed, they must be longitude and latitude on the sky"
    raise InvalidInputError(msg)


def _pointwise(function: Callable[[_Floats], _Floats]) -> Transform:
    """Return a function of two arrays from one of positions ``(n, 2)``."""

    def transform(x: _Floats, y: _Floats) -> tuple[_Floats, _Floats]:
        x, y = np.broadcast_arrays(np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64))
        points = function(np.column_stack([x.ravel(), y.ravel()]))
        return points[:, 0].reshape(x.shape), points[:, 1].reshape(x.shape)

    return transform


def _to_sky(wcs: Any, *, bounded: bool = True) -> Transform:
    first, second = _sky_axes(wcs)[1]
    # Only a gwcs has bounds, and is itself the function without them.
    is_free = not bounded and callable(wcs) and hasattr(wcs, "bounding_box")

    def transform(x: _Floats, y: _Floats) -> tuple[_Floats, _Floats]:
        world = wcs(x, y, with_bounding_box=False) if is_free else wcs.pixel_to_world_values(x, y)
        return np.asarray(world[first]), np.asarray(world[second])

    return transform


def _to_pixels(wcs: Any) -> Transform:
    first, second = _sky_axes(wcs)[1]

    def transform(longitude: _Floats, latitude: _Floats) -> tuple[_Floats, _Floats]:
        world = [longitude, latitude] if first < second else [latitude, longitude]
        if isinstance(wcs, WCS):
            return _astropy_pixels(wcs, world)
        x, y = wcs.world_to_pixel_values(*world)
        return np.asarray(x), np.asarray(y)

    return transform


def _astropy_pixels(wcs: WCS, world: list[_Floats]) -> tuple[_Floats, _Floats]:
    """Return pixel positions by astropy's iteration, NaN where it does not converge."""
    shape = world[0].shape
    flat = np.column_stack([axis.ravel() for axis in world])
    is_known = np.isfinite(flat).all(axis=1)
    found = np.full(flat.shape, np.nan)
    try:
        found[is_known] = wcs.all_world2pix(flat[is_known], 0, tolerance=_INVERSE_TOLERANCE_PIX, maxiter=50)
    except NoConvergence as failure:
        best = np.array(failure.best_solution)
        for bad in (failure.divergent, failure.slow_conv):
            if bad is not None:
                best[bad] = np.nan
        found[is_known] = best
    return found[:, 0].reshape(shape), found[:, 1].reshape(shape)
