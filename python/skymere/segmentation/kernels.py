"""Convolution kernels and the convolution with them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_array, as_image, as_mask
from skymere._rust import segmentation as _rust
from skymere.errors import InvalidInputError

__all__ = ["PYRAMID", "KernelValues", "as_kernel", "convolve", "freeze_kernel", "gaussian_kernel"]

KernelValues = tuple[tuple[float, ...], ...]

PYRAMID: KernelValues = ((1.0, 2.0, 1.0), (2.0, 4.0, 2.0), (1.0, 2.0, 1.0))
"""SExtractor's default filter; any kernel is normalised to a sum of 1 where it is used."""


def as_kernel(values: ArrayLike) -> NDArray[np.float32]:
    """Return a kernel as float32 with odd sides.

    Raises
    ------
    InvalidInputError
        When a side is even, a value is not finite or the sum is not positive.
    """
    kernel = as_image(values, "kernel")
    if min(kernel.shape) == 0 or kernel.shape[0] % 2 == 0 or kernel.shape[1] % 2 == 0:
        msg = f"kernel: shape {kernel.shape} is not allowed, both sides must be odd"
        raise InvalidInputError(msg)
    total = float(kernel.sum(dtype=np.float64))
    if not (np.isfinite(total) and total > 0):
        msg = f"kernel: sum {total} is not allowed, it must be finite and positive"
        raise InvalidInputError(msg)
    return kernel


def freeze_kernel(values: Sequence[Sequence[float]] | NDArray[np.floating]) -> KernelValues:
    """Return a kernel as nested tuples, as parameters keep it; see `as_kernel`."""
    return tuple(tuple(float(value) for value in row) for row in as_kernel(values))


def gaussian_kernel(fwhm_pix: float) -> NDArray[np.float32]:
    """Return a Gaussian kernel that reaches out to three standard deviations.

    Parameters
    ----------
    fwhm_pix : float
        Full width at half maximum [pix].

    Raises
    ------
    InvalidInputError
        When the width is not positive and finite.
    """
    if not (fwhm_pix > 0 and np.isfinite(fwhm_pix)):
        msg = f"fwhm_pix: {fwhm_pix} is not allowed, it must be positive"
        raise InvalidInputError(msg)
    sigma = fwhm_pix / np.sqrt(8.0 * np.log(2.0))
    half = int(np.ceil(3.0 * sigma))
    profile = np.exp(-0.5 * (np.arange(-half, half + 1) / sigma) ** 2)
    kernel = np.outer(profile, profile)
    normalised: NDArray[np.float32] = np.asarray(kernel / kernel.sum(), dtype=np.float32)
    return normalised


def convolve(
    data: ArrayLike, kernel: ArrayLike, *, weight: ArrayLike | None = None, mask: ArrayLike | None = None
) -> NDArray[np.float32]:
    """Return the convolution of an image with a kernel, pixel by pixel weighted.

    Parameters
    ----------
    data : array_like, float32, shape (ny, nx) [unit]
        The image; pixels that are not finite do not count.
    kernel : array_like, float32, shape (odd, odd)
        The kernel; it is normalised.
    weight : array_like, float32, shape (ny, nx), optional
        Weight of every pixel; pixels whose weight is not positive do not count.
    mask : array_like, bool, shape (ny, nx), optional
        True = do not use.

    Returns
    -------
    ndarray, float32, shape (ny, nx) [unit]
        Filtered image; NaN where no pixel counts.

    Raises
    ------
    InvalidInputError
        When the shapes differ or the kernel cannot be used.

    Notes
    -----
    ``sum k w d / sum k w``, so edges and holes are renormalised. With inverse variances as ``weight`` it is the matched
    filter, whose noise is ``sqrt(sum k^2 w) / sum k w``.

    Examples
    --------
    >>> import numpy as np
    >>> from skymere.segmentation import PYRAMID, convolve
    >>> float(convolve(np.ones((5, 5), np.float32), PYRAMID)[0, 0])
    1.0
    """
    pixels = as_image(data, "data")
    shape = (pixels.shape[0], pixels.shape[1])
    return _rust.convolve(
        pixels,
        as_kernel(kernel),
        None if mask is None else as_mask(mask, "mask", shape=shape),
        None if weight is None else as_array(weight, "weight", np.float32, shape=shape),  # type: ignore[arg-type]
    )
