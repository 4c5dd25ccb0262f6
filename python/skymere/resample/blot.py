"""Blot: an image sampled at the pixels of a detector."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_array, as_image
from skymere._rust import resample as _resample
from skymere.errors import InvalidInputError

__all__ = ["BlotInterpolation", "BlotParams", "blot"]

BlotInterpolation = Literal["nearest", "linear", "poly3", "poly5", "sinc", "lanczos3", "lanczos5"]


@dataclass(frozen=True, kw_only=True)
class BlotParams:
    """How an image is sampled.

    Parameters
    ----------
    interpolation : str, optional
        ``nearest``, ``linear``, ``poly3``, ``poly5``, ``sinc``, ``lanczos3`` or ``lanczos5``.
    sinscl : float, optional
        Factor of the distances in ``sinc``, above 0 and at most 1; a smaller one smooths.
    fillval : float, optional
        Value at positions that are outside of the image, on a NaN, or NaN themselves.

    Raises
    ------
    InvalidInputError
        When the interpolation is not one of these, or the factor is not allowed.
    """

    interpolation: BlotInterpolation = "poly5"
    sinscl: float = 1.0
    fillval: float = 0.0

    def __post_init__(self) -> None:
        if self.interpolation not in get_args(BlotInterpolation):
            allowed = ", ".join(get_args(BlotInterpolation))
            msg = f"interpolation: {self.interpolation!r} is not allowed, it must be one of {allowed}"
            raise InvalidInputError(msg)
        if not 0 < self.sinscl <= 1:
            msg = f"sinscl: {self.sinscl} is not allowed, it must be above 0 and at most 1"
            raise InvalidInputError(msg)


def blot(data: ArrayLike, pixmap: ArrayLike, *, params: BlotParams | None = None) -> NDArray[np.float32]:
    """Return an image sampled at mapped positions.

    Parameters
    ----------
    data : array_like, float32, shape (ny, nx)
        The drizzled image; NaN where it is unknown.
    pixmap : array_like, float64, shape (my, mx, 2) [pix]
        Position ``(x, y)`` in ``data`` of every detector pixel, 0-based; see `skymere.wcs.pixel_map`.
    params : BlotParams, optional
        Interpolation and fill value.

    Returns
    -------
    ndarray, float32, shape (my, mx)
        The samples, in the unit of ``data``; for data per pixel multiply by the squared ratio of the scales.

    Raises
    ------
    InvalidInputError
        When an array has a shape or dtype that is not allowed.

    Notes
    -----
    ``poly5`` is the product of the quintic Lagrange polynomials through 6 pixels of either axis, ``poly3`` of the
    cubic ones through 4. ``lanczos3`` and ``lanczos5`` are ``sinc(u) sinc(u / n)`` over 2 n pixels of either axis [1]_,
    ``sinc`` is over 15 and falls off as a squared cosine; both are divided by their sum, so that a constant stays what
    it is. Where those reach beyond the image or over a pixel that is not finite, the next lower order of polynomials
    is taken (5, 3, 1), at last the pixel in which the position lies; if that is none, ``fillval``.

    References
    ----------
    .. [1] Duchon 1979, J. Appl. Meteor. 18, 1016.

    Examples
    --------
    >>> import numpy as np
    >>> from skymere.resample import blot
    >>> y, x = np.indices((20, 20), dtype=float)
    >>> float(blot(x + y, np.array([[[9.25, 8.5]]]))[0, 0])
    17.75
    """
    params = BlotParams() if params is None else params
    positions = as_array(pixmap, "pixmap", np.float64, shape=(None, None, 2))
    return _resample.blot(as_image(data, "data"), positions, params.interpolation, params.sinscl, params.fillval)  # type: ignore[arg-type]
