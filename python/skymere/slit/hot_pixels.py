"""Hot pixels of a single cutout: what sticks out of everything around it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_array
from skymere.errors import InvalidInputError
from skymere.instruments import JWST, NIRSPEC_BAD_BITS
from skymere.slit.bad_pixels import bad_bits

__all__ = ["HotPixelParams", "HotPixels", "find_hot_pixels"]

_Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class HotPixelParams:
    """Parameters of `find_hot_pixels`; the defaults are msaexp's.

    Parameters
    ----------
    noise_percentile, noise_factor : float
        A hot pixel is brighter than this many times that percentile of the read-out's sigma.
    peak_ratio : float
        It is more than this many times as bright as the brightest of its eight neighbours.
    corner_ratio : float
        Of a plus around a bad pixel the faintest arm is more than this many times as bright as the brightest corner.
    max_flagged : int
        When this many are found or more, it is something else, and nothing is flagged.
    bad_dq : tuple of str
        Names of the bits that make a pixel bad.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    noise_percentile: float = 90.0
    noise_factor: float = 16.0
    peak_ratio: float = 3.0
    corner_ratio: float = 2.0
    max_flagged: int = 128
    bad_dq: tuple[str, ...] = NIRSPEC_BAD_BITS

    def __post_init__(self) -> None:
        if not 0 <= self.noise_percentile <= 100:
            msg = f"noise_percentile: {self.noise_percentile} is not allowed, it must be in [0, 100]"
            raise InvalidInputError(msg)
        for name in ("noise_factor", "peak_ratio", "corner_ratio", "max_flagged"):
            if not getattr(self, name) > 0:
                msg = f"{name}: {getattr(self, name)} is not allowed, it must be positive"
                raise InvalidInputError(msg)
        bad_bits(self.bad_dq)


@dataclass(frozen=True, kw_only=True, eq=False)
class HotPixels:
    """Hot pixels of a cutout.

    Parameters
    ----------
    hot : ndarray, bool, shape (ny, nx)
        Pixels to leave out: hot ones and their four neighbours. All False when it was refused.
    warm : ndarray, bool, shape (ny, nx)
        Pluses around bad pixels, which msaexp marks and does not leave out.
    n_found : int
        Hot pixels and pixels of pluses, before growing.
    is_refused : bool
        Whether too many were found.
    """

    hot: _Mask
    warm: _Mask
    n_found: int
    is_refused: bool


def _neighbours(image: NDArray[np.generic], offsets: tuple[tuple[int, int], ...]) -> NDArray[np.generic]:
    """Return an image moved by each offset, with its border mirrored."""
    padded = np.pad(image, 1, mode="symmetric")
    ny, nx = image.shape
    return np.stack([padded[1 + y : 1 + y + ny, 1 + x : 1 + x + nx] for y, x in offsets])


_ARMS = ((-1, 0), (1, 0), (0, -1), (0, 1))
_CORNERS = ((-1, -1), (-1, 1), (1, -1), (1, 1))


def _arms_of(mask: _Mask) -> _Mask:
    """Return the four neighbours of the pixels of a mask, without what is outside of the image."""
    padded = np.pad(mask, 1)
    ny, nx = mask.shape
    return np.asarray(np.any([padded[1 + y : 1 + y + ny, 1 + x : 1 + x + nx] for y, x in _ARMS], axis=0))


def find_hot_pixels(
    sci: ArrayLike,
    error: ArrayLike,
    var_rnoise: ArrayLike,
    dq: ArrayLike,
    *,
    dq_bits: Mapping[str, int] = JWST,
    params: HotPixelParams | None = None,
) -> HotPixels:
    """Find single pixels that stick out of everything around them, and pluses around bad pixels.

    Parameters
    ----------
    sci, error : array_like, float32, shape (ny, nx) [unit]
        Data and 1 sigma, as the pipeline has them.
    var_rnoise : array_like, float32, shape (ny, nx) [unit^2]
        Variance of the read-out.
    dq : array_like, uint32, shape (ny, nx)
        Bits of the instrument.
    dq_bits : mapping of str to int, optional
        Name of each bit.
    params : HotPixelParams, optional
        Limits.

    Returns
    -------
    HotPixels
        Bad pixels count as 0; with none left nothing is found.

    Raises
    ------
    InvalidInputError
        When the shapes differ.
    """
    params = params or HotPixelParams()
    data = np.asarray(as_array(sci, "sci", np.float32, shape=(None, None)))
    sigma = np.asarray(as_array(error, "error", np.float32, shape=data.shape))
    read = np.asarray(as_array(var_rnoise, "var_rnoise", np.float32, shape=data.shape))
    bits = np.asarray(as_array(dq, "dq", np.uint32, shape=data.shape))
    is_bad = ((bits & np.uint32(bad_bits(params.bad_dq, dq_bits))) != 0) | ~np.isfinite(data)
    with np.errstate(invalid="ignore"):
        left_out = is_bad | (sigma <= 0) | (data < -3 * sigma)
    noise = read[~left_out & np.isfinite(read)]
    none = np.zeros(data.shape, np.bool_)
    if not noise.size:
        return HotPixels(hot=none, warm=none, n_found=0, is_refused=False)
    limit = params.noise_factor * np.percentile(np.sqrt(noise), params.noise_percentile)
    values = np.where(left_out, np.float32(0), data)
    arms, corners = _neighbours(values, _ARMS), _neighbours(values, _CORNERS)
    hot = (values > limit) & (np.maximum(arms.max(axis=0), corners.max(axis=0)) < values / params.peak_ratio)
    faintest = arms.min(axis=0)
    plus = (faintest > limit) & (corners.max(axis=0) < faintest / params.corner_ratio) & (is_bad | hot)
    warm = _arms_of(plus)
    n_found = int((hot | warm).sum())
    if n_found >= params.max_flagged:
        return HotPixels(hot=none, warm=none, n_found=n_found, is_refused=True)
    return HotPixels(hot=hot | _arms_of(hot), warm=warm | _arms_of(warm), n_found=n_found, is_refused=False)
