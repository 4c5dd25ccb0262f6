"""One sky level for a whole image."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from skymere._arrays import as_image, as_mask
from skymere._rust import background as _rust
from skymere.errors import InvalidInputError

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
    """

    n_clip: int = 5
    clip_sigma: tuple[float, float] = (4.0, 4.0)

    def __post_init__(self) -> None:
        if self.n_clip < 0 or len(self.clip_sigma) != 2 or not min(self.clip_sigma) > 0:
            msg = f"{self} is not allowed: n_clip must not be negative and clip_sigma must be two positive numbers"
            raise InvalidInputError(msg)


@dataclass(frozen=True, kw_only=True)
class Pedestal:
    """A sky level.

    Parameters
    ----------
    level : float
        Median of the pixels that were kept.
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
    """Return the median of the good pixels after clipping around their mean.

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
    level, rms, n_pixels = _rust.estimate_pedestal(image, bad, p.n_clip, p.clip_sigma)
    return Pedestal(level=level, rms=rms, n_pixels=n_pixels)
