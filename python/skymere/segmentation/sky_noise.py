"""The noise of sums of pixels, measured on the sky between the sources."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skymere._rust import resample as _resample
from skymere.datamodels import NoiseCovariance
from skymere.errors import NoDataError
from skymere.resample.position import cells_with
from skymere.resample.ranks import median_of_parts
from skymere.segmentation.windows import partition, widened

__all__ = ["SkyNoise", "SkyScatter", "measure_sky_noise", "measure_sky_scatter"]

_REACH_PIX = 8
_BOX_PIX = 64
_CLIP_SIGMA = 5.0
_LEAST_PIXELS = 1000
# Pixels on which the correlation is measured, about.
_N_PIXELS = 1 << 22
# Boxes that are looked at together.
_GROUP = 128
# R hardly changes between radii so close.
_STEPS_PER_OCTAVE = 8


@dataclass(frozen=True, kw_only=True, eq=False)
class SkyNoise:
    """The sky of an image.

    Parameters
    ----------
    level : float
        Median of the sky pixels [unit].
    variance : ndarray, float32, shape (ny, nx) [unit^2]
        Of the sky in every pixel; NaN where the image cannot be used.
    covariance : NoiseCovariance
        Correlation of the noise of neighbours.
    """

    level: float
    variance: NDArray[np.float32]
    covariance: NoiseCovariance

    def correlation(self, area_pix: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return R of sums over so many pixels, as circles: their noise over that of independent pixels."""
        return SkyScatter(level=self.level, sigma=1.0, covariance=self.covariance).correlation(area_pix)


def measure_sky_noise(
    data: NDArray[np.float32], sky: NDArray[np.bool_], *, variance: NDArray[np.float32] | None = None
) -> SkyNoise:
    """Return the noise of an image.

    Parameters
    ----------
    data : ndarray, float32, shape (ny, nx) [unit]
        The image.
    sky : ndarray of bool, shape (ny, nx)
        Pixels without sources.
    variance : ndarray, float32, shape (ny, nx), optional
        How the variance changes over the image, in any unit; pixels where it is not positive and finite are not used.
        Without it all pixels are equal.

    Raises
    ------
    NoDataError
        When fewer than 1000 sky pixels can be used, or they are all equal.

    Notes
    -----
    The level is the median and the scatter 1.4826 MAD of the sky pixels in units of the given errors, so only the
    ratios of these count. The correlation at each distance is the mean product of the pairs of sky pixels, clipped at 5
    sigma.
    """

    def read(rows: slice, columns: slice) -> SkyPlanes:
        return data[rows, columns], sky[rows, columns], None if variance is None else variance[rows, columns]

    shape = (data.shape[0], data.shape[1])
    scatter = measure_sky_scatter(read, shape, side=max(shape))
    return SkyNoise(level=scatter.level, variance=scatter.variance(data, variance), covariance=scatter.covariance)


SkyPlanes = tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.float32] | None]
"""Image, sky and variance of a window."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SkyScatter:
    """The sky of an image, without its pixels.

    Parameters
    ----------
    level : float
        Median of the sky pixels [unit].
    sigma : float
        Their scatter in units of the errors that were given.
    covariance : NoiseCovariance
        Correlation of the noise of neighbours.
    """

    level: float
    sigma: float
    covariance: NoiseCovariance

    def variance(self, data: NDArray[np.float32], variance: NDArray[np.float32] | None) -> NDArray[np.float32]:
        """Return the variance of the sky in the pixels of a window; NaN where the image cannot be used."""
        relative = _relative(data, variance)
        known = np.square(relative * np.float32(self.sigma))
        return np.where(_good(data, variance), known, np.float32(np.nan)).astype(np.float32)

    def correlation(self, area_pix: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return R of sums over so many pixels, as circles: their noise over that of independent pixels."""
        radius = np.sqrt(np.maximum(area_pix, 1) / np.pi)
        steps = np.rint(_STEPS_PER_OCTAVE * np.log2(radius))
        rounded, inverse = np.unique(2.0 ** (steps / _STEPS_PER_OCTAVE), return_inverse=True)
        at = np.zeros(len(rounded))
        factors: NDArray[np.float64] = self.covariance.aperture_factor(rounded, y=at, x=at)[inverse]
        return factors


