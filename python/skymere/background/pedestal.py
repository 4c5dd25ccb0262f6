"""One sky level for a whole image."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from skymere._arrays import as_image, as_mask
from skymere._rust import background as _rust
from skymere.errors import InvalidInputError

Statistic = Literal["median", "mode", "mean"]

__all__ = ["Pedestal", "PedestalParams", "estimate_pedestal"]


@dataclass(frozen=True, kw_only=True)
class PedestalParams:
    """Parameters of `estimate_pedestal`; the defaults are AstroDrizzle's.

    Parameters
    ----------
    n_clip : int
        Number of clipping iterations.
    clip_sigma : tuple of float
        Lower and upper limit around the mean [sigma].
    statistic : str
        ``median``, ``mode`` (the peak of a histogram) or ``mean`` of the pixels that are kept.
    bin_width : float
        Bin of the histogram for the mode [sigma].
    lower, upper : float or None
        Pixels below or above do not count at all [unit of the image].

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    n_clip: int = 5
    clip_sigma: tuple[float, float] = (4.0, 4.0)
    statistic: Statistic = "median"
    bin_width: float = 0.1
    lower: float | None = None
    upper: float | None = None

    def __post_init__(self) -> None:
        if self.n_clip < 0 or len(self.clip_sigma) != 2 or not min(self.clip_sigma) > 0:
            msg = f"{self} is not allowed: n_clip must not be negative and clip_sigma must be two positive numbers"
            raise InvalidInputError(msg)
        if self.statistic not in get_args(Statistic):
            msg = f"statistic: {self.statistic!r} is not allowed, it must be one of {', '.join(get_args(Statistic))}"
            raise InvalidInputError(msg)
        if not self.bin_width > 0:
            msg = f"bin_width: {self.bin_width} is not allowed, it must be positive"
            raise InvalidInputError(msg)
        if self.lower is not None and self.upper is not None and not self.lower < self.upper:
            msg = f"lower: {self.lower} is not allowed, it must be below upper = {self.upper}"
            raise InvalidInputError(msg)

    @property
    def limits(self) -> tuple[float, float]:
        """Lowest and highest value that counts."""
        return (-np.inf if self.lower is None else self.lower, np.inf if self.upper is None else self.upper)


@dataclass(frozen=True, kw_only=True)
class Pedestal:
    """A sky level.

    Parameters
    ----------
    level : float
        The statistic of the pixels that were kept.
    rms : float
        Their standard deviation.
    n_pixels : int
        Their number.
    """

    level: float
    rms: float
    n_pixels: int


def estimate_pedestal(
    data: ArrayLike, *, mask: ArrayLike | None = None, params: PedestalParams | None = None
) -> Pedestal:
    """Return the median, mode or mean of the good pixels after clipping around their mean.

    Parameters
    ----------
    data : array_like, float32, shape (ny, nx)
        Image; values that are not finite are left out.
    mask : array_like, bool, shape (ny, nx), optional
        True = do not use.
    params : PedestalParams, optional
        Clipping.

    Raises
    ------
    InvalidInputError
        When the shapes differ.
    NoDataError
        When no pixel is good.

    References
    ----------
    Gonzaga et al. 2012, The DrizzlePac Handbook, section 4.2.3.

    Examples
    --------
    >>> estimate_pedestal([[1.0, 2.0, 3.0], [2.0, 2.0, float("nan")]]).level
    2.0
    """
    p = params or PedestalParams()
    image = as_image(data, "data")
    bad = np.zeros(image.shape, bool) if mask is None else as_mask(mask, "mask", shape=image.shape)
    level, rms, n_pixels = _rust.estimate_pedestal(
        image,
        bad,
        statistic=p.statistic,
        bin_width=p.bin_width,
        limits=p.limits,
        n_clip=p.n_clip,
        clip_sigma=p.clip_sigma,
    )
    return Pedestal(level=level, rms=rms, n_pixels=n_pixels)
