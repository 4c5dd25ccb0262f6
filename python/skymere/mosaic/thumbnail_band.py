"""One band of one thumbnail: the sums to which exposures are added."""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from skymere.background import estimate_pedestal
from skymere.datamodels import BandThumbnail, Exposure
from skymere.errors import InvalidInputError, NoDataError
from skymere.instruments import flam_of_zero_point
from skymere.mosaic.thumbnail_filters import Photometry, photometry_of
from skymere.psf import PsfSource, render_psf, render_psf_at
from skymere.resample import DrizzleParams, Drizzler, pixel_scale_ratio
from skymere.wcs import Grid, Transform, pixel_transform

__all__ = ["BandStack", "ExposureState", "state_of"]

# Pixels around the outline on the detector whose drops may reach it; Lanczos reaches 3.
_MARGIN_PIX = 4
_RATE = "electron / s"
# Places of the detector's pixels, along an axis, for each pixel of an oversampled PSF: drops that are smaller than it
# show their own place in it, larger ones overlap.
_STEPS_OF_SMALL_DROPS, _STEPS_OF_LARGE_DROPS = 4.0, 1.5


@dataclass(frozen=True, kw_only=True)
class ExposureState:
    """What is found out about an exposure when it is read for the first time.

    Parameters
    ----------
    sky : float
        What is subtracted [unit].
    variance : float
        Of the background: read noise and Poisson noise of the sky [unit^2].
    """

    sky: float
    variance: float


def state_of(exposure: Exposure, *, sky: Literal["auto", "given", "none"], ignore: tuple[str, ...]) -> ExposureState:
    """Return sky and noise of an exposure.

    Raises
    ------
    NoDataError
        When it has no good pixel, or no error that is known.
    InvalidInputError
        When its unit is no rate or count, or a name is not one of its DQ bits.
    """
    if exposure.unit not in (_RATE, "electron"):
        msg = f"exposures: unit {exposure.unit!r} of {exposure.exposure_id} is not 'electron / s' or 'electron'"
        raise InvalidInputError(msg)
    bad = exposure.mask(ignore=ignore)
    errors = exposure.error[~bad & (exposure.error > 0)]
    if not errors.size:
        msg = f"exposures: {exposure.exposure_id} has no good pixel with an error"
        raise NoDataError(msg)
    level = 0.0 if sky == "none" else exposure.sky
    if sky == "auto" and level == 0.0:
        level = estimate_pedestal(exposure.data, mask=bad).level
    return ExposureState(sky=float(level), variance=float(np.median(errors)) ** 2)


