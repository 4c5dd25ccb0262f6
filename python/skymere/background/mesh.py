"""Mesh background: the clipped mode of square cells, median-filtered and joined by a bicubic spline."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_image, as_mask
from skymere._rust import background as _rust
from skymere.errors import InvalidInputError

__all__ = ["Background", "BackgroundParams", "estimate_background", "level_error"]

_MEDIAN_NOISE = math.sqrt(math.pi / 2)
_MODE_NOISE = math.sqrt(2.5**2 * math.pi / 2 - 2 * 2.5 * 1.5 + 1.5**2)


@dataclass(frozen=True, kw_only=True)
class BackgroundParams:
    """Parameters of `estimate_background`; the defaults are SExtractor's.

    Parameters
    ----------
    box_size : int
        Side of a cell of the mesh [pix].
    filter_size : int
        Side of the median filter over the mesh, odd; 1 is none [cells].
    filter_threshold : float
        A cell is replaced by the median around it when it differs from it by at least this [unit of the data].
    clip_sigma : float
        Where the histogram of a cell is clipped around its median [sigma].
    min_good_fraction : float
        A cell with a smaller fraction of good pixels is filled from the nearest good cells.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    box_size: int = 64
    filter_size: int = 3
    filter_threshold: float = 0.0
    clip_sigma: float = 3.0
    min_good_fraction: float = 0.5

    def __post_init__(self) -> None:
        if self.box_size < 1:
            msg = f"box_size: {self.box_size} is not allowed, it must be at least 1 pixel"
            raise InvalidInputError(msg)
        if self.filter_size < 1 or self.filter_size % 2 == 0:
            msg = f"filter_size: {self.filter_size} is not allowed, it must be a positive odd number of cells"
            raise InvalidInputError(msg)
        if not self.filter_threshold >= 0:
            msg = f"filter_threshold: {self.filter_threshold} is not allowed, it must be 0 or positive"
            raise InvalidInputError(msg)
        if not self.clip_sigma > 0:
            msg = f"clip_sigma: {self.clip_sigma} is not allowed, it must be positive"
            raise InvalidInputError(msg)
        if not 0 <= self.min_good_fraction <= 1:
            msg = f"min_good_fraction: {self.min_good_fraction} is not allowed, it must be between 0 and 1"
            raise InvalidInputError(msg)


@dataclass(frozen=True, kw_only=True, eq=False)
class Background:
    """The smooth background of an image and its noise.

    Parameters
    ----------
    level : ndarray, float32, shape (ny, nx) [unit]
        Sky level of every pixel.
    rms : ndarray, float32, shape (ny, nx) [unit]
        Standard deviation of the sky of every pixel.
    level_global, rms_global : float
        Medians of both over the cells of the mesh [unit].
    """

    level: NDArray[np.float32]
    rms: NDArray[np.float32]
    level_global: float
    rms_global: float


def level_error(rms: float, correlation: float, *, params: BackgroundParams | None = None) -> float:
    """Return by how much the noise moves the level of a mesh [unit of the rms].

    Parameters
    ----------
    rms : float [unit]
        Noise of a pixel of the sky.
    correlation : float
        Noise of the sum of a large area over that of independent pixels (R of Casertano et al. 2000).
    params : BackgroundParams, optional
        The mesh.

    Returns
    -------
    float [unit]
        One sigma of the level under a source. It is the same over about a cell: that of a sum grows with the area.

    Notes
    -----
    With median and mean of n Gaussian pixels ``2.5 median - 1.5 mean`` has the variance
    ``(2.5^2 pi / 2 - 2 * 2.5 * 1.5 + 1.5^2) / n = 4.57 / n``, and the median over f^2 cells ``pi / 2 / f^2`` of that
    of a cell.

    Examples
    --------
    >>> from skymere.background import level_error
    >>> round(level_error(1.0, 1.0), 4)
    0.014
    """
    params = params or BackgroundParams()
    cell = _MODE_NOISE * rms * correlation / params.box_size
    return cell if params.filter_size == 1 else cell * _MEDIAN_NOISE / params.filter_size


def estimate_background(
    data: ArrayLike, *, mask: ArrayLike | None = None, params: BackgroundParams | None = None
) -> Background:
    """Return the smooth background of an image and its noise.

    Parameters
    ----------
    data : array_like, float32, shape (ny, nx) [unit]
        The image; pixels that are not finite are not used. It must not change during the call.
    mask : array_like, bool, shape (ny, nx), optional
        True = do not use.
    params : BackgroundParams, optional
        Sizes and limits.

    Returns
    -------
    Background
        Level and rms of every pixel, also of masked ones.

    Raises
    ------
    InvalidInputError
        When the shapes differ.
    NoDataError
        When no cell has enough good pixels.

    Notes
    -----
    Each cell's histogram is clipped at ``clip_sigma`` around its median until sigma stays. The level is the mode
    ``2.5 median - 1.5 mean`` or, when ``|mean - median| > 0.3 sigma`` (crowded), the median.

    References
    ----------
    Bertin & Arnouts 1996, A&AS 117, 393, section 3.

    Examples
    --------
    >>> import numpy as np
    >>> from skymere.background import estimate_background
    >>> sky = np.random.default_rng(1).normal(10.0, 2.0, (256, 256)).astype(np.float32)
    >>> found = estimate_background(sky)
    >>> round(found.level_global, 1), round(found.rms_global, 1)
    (10.0, 2.0)
    """
    params = params or BackgroundParams()
    pixels = as_image(data, "data")
    bad = None if mask is None else as_mask(mask, "mask", shape=(pixels.shape[0], pixels.shape[1]))
    level, rms, level_global, rms_global = _rust.estimate(
        pixels,
        bad,
        box_size=params.box_size,
        filter_size=params.filter_size,
        filter_threshold=params.filter_threshold,
        clip_sigma=params.clip_sigma,
        min_good_fraction=params.min_good_fraction,
    )
    return Background(level=level, rms=rms, level_global=level_global, rms_global=rms_global)
