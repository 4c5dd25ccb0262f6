"""Masked combination of registered images."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_array
from skymere._rust import outliers as _rust
from skymere.errors import InvalidInputError

__all__ = ["CombineParams", "MinmedParams", "combine_images", "masked_median", "masked_minmed"]

Combination = Literal["minmed", "median", "mean", "sum", "iminmed", "imedian", "imean", "isum"]


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


@dataclass(frozen=True, kw_only=True)
class CombineParams:
    """Parameters of `combine_images`.

    Parameters
    ----------
    combine : str
        ``minmed``, ``median``, ``mean`` or ``sum``; with an ``i`` before it all values are used where all are masked.
    minmed : MinmedParams
        Thresholds of minmed.
    n_low, n_high : int
        How many of the lowest and the highest good values are left out of a median, mean or sum.
    lower, upper : float or None
        Values below or above are not used [unit of the images].

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    combine: Combination = "minmed"
    minmed: MinmedParams = field(default_factory=MinmedParams)
    n_low: int = 0
    n_high: int = 0
    lower: float | None = None
    upper: float | None = None

    def __post_init__(self) -> None:
        if self.combine not in get_args(Combination):
            msg = f"combine: {self.combine!r} is not allowed, it must be one of {', '.join(get_args(Combination))}"
            raise InvalidInputError(msg)
        if min(self.n_low, self.n_high) < 0:
            msg = f"n_low, n_high: {self.n_low}, {self.n_high} are not allowed, they must not be negative"
            raise InvalidInputError(msg)
        if self.combine.endswith("minmed") and (self.n_low or self.n_high):
            msg = f"n_low, n_high: {self.n_low}, {self.n_high} are not allowed with {self.combine!r}"
            raise InvalidInputError(msg)
        if self.lower is not None and self.upper is not None and not self.lower < self.upper:
            msg = f"lower: {self.lower} is not allowed, it must be below upper = {self.upper}"
            raise InvalidInputError(msg)


def _stack_and_mask(stack: ArrayLike, mask: ArrayLike) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    images = as_array(stack, "stack", np.float32, shape=(None, None, None))
    return images, as_array(mask, "mask", np.bool_, shape=images.shape)  # type: ignore[return-value]


def combine_images(
    stack: ArrayLike,
    mask: ArrayLike,
    *,
    exptime: Sequence[float] = (),
    sky: Sequence[float] = (),
    read_noise: Sequence[float] = (),
    params: CombineParams | None = None,
) -> NDArray[np.float32]:
    """Combine registered images to one.

    Parameters
    ----------
    stack : array_like, float32, shape (n, ny, nx) [electron / s]
        Registered images, sky subtracted; values that are not finite are not used.
    mask : array_like, bool, shape (n, ny, nx)
        True = do not use.
    exptime, sky, read_noise : sequence of float, length n
        Exposure times [s], subtracted skies [electron / s] and read noises [electron], which minmed needs.
    params : CombineParams, optional
        How to combine.

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
    minmed is the median without the highest value, or the minimum where a cosmic ray is left. With M that median, m the
    smallest value, W the summed exposure time and V = sum(sky t + RN^2) of the good values, m is used where
    m W < M W - n_sigma sqrt(max(M W + V, 0)). Two images are averaged; with ten or more the result is biased low, and
    the median is the better choice. At least one value survives ``n_low`` and ``n_high``, and the lowest go first.

    References
    ----------
    Gonzaga et al. 2012, The DrizzlePac Handbook, section 4.2.5.

    Examples
    --------
    >>> import numpy as np
    >>> from skymere.outliers import CombineParams, combine_images
    >>> stack = np.array([1.0, 2.0, 9.0]).reshape(3, 1, 1)
    >>> float(combine_images(stack, stack > 5, params=CombineParams(combine="mean"))[0, 0])
    1.5
    """
    p = params or CombineParams()
    images, bad = _stack_and_mask(stack, mask)
    limits = (-np.inf if p.lower is None else p.lower, np.inf if p.upper is None else p.upper)
    all_if_none = p.combine.startswith("i")
    statistic = p.combine.removeprefix("i")
    if statistic != "minmed":
        return _rust.combine(
            images,
            bad,
            statistic=statistic,
            n_low=p.n_low,
            n_high=p.n_high,
            limits=limits,
            all_if_none=all_if_none,
        )
    times, skies, noises = (np.asarray(column, dtype=np.float64) for column in (exptime, sky, read_noise))
    return _rust.minmed(
        images,
        bad,
        exptime=times,
        sky=skies,
        read_noise=noises,
        n_sigma_low=p.minmed.n_sigma_low,
        n_sigma_near=p.minmed.n_sigma_near,
        grow=p.minmed.grow,
        limits=limits,
        all_if_none=all_if_none,
    )


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
    return combine_images(stack, mask, params=CombineParams(combine="median"))


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
    This is `combine_images` with ``combine="minmed"``.
    """
    p = CombineParams(minmed=params or MinmedParams())
    return combine_images(stack, mask, exptime=exptime, sky=sky, read_noise=read_noise, params=p)
