"""From mosaics of several bands to segments: any detection image, any method."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.background import BackgroundParams
from skymere.datamodels import Mosaic, SegmentationMap, StoredMosaic
from skymere.errors import InvalidInputError, NoDataError
from skymere.mosaic.detection_image import (
    DetectionImage,
    enough_exposures,
    plane_of,
    stack_of,
    subtract_background,
    without_pixels,
)
from skymere.segmentation import (
    DetectParams,
    MeasureImage,
    PeakParams,
    SignificanceParams,
    SkyNoise,
    detect,
    detect_peaks,
    gaussian_kernel,
    labels_on_grid,
    measure,
    measure_sky_noise,
    significance,
)
from skymere.segmentation.kernels import freeze_kernel
from skymere.segmentation.on_grid import SAME_GRID_PIX, distance_pix
from skymere.segmentation.peaks import smoothing_noise
from skymere.segmentation.significance import Statistic, usable_bands
from skymere.segmentation.sky_noise import SkyScatter
from skymere.wcs import Grid

__all__ = [
    "FindParams",
    "FoundSources",
    "Method",
    "as_plane",
    "band_to_measure",
    "check_flux_band",
    "check_mosaics",
    "find_sources",
    "flux_unit_of",
    "fluxes_in",
    "masks_of",
    "searched_as",
    "with_noise",
]

Method = Literal["threshold", "peaks"]

# Radius of the aperture for whose size the noise correlation is stated [pix].
_APERTURE_PIX = 5.0


@dataclass(frozen=True, kw_only=True)
class FindParams:
    """Parameters of `find_sources`.

    Parameters
    ----------
    image : str
        What is searched: ``stack``, the inverse-variance mean of the bands; ``chi_square`` or ``max_snr`` of them, see
        `skymere.segmentation.SignificanceParams`.
    method : str
        ``threshold``: `skymere.segmentation.detect`; ``peaks``: `skymere.segmentation.detect_peaks`.
    min_exposures : int
        A band counts only where at least this many exposures look, since nothing finds the cosmic rays of a single
        one; see `enough_exposures`. Bands with fewer exposures count everywhere.
    min_coverage : float
        A band with a smaller fraction of the pixels that any band has is left out.
    unusable : str
        Whether a band that is blank or left out is recorded (``record``) or an error (``raise``).
    flux_band : str
        Band whose fluxes decide on ``peaks.min_snr``; empty = the last one.
    background : BackgroundParams
        Mesh that is subtracted before.
    sources : DetectParams
        Thresholds and deblending of ``threshold``.
    peaks : PeakParams
        Widths, thresholds and limits of ``peaks``.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    image: Statistic = "stack"
    method: Method = "threshold"
    min_exposures: int = 2
    min_coverage: float = 0.0
    unusable: Literal["record", "raise"] = "record"
    flux_band: str = ""
    background: BackgroundParams = field(default_factory=BackgroundParams)
    sources: DetectParams = field(default_factory=DetectParams)
    peaks: PeakParams = field(default_factory=PeakParams)

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            msg = f"method: {self.method!r} is not allowed, it must be one of {', '.join(get_args(Method))}"
            raise InvalidInputError(msg)
        self.significance()

    def significance(self) -> SignificanceParams:
        """Return how the bands are combined, without a filter."""
        return SignificanceParams(
            statistic=self.image, kernel=None, min_coverage=self.min_coverage, unusable=self.unusable
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class FoundSources:
    """What `find_sources` found.

    Parameters
    ----------
    segmentation : SegmentationMap
        The segments.
    grid : Grid
        Their pixels.
    snr : ndarray, float32, shape (ny, nx)
        What was searched: S/N of a pixel of the stack, or significance after the filter; NaN where nothing covers.
    stack : DetectionImage
        Inverse-variance stack of the bands.
    planes : mapping of str to MeasureImage
        The bands without their background [uJy where the zero point is known], with the error of the sky.
    excluded : mapping of str to str
        Bands that were left out, and why.
    coverage : mapping of str to float
        Fraction of the pixels of any band that each band has.
    noise_correlation : float
        Noise of the filtered image over that of independent pixels; the largest of the bands.
    threshold : float
        What was asked of a pixel of ``snr``, filtered.
    table : polars.DataFrame or None
        Of ``peaks``: see `skymere.segmentation.PeakDetection`.
    mosaics : mapping of str to Mosaic
        The bands that know how their noise is correlated, without their background and with NaN where a plane has it.
    """

    segmentation: SegmentationMap
    grid: Grid
    snr: NDArray[np.float32]
    stack: DetectionImage
    planes: Mapping[str, MeasureImage]
    excluded: Mapping[str, str]
    coverage: Mapping[str, float]
    noise_correlation: float
    threshold: float
    table: pl.DataFrame | None = None
    mosaics: Mapping[str, Mosaic] = field(default_factory=dict)

    @property
    def flux_unit(self) -> str:
        """Unit of the fluxes; empty where no zero point is known."""
        return flux_unit_of(next(iter(self.planes.values())))

    def peak_snr(self) -> NDArray[np.float64]:
        """Return the largest ``snr`` in each segment, in the order of `SegmentationMap.ids`."""
        labels, ids = self.segmentation.labels, self.segmentation.ids
        within = (labels > 0) & np.isfinite(self.snr)
        largest = np.full(int(labels.max()) + 1, -np.inf)
        np.maximum.at(largest, labels[within], self.snr[within])
        return largest[ids]

    def images(self) -> dict[str, MeasureImage | Mosaic]:
        """Return the bands to be measured, with their noise covariance.

        Notes
        -----
        A band without one gets the errors and the one factor of noise correlation that its sky shows.
        """
        sky = self.segmentation.labels == 0
        return {
            band: self.mosaics[band] if band in self.mosaics else _with_sky_noise(plane, sky)
            for band, plane in self.planes.items()
        }

    def flux_table(self, band: str = "") -> pl.DataFrame:
        """Return what `skymere.io.write_detection` writes: peaks, areas and fluxes within the segments.

        Parameters
        ----------
        band : str, optional
            Band of the fluxes; empty = the last one.
        """
        if self.table is not None:
            return self.table
        name = band or list(self.planes)[-1]
        return fluxes_in(measure(self.segmentation, {name: self.images()[name]}, detection=name).table, name)


def fluxes_in(table: pl.DataFrame, band: str) -> pl.DataFrame:
    """Return what `skymere.io.write_detection` needs of a source table: the isophotal fluxes of a band."""
    renamed = {f"flux_iso_{band}": "flux", f"flux_iso_err_{band}": "flux_err"}
    return table.rename(renamed).select("label", "area", "x", "y", "ra", "dec", "flux", "flux_err")


def flux_unit_of(plane: MeasureImage) -> str:
    """Return the FITS unit of a plane: uJy where its zero point is known, else empty."""
    return "uJy" if np.isfinite(plane.zero_point_ab) else ""


def with_noise(plane: MeasureImage, variance: NDArray[np.float32], noise: SkyNoise | SkyScatter) -> MeasureImage:
    """Return a plane with the errors and the noise correlation of its sky."""
    area = np.array([round(np.pi * _APERTURE_PIX**2)])
    return replace(
        plane,
        error=np.nan_to_num(np.sqrt(variance), nan=np.inf),
        noise_correlation=float(noise.correlation(area)[0]),
    )


def find_sources(
    mosaics: Sequence[Mosaic],
    *,
    params: FindParams | None = None,
    mask: NDArray[np.bool_] | Mapping[str, NDArray[np.bool_]] | None = None,
    negative: bool = False,
) -> FoundSources:
    """Find the sources of mosaics on one grid.

    Parameters
    ----------
    mosaics : sequence of Mosaic
        Bands of different names.
    params : FindParams, optional
        Detection image, method and their numbers.
    mask : ndarray, bool, shape (ny, nx), or mapping of str to such arrays, optional
        True = do not use, in any band or in the bands that are named. What other bands show there is still found.
    negative : bool, optional
        Search the negative images instead, where all that is found is noise.

    Returns
    -------
    FoundSources
        The same for any number of threads.

    Raises
    ------
    InvalidInputError
        When there is none, bands have one name or different grids, some have no zero point and others have, a mask or
        ``flux_band`` is of another band, or a band cannot be used and that is to be an error.
    NoDataError
        When no band can be used.

    Notes
    -----
    With ``peaks`` every band is smoothed by itself and divided by its noise before the bands are combined; the result
    is scaled by what the smoothing leaves of white noise, so that ``detect_threshold`` means what it means in
    `detect_peaks`.
    """
    params = params or FindParams()
    names = check_mosaics(mosaics)
    grid = mosaics[0].grid
    bad = masks_of(mask, names)
    images = {m.band: _plane(without_pixels(m, bad.get(m.band)), params, negative=negative) for m in mosaics}
    usable, excluded, coverage = usable_bands(images, params.significance())
    reasons = dict(excluded) | {band: "no pixel is covered" for band, image in images.items() if image is None}
    if not usable:
        msg = f"mosaics: none of the bands {names} can be used: {reasons}"
        raise NoDataError(msg)
    planes = {band: image for band, image in images.items() if band in usable and image is not None}
    check_flux_band(params.flux_band, list(planes))
    stack = stack_of(planes)
    about = {
        "excluded": MappingProxyType(reasons),
        "coverage": MappingProxyType(dict(coverage)),
        "mosaics": MappingProxyType(
            {m.band: as_plane(m, planes[m.band]) for m in mosaics if m.band in planes and m.noise is not None}
        ),
    }
    common = {"grid": grid, "stack": stack, "planes": MappingProxyType(planes), **about}
    if params.method == "peaks":
        return _peaks(planes, mosaics, params, common)
    sources = params.sources
    if params.image == "stack":
        found = detect(stack.data, error=stack.error, mask=~np.isfinite(stack.data), grid=grid, params=sources)
        snr, correlation = stack.data / stack.error, float(found.params["noise_correlation"])
    else:
        together = significance(planes, params=replace(params.significance(), kernel=sources.kernel))
        snr, correlation = together.data, max(together.noise.values())
        found = detect(snr, error=1.0, mask=~np.isfinite(snr), grid=grid, params=searched_as(params))
    return FoundSources(
        segmentation=found,
        snr=snr,
        noise_correlation=correlation,
        threshold=sources.threshold,
        **common,  # type: ignore[arg-type]
    )


def searched_as(params: FindParams) -> DetectParams:
    """Return how a significance, which is filtered already, is searched."""
    sources = params.sources
    split = None if sources.deblend is None else replace(sources.deblend, kernel=None)
    return replace(sources, kernel=None, threshold_noise="filtered", deblend=split)


def _peaks(
    planes: Mapping[str, MeasureImage], mosaics: Sequence[Mosaic], params: FindParams, common: dict[str, object]
) -> FoundSources:
    flux_band = params.flux_band or list(planes)[-1]
    grid, peaks = mosaics[0].grid, params.peaks
    fwhm_pix = peaks.conv_fwhm_arcsec / grid.scale_arcsec
    kernel = freeze_kernel(gaussian_kernel(fwhm_pix)) if fwhm_pix > 0 else None
    together = significance(planes, params=replace(params.significance(), kernel=kernel))
    found = detect_peaks(
        together.data * np.float32(smoothing_noise(fwhm_pix)),
        grid=grid,
        flux_image=planes[flux_band],
        params=replace(peaks, conv_fwhm_arcsec=0.0),
    )
    told = {**found.segmentation.params, "conv_fwhm_arcsec": peaks.conv_fwhm_arcsec, "flux_band": flux_band}
    return FoundSources(
        segmentation=replace(found.segmentation, params=told),
        snr=together.data,
        noise_correlation=max(together.noise.values()),
        threshold=found.threshold / smoothing_noise(fwhm_pix),
        table=found.table,
        **common,  # type: ignore[arg-type]
    )


def check_mosaics(mosaics: Sequence[Mosaic] | Sequence[StoredMosaic]) -> list[str]:
    """Return the names of the bands.

    Raises
    ------
    InvalidInputError
        When they cannot be searched together.
    """
    names = [m.band for m in mosaics]
    if not names or len(set(names)) != len(names):
        msg = f"mosaics: bands {names} are not allowed, at least one and each only once"
        raise InvalidInputError(msg)
    shapes = [m.shape for m in mosaics]
    if len(set(shapes)) != 1:
        msg = f"mosaics: shapes {dict(zip(names, shapes, strict=True))} are not allowed, they must be equal"
        raise InvalidInputError(msg)
    for mosaic in mosaics[1:]:
        apart = distance_pix(mosaics[0].grid, mosaic.grid)
        if not apart < SAME_GRID_PIX:
            msg = f"mosaics: the grids of {names[0]} and {mosaic.band} differ by {apart:.3g} pixels, they must be one"
            raise InvalidInputError(msg)
    nameless = [m.band for m in mosaics if not np.isfinite(m.zero_point_ab)]
    if nameless and len(mosaics) > 1:
        msg = f"mosaics: bands {nameless} have no AB zero point and cannot be stacked with others"
        raise InvalidInputError(msg)
    return names


def masks_of(
    mask: NDArray[np.bool_] | Mapping[str, NDArray[np.bool_]] | None, bands: Sequence[str]
) -> Mapping[str, NDArray[np.bool_] | None]:
    """Return the mask of each band that has one.

    Raises
    ------
    InvalidInputError
        When one is of another band.
    """
    if not isinstance(mask, Mapping):
        return dict.fromkeys(bands, mask)
    if unknown := sorted(mask.keys() - set(bands)):
        msg = f"mask: {unknown} are not bands, it must be some of {list(bands)}"
        raise InvalidInputError(msg)
    return mask


def check_flux_band(flux_band: str, bands: Sequence[str]) -> None:
    """Raise when a band of fluxes is named that is not searched."""
    if flux_band and flux_band not in bands:
        msg = f"flux_band: {flux_band!r} is not allowed, it must be one of {list(bands)}"
        raise InvalidInputError(msg)


def _plane(mosaic: Mosaic, params: FindParams, *, negative: bool) -> MeasureImage | None:
    """Return a band without its background [uJy where known], or None when nothing covers it."""
    try:
        data, k = subtract_background(mosaic, params=params.background)
    except NoDataError:
        return None
    return plane_of(mosaic, data, k, enough_exposures(mosaic, params.min_exposures), negative=negative)


def band_to_measure(
    mosaic: Mosaic,
    segmentation: SegmentationMap,
    *,
    params: FindParams | None = None,
    mask: NDArray[np.bool_] | None = None,
) -> MeasureImage | Mosaic:
    """Return a band that was not searched, of any grid, without its background and with its noise.

    Parameters
    ----------
    mosaic : Mosaic
        The band.
    segmentation : SegmentationMap
        Its segments, with a grid, are no sky.
    params : FindParams, optional
        Mesh of the background and number of exposures.
    mask : ndarray, bool, shape (ny, nx), optional
        True = do not use.

    Returns
    -------
    MeasureImage or Mosaic
        For `skymere.segmentation.measure`, as `FoundSources.images` has them.

    Raises
    ------
    InvalidInputError
        When the segmentation has no grid, or the mask another shape.
    NoDataError
        When no pixel is covered, or there is too little sky to measure the noise.
    """
    plane = _plane(without_pixels(mosaic, mask), params or FindParams(), negative=False)
    if plane is None:
        msg = f"mosaic: band {mosaic.band} has no covered pixel"
        raise NoDataError(msg)
    if mosaic.noise is not None:
        return as_plane(mosaic, plane)
    return replace(_with_sky_noise(plane, labels_on_grid(segmentation, mosaic.grid) == 0), grid=mosaic.grid)


def _with_sky_noise(plane: MeasureImage, sky: NDArray[np.bool_]) -> MeasureImage:
    """Return a plane with the errors and the one factor of noise correlation that its sky shows."""
    data, error = np.asarray(plane.data, np.float32), np.asarray(plane.error, np.float32)
    noise = measure_sky_noise(data, sky, variance=np.square(error))
    return with_noise(plane, noise.variance, noise)


def as_plane(mosaic: Mosaic, plane: MeasureImage) -> Mosaic:
    """Return a mosaic with the pixels of its plane, in its own unit."""
    unit = mosaic.microjansky_per_unit if np.isfinite(mosaic.zero_point_ab) else 1.0
    return replace(mosaic, data=np.asarray(np.asarray(plane.data) / np.float32(unit), np.float32))
