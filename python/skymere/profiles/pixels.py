"""Data and errors as the kernels take them: in a unit in which float32 variances neither vanish nor overflow."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere.errors import InvalidInputError

__all__ = ["ScaledPixels", "scaled_pixels"]

# Errors that are looked at for the unit, at most.
_LOOK_AT = 10_000
# Powers of two that a float32 and its inverse can hold.
_LARGEST_POWER = 120


@dataclass(frozen=True, kw_only=True, eq=False)
class ScaledPixels:
    """Data and variances in units of a power of two near the errors, so that no digit is lost.

    Parameters
    ----------
    data : ndarray, float32
        The data.
    variance : ndarray, float32, same shape
        Squares of the errors, 0 where there is none.
    unit : float
        What one unit of the data is in that of the input.
    """

    data: NDArray[np.float32]
    variance: NDArray[np.float32]
    unit: float


def scaled_pixels(data: ArrayLike, error: ArrayLike, *, n_dims: tuple[int, ...], is_counts: bool) -> ScaledPixels:
    """Return data and errors as the kernels take them.

    Parameters
    ----------
    data : array_like, float32 or float64
        The data.
    error : array_like, same shape, or one that counts for all
        1 sigma.
    n_dims : tuple of int
        Numbers of dimensions that are allowed.
    is_counts : bool
        Whether the unit must stay.

    Raises
    ------
    InvalidInputError
        When shapes do not fit.
    """
    values, sigma = _floats(data), _floats(error)
    if values.ndim not in n_dims or 0 in values.shape:
        words = {2: "(ny, nx)", 3: "(n_stamps, ny, nx)"}
        msg = f"data: shape {values.shape} is not allowed, it must be {' or '.join(words[n] for n in n_dims)}"
        raise InvalidInputError(msg)
    unit = 1.0 if is_counts else _unit_of(sigma)
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = (sigma * (1.0 / unit)).astype(np.float32)
        variance = np.where(scaled > 0, np.square(scaled), np.float32(0.0))
        data_scaled = np.ascontiguousarray((values * (1.0 / unit)).astype(np.float32))
    try:
        variance = np.ascontiguousarray(np.broadcast_to(variance, values.shape))
    except ValueError:
        msg = f"error: shape {sigma.shape} is not allowed, it must be that of the data, {values.shape}"
        raise InvalidInputError(msg) from None
    return ScaledPixels(data=data_scaled, variance=variance, unit=unit)


def _floats(values: ArrayLike) -> NDArray[np.float32] | NDArray[np.float64]:
    array = np.asarray(values)
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)


def _unit_of(sigma: NDArray[np.float32] | NDArray[np.float64]) -> float:
    some = sigma.ravel()[:: max(1, sigma.size // _LOOK_AT)]
    some = some[np.isfinite(some) & (some > 0)]
    if not some.size:
        return 1.0
    return float(2.0 ** np.clip(np.round(np.log2(np.median(some))), -_LARGEST_POWER, _LARGEST_POWER))
