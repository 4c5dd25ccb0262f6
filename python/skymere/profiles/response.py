"""The PSF as the kernels take it."""

from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere.errors import InvalidInputError
from skymere.psf import Psf, resampled

__all__ = ["Response", "response_of"]

# A little more than 1 for the noise of PSFs that were made of stars.
_SUMS = (0.5, 1.05)


@dataclass(frozen=True, kw_only=True, eq=False)
class Response:
    """A PSF on pixels that are a whole number of times finer than those of an image.

    Parameters
    ----------
    data : ndarray, float64, shape (py, px)
        Its image; the sum is the part of the light that it holds.
    centre : tuple of float
        ``(y, x)`` of the source on it [pix of the image].
    oversampling : int
        Pixels of it along a pixel of the image that it is for.
    has_pixel : bool
        Whether it holds the response of a pixel.
    """

    data: NDArray[np.float64]
    centre: tuple[float, float]
    oversampling: int = 1
    has_pixel: bool = True

    def keywords(self) -> dict[str, Any]:
        """Return what the kernels take beside the image."""
        return {"centre": self.centre, "oversampling": self.oversampling, "has_pixel": self.has_pixel}


def response_of(psf: Psf | ArrayLike, *, has_pixel: bool = True) -> Response:
    """Return a PSF as the kernels take it.

    Parameters
    ----------
    psf : Psf or array_like, float64, shape (py, px)
        A PSF, or its image at the pixels of an image with the source in the middle.
    has_pixel : bool, optional
        Whether an array holds the response of a pixel; a `skymere.psf.Psf` says so itself.

    Returns
    -------
    Response
        On the pixels of the PSF, or on finer ones where those are no whole number of times finer than the image's.

    Raises
    ------
    InvalidInputError
        When it is no image, has values that are not finite, or no sum that is a part of the light.
    """
    data = np.ascontiguousarray(psf.data if isinstance(psf, Psf) else psf, np.float64)
    if data.ndim != 2 or not np.isfinite(data).all() or not data.sum() > 0:
        msg = f"psf: shape {data.shape} with sum {data.sum()} is not allowed, it must be an image of positive sum"
        raise InvalidInputError(msg)
    if not _SUMS[0] <= float(data.sum()) <= _SUMS[1]:
        msg = (
            f"psf: a sum of {float(data.sum()):.4g} is not allowed, it must be the part of the light that the image"
            f" holds, from {_SUMS[0]} to {_SUMS[1]}"
        )
        raise InvalidInputError(msg)
    if not isinstance(psf, Psf):
        return Response(data=data, centre=_middle(data), has_pixel=has_pixel)
    if psf.oversampling != round(psf.oversampling):
        return response_of(resampled(psf, ceil(psf.oversampling)))
    return Response(data=data, centre=(psf.y, psf.x), oversampling=int(psf.oversampling), has_pixel=psf.has_pixel)


def _middle(image: NDArray[np.float64]) -> tuple[float, float]:
    return (image.shape[0] - 1) / 2, (image.shape[1] - 1) / 2
