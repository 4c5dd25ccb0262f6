"""What of an exposure is drizzled."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skymere.datamodels import Exposure, WeightKind
from skymere.resample.drizzle import pixel_scale_ratio
from skymere.resample.reach import ExposureRows
from skymere.resample.weights import exposure_weight
from skymere.wcs import Grid, pixel_map

__all__ = ["RATE", "DrizzleInput", "drizzle_input", "input_of_rows"]

RATE = "electron / s"


@dataclass(frozen=True, kw_only=True, eq=False)
class DrizzleInput:
    """The arguments of `Drizzler.add`."""

    data: NDArray[np.float32]
    pixmap: NDArray[np.float64]
    weight: NDArray[np.float32]
    variance: NDArray[np.float32]
    value_scale: float
    pixel_scale_ratio: float


def drizzle_input(exposure: Exposure, grid: Grid, *, weight: WeightKind, ignore: tuple[str, ...]) -> DrizzleInput:
    """Return what of an exposure is drizzled to a grid: rates per output pixel, sky subtracted.

    Raises
    ------
    InvalidInputError
        When the weight cannot be known.
    """
    pixmap = pixel_map(exposure.wcs, grid.wcs, exposure.shape)
    ratio = grid.scale_arcsec / exposure.native_scale_arcsec
    if not np.isfinite(ratio):
        ratio = pixel_scale_ratio(pixmap)
    part = ExposureRows(exposure=exposure, pixmap=pixmap, pixel_scale_ratio=ratio)
    return input_of_rows(part, weight=weight, ignore=ignore)


def input_of_rows(part: ExposureRows, *, weight: WeightKind, ignore: tuple[str, ...]) -> DrizzleInput:
    """Return what of some rows of an exposure is drizzled; see `drizzle_input`."""
    exposure, pixmap, ratio = part.exposure, part.pixmap, part.pixel_scale_ratio
    good = ~exposure.mask(ignore=ignore)
    per_second = 1.0 if exposure.unit == RATE else 1.0 / exposure.exptime
    value_scale = ratio**2 * per_second
    return DrizzleInput(
        data=exposure.data - np.float32(exposure.sky),
        pixmap=pixmap,
        weight=exposure_weight(exposure, weight, good=good, value_scale=value_scale, per_second=per_second),
        variance=exposure.variance,
        value_scale=value_scale,
        pixel_scale_ratio=ratio,
    )