def measure_sky_scatter(
    read: Callable[[slice, slice], SkyPlanes], shape: tuple[int, int], *, side: int = 4096
) -> SkyScatter:
    """Return the noise of an image that is read block by block, the same for any side of the blocks.

    Parameters
    ----------
    read : callable
        ``read(rows, columns)`` returns data, sky and variance (or None) of a window, as `measure_sky_noise` takes them.
    shape : tuple of int
        ``(ny, nx)`` of the image.
    side : int, optional
        Side of the blocks [pix].

    Raises
    ------
    NoDataError
        As `measure_sky_noise`.
    """
    blocks = [(slice(*rows), slice(*columns)) for rows, columns in partition(shape, -(-side // _BOX_PIX) * _BOX_PIX)]

    def values(of: Callable[[NDArray[np.float32], NDArray[np.float32] | None], NDArray[np.float32]]) -> Any:
        for block in blocks:
            data, sky, variance = read(*block)
            yield of(data, variance)[sky & _good(data, variance)]

    level, n = median_of_parts(lambda: values(lambda data, _: data))
    if n < _LEAST_PIXELS:
        msg = f"data: {n} pixels of sky, at least {_LEAST_PIXELS} are needed for its noise"
        raise NoDataError(msg)
    middle, _ = median_of_parts(lambda: values(lambda d, v: np.abs((d - level) / _relative(d, v))))
    sigma = float(1.4826 * middle)
    if not sigma > 0:
        msg = "data: the pixels of the sky are all equal, so they have no noise"
        raise NoDataError(msg)

    def residual(rows: slice, columns: slice) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        data, sky, variance = read(rows, columns)
        scaled = (data - level) / _relative(data, variance)
        blank = sky & _good(data, variance) & (np.abs(scaled) < _CLIP_SIGMA * sigma)
        return np.where(blank, scaled, np.float32(0)), blank

    kernel = _correlation(residual, blocks, shape)
    noise = NoiseCovariance(kernels=kernel[np.newaxis], class_map=np.zeros((1, 1), np.uint8), classes=("sky",))
    return SkyScatter(level=float(level), sigma=sigma, covariance=noise)


def _good(data: NDArray[np.float32], variance: NDArray[np.float32] | None) -> NDArray[np.bool_]:
    good = np.isfinite(data)
    return good if variance is None else good & np.isfinite(variance) & (variance > 0)


def _relative(data: NDArray[np.float32], variance: NDArray[np.float32] | None) -> NDArray[np.float32]:
    if variance is None:
        return np.ones(1, np.float32)
    return np.sqrt(np.where(_good(data, variance), variance, np.float32(1)))


def _correlation(
    residual: Callable[[slice, slice], tuple[NDArray[np.float32], NDArray[np.bool_]]],
    blocks: list[tuple[slice, slice]],
    shape: tuple[int, int],
) -> NDArray[np.float64]:
    """Return the mean product of pixels at each distance over the mean square."""
    found = [np.empty((0, 4), np.int64)]
    for rows, columns in blocks:
        here, _ = cells_with(residual(rows, columns)[1], _BOX_PIX)
        found.append(here + np.array([rows.start, columns.start, 0, 0]))
    boxes = np.concatenate(found)
    boxes = boxes[np.lexsort((boxes[:, 1], boxes[:, 0]))]
    boxes = boxes[:: max(1, len(boxes) * _BOX_PIX**2 // _N_PIXELS)]
    sums = [_lag_sums(residual, boxes[i : i + _GROUP], shape) for i in range(0, len(boxes), _GROUP)]
    products, pairs = np.sum(sums, axis=0)
    mean = np.divide(products, pairs, out=np.zeros_like(products), where=pairs > 0)
    symmetric = 0.5 * (mean + mean[::-1, ::-1])
    return np.asarray(symmetric / symmetric[_REACH_PIX, _REACH_PIX], np.float64)


def _lag_sums(
    residual: Callable[[slice, slice], tuple[NDArray[np.float32], NDArray[np.bool_]]],
    boxes: NDArray[np.int64],
    shape: tuple[int, int],
) -> NDArray[np.float64]:
    """Return sums of products and numbers of pairs at each distance, from boxes and what is around them."""
    n, pitch = len(boxes), _BOX_PIX + 2 * _REACH_PIX
    # Side by side, so that no more pixels are held than are looked at.
    across = int(np.ceil(np.sqrt(n)))
    sheet = np.zeros((-(-n // across) * pitch, across * pitch), np.float32)
    blank = np.zeros(sheet.shape, bool)
    places = boxes.copy()
    for i, (y, x, h, w) in enumerate(boxes.tolist()):
        (y0, y1), (x0, x1) = widened(((y, y + h), (x, x + w)), (_REACH_PIX, _REACH_PIX), shape)
        top, left = i // across * pitch + _REACH_PIX, i % across * pitch + _REACH_PIX
        at = slice(top + y0 - y, top + y1 - y), slice(left + x0 - x, left + x1 - x)
        sheet[at], blank[at] = residual(slice(y0, y1), slice(x0, x1))
        places[i, :2] = top, left
    classes = np.where(blank, 0, 255).astype(np.uint8)
    images = (sheet, blank.astype(np.float32))
    return np.stack(
        [
            _resample.lag_products(places, np.zeros(n, np.uint8), np.ones(n), classes, 1, _REACH_PIX, image)[0]
            for image in images
        ]
    )
