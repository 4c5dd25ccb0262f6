"""The image of a band as the kernels take it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skymere.datamodels import Mosaic
from skymere.errors import InvalidInputError, NoDataError
from skymere.segmentation import MeasureImage
from skymere.wcs import Grid

__all__ = ["Band", "band_of"]

# Length of the steps on the sky whose pixels give the Jacobian [arcsec].
_STEP_ARCSEC = 0.5


@dataclass(frozen=True, kw_only=True, eq=False)
class Band:
    """Data and inverse variance, 0 where a pixel does not count; ``scale`` is uJy per unit, or 1 without a zero point.

    ``noise_factor`` multiplies errors that are made of the variance.
    """

    data: NDArray[np.float32]
    weight: NDArray[np.float32]
    saturated: NDArray[np.bool_]
    grid: Grid
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
            scale=self.scale,
            noise_factor=self.noise_factor,
            has_zero_point=self.has_zero_point,
        )


def band_of(image: Mosaic | MeasureImage) -> Band:
    """Return what the kernels take of an image.

    Raises
    ------
    InvalidInputError
        When it is not an image, has no errors or no place on the sky.
    NoDataError
        When no pixel can be used.
    """
    if not isinstance(image, Mosaic | MeasureImage):
        msg = f"image: {type(image).__name__} is not allowed, it must be a Mosaic or a MeasureImage"
        raise InvalidInputError(msg)
    if image.grid is None:
        msg = "image: grid None is not allowed, its pixels must have a place on the sky"
        raise InvalidInputError(msg)
    data = np.ascontiguousarray(image.data, np.float32)
    if isinstance(image, Mosaic):
        variance, factor = image.variance, image.noise_correlation
    elif image.error is None:
        msg = "image: error None is not allowed, fluxes need the error of every pixel"
        raise InvalidInputError(msg)
    else:
        variance, factor = np.square(np.asarray(image.error, np.float32)), image.noise_correlation
    good = np.isfinite(data) & np.isfinite(variance) & (variance > 0)
    if isinstance(image, Mosaic):
        good &= image.covered
    elif image.mask is not None:
        good &= ~np.asarray(image.mask)
    if not good.any():
        msg = f"image: none of {data.size} pixels can be used: all are masked or without a finite, positive error"
        raise NoDataError(msg)
    weight = np.divide(1.0, variance, out=np.zeros(data.shape, np.float32), where=good)
    saturated = image.saturated if isinstance(image, MeasureImage) else None
    has_zero_point = bool(np.isfinite(image.zero_point_ab))
    return Band(
        data=data,
        weight=weight,
        saturated=np.zeros(data.shape, bool) if saturated is None else np.asarray(saturated, bool),
        grid=image.grid,
        scale=float(10.0 ** (-0.4 * (image.zero_point_ab - 23.9))) if has_zero_point else 1.0,
        noise_factor=factor,
        has_zero_point=has_zero_point,
    )


def jacobian(grid: Grid, ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``(n, 2, 2)`` derivatives of ``(x, y)`` by ``(east, north)`` [pix / arcsec]."""
    step = _STEP_ARCSEC / 3600.0
    east = step / np.cos(np.deg2rad(dec))
    columns = []
    for d_ra, d_dec in ((east, 0.0), (0.0, step)):
        ahead, behind = grid.pixels(ra + d_ra, dec + d_dec), grid.pixels(ra - d_ra, dec - d_dec)
        columns.append(np.stack([a - b for a, b in zip(ahead, behind, strict=True)], axis=-1) / (2 * _STEP_ARCSEC))
    return np.stack(columns, axis=-1)
