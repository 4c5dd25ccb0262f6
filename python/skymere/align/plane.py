"""The tangent plane in which positions are compared, and what a linear map of it makes of a WCS."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from astropy.wcs import WCS
from numpy.typing import ArrayLike, NDArray

from skymere.errors import InvalidInputError
from skymere.wcs import corrected_gwcs, is_gwcs, pixel_transform, pixels_to_sky

__all__ = ["CorrectedWcs", "LinearMap", "TangentPlane", "corrected_wcs", "footprint", "pixel_scale"]

_STEP_DEG = 10.0 / 3600.0


@dataclass(frozen=True, kw_only=True, eq=False)
class LinearMap:
    """``p -> matrix (p - centre) + centre + shift``.

    Parameters
    ----------
    matrix : ndarray, float64, shape (2, 2)
        Linear part.
    centre, shift : ndarray, float64, shape (2,) [arcsec]
        The point about which it turns, and how that moves.
    """

    matrix: NDArray[np.float64]
    centre: NDArray[np.float64]
    shift: NDArray[np.float64]

    @classmethod
    def identity(cls) -> Self:
        """Return the map that changes nothing."""
        return cls(matrix=np.eye(2), centre=np.zeros(2), shift=np.zeros(2))

    def apply(self, positions: ArrayLike) -> NDArray[np.float64]:
        """Return where positions ``(n, 2)`` go [arcsec]."""
        return (np.asarray(positions) - self.centre) @ self.matrix.T + self.centre + self.shift

    @property
    def rotation_deg(self) -> float:
        """Mean rotation of both axes, from x to y [deg]."""
        (a, b), (c, d) = self.matrix
        return float(np.rad2deg(np.arctan2(c - b, a + d)))

    @property
    def scale(self) -> float:
        """Square root of the factor of areas."""
        return float(np.sqrt(abs(np.linalg.det(self.matrix))))


@dataclass(frozen=True, kw_only=True)
class TangentPlane:
    """Standard coordinates about a position: x to the east, y to the north.

    Parameters
    ----------
    ra, dec : float
        Where the plane touches the sky, ICRS [deg].
    """

    ra: float
    dec: float

    @classmethod
    def around(cls, ra: NDArray[np.float64], dec: NDArray[np.float64]) -> Self:
        """Return the plane that touches the sky in the middle of positions [deg]."""
        a, d = np.deg2rad(ra), np.deg2rad(dec)
        x, y, z = (float(np.mean(c)) for c in (np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)))
        return cls(ra=float(np.rad2deg(np.arctan2(y, x)) % 360), dec=float(np.rad2deg(np.arctan2(z, np.hypot(x, y)))))

    @cached_property
    def wcs(self) -> WCS:
        """Its WCS, whose pixels are 1 arcsec wide."""
        return _tangent(self.ra, self.dec, 1 / 3600)

    def of_pixels(self, wcs: Any, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return positions ``(n, 2)`` [arcsec] of 0-based pixels of an image."""
        return np.column_stack(pixel_transform(wcs, self.wcs)(x, y))

    def of_sky(self, ra: ArrayLike, dec: ArrayLike) -> NDArray[np.float64]:
        """Return positions ``(n, 2)`` [arcsec] of ``ra, dec`` [deg]; NaN a quarter of the sky away."""
        return np.column_stack(self.wcs.all_world2pix(np.asarray(ra), np.asarray(dec), 0))

    def sky(self, positions: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return ``ra, dec`` ``(n, 2)`` [deg] of positions."""
        return np.asarray(self.wcs.all_pix2world(positions, 0))


def _tangent(ra: float, dec: float, scale_deg: float) -> WCS:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.cunit = ["deg", "deg"]
    wcs.wcs.radesys = "ICRS"
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.crpix = [1.0, 1.0]
    wcs.wcs.cdelt = [scale_deg, scale_deg]
    wcs.wcs.set()
    return wcs


def footprint(wcs: Any, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return ``ra, dec`` ``(4, 2)`` [deg] of the outer corners of an image.

    Parameters
    ----------
    wcs : astropy.wcs.WCS or APE-14 object
        Its coordinates.
    shape : tuple of int
        ``(ny, nx)``.
    """
    ny, nx = shape
    x, y = np.array([-0.5, nx - 0.5, nx - 0.5, -0.5]), np.array([-0.5, -0.5, ny - 0.5, ny - 0.5])
    return np.column_stack(pixels_to_sky(wcs, x, y))


def pixel_scale(wcs: Any, shape: tuple[int, int]) -> float:
    """Return the side of a pixel in the middle of an image [arcsec].

    Parameters
    ----------
    wcs : astropy.wcs.WCS or APE-14 object
        Its coordinates.
    shape : tuple of int
        ``(ny, nx)``.
    """
    x, y = (shape[1] - 1) / 2, (shape[0] - 1) / 2
    ra, dec = pixels_to_sky(wcs, np.array([x, x + 0.5, x - 0.5, x, x]), np.array([y, y, y, y + 0.5, y - 0.5]))
    plane = TangentPlane(ra=float(ra[0]), dec=float(dec[0]))
    _, right, left, up, down = plane.of_sky(ra, dec)
    return float(np.sqrt(abs(np.linalg.det(np.column_stack([right - left, up - down])))))


class CorrectedWcs:
    """Coordinates that are neither astropy's nor a gwcs after a linear map of a tangent plane.

    It speaks the low-level interface of APE 14. World coordinates are ``ra, dec`` [deg].

    Parameters
    ----------
    wcs : APE-14 object
        The coordinates before.
    plane : TangentPlane
        The plane of the map.
    correction : LinearMap
        From where ``wcs`` puts things to where they are.
    """

    pixel_n_dim = world_n_dim = 2
    world_axis_physical_types = ("pos.eq.ra", "pos.eq.dec")
    world_axis_units = ("deg", "deg")

    def __init__(self, wcs: Any, plane: TangentPlane, correction: LinearMap) -> None:
        self.parent, self.plane, self.correction = wcs, plane, correction
        self._to_plane, self._to_pixels = pixel_transform(wcs, plane.wcs), pixel_transform(plane.wcs, wcs)

    def pixel_to_world_values(self, x: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return ``ra, dec`` [deg] of 0-based pixels."""
        x, y = np.broadcast_arrays(np.asarray(x, float), np.asarray(y, float))
        flat = np.column_stack(self._to_plane(x.ravel(), y.ravel()))
        ra, dec = self.plane.sky(self.correction.apply(flat)).T
        return ra.reshape(x.shape), dec.reshape(x.shape)

    def world_to_pixel_values(self, ra: ArrayLike, dec: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return 0-based pixels of ``ra, dec`` [deg]."""
        ra, dec = np.broadcast_arrays(np.asarray(ra, float), np.asarray(dec, float))
        linear = self.correction
        there = self.plane.of_sky(ra.ravel(), dec.ravel()) - linear.centre - linear.shift
        x, y = self._to_pixels(*(np.linalg.solve(linear.matrix, there.T) + linear.centre[:, None]))
        return x.reshape(ra.shape), y.reshape(ra.shape)


def corrected_wcs(wcs: Any, plane: TangentPlane, correction: LinearMap) -> Any:
    """Return a WCS after a linear map of a tangent plane; its distortion stays.

    Parameters
    ----------
    wcs : astropy.wcs.WCS or APE-14 object
        What is corrected; it is not changed.
    plane : TangentPlane
        The plane of the map.
    correction : LinearMap
        From where the WCS puts things to where they are.

    Returns
    -------
    astropy.wcs.WCS, gwcs.WCS or CorrectedWcs
        As ``wcs``; the last of other APE-14 objects.

    Raises
    ------
    InvalidInputError
        When the WCS is not one of the sky.

    Notes
    -----
    CRVAL goes where the map takes it. CD is multiplied by the derivative of the map from the old plane at CRVAL to the
    new one, which is linear but for the product of the correction and the square of the distance.
    """
    if is_gwcs(wcs):
        offset = correction.shift + correction.centre - correction.matrix @ correction.centre
        return corrected_gwcs(wcs, plane.ra, plane.dec, correction.matrix, offset)
    if not isinstance(wcs, WCS) and hasattr(wcs, "world_to_pixel_values"):
        return CorrectedWcs(wcs, plane, correction)
    if not isinstance(wcs, WCS) or not wcs.has_celestial or wcs.naxis != 2:
        msg = f"wcs: {type(wcs).__name__} is not allowed, it must be a two-dimensional celestial astropy WCS"
        raise InvalidInputError(msg)
    axes = [wcs.wcs.lng, wcs.wcs.lat]
    old_crval = np.asarray(wcs.wcs.crval)[axes]
    new_crval = plane.sky(correction.apply(plane.of_sky(*old_crval[:, None])))[0]
    old, new = (_tangent(float(ra), float(dec), 1.0) for ra, dec in (old_crval, new_crval))
    steps = _STEP_DEG * np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    moved = plane.sky(correction.apply(plane.of_sky(*old.all_pix2world(steps, 0).T)))
    east, west, north, south = new.all_world2pix(moved, 0)
    derivative = np.column_stack([east - west, north - south]) / (2 * _STEP_DEG)
    out = wcs.deepcopy()
    crval = np.array(out.wcs.crval)
    crval[axes] = new_crval
    out.wcs.crval = crval
    place = np.ix_(axes, axes)
    turn = np.eye(2)
    turn[place] = derivative
    if out.wcs.has_cd():
        out.wcs.cd = turn @ out.wcs.cd
    else:
        cdelt = np.diag(out.wcs.get_cdelt())
        out.wcs.pc = np.linalg.inv(cdelt) @ turn @ cdelt @ out.wcs.get_pc()
    out.wcs.set()
    return out
