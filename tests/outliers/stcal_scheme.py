"""The search for cosmic rays that people build from drizzle, bottleneck and the test of stcal.

stcal itself does not go with drizzle 3, so its test (`stcal.outlier_detection.utils.flag_resampled_crs`) is written
here, with the limits of the JWST pipeline: 5 and 4 sigma, 1.2 and 0.7 of the derivative.
"""

from collections.abc import Sequence

import bottleneck
import numpy as np
from drizzle.resample import Drizzle, blot_image
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from skymere.datamodels import Exposure

Maps = Sequence[NDArray[np.float64]]


def single_drizzles(
    exposures: Sequence[Exposure], maps: Maps, shape: tuple[int, int], kernel: str
) -> list[NDArray[np.float32]]:
    """Every exposure by itself, sky subtracted, NaN where nothing falls."""
    singles = []
    for exposure, pixmap in zip(exposures, maps, strict=True):
        single = Drizzle(kernel=kernel, out_shape=shape, fillval="NaN")
        rate = exposure.data - np.float32(exposure.sky)
        single.add_image(rate, exptime=1.0, pixmap=pixmap, pixfrac=1.0, in_units="cps", pixel_scale_ratio=1.0)
        singles.append(single.out_img)
    return singles


def median_of(singles: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Median of what fell on each pixel, 0 where nothing did."""
    return np.nan_to_num(bottleneck.nanmedian(np.array(singles), axis=0)).astype(np.float32)


def blotted(median: NDArray[np.float32], pixmap: NDArray[np.float64], sky: float) -> NDArray[np.float32]:
    """What an exposure should show."""
    return blot_image(median, pixmap, interp="poly5") + np.float32(sky)


def flagged(exposure: Exposure, model: NDArray[np.float32], *, factor: float = 1.0) -> NDArray[np.bool_]:
    """Pixels beyond the second limit with one beyond the first in their 3 x 3, limits times ``factor``."""
    padded = np.pad(model, 1, mode="edge")
    neighbours = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    steep = np.max([np.abs(model - other) for other in neighbours], axis=0)
    off = np.abs(exposure.data - model)
    first, second = (off > factor * (n * exposure.error + s * steep) for n, s in ((5.0, 1.2), (4.0, 0.7)))
    return second & (uniform_filter(first.astype(float), 3, mode="nearest") > 0.05)


def stcal_masks(
    exposures: Sequence[Exposure], maps: Maps, shape: tuple[int, int], *, kernel: str = "square", factor: float = 1.0
) -> list[NDArray[np.bool_]]:
    """The whole scheme."""
    median = median_of(single_drizzles(exposures, maps, shape, kernel))
    return [
        flagged(exposure, blotted(median, pixmap, exposure.sky), factor=factor)
        for exposure, pixmap in zip(exposures, maps, strict=True)
    ]
