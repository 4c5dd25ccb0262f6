"""Undistorted pixel grids of the sky: what mosaics are drizzled to."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from astropy.wcs import WCS, DistortionLookupTable, NoConvergence, Sip
from astropy.wcs.utils import proj_plane_pixel_scales
from numpy.typing import NDArray

from skymere.errors import InvalidInputError
from skymere.wcs.cards import wcs_cards, wcs_from_cards
from skymere.wcs.tan import pixels_to_sky

__all__ = ["Grid", "mean_rotation"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Grid:
    """A rectangular grid of pixels on the sky.

    Parameters
    ----------
    wcs : astropy.wcs.WCS
        Celestial WCS of the pixels.
    shape : tuple of int
        ``(ny, nx)``.

    Raises
    ------
    InvalidInputError
        When the WCS has no celestial axes or the shape is not two positive numbers.
    """

    wcs: WCS
    shape: tuple[int, int]

    def __post_init__(self) -> None:
        if not isinstance(self.wcs, WCS) or not self.wcs.has_celestial or self.wcs.naxis != 2:
            msg = "wcs: a grid needs a two-dimensional celestial astropy WCS"
            raise InvalidInputError(msg)
        shape = tuple(int(n) for n in self.shape)
        if len(shape) != 2 or min(shape) < 1:
            msg = f"shape: {self.shape} is not allowed, it must be two positive numbers (ny, nx)"
            raise InvalidInputError(msg)
        object.__setattr__(self, "shape", shape)

    @classmethod
    def tangent(
        cls,
        ra: float,
        dec: float,
        *,
        shape: tuple[int, int],
        scale_arcsec: float,
        rotation_deg: float = 0.0,
    ) -> Self:
        """Return a TAN grid centred on a position, north up when ``rotation_deg`` is 0.

        Parameters
        ----------
        ra, dec : float
            Centre of the grid, ICRS [deg].
        shape : tuple of int
            ``(ny, nx)``.
        scale_arcsec : float
            Side of a pixel [arcsec].
        rotation_deg : float, optional
            Position angle of the grid's y axis, from north through east [deg].

        Raises
        ------
        InvalidInputError
            When the scale is not positive or the shape is not allowed.
        """
        if not scale_arcsec > 0:
            msg = f"scale_arcsec: {scale_arcsec} is not allowed, it must be positive"
            raise InvalidInputError(msg)
        wcs = WCS(naxis=2)
        wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
        wcs.wcs.cunit = ["deg", "deg"]
        wcs.wcs.radesys = "ICRS"
        wcs.wcs.crval = [ra, dec]
        wcs.wcs.crpix = [(shape[1] + 1) / 2, (shape[0] + 1) / 2]
        angle = np.deg2rad(rotation_deg)
        turn = np.array([[-np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        wcs.wcs.cd = turn * (scale_arcsec / 3600.0)
        wcs.wcs.set()
        return cls(wcs=wcs, shape=shape)

    @classmethod
    def covering(
        cls,
        footprints: Iterable[tuple[Any, tuple[int, int]]],
        *,
        scale_arcsec: float,
        rotation_deg: float | Literal["mean"] = 0.0,
        margin_pix: int = 8,
    ) -> Self:
        """Return the smallest TAN grid that covers the footprints of several images.

        Parameters
        ----------
        footprints : iterable of (WCS, (ny, nx))
            The images, with coordinates of astropy or of APE 14; their distortion is used.
        scale_arcsec : float
            As in `tangent`.
        rotation_deg : float or "mean", optional
            As in `tangent`; or the mean orientation of the images, see `mean_rotation`.
        margin_pix : int, optional
            Border around the union of the footprints [pix].

        Raises
        ------
        InvalidInputError
            When there is no footprint.
        """
        images = list(footprints)
        if not images:
            msg = "footprints: at least one image is needed"
            raise InvalidInputError(msg)
        if isinstance(rotation_deg, str):
            if rotation_deg != "mean":
                msg = f"rotation_deg: {rotation_deg!r} is not allowed, it must be a number or 'mean'"
                raise InvalidInputError(msg)
            rotation_deg = mean_rotation(images)
        sky = np.concatenate([_edge_sky(wcs, shape) for wcs, shape in images])
        vectors = _unit_vectors(sky)
        centre = vectors.mean(axis=0)
        ra = float(np.rad2deg(np.arctan2(centre[1], centre[0])) % 360.0)
        dec = float(np.rad2deg(np.arctan2(centre[2], np.hypot(centre[0], centre[1]))))
        trial = cls.tangent(ra, dec, shape=(1, 1), scale_arcsec=scale_arcsec, rotation_deg=rotation_deg)
        x, y = trial.wcs.wcs_world2pix(sky[:, 0], sky[:, 1], 0)
        x0, y0 = np.floor(x.min()) - margin_pix, np.floor(y.min()) - margin_pix
        shape = (int(np.ceil(y.max()) + margin_pix - y0) + 1, int(np.ceil(x.max()) + margin_pix - x0) + 1)
        wcs = trial.wcs.deepcopy()
        wcs.wcs.crpix = [trial.wcs.wcs.crpix[0] - x0, trial.wcs.wcs.crpix[1] - y0]
        wcs.wcs.set()
        return cls(wcs=wcs, shape=shape)

    @classmethod
    def from_cards(cls, cards: Mapping[str, Any], shape: tuple[int, int]) -> Self:
        """Return the grid whose FITS WCS cards are ``cards``; the inverse of `cards`."""
        return cls(wcs=wcs_from_cards(cards), shape=shape)

    def cards(self) -> dict[str, Any]:
        """Return the FITS WCS cards of the grid, ready for JSON."""
        return wcs_cards(self.wcs)

    @property
    def scale_arcsec(self) -> float:
        """Side of a pixel at the reference point [arcsec]."""
        return float(np.sqrt(np.prod(proj_plane_pixel_scales(self.wcs))) * 3600.0)

    def cutout(self, y0: int, x0: int, shape: tuple[int, int]) -> "Grid":
        """Return the window of ``shape`` whose first pixel is ``[y0, x0]`` of this grid, with its distortions."""
        return Grid(wcs=_on_pixels(self.wcs, (x0, y0), 1.0), shape=shape)

    def rescaled(self, factor: float) -> "Grid":
        """Return a grid of the same sky, up to a part of a pixel more, with pixels of ``factor`` times the side.

        Its distortions are those of this grid.

        Raises
        ------
        InvalidInputError
            When the factor is not positive.
        """
        if not 0 < factor < np.inf:
            msg = f"factor: {factor} is not allowed, it must be positive"
            raise InvalidInputError(msg)
        wcs = _on_pixels(self.wcs, (0, 0), factor)
        if wcs.wcs.has_cd():
            wcs.wcs.cd = wcs.wcs.cd * factor
        else:
            wcs.wcs.cdelt = wcs.wcs.cdelt * factor
        wcs.wcs.set()
        ny, nx = (int(np.ceil(n / factor - 1e-9)) for n in self.shape)
        return Grid(wcs=wcs, shape=(ny, nx))

    def sky(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return ``ra, dec`` [deg] of 0-based pixel positions."""
        ra, dec = self.wcs.all_pix2world(x, y, 0)
        return np.asarray(ra), np.asarray(dec)

    def pixels(
        self, ra: NDArray[np.float64], dec: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return 0-based ``x, y`` [pix] of sky positions [deg]; NaN where the image has no place for them."""
        if not self.wcs.has_distortion:
            x, y = self.wcs.all_world2pix(ra, dec, 0)
            return np.asarray(x), np.asarray(y)
        ra, dec = np.broadcast_arrays(ra, dec)
        sky = np.column_stack([np.ravel(ra), np.ravel(dec)]).astype(np.float64)
        found = np.full(sky.shape, np.nan)
        has_place = np.isfinite(self.wcs.wcs_world2pix(sky, 0)).all(axis=1)
        if has_place.any():
            found[has_place] = _undistorted(self.wcs, sky[has_place])
        return found[:, 0].reshape(ra.shape), found[:, 1].reshape(ra.shape)

    def outline(self) -> str:
        """Return the corners as an STC-S polygon, ICRS."""
        return "POLYGON ICRS " + " ".join(f"{value:.8f}" for value in self.corners().ravel())

    def corners(self) -> NDArray[np.float64]:
        """Return ``(4, 2)`` ``ra, dec`` [deg] of the outer corners of the grid, counter-clockwise in pixels."""
        ny, nx = self.shape
        ra, dec = self.sky(np.array([-0.5, nx - 0.5, nx - 0.5, -0.5]), np.array([-0.5, -0.5, ny - 0.5, ny - 0.5]))
        return np.column_stack([ra, dec])


def mean_rotation(footprints: Iterable[tuple[Any, tuple[int, int]]]) -> float:
    """Return the mean position angle of the y axes of several images in their middles [deg].

    Parameters
    ----------
    footprints : iterable of (WCS, (ny, nx))
        The images, with coordinates of astropy or of APE 14.

    Raises
    ------
    InvalidInputError
        When there is no image, or their directions cancel.

    Notes
    -----
    Directions are averaged as unit vectors, so that 359 and 1 degree give 0.

    Examples
    --------
    >>> from skymere.wcs import Grid, mean_rotation
    >>> turned = [Grid.tangent(10.0, 5.0, shape=(9, 9), scale_arcsec=1.0, rotation_deg=a) for a in (350.0, 14.0)]
    >>> round(mean_rotation([(grid.wcs, grid.shape) for grid in turned]), 6)
    2.0
    """
    directions = np.array([_up(wcs, shape) for wcs, shape in footprints])
    if not directions.size or np.hypot(*directions.mean(axis=0)) < 1e-6:
        msg = f"footprints: {len(directions)} images have no mean orientation"
        raise InvalidInputError(msg)
    east, north = directions.mean(axis=0)
    return float(np.rad2deg(np.arctan2(east, north)))


def _on_pixels(wcs: WCS, first: tuple[int, int], factor: float) -> WCS:
    """Return reference pixel and distortions on pixels of ``factor`` times the side that begin with ``first``.

    The linear part is that of the old pixels.
    """

    def moved(crpix: Any) -> tuple[float, float]:
        # FITS pixels are 1-based, so that 0.5 is the outer edge of the first one.
        x, y = ((float(p) - p0 - 0.5) / factor + 0.5 for p, p0 in zip(crpix, first, strict=True))
        return x, y

    made = wcs.deepcopy()
    made.wcs.crpix = moved(wcs.wcs.crpix)
    if (sip := wcs.sip) is not None:
        made.sip = Sip(*(_scaled(terms, factor) for terms in (sip.a, sip.b, sip.ap, sip.bp)), moved(sip.crpix))
    for name in ("cpdis1", "cpdis2", "det2im1", "det2im2"):
        if (table := getattr(wcs, name)) is not None:
            steps = tuple(float(step) / factor for step in table.cdelt)
            values = np.asarray(table.data / factor, np.float32)
            setattr(made, name, DistortionLookupTable(values, table.crpix, moved(table.crval), steps))
    made.wcs.set()
    return made


def _scaled(terms: NDArray[np.float64] | None, factor: float) -> NDArray[np.float64] | None:
    """Return coefficients of ``u^i v^j`` for offsets in pixels of ``factor`` times the side."""
    if terms is None:
        return None
    i, j = np.indices(terms.shape)
    return np.asarray(terms * float(factor) ** (i + j - 1))


def _undistorted(wcs: WCS, sky: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``(n, 2)`` pixels, NaN where the inverse of the distortion does not converge: far from the image."""
    try:
        return np.asarray(wcs.all_world2pix(sky, 0))
    except NoConvergence as failure:
        found = np.array(failure.best_solution)
        for bad in (failure.divergent, failure.slow_conv):
            if bad is not None:
                found[bad] = np.nan
        return found


def _up(wcs: Any, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return the unit vector ``(east, north)`` of the y axis in the middle of an image."""
    x, y = (shape[1] - 1) / 2, (shape[0] - 1) / 2
    ra, dec = np.deg2rad(pixels_to_sky(wcs, np.array([x, x]), np.array([y - 0.5, y + 0.5])))
    step = np.array([np.sin(ra[1] - ra[0]) * np.cos(dec[1]), np.sin(dec[1] - dec[0])])
    return np.asarray(step / np.hypot(*step))


def _edge_sky(wcs: Any, shape: tuple[int, int], n: int = 32) -> NDArray[np.float64]:
    """Return ``(4 n, 2)`` ``ra, dec`` [deg] along the outer edge of an image."""
    ny, nx = shape
    t = np.linspace(0.0, 1.0, n)
    x = np.concatenate([t * nx, np.full(n, nx), t * nx, np.zeros(n)]) - 0.5
    y = np.concatenate([np.zeros(n), t * ny, np.full(n, ny), t * ny]) - 0.5
    return np.column_stack(pixels_to_sky(wcs, x, y))


def _unit_vectors(sky: NDArray[np.float64]) -> NDArray[np.float64]:
    ra, dec = np.deg2rad(sky).T
    return np.column_stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])
