"""Images to be measured, and the flags of a source."""

from dataclasses import dataclass
from enum import IntFlag

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_image, as_mask
from skymere.datamodels import Mosaic, NoiseCovariance
from skymere.errors import InvalidInputError
from skymere.segmentation.correlated import NoiseParts, noise_parts
from skymere.wcs import Grid

__all__ = ["MeasureImage", "Parts", "SourceFlag", "parts_of"]


class SourceFlag(IntFlag):
    """Bits of the column ``flags``; ``flags_{band}`` has BAD_PIXELS, APERTURE_INCOMPLETE and SATURATED of its band."""

    NEIGHBOUR = 1
    """More than a tenth of the Kron aperture belongs to other sources or is bad."""
    BLENDED = 2
    """The segment touches another one."""
    BAD_PIXELS = 4
    """Pixels of the segment are masked (saturated, bad) or not finite."""
    EDGE = 8
    """The segment reaches the edge of the image or of what is covered."""
    APERTURE_INCOMPLETE = 16
    """Part of an aperture is bad or outside, and no pixel opposite to it could stand in."""
    SATURATED = 32
    """Pixels of the segment are saturated."""
    TILE_EDGE = 64
    """The segment reaches the outer edge of the image, that of its tile in a lake."""


@dataclass(frozen=True, kw_only=True, eq=False)
class MeasureImage:
    """A background-subtracted image as plain arrays, to be measured.

    Parameters
    ----------
    data : array_like, float32, shape (ny, nx) [unit]
        Pixels; those that are not finite do not count.
    error : array_like, float32, shape (ny, nx), or float, optional [unit]
        1 sigma of every pixel; without it all errors are NaN. Pixels whose error is not finite do not count.
    mask : array_like, bool, shape (ny, nx), optional
        True = do not use (saturated, bad).
    saturated : array_like, bool, shape (ny, nx), or float, optional [unit]
        True = saturated, or the level from which pixels are: they are used, and their sources flagged.
    noise_correlation : float, optional
        Noise of a sum of pixels over that of independent ones; multiplies every error.
    noise : NoiseCovariance, optional
        How the noise of neighbours is correlated; ``noise_correlation`` then does not count.
    weight : array_like, float32, shape (ny, nx), optional
        Of whose inverse the variance of the background is a multiple; see `NoiseCovariance.sum_variance`.
    zero_point_ab : float, optional
        AB magnitude of one unit; when it is given, fluxes come out in uJy.
    grid : Grid, optional
        Its pixels on the sky, when they are not those of the segmentation.

    Raises
    ------
    InvalidInputError
        When the shapes differ, an error is negative or a number is not allowed.
    """

    data: ArrayLike
    error: ArrayLike | None = None
    mask: ArrayLike | None = None
    saturated: ArrayLike | None = None
    noise_correlation: float = 1.0
    noise: NoiseCovariance | None = None
    weight: ArrayLike | None = None
    zero_point_ab: float = float("nan")
    grid: Grid | None = None

    def __post_init__(self) -> None:
        data = as_image(self.data, "data", shape=None if self.grid is None else self.grid.shape)
        shape = (data.shape[0], data.shape[1])
        object.__setattr__(self, "data", data)
        if self.error is not None:
            error = as_image(np.atleast_2d(self.error), "error")
            if bool((error < 0).any()):
                msg = "error: negative values are not allowed"
                raise InvalidInputError(msg)
            error = np.broadcast_to(error, shape) if np.ndim(self.error) == 0 else as_image(error, "error", shape=shape)
            object.__setattr__(self, "error", error)
        if self.mask is not None:
            object.__setattr__(self, "mask", as_mask(self.mask, "mask", shape=shape))
        if self.saturated is not None:
            object.__setattr__(self, "saturated", saturated_pixels(data, self.saturated))
        if self.weight is not None:
            object.__setattr__(self, "weight", as_image(self.weight, "weight", shape=shape))
        if self.noise is not None and self.noise.class_map.shape != shape:
            msg = f"noise: class_map of shape {self.noise.class_map.shape} is not allowed, it must be {shape}"
            raise InvalidInputError(msg)
        if not (self.noise_correlation > 0 and np.isfinite(self.noise_correlation)):
            msg = f"noise_correlation: {self.noise_correlation} is not allowed, it must be positive"
            raise InvalidInputError(msg)


@dataclass(frozen=True, kw_only=True, eq=False)
class Parts:
    """What the kernels take of an image; ``scale`` is uJy per unit, or 1 when the zero point is unknown."""

    has_zero_point: bool

    data: NDArray[np.float32]
    variance: NDArray[np.float32] | None
    mask: NDArray[np.bool_] | None
    saturated: NDArray[np.bool_] | None
    noise_correlation: float
    noise: NoiseParts | None
    scale: float


def saturated_pixels(data: NDArray[np.float32], saturated: ArrayLike) -> NDArray[np.bool_]:
    """Return the saturated pixels of an image, given as a mask or as a level.

    Raises
    ------
    InvalidInputError
        When the mask has another shape.
    """
    if np.ndim(saturated) == 0:
        return np.asarray(data >= np.float32(saturated))  # type: ignore[arg-type]
    return as_mask(saturated, "saturated", shape=(data.shape[0], data.shape[1]))


def _scale(zero_point_ab: float) -> float:
    return float(10.0 ** (-0.4 * (zero_point_ab - 23.9))) if np.isfinite(zero_point_ab) else 1.0


def parts_of(
    image: Mosaic | MeasureImage,
    name: str,
    *,
    shape: tuple[int, int] | None = None,
    saturated: ArrayLike | None = None,
) -> Parts:
    """Return what the kernels take of an image.

    Raises
    ------
    InvalidInputError
        When it is not an image, or of another shape.
    """
    if not isinstance(image, Mosaic | MeasureImage):
        msg = f"{name}: {type(image).__name__} is not allowed, it must be a Mosaic or a MeasureImage"
        raise InvalidInputError(msg)
    data = as_image(image.data, name, shape=shape)
    if saturated is None and isinstance(image, MeasureImage):
        saturated = image.saturated
    variance: NDArray[np.float32] | None = None
    mask: NDArray[np.bool_] | None = None
    if isinstance(image, Mosaic):
        variance = image.variance
    else:
        if image.error is not None:
            variance = np.square(np.asarray(image.error, dtype=np.float32), order="C")
        if image.mask is not None:
            mask = np.asarray(image.mask, dtype=np.bool_)
    return Parts(
        has_zero_point=bool(np.isfinite(image.zero_point_ab)),
        data=data,
        variance=variance,
        mask=mask,
        saturated=None if saturated is None else saturated_pixels(data, saturated),
        noise_correlation=image.noise_correlation,
        noise=noise_parts(image.noise, image.weight),
        scale=_scale(image.zero_point_ab),
    )
