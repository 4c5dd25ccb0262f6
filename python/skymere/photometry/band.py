"""The image of a band as the kernels take it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skymere.datamodels import Mosaic
from skymere.errors import InvalidInputError, NoDataError
from skymere.segmentation import MeasureImage
from skymere.segmentation.planes import parts_of
from skymere.wcs import Grid

__all__ = ["Band", "band_of"]

# So many errors say what is typical.
_N_TYPICAL = 100_000


@dataclass(frozen=True, kw_only=True, eq=False)
class Band:
    """Data and inverse variance, 0 where a pixel does not count, in units of ``unit`` times that of the image.

    ``unit`` is the power of two next to the typical error: float32 does not hold the inverse variance of an image in
    erg/s/cm2/A. ``scale`` is uJy per internal unit, or ``unit`` without a zero point. ``noise_factor`` multiplies
    errors that are made of the variance.
    """

    data: NDArray[np.float32]
    weight: NDArray[np.float32]
    saturated: NDArray[np.bool_]
    grid: Grid
    unit: float
    scale: float
    noise_factor: float
    has_zero_point: bool

    @property
    def shape(self) -> tuple[int, int]:
        """``(ny, nx)``."""
        return self.data.shape[0], self.data.shape[1]

    def cut(self, y0: int, y1: int, x0: int, x1: int) -> "Band":
        """Return a window of the band."""
        window = (slice(y0, y1), slice(x0, x1))
        return Band(
            data=np.ascontiguousarray(self.data[window]),
            weight=np.ascontiguousarray(self.weight[window]),
            saturated=self.saturated[window],
            grid=self.grid.cutout(y0, x0, (y1 - y0, x1 - x0)),
            unit=self.unit,
            scale=self.scale,
            noise_factor=self.noise_factor,
            has_zero_point=self.has_zero_point,
        )

    def in_image_units(self, values: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return pixels in the unit of the image."""
        return np.asarray(np.ldexp(values.astype(np.float32), _exponent(self.unit)), np.float32)


def band_of(image: Mosaic | MeasureImage, noise_rms: float | None = None) -> Band:
    """Return what the kernels take of an image.

    Parameters
    ----------
    image : Mosaic or MeasureImage
        With a grid.
    noise_rms : float, optional
        1 sigma of every pixel, instead of what the image says [unit of the image].

    Raises
    ------
    InvalidInputError
        When it is not an image, has no errors or no place on the sky.
    NoDataError
        When no pixel can be used.
    """
    with np.errstate(over="ignore", under="ignore"):
        parts = parts_of(image, "image")
    if image.grid is None:
        msg = "image: grid None is not allowed, its pixels must have a place on the sky"
        raise InvalidInputError(msg)
    # Errors are squared after they have been scaled.
    is_variance = isinstance(image, Mosaic)
    spread = parts.variance if is_variance else getattr(image, "error", None)
    if spread is None and noise_rms is None:
        msg = "image: error None is not allowed, fluxes need the error of every pixel, or noise_rms"
        raise InvalidInputError(msg)
    good = np.isfinite(parts.data)
    if spread is not None:
        good &= np.isfinite(spread) & (spread > 0)
    if isinstance(image, Mosaic):
        good &= image.covered
    elif parts.mask is not None:
        good &= ~parts.mask
    if not good.any():
        msg = f"image: none of {good.size} pixels can be used: all are masked or without a finite, positive error"
        raise NoDataError(msg)
    weight = np.zeros(good.shape, np.float32)
    if noise_rms is not None:
        exponent = round(np.log2(noise_rms))
        weight[good] = np.ldexp(1.0, 2 * exponent) / noise_rms**2
    else:
        values = np.asarray(spread)[good]
        typical = float(np.median(values[:: max(1, values.size // _N_TYPICAL)].astype(np.float64)))
        exponent = round(np.log2(typical) / (2 if is_variance else 1))
        scaled = np.ldexp(values, -2 * exponent if is_variance else -exponent)
        weight[good] = 1 / (scaled if is_variance else np.square(scaled))
    unit = float(np.ldexp(1.0, exponent))
    return Band(
        data=np.ascontiguousarray(np.ldexp(parts.data, -exponent) if exponent else parts.data, np.float32),
        weight=weight,
        saturated=np.zeros(good.shape, bool) if parts.saturated is None else parts.saturated,
        grid=image.grid,
        unit=unit,
        scale=parts.scale * unit,
        noise_factor=parts.noise_correlation,
        has_zero_point=parts.has_zero_point,
    )


def _exponent(unit: float) -> int:
    return int(np.frexp(unit)[1]) - 1
