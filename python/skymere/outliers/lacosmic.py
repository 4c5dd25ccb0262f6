"""Cosmic rays of a single exposure."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_image, as_mask
from skymere._rust import outliers as _rust
from skymere.errors import InvalidInputError

__all__ = ["LacosmicParams", "lacosmic"]

Fill = Literal["mean", "median", "distance"]


@dataclass(frozen=True, kw_only=True)
class LacosmicParams:
    """Limits of `lacosmic`; the defaults are those of astroscrappy.

    Parameters
    ----------
    sigma : float
        Least Laplacian of a cosmic ray in units of its noise.
    near_fraction : float
        Part of ``sigma`` that is enough beside a cosmic ray.
    contrast : float
        Least Laplacian in units of the fine structure; larger where cores of undersampled stars are flagged.
    gain : float
        Electrons per unit of the data.
    read_noise : float
        Read noise [electron].
    saturation : float
        Level from which on pixels, with their neighbours, are left alone where their surroundings are bright too
        [electron].
    n_rounds : int
        Rounds of finding and filling at most.
    fill : str
        ``mean``, ``median`` or ``distance`` (mean weighted by the inverse distance) of the 5 x 5 around a pixel.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    sigma: float = 4.5
    near_fraction: float = 0.3
    contrast: float = 5.0
    gain: float = 1.0
    read_noise: float = 6.5
    saturation: float = 65536.0
    n_rounds: int = 4
    fill: Fill = "mean"

    def __post_init__(self) -> None:
        for name in ("sigma", "near_fraction", "gain", "saturation"):
            if not getattr(self, name) > 0:
                msg = f"{name}: {getattr(self, name)} is not allowed, it must be positive"
                raise InvalidInputError(msg)
        for name in ("contrast", "read_noise", "n_rounds"):
            if not getattr(self, name) >= 0:
                msg = f"{name}: {getattr(self, name)} is not allowed, it must be 0 or positive"
                raise InvalidInputError(msg)
        if self.fill not in get_args(Fill):
            msg = f"fill: {self.fill!r} is not allowed, it must be one of {', '.join(get_args(Fill))}"
            raise InvalidInputError(msg)


def lacosmic(
    data: ArrayLike,
    *,
    error: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    background: ArrayLike | None = None,
    params: LacosmicParams | None = None,
) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Return the cosmic rays of a single exposure, and the image without them.

    Parameters
    ----------
    data : array_like, float32, shape (ny, nx) [unit]
        The image, sky included (the noise follows from it).
    error : array_like, float32, shape (ny, nx) [unit], optional
        1 sigma of ``data``; from ``gain`` and ``read_noise`` when not given. It is smoothed, so that the noise of a
        pixel is what it would be without a cosmic ray.
    mask : array_like, bool, shape (ny, nx), optional
        True = neither found nor used; pixels that are not finite are masked too.
    background : array_like, float32, shape (ny, nx) [unit], optional
        What is subtracted first, such as sky lines of a spectrum; its part of the noise is not smoothed.
    params : LacosmicParams, optional
        Limits.

    Returns
    -------
    mask : ndarray, bool, shape (ny, nx)
        The cosmic rays.
    cleaned : ndarray, float32, shape (ny, nx) [unit]
        The image with those pixels filled.

    Raises
    ------
    InvalidInputError
        When the shapes differ.

    Notes
    -----
    The Laplacian of the image with pixels of half the width [1]_, over its noise and without its own 5 x 5 median, must
    exceed ``sigma``, and ``contrast`` times the fine structure: a 3 x 3 median minus its 7 x 7 median, over the noise.
    Neighbours follow in two steps, with ``sigma`` and then ``near_fraction * sigma``. Medians near a border or a masked
    pixel are those of the pixels that are there.

    References
    ----------
    .. [1] van Dokkum 2001, PASP 113, 1420, sections 3.1 to 3.4.

    Examples
    --------
    >>> import numpy as np
    >>> from skymere.outliers import lacosmic
    >>> sky = np.random.default_rng(1).poisson(100.0, (64, 64)).astype(np.float32)
    >>> sky[20, 30] += 900
    >>> hits, cleaned = lacosmic(sky)
    >>> np.argwhere(hits).tolist()
    [[20, 30]]
    """
    params = params or LacosmicParams()
    image = as_image(data, "data")
    shape = (image.shape[0], image.shape[1])
    gain = np.float32(params.gain)
    electrons = image * gain
    if error is None:
        variance = electrons + np.float32(params.read_noise**2)
    else:
        variance = (as_image(error, "error", shape=shape) * gain) ** 2
    hits, cleaned = _rust.lacosmic(
        electrons,
        variance,
        None if mask is None else as_mask(mask, "mask", shape=shape),
        None if background is None else as_image(background, "background", shape=shape) * gain,
        sigma=params.sigma,
        sigma_near=params.sigma * params.near_fraction,
        contrast=params.contrast,
        saturation=params.saturation,
        n_rounds=params.n_rounds,
        fill=params.fill,
    )
    return hits, np.where(hits, cleaned / gain, image)
