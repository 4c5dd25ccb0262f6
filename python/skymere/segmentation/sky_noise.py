"""The noise of sums of pixels, measured on the sky between the sources."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skymere._rust import resample as _resample
from skymere.datamodels import NoiseCovariance
from skymere.errors import NoDataError
from skymere.resample.position import cells_with

__all__ = ["SkyNoise", "measure_sky_noise"]

_REACH_PIX = 8
_BOX_PIX = 64
_CLIP_SIGMA = 5.0
_LEAST_PIXELS = 1000
# Pixels on which the correlation is measured, about.
_N_PIXELS = 1 << 22
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
        radius = np.sqrt(np.maximum(area_pix, 1) / np.pi)
        steps = np.rint(_STEPS_PER_OCTAVE * np.log2(radius))
        rounded, inverse = np.unique(2.0 ** (steps / _STEPS_PER_OCTAVE), return_inverse=True)
        at = np.zeros(len(rounded))
        factors: NDArray[np.float64] = self.covariance.aperture_factor(rounded, y=at, x=at)[inverse]
        return factors


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
    good = np.isfinite(data)
    if variance is not None:
        good &= np.isfinite(variance) & (variance > 0)
    blank = sky & good
    if np.count_nonzero(blank) < _LEAST_PIXELS:
        msg = f"data: {np.count_nonzero(blank)} pixels of sky, at least {_LEAST_PIXELS} are needed for its noise"
        raise NoDataError(msg)
    level = float(np.median(data[blank]))
    relative = np.ones(1, np.float32) if variance is None else np.sqrt(np.where(good, variance, np.float32(1)))
    scaled = (data - np.float32(level)) / relative
    sigma = float(1.4826 * np.median(np.abs(scaled[blank])))
    if not sigma > 0:
        msg = "data: the pixels of the sky are all equal, so they have no noise"
        raise NoDataError(msg)
    blank &= np.abs(scaled) < _CLIP_SIGMA * sigma
    residual = np.where(blank, scaled, np.float32(0))
    kernel = _correlation(residual, blank)
    return SkyNoise(
        level=level,
        variance=np.where(good, np.square(relative * np.float32(sigma)), np.float32(np.nan)).astype(np.float32),
        covariance=NoiseCovariance(kernels=kernel[np.newaxis], class_map=np.zeros((1, 1), np.uint8), classes=("sky",)),
    )


def _correlation(residual: NDArray[np.float32], blank: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the mean product of pixels at each distance over the mean square."""
    boxes, _ = cells_with(blank, _BOX_PIX)
    boxes = boxes[:: max(1, len(boxes) * _BOX_PIX**2 // _N_PIXELS)]
    n = len(boxes)
    classes = np.where(blank, 0, 255).astype(np.uint8)
    images = (residual, blank.astype(np.float32))
    products, pairs = (
        _resample.lag_products(boxes, np.zeros(n, np.uint8), np.ones(n), classes, 1, _REACH_PIX, image)[0]
        for image in images
    )
    mean = np.divide(products, pairs, out=np.zeros_like(products), where=pairs > 0)
    symmetric = 0.5 * (mean + mean[::-1, ::-1])
    return np.asarray(symmetric / symmetric[_REACH_PIX, _REACH_PIX], np.float64)