class BandStack:
    """The sums of one band of one thumbnail.

    Parameters
    ----------
    grid : Grid
        Pixels of the thumbnail.
    ra, dec : float
        Position [deg].
    params : DrizzleParams
        Kernel and drop.
    has_psf : bool
        Whether the PSF is drizzled, too.
    psf_oversample : int
        Pixels of a second image of the PSF per pixel, along an axis; 1 for none.
    is_merged : bool
        Whether exposures of several filters are added, whose zero points must be known then.
    """

    def __init__(
        self,
        grid: Grid,
        ra: float,
        dec: float,
        *,
        params: DrizzleParams,
        has_psf: bool,
        psf_oversample: int = 1,
        is_merged: bool = False,
    ) -> None:
        self.grid, self.ra, self.dec, self.is_merged = grid, ra, dec, is_merged
        self._data = Drizzler(grid.shape, params=replace(params, fillval=float("nan")), context=False)
        # Variance of all noise over that of the background.
        self._excess = Drizzler(grid.shape, params=params, context=False)
        empty = replace(params, fillval=0.0)
        self._psf = Drizzler(grid.shape, params=empty, context=False) if has_psf else None
        self._n_fine = psf_oversample if has_psf else 1
        self._fine_grid = grid.rescaled(1.0 / self._n_fine)
        self._fine = Drizzler(self._fine_grid.shape, params=empty, context=False) if self._n_fine > 1 else None
        self._light: list[float] = []
        self._photometry: Photometry | None = None
        # Filters, and of each the sum of weights and its pivot wavelength.
        self._filters: dict[str, tuple[float, float]] = {}
        self._position = tuple(v for v in grid.pixels(np.array([ra]), np.array([dec])))

    def add(
        self,
        exposure: Exposure,
        state: ExposureState,
        quad: NDArray[np.float64],
        *,
        source: PsfSource | None,
        ignore: tuple[str, ...],
    ) -> str:
        """Add an exposure.

        Parameters
        ----------
        exposure : Exposure
            Whole.
        state : ExposureState
            Its sky and noise.
        quad : ndarray, float64, shape (4, 2) [pix]
            Outline of the grid on its pixels.
        source : PSF or None
            PSF of the exposure.
        ignore : tuple of str
            DQ bits that count as good.

        Returns
        -------
        str
            Why nothing was added; empty when something was.
        """
        box = _box(exposure.shape, quad)
        if box is None:
            return "it has less than 2 x 2 pixels there"
        photometry = photometry_of(exposure)
        if self.is_merged and not np.isfinite(photometry.zero_point_ab):
            return "its zero point is not known, so that it cannot be merged with other filters"
        y0, y1, x0, x1 = box
        where = slice(y0, y1), slice(x0, x1)
        flags = None if exposure.flags is None else exposure.flags[where]
        part = replace(
            exposure, data=exposure.data[where], error=exposure.error[where], dq=exposure.dq[where], flags=flags
        )
        good = ~part.mask(ignore=ignore)
        if not good.any():
            return "all of its pixels there are bad"
        columns, rows = np.meshgrid(np.arange(x0, x1, dtype=np.float64), np.arange(y0, y1, dtype=np.float64))
        pixmap = np.stack(pixel_transform(exposure.wcs, self.grid.wcs)(columns, rows), axis=-1)
        ratio = self.grid.scale_arcsec / exposure.native_scale_arcsec
        if not np.isfinite(ratio):
            ratio = pixel_scale_ratio(pixmap)
        if self._photometry is None:
            self._photometry = photometry
        per_second = 1.0 if exposure.unit == _RATE else 1.0 / exposure.exptime
        value_scale = ratio**2 * per_second * self._to_common_zero_point(exposure, photometry)
        per_pixel = 1.0 / (state.variance * value_scale**2)
        known, _ = self._filters.get(exposure.band, (0.0, 0.0))
        self._filters[exposure.band] = known + per_pixel * float(np.count_nonzero(good)), photometry.photplam
        weight = good * np.float32(per_pixel)
        variance = part.variance
        self._data.add(
            part.data - np.float32(state.sky),
            pixmap,
            weight=weight,
            variance=variance,
            value_scale=value_scale,
            pixel_scale_ratio=ratio,
        )
        excess = variance / np.float32(state.variance)
        self._excess.add(excess, pixmap, weight=weight, pixel_scale_ratio=ratio)
        if self._psf is not None and source is not None:
            self._add_star(exposure, source, box, pixmap, ratio, per_pixel)
        return ""

    def _to_common_zero_point(self, exposure: Exposure, photometry: Photometry) -> float:
        """Return the factor that brings an exposure to the zero point of the first one."""
        assert self._photometry is not None
        zero, common = photometry.zero_point_ab, self._photometry.zero_point_ab
        # Of one filter the table says the same of all exposures, and what headers do not say is not compared.
        is_said = self.is_merged or np.isfinite(exposure.zero_point_ab)
        return float(10.0 ** (0.4 * (common - zero))) if is_said and np.isfinite(zero) and np.isfinite(common) else 1.0

    def _add_star(
        self,
        exposure: Exposure,
        source: PsfSource,
        box: tuple[int, int, int, int],
        pixmap: NDArray[np.float64],
        ratio: float,
        per_pixel: float,
    ) -> None:
        """Add a star at the position; pixels that are bad count, too, so that it holds for the surroundings."""
        assert self._psf is not None
        x, y = (float(v[0]) for v in pixel_transform(self.grid.wcs, exposure.wcs)(*self._position))
        if not (np.isfinite(x) and np.isfinite(y)):
            return
        stamp = render_psf(source, exposure, x, y, box=box)
        transform = pixel_transform(exposure.wcs, self.grid.wcs)
        # A flat-fielded pixel shows flux x nominal / true area; the truth changes slowly over a star.
        flat = 1.0 / (ratio**2 * _area(transform, x, y))
        self._psf.add(
            (stamp * flat).astype(np.float32),
            pixmap,
            weight=np.full(stamp.shape, np.float32(per_pixel)),
            value_scale=ratio**2,
            pixel_scale_ratio=ratio,
        )
        ny, nx = self.grid.shape
        inside = (np.abs(pixmap - [(nx - 1) / 2, (ny - 1) / 2]) < [nx / 2, ny / 2]).all(axis=-1)
        self._light.append(float(stamp[inside].sum()))
        if self._fine is not None:
            self._add_fine_star(self._fine, exposure, source, (x, y), box, ratio / self._n_fine, flat, per_pixel)

    def _add_fine_star(
        self,
        drizzler: Drizzler,
        exposure: Exposure,
        source: PsfSource,
        place: tuple[float, float],
        box: tuple[int, int, int, int],
        ratio: float,
        flat: float,
        per_pixel: float,
    ) -> None:
        """Add the star as an exposure would show it that was taken at many parts of a pixel beside itself."""
        x, y = place
        y0, y1, x0, x1 = box
        params = drizzler.params
        is_small = params.kernel == "point" or params.pixfrac < ratio
        n = int(np.ceil((_STEPS_OF_SMALL_DROPS if is_small else _STEPS_OF_LARGE_DROPS) / ratio)) | 1
        step = (np.arange(n) - (n - 1) / 2) / n
        columns = (np.arange(x0, x1)[:, np.newaxis] + step).ravel()
        rows = (np.arange(y0, y1)[:, np.newaxis] + step).ravel()
        xx, yy = np.meshgrid(columns, rows)
        stamp = (flat * render_psf_at(source, exposure.wcs, x, y, xx - x, yy - y)).astype(np.float32)
        pixmap = np.stack(pixel_transform(exposure.wcs, self._fine_grid.wcs)(xx, yy), axis=-1)
        weight = np.full((y1 - y0, x1 - x0), np.float32(per_pixel))
        for i in range(n * n):
            where = slice(i // n, None, n), slice(i % n, None, n)
            drizzler.add(stamp[where], pixmap[where], weight=weight, value_scale=ratio**2, pixel_scale_ratio=ratio)

    def finish(
        self,
        band: str,
        *,
        weight: Literal["inverse_variance_with_sources", "inverse_variance"],
        subtract_median: bool,
    ) -> BandThumbnail:
        """Return the thumbnail of the band; nothing can be added afterwards."""
        image, excess = self._data.finish(), self._excess.finish()
        covered = (image.weight > 0) & np.isfinite(image.data)
        assert image.variance is not None
        with_sources = np.divide(image.weight, excess.data, out=np.zeros_like(image.weight), where=covered)
        correlation = np.divide(
            1.0, with_sources * image.variance, out=np.full(image.data.shape, np.nan), where=covered
        )
        median = float(np.median(image.data[covered])) if subtract_median and covered.any() else 0.0
        planes = {"inverse_variance": np.where(covered, image.weight, np.float32(0))}
        planes["inverse_variance_with_sources"] = with_sources
        return BandThumbnail(
            band=band,
            data=np.where(covered, image.data - np.float32(median), np.float32(np.nan)),
            weight=planes[weight],
            weight_kind=weight,
            variance=np.where(covered, image.variance, np.float32(np.nan)),
            psf=self._star(self._psf),
            fine_psf=self._star(self._fine),
            psf_oversample=self._n_fine,
            filters=tuple(self._filters),
            coverage=float(np.mean(covered)),
            noise_correlation=float(np.sqrt(np.median(correlation[covered]))) if covered.any() else float("nan"),
            median=median,
            **self._described(),
        )

    def _described(self) -> dict[str, Any]:
        """Return the photometry of the band; of merged filters the pivot wavelengths are weighted as the data are."""
        one = self._photometry
        if one is None:
            return {}
        flam, plam = one.photflam, one.photplam
        weights, pivots = (np.array(values) for values in zip(*self._filters.values(), strict=True))
        if self.is_merged and np.unique(pivots).size > 1:
            known = pivots > 0
            plam = float((weights[known] * pivots[known]).sum() / weights[known].sum())
            flam = flam_of_zero_point(one.zero_point_ab, plam)
        return {
            "zero_point_ab": one.zero_point_ab,
            "photflam": flam,
            "photplam": plam,
            "photometry_from": one.photometry_from,
        }

    def _star(self, drizzler: Drizzler | None) -> NDArray[np.float32] | None:
        """Return the drizzled star with the sum of the light that falls on the grid."""
        if drizzler is None or not self._light:
            return None
        data = np.nan_to_num(drizzler.finish().data, nan=0.0)
        total = float(data.sum(dtype=float))
        return data * np.float32(max(self._light) / total) if total > 0 else None


def _box(shape: tuple[int, int], quad: NDArray[np.float64]) -> tuple[int, int, int, int] | None:
    """Return rows and columns of the detector around an outline; None when they are less than 2 x 2."""
    low = np.floor(quad.min(axis=0)).astype(int) - _MARGIN_PIX
    high = np.ceil(quad.max(axis=0)).astype(int) + _MARGIN_PIX + 1
    x0, x1 = max(int(low[0]), 0), min(int(high[0]), shape[1])
    y0, y1 = max(int(low[1]), 0), min(int(high[1]), shape[0])
    # The corners of drops need a neighbour in the pixel map.
    return (y0, y1, x0, x1) if x1 - x0 > 1 and y1 - y0 > 1 else None


def _area(transform: Transform, x: float, y: float) -> float:
    """Return the area of a detector's pixel on the output [output pix^2]."""
    step = np.array([0.5, -0.5, 0.0, 0.0])
    u, v = transform(x + step, y + step[[2, 3, 0, 1]])
    return float(abs((u[0] - u[1]) * (v[2] - v[3]) - (u[2] - u[3]) * (v[0] - v[1])))
