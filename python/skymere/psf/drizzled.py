"""The PSF of a mosaic: drawn into every exposure and drizzled as the data were."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skymere.datamodels import Exposure, WeightKind
from skymere.errors import InvalidInputError, NoDataError
from skymere.psf.grid import PsfGrid
from skymere.psf.models import PsfFormula
from skymere.psf.sampled import Psf, pixel_nodes
from skymere.resample import DrizzleParams, Drizzler, pixel_scale_ratio
from skymere.resample.weights import exposure_weight
from skymere.wcs import Grid, pixel_transform

__all__ = ["PsfSource", "drizzle_psf", "render_psf", "render_psf_at"]

# Further out a formula changes little over a pixel, and fewer nodes give 1e-6 of the light.
_NEAR_PIX = 8.0

PsfSource = Psf | PsfGrid | PsfFormula
"""Of a detector: one PSF, one that changes over it, or a formula on the sky."""


def render_psf(
    source: PsfSource, exposure: Exposure, x: float, y: float, *, box: tuple[int, int, int, int]
) -> NDArray[np.float64]:
    """Return what the pixels of an exposure show of a star of flux 1.

    Parameters
    ----------
    source : Psf, PsfGrid, GaussianPsf, MoffatPsf or GaussianMixturePsf
        PSF on the detector's pixels, or a formula on the sky, which goes through the exposure's coordinates.
    exposure : Exposure
        Whose pixels.
    x, y : float
        Where the star is, 0-based [pix].
    box : tuple of int
        First and last row and first and last column, ``(y0, y1, x0, x1)``, the last ones not included.

    Returns
    -------
    ndarray, float64, shape (y1 - y0, x1 - x0)
        The sum over all pixels is 1 but for what the PSF does not enclose.
    """
    y0, y1, x0, x1 = box
    yy, xx = np.mgrid[y0:y1, x0:x1].astype(np.float64)
    return render_psf_at(source, exposure.wcs, x, y, xx - x, yy - y)


def render_psf_at(
    source: PsfSource,
    wcs: Any,
    x: float,
    y: float,
    dx: NDArray[np.float64],
    dy: NDArray[np.float64],
    *,
    place: tuple[float, float] | None = None,
) -> NDArray[np.float64]:
    """Return what pixels at any distance from a star of flux 1 would show; see `render_psf`.

    Parameters
    ----------
    source : Psf, PsfGrid, GaussianPsf, MoffatPsf or GaussianMixturePsf
        The PSF.
    wcs : astropy.wcs.WCS or APE-14 object
        Coordinates of the pixels.
    x, y : float
        Where the star is on them, 0-based [pix].
    dx, dy : ndarray, float64, shape (...)
        Middles of pixels minus the star; they need not be whole pixels apart [pix].
    place : tuple of float, optional
        Where the star is on the whole detector, for a PSF that changes over it; ``(x, y)`` when not given [pix].

    Returns
    -------
    ndarray, float64, shape (...)
        Light of each pixel.
    """
    if isinstance(source, PsfGrid):
        source = source.at(*((x, y) if place is None else place))
    if isinstance(source, Psf):
        return source.pixels(dx, dy)
    return _draw_formula(source, wcs, dx, dy, x, y)


def _draw_formula(
    source: PsfFormula,
    wcs: Any,
    dx: NDArray[np.float64],
    dy: NDArray[np.float64],
    x: float,
    y: float,
) -> NDArray[np.float64]:
    """Integrate a formula over pixels, with the coordinates linear around the star."""
    jacobian = _jacobian(wcs, x, y)
    area = abs(float(np.linalg.det(jacobian)))
    out = np.empty(dx.shape)
    near = np.hypot(dx, dy) < _NEAR_PIX
    for where, n in ((near, 8), (~near, 3)):
        steps, weights = pixel_nodes(n)
        sub_x, sub_y = dx[where, None, None] + steps, dy[where, None, None] + steps[:, None]
        east = jacobian[0, 0] * sub_x + jacobian[0, 1] * sub_y
        north = jacobian[1, 0] * sub_x + jacobian[1, 1] * sub_y
        out[where] = (source.sky_density(east, north) * weights).sum(axis=(-2, -1)) * area
    return out


def _jacobian(wcs: Any, x: float, y: float) -> NDArray[np.float64]:
    """East and north offset [arcsec] of one pixel in x and in y."""
    ra, dec = (float(v) for v in wcs.pixel_to_world_values(x, y))
    around = Grid.tangent(ra, dec, shape=(1, 1), scale_arcsec=1.0)
    step = np.array([0.5, -0.5, 0.0, 0.0])
    west, north = pixel_transform(wcs, around.wcs)(x + step, y + step[[2, 3, 0, 1]])
    return np.array([[west[1] - west[0], west[3] - west[2]], [north[0] - north[1], north[2] - north[3]]])


def drizzle_psf(
    exposures: Iterable[Exposure],
    grid: Grid,
    ra: float,
    dec: float,
    *,
    source: PsfSource | Callable[[Exposure], PsfSource],
    size_pix: int = 101,
    params: DrizzleParams | None = None,
    weight: WeightKind = "exposure_time",
    ignore: Iterable[str] = (),
    use_masks: bool = True,
) -> Psf:
    """Return the PSF of a mosaic at a position.

    A star of flux 1 is drawn into every exposure and drizzled with the same coordinates, masks, weights, grid, kernel
    and pixfrac as the data.

    Parameters
    ----------
    exposures : iterable of Exposure
        Those of the mosaic, with their flags; taken one at a time.
    grid : Grid
        That of the mosaic.
    ra, dec : float
        Where the star is [deg].
    source : Psf, PsfGrid, GaussianPsf, MoffatPsf, GaussianMixturePsf, or callable
        PSF of the exposures, or what gives it for each.
    size_pix : int, optional
        Side of the image, odd [pix of the grid].
    params : DrizzleParams, optional
        Those of the mosaic.
    weight, ignore
        Those of the mosaic; see `skymere.resample.drizzle`.
    use_masks : bool, optional
        Leave rejected pixels out, as in the mosaic at this very place; otherwise the PSF is that without rejections,
        which holds for its surroundings as well.

    Returns
    -------
    Psf
        On the pixels of the grid, ``size_pix`` around the one that holds the position; with the pixel's response and
        normalised to what it encloses of the PSF of the exposures.

    Raises
    ------
    InvalidInputError
        When the size is not odd.
    NoDataError
        When no exposure has good pixels there.

    Notes
    -----
    Light is drawn as flat-fielded exposures show it: an exposure's pixel of area A counts 1 / A of the light that falls
    on it, so that drizzled surface brightness is right wherever pixels differ in area.
    """
    if size_pix < 3 or size_pix % 2 == 0:
        msg = f"size_pix: {size_pix} is not allowed, it must be odd and at least 3"
        raise InvalidInputError(msg)
    params = DrizzleParams() if params is None else params
    ignore = tuple(ignore)
    gx, gy = (float(v[0]) for v in grid.pixels(np.array([ra]), np.array([dec])))
    half = size_pix // 2
    x0, y0 = int(np.floor(gx + 0.5)) - half, int(np.floor(gy + 0.5)) - half
    window = grid.cutout(y0, x0, (size_pix, size_pix))
    drizzler = Drizzler(window.shape, params=params)
    reach_arcsec = 0.5 * np.sqrt(2.0) * (size_pix + 4) * grid.scale_arcsec
    for exposure in exposures:
        there = pixel_transform(window.wcs, exposure.wcs)(np.array([gx - x0]), np.array([gy - y0]))
        x, y = (float(v[0]) for v in there)
        if not _is_near(exposure.shape, x, y):
            continue
        reach = int(np.ceil(reach_arcsec / _pixel_arcsec(exposure, x, y))) + 2
        box = _box_on(exposure.shape, x, y, reach)
        if box is None:
            continue
        mine = source(exposure) if callable(source) else source
        _add(drizzler, exposure, window, mine, (x, y), box, weight=weight, ignore=ignore, use_masks=use_masks)
    image = drizzler.finish()
    if not (image.weight > 0).any():
        msg = f"exposures: none has a good pixel at ra = {ra:.6f}, dec = {dec:.6f}"
        raise NoDataError(msg)
    data = np.nan_to_num(image.data, nan=0.0)
    total = float(data.sum(dtype=float))
    if not total > 0:
        msg = f"exposures: they show {total:g} of the light of a star at ra = {ra:.6f}, dec = {dec:.6f}"
        raise NoDataError(msg)
    psf = Psf(data=data, x=gx - x0, y=gy - y0, has_pixel=True, enclosed=min(total, 1.0), position=(x0, y0))
    return psf.normalised()


def _pixel_arcsec(exposure: Exposure, x: float, y: float) -> float:
    return float(np.sqrt(abs(np.linalg.det(_jacobian(exposure.wcs, x, y)))))


def _is_near(shape: tuple[int, int], x: float, y: float) -> bool:
    """Return whether a position is on the detector, or no further from it than that is wide."""
    return bool(-shape[1] < x < 2 * shape[1] and -shape[0] < y < 2 * shape[0])


def _box_on(shape: tuple[int, int], x: float, y: float, reach: int) -> tuple[int, int, int, int] | None:
    """Return the part of the detector within reach of a position; None when it is less than 2 x 2 pixels."""
    x0, x1 = max(int(np.floor(x)) - reach, 0), min(int(np.floor(x)) + reach + 2, shape[1])
    y0, y1 = max(int(np.floor(y)) - reach, 0), min(int(np.floor(y)) + reach + 2, shape[0])
    # The corners of drops need a neighbour in the pixel map.
    return (y0, y1, x0, x1) if x1 - x0 > 1 and y1 - y0 > 1 else None


def _add(
    drizzler: Drizzler,
    exposure: Exposure,
    window: Grid,
    source: PsfSource,
    place: tuple[float, float],
    box: tuple[int, int, int, int],
    *,
    weight: WeightKind,
    ignore: tuple[str, ...],
    use_masks: bool,
) -> None:
    """Add the star of one exposure."""
    y0, y1, x0, x1 = box
    stamp = render_psf(source, exposure, *place, box=box)
    columns, rows = np.meshgrid(np.arange(x0, x1, dtype=np.float64), np.arange(y0, y1, dtype=np.float64))
    pixmap = np.stack(pixel_transform(exposure.wcs, window.wcs)(columns, rows), axis=-1)
    nominal = exposure.native_scale_arcsec
    ratio = window.scale_arcsec / nominal
    if not np.isfinite(ratio):
        ratio = pixel_scale_ratio(pixmap)
        nominal = window.scale_arcsec / ratio
    # A flat-fielded pixel shows flux x nominal / true area; the truth changes slowly over a star.
    flat = nominal**2 / _pixel_arcsec(exposure, *place) ** 2
    part = _cut(exposure, box)
    good = ~part.mask(ignore=ignore) if use_masks else np.ones(part.shape, bool)
    per_second = 1.0 if exposure.unit == "electron / s" else 1.0 / exposure.exptime
    weights = exposure_weight(part, weight, good=good, value_scale=ratio**2 * per_second, per_second=per_second)
    drizzler.add(
        (stamp * flat).astype(np.float32), pixmap, weight=weights, value_scale=ratio**2, pixel_scale_ratio=ratio
    )


def _slices(box: tuple[int, int, int, int]) -> tuple[slice, slice]:
    y0, y1, x0, x1 = box
    return slice(y0, y1), slice(x0, x1)


def _cut(exposure: Exposure, box: tuple[int, int, int, int]) -> Exposure:
    """Return a part of an exposure; its coordinates are those of the whole and not to be used."""
    where = _slices(box)
    flags = None if exposure.flags is None else exposure.flags[where]
    return replace(exposure, data=exposure.data[where], error=exposure.error[where], dq=exposure.dq[where], flags=flags)
