"""Detection that grows segments from their peaks: the rules of `make_detect`."""

from dataclasses import asdict, dataclass

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_image, as_mask
from skymere._rust import segmentation as _rust
from skymere.datamodels import Mosaic, SegmentationMap
from skymere.errors import InvalidInputError, NoDataError
from skymere.segmentation.kernels import gaussian_kernel
from skymere.segmentation.planes import MeasureImage, parts_of
from skymere.segmentation.sky_noise import measure_sky_noise
from skymere.wcs import Grid

__all__ = ["PeakDetection", "PeakParams", "detect_peaks", "smoothing_noise"]


@dataclass(frozen=True, kw_only=True)
class PeakParams:
    """Parameters of `detect_peaks`; the numbers are those of `make_detect`, at any size of the pixels.

    Parameters
    ----------
    conv_fwhm_arcsec : float
        Full width at half maximum of the Gaussian that smooths the S/N image; 0 is none [arcsec].
    detect_threshold : float
        Least value of a pixel of a segment, above the median of the smoothed image [S/N of a pixel before smoothing].
    deblend_threshold_arcsec : float
        A pixel joins a segment that it meets within this many steps along rows and columns [arcsec].
    min_area : int
        Least number of pixels of a segment.
    min_snr : float
        Least flux over error of a segment in ``flux_image``.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    conv_fwhm_arcsec: float = 0.2
    detect_threshold: float = 1.0
    deblend_threshold_arcsec: float = 0.4
    min_area: int = 10
    min_snr: float = 10.0

    def __post_init__(self) -> None:
        for name in ("conv_fwhm_arcsec", "deblend_threshold_arcsec"):
            value = getattr(self, name)
            if not 0 <= value < np.inf:
                msg = f"{name}: {value} is not allowed, it must be 0 or positive [arcsec]"
                raise InvalidInputError(msg)
        if not 0 < self.detect_threshold < np.inf:
            msg = f"detect_threshold: {self.detect_threshold} is not allowed, it must be positive"
            raise InvalidInputError(msg)
        if self.min_area < 1:
            msg = f"min_area: {self.min_area} is not allowed, it must be at least 1 pixel"
            raise InvalidInputError(msg)
        if not np.isfinite(self.min_snr):
            msg = f"min_snr: {self.min_snr} is not allowed, it must be finite"
            raise InvalidInputError(msg)

    def reach_pix(self, scale_arcsec: float) -> int:
        """Return ``deblend_threshold_arcsec`` in whole steps [pix]."""
        return int(np.floor(self.deblend_threshold_arcsec / scale_arcsec + 1e-9))


@dataclass(frozen=True, kw_only=True, eq=False)
class PeakDetection:
    """What `detect_peaks` found.

    Parameters
    ----------
    segmentation : SegmentationMap
        Labels by decreasing peak; numbers of segments below ``min_snr`` do not occur.
    table : polars.DataFrame
        A row for each label: ``label``; ``area`` [pix]; ``x``, ``y``, the peak, 0-based [pix]; ``ra``, ``dec`` [deg],
        null without a grid; ``peak``, its value in ``snr``; ``flux``, ``flux_err`` [uJy, or the image's unit when its
        zero point is unknown], null without ``flux_image``.
    snr : ndarray, float32, shape (ny, nx)
        The smoothed S/N image; NaN where nothing can be detected.
    threshold : float
        What was asked of its pixels: the median plus ``detect_threshold``.
    n_faint : int
        Number of segments below ``min_snr``.
    """

    segmentation: SegmentationMap
    table: pl.DataFrame
    snr: NDArray[np.float32]
    threshold: float
    n_faint: int


def smoothing_noise(fwhm_pix: float) -> float:
    """Return the noise that `gaussian_kernel` leaves of white noise; 1 for a width of 0."""
    if fwhm_pix == 0:
        return 1.0
    return float(np.sqrt(np.square(gaussian_kernel(fwhm_pix), dtype=np.float64).sum()))


def detect_peaks(
    snr: ArrayLike,
    *,
    mask: ArrayLike | None = None,
    grid: Grid | None = None,
    scale_arcsec: float | None = None,
    flux_image: Mosaic | MeasureImage | None = None,
    params: PeakParams | None = None,
) -> PeakDetection:
    """Find sources as `make_detect` does: segments grow from their peaks, brightest first.

    Parameters
    ----------
    snr : array_like, float32, shape (ny, nx)
        S/N of every pixel, not smoothed; pixels that are not finite are never detected. It must not change during the
        call.
    mask : array_like, bool, shape (ny, nx), optional
        True = do not use.
    grid : Grid, optional
        WCS of the image: gives the size of its pixels, and is kept with the labels.
    scale_arcsec : float, optional
        Side of a pixel, where there is no grid [arcsec].
    flux_image : Mosaic or MeasureImage, optional
        Image on these pixels whose fluxes and errors the table gets; segments below ``min_snr`` in it become sky.
    params : PeakParams, optional
        Widths, thresholds and limits.

    Returns
    -------
    PeakDetection
        Segments by decreasing peak of the smoothed S/N; the same for any number of threads.

    Raises
    ------
    InvalidInputError
        When shapes differ, or the size of a pixel is unknown.
    NoDataError
        When no pixel can be used, or ``flux_image`` has no sky from which its noise can be learned.

    Notes
    -----
    The image is smoothed with `convolve`: pixels that cannot be used do not count, where `make_detect` takes them as 0.
    In decreasing order every pixel that is not below the threshold takes the label of the nearest ring, in steps along
    rows and columns, that holds labelled pixels (of several the one nearest to its segment's peak; of equal ones the
    first in raster order) up to ``deblend_threshold_arcsec``, or becomes the peak of a new segment. Pixels that are not
    4-connected to their peak become sky. Segments below ``min_area`` go to the large segment that they touch whose peak
    is nearest, or become sky.

    The flux of a segment is its sum above the median of the sky, its error ``R sqrt(sum s^2)`` with the sky noise s,
    scaled to what the sky shows, and R of a circle of the segment's area from the correlation of the sky's pixels.

    Examples
    --------
    >>> import numpy as np
    >>> from skymere.segmentation import detect_peaks
    >>> y, x = np.mgrid[:64, :64]
    >>> two = sum(20.0 * np.exp(-((x - at) ** 2 + (y - 30) ** 2) / 8) for at in (20, 32))
    >>> detect_peaks(two, scale_arcsec=0.06).segmentation.n_sources
    2
    """
    params = params or PeakParams()
    pixels = as_image(snr, "snr")
    shape = (pixels.shape[0], pixels.shape[1])
    scale = _scale(grid, scale_arcsec, shape)
    bad = ~np.isfinite(pixels)
    if mask is not None:
        bad |= as_mask(mask, "mask", shape=shape)
    if bad.all():
        msg = f"snr: none of the {pixels.size} pixels is finite and not masked"
        raise NoDataError(msg)
    smooth = _smoothed(pixels, bad, params.conv_fwhm_arcsec / scale)
    threshold = float(np.median(smooth[~bad])) + params.detect_threshold
    labels, x, y = _rust.peak_first(
        smooth, threshold=threshold, reach=params.reach_pix(scale), min_area=params.min_area
    )
    table = _table(labels, x.astype(np.int64), y.astype(np.int64), smooth, grid)
    n_faint = 0
    if flux_image is not None:
        table = _with_flux(table, labels, flux_image)
        is_kept = table.select((pl.col("flux") >= params.min_snr * pl.col("flux_err")).fill_null(value=False))
        keep = np.concatenate([[True], is_kept.to_series().to_numpy()])
        n_faint = int(np.count_nonzero(~keep))
        labels = np.where(keep[labels], labels, 0).astype(np.int32)
        table = table.filter(keep[1:])
    segmentation = SegmentationMap(
        labels=labels, grid=grid, params={"method": "peaks", **asdict(params), "threshold": threshold}
    )
    return PeakDetection(segmentation=segmentation, table=table, snr=smooth, threshold=threshold, n_faint=n_faint)


def _scale(grid: Grid | None, scale_arcsec: float | None, shape: tuple[int, int]) -> float:
    if grid is not None and grid.shape != shape:
        msg = f"snr: shape {shape} is not allowed, the grid has {grid.shape}"
        raise InvalidInputError(msg)
    if (grid is None) == (scale_arcsec is None):
        msg = "grid, scale_arcsec: exactly one of the two must say how large a pixel is"
        raise InvalidInputError(msg)
    scale = grid.scale_arcsec if grid is not None else float(scale_arcsec)  # type: ignore[arg-type]
    if not 0 < scale < np.inf:
        msg = f"scale_arcsec: {scale} is not allowed, it must be positive"
        raise InvalidInputError(msg)
    return scale


def _smoothed(pixels: NDArray[np.float32], bad: NDArray[np.bool_], fwhm_pix: float) -> NDArray[np.float32]:
    if fwhm_pix == 0:
        return np.where(bad, np.float32(np.nan), pixels)
    smooth = _rust.convolve(pixels, gaussian_kernel(fwhm_pix), bad, None)
    smooth[bad] = np.nan
    return smooth


def _table(
    labels: NDArray[np.int32],
    x: NDArray[np.int64],
    y: NDArray[np.int64],
    smooth: NDArray[np.float32],
    grid: Grid | None,
) -> pl.DataFrame:
    n = len(x)
    ra, dec = (None, None) if grid is None else grid.sky(x.astype(np.float64), y.astype(np.float64))
    empty = np.full(n, np.nan)
    table = pl.DataFrame(
        {
            "label": np.arange(1, n + 1, dtype=np.int32),
            "area": np.bincount(labels.ravel(), minlength=n + 1)[1:].astype(np.int64),
            "x": x.astype(np.float64),
            "y": y.astype(np.float64),
            "ra": empty if ra is None else ra,
            "dec": empty if dec is None else dec,
            "peak": smooth[y, x].astype(np.float64),
            "flux": empty,
            "flux_err": empty,
        }
    )
    return table.with_columns(pl.col("ra", "dec", "flux", "flux_err").fill_nan(None))


def _with_flux(table: pl.DataFrame, labels: NDArray[np.int32], image: Mosaic | MeasureImage) -> pl.DataFrame:
    """Return the table with fluxes in an image."""
    parts = parts_of(image, "flux_image", shape=(labels.shape[0], labels.shape[1]))
    data = parts.data if parts.mask is None else np.where(parts.mask, np.float32(np.nan), parts.data)
    relative = parts.variance
    if isinstance(image, Mosaic):
        # The sky's own variance, without that of the sources.
        with np.errstate(divide="ignore"):
            relative = np.where(image.weight > 0, 1.0 / image.weight, np.float32(np.nan)).astype(np.float32)
    sky = measure_sky_noise(data, labels == 0, variance=relative)
    sums = _rust.segment_sums(labels, data - np.float32(sky.level), sky.variance)
    is_known = sums["n_good"] > 0
    error = sky.correlation(sums["area"]) * np.sqrt(sums["variance"])
    return table.with_columns(
        flux=np.where(is_known, sums["flux"], np.nan) * parts.scale,
        flux_err=np.where(is_known, error, np.nan) * parts.scale,
    ).with_columns(pl.col("flux", "flux_err").fill_nan(None))
