"""Masked combination of registered images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_array
from skymere._rust import outliers as _rust
from skymere.errors import InvalidInputError

__all__ = ["MinmedParams", "masked_median", "masked_minmed"]


@dataclass(frozen=True, kw_only=True)
class MinmedParams:
    """Parameters of `masked_minmed`.

    Parameters
    ----------
    n_sigma_low : float
        The minimum replaces a median that is higher than it by this many sigma.
    n_sigma_near : float
        The same, beside a pixel that was replaced.
    grow : int
        Pixels within this many rows and columns of a replaced one are beside it.
    """

    n_sigma_low: float = 4.0
    n_sigma_near: float = 3.0
    grow: int = 1

    def __post_init__(self) -> None:
        if not (self.n_sigma_low > 0 and self.n_sigma_near > 0 and self.grow >= 0):
            msg = f"{self} is not allowed: the thresholds must be positive and grow must not be negative"
            raise InvalidInputError(msg)


def _stack_and_mask(stack: ArrayLike, mask: ArrayLike) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    images = as_array(stack, "stack", np.float32, shape=(None, None, None))
    return images, as_array(mask, "mask", np.bool_, shape=images.shape)  # type: ignore[return-value]


def masked_median(stack: ArrayLike, mask: ArrayLike) -> NDArray[np.float32]:
    """Return the median of the good values at every pixel.

    Parameters
    ----------
    stack : array_like, float32, shape (n, ny, nx)
        Registered images.
    mask : array_like, bool, shape (n, ny, nx)
        True = do not use. Values that are not finite are not used either.

    Returns
    -------
    ndarray, float32, shape (ny, nx)
        NaN where no value is good; the mean of the two middle values of an even number.

    Raises
    ------
    InvalidInputError
        When the shapes differ.
    """
    return _rust.masked_median(*_stack_and_mask(stack, mask))


def masked_minmed(
    stack: ArrayLike,
    mask: ArrayLike,
    *,
    exptime: Sequence[float],
    sky: Sequence[float],
    read_noise: Sequence[float],
    params: MinmedParams | None = None,
) -> NDArray[np.float32]:
    """Return AstroDrizzle's minmed: the median without the highest value, or the minimum where a cosmic ray is left.

    Parameters
    ----------
    stack : array_like, float32, shape (n, ny, nx) [electron / s]
        Registered images, sky subtracted.
    mask : array_like, bool, shape (n, ny, nx)
        True = do not use.
    exptime, sky, read_noise : sequence of float, length n
        Exposure times [s], subtracted skies [electron / s] and read noises [electron].
    params : MinmedParams, optional
        Thresholds.

    Returns
    -------
    ndarray, float32, shape (ny, nx) [electron / s]
        NaN where no value is good.

    Raises
    ------
    InvalidInputError
        When shapes or lengths do not fit.

    Notes
    -----
    With M that median, m the smallest value, W the summed exposure time and V = sum(sky t + RN^2) of the good values,
    m is used where m W < M W - n_sigma sqrt(max(M W + V, 0)). Two images are averaged; with ten or more the result is
    biased low, and `masked_median` is the better choice.

    References
    ----------
    Gonzaga et al. 2012, The DrizzlePac Handbook, section 4.2.5.
    """
    p = params or MinmedParams()
    images, bad = _stack_and_mask(stack, mask)
    times, skies, noises = (np.asarray(column, dtype=np.float64) for column in (exptime, sky, read_noise))
    return _rust.masked_minmed(images, bad, times, skies, noises, p.n_sigma_low, p.n_sigma_near, p.grow)
