"""The pixels of arrays on their way to the disk and back."""

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_array
from skymere._rust import lake as _rust

__all__ = ["LOSSLESS", "n_levels", "pyramid", "quantise", "round_weights", "write_rows"]

LOSSLESS = -128


def quantise(images: ArrayLike) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """Round images to a power of two far below their noise, so that they compress.

    Parameters
    ----------
    images : array_like, float32, shape (n, ...)
        Each image along the first axis has its own quantum.

    Returns
    -------
    rounded : ndarray, float32, shape (n, ...)
        Multiples of ``2**exponent``; NaN and infinities as they were.
    exponents : ndarray, int8, shape (n,)
        -128 for an image that was left as it is, because its noise is 0 or it has no finite pixel.

    Notes
    -----
    ``q = 2**floor(log2(sigma / 16))`` with ``sigma = 1.4826 MAD`` of the finite pixels; ``x = round(x / q) q``. The
    error is at most ``q / 2``, 1/32 of the noise.

    Examples
    --------
    >>> import numpy as np
    >>> from skymere.lake import quantise
    >>> noise = np.random.default_rng(1).normal(size=(1, 64, 64)).astype(np.float32)
    >>> rounded, exponents = quantise(noise)
    >>> bool(abs(rounded - noise).max() <= 2.0 ** exponents[0] / 2)
    True
    """
    values = as_array(images, "images", np.float32)
    rounded, exponents = _rust.quantise(_as_rows(values))
    return rounded.reshape(values.shape), exponents


def round_weights(weights: ArrayLike) -> NDArray[np.float32]:
    """Round weights (float32, shape (n, ...)) to 7 bits of mantissa: a relative error of at most 2**-8."""
    values = as_array(weights, "weights", np.float32)
    return _rust.round_weights(_as_rows(values)).reshape(values.shape)


def n_levels(shape: tuple[int, int], *, smallest: int = 512) -> int:
    """Return how often an image is halved until it is not larger than a side on both axes; see `pyramid`.

    Parameters
    ----------
    shape : tuple of int
        ``(ny, nx)`` of the image.
    smallest : int, optional
        The side [pix].
    """
    n = 0
    while max(shape) > smallest << n:
        n += 1
    return n


def pyramid(
    image: ArrayLike, weight: ArrayLike, *, smallest: int = 512, levels: int | None = None
) -> list[NDArray[np.float32]]:
    """Return an image halved again and again, for looking.

    Parameters
    ----------
    image : array_like, float32, shape (ny, nx)
        Image; NaN where it has no value.
    weight : array_like, float32, shape (ny, nx)
        Weight of each pixel.
    smallest : int, optional
        The last level is the first that is not larger than this on both axes [pix].
    levels : int, optional
        How many levels instead: those of a whole image (`n_levels`), of which this one is a window that begins at a
        multiple of ``2**levels``.

    Returns
    -------
    list of ndarray, float32
        Levels 1, 2, ...; each pixel is the weighted mean of 2 x 2 of the level before; NaN where the weight is 0.
    """
    values = as_array(image, "image", np.float32, shape=(None, None)).astype(np.float64)
    weights = as_array(weight, "weight", np.float32, shape=values.shape).astype(np.float64)
    weights = np.where(np.isfinite(values), weights, 0.0)
    total = np.where(weights > 0, values * weights, 0.0)
    found = []
    for _ in range(n_levels(values.shape, smallest=smallest) if levels is None else levels):
        total, weights = _halved(total), _halved(weights)
        mean = np.full(total.shape, np.nan)
        np.divide(total, weights, out=mean, where=weights > 0)
        found.append(mean.astype(np.float32))
    return found


def write_rows(folder: Path, first: int, rows: NDArray[np.generic], rounding: str | None) -> NDArray[np.int8]:
    """Write whole shards of the array whose ``zarr.json`` is in ``folder``: its rows from ``first`` on.

    Returns the exponents of the rows, when they are quantised.
    """
    return _rust.write_rows(folder, first, np.ascontiguousarray(rows).reshape(-1).view(np.uint8), rounding)


def _as_rows(values: NDArray[np.generic]) -> NDArray[np.float32]:
    return np.asarray(values.reshape(len(values), -1) if values.size else values.reshape(0, 1), np.float32)


def _halved(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sums over blocks of 2 x 2 pixels; an odd edge is a block of its own."""
    ny, nx = image.shape
    even = np.pad(image, ((0, ny % 2), (0, nx % 2)))
    return np.asarray(even.reshape(even.shape[0] // 2, 2, even.shape[1] // 2, 2).sum(axis=(1, 3)))
