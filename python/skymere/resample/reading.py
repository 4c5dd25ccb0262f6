"""What a drizzled image says about itself: contributors and noise."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_array
from skymere.errors import InvalidInputError

__all__ = ["decode_context", "noise_correlation"]


def decode_context(context: ArrayLike, x: ArrayLike, y: ArrayLike) -> list[NDArray[np.intp]]:
    """Return the exposures that contributed to some pixels.

    Parameters
    ----------
    context : array_like, int32, shape (n_planes, ny, nx)
        Context planes of a drizzled image.
    x, y : array_like of int, shape (n,)
        Columns and rows.

    Returns
    -------
    list of ndarray, intp
        For each position the 0-based numbers of its exposures, increasing.

    Raises
    ------
    InvalidInputError
        When a position is not in the image.

    Examples
    --------
    >>> import numpy as np
    >>> from skymere.resample import decode_context
    >>> context = np.zeros((2, 4, 4), np.int32)
    >>> context[0, 1, 2], context[1, 1, 2] = 5, 1
    >>> [exposures.tolist() for exposures in decode_context(context, 2, 1)]
    [[0, 2, 32]]
    """
    planes = as_array(context, "context", np.int32, shape=(None, None, None)).view(np.uint32)
    columns, rows = np.broadcast_arrays(np.atleast_1d(x), np.atleast_1d(y))
    for name, positions, n in (("x", columns, planes.shape[2]), ("y", rows, planes.shape[1])):
        if positions.dtype.kind not in "iu" or (positions.size and not 0 <= positions.min() <= positions.max() < n):
            msg = f"{name}: positions must be integers from 0 to {n - 1}"
            raise InvalidInputError(msg)
    words = planes[:, rows, columns].T
    bits = (words[..., np.newaxis] >> np.arange(32, dtype=np.uint32)) & np.uint32(1)
    return [np.flatnonzero(position) for position in bits.reshape(rows.size, -1)]


def noise_correlation(pixfrac: float, scale_ratio: float) -> float:
    """Return R, the noise in large areas over that of independent pixels of the same variance.

    Parameters
    ----------
    pixfrac : float
        Side of the drop [input pix].
    scale_ratio : float
        Side of an output pixel [input pix].

    Returns
    -------
    float
        R >= 1; the true rms in a large area is R times what the rms of the pixels says.

    Raises
    ------
    InvalidInputError
        When a number is not allowed.

    Notes
    -----
    With ``r = pixfrac / scale_ratio``: ``R = r / (1 - 1/(3 r))`` for r >= 1 and ``1 / (1 - r/3)`` for r <= 1 [1]_, for
    the kernel ``square`` and many dithers. In small apertures the noise is lower, by up to a quarter.

    References
    ----------
    .. [1] Casertano et al. 2000, AJ 120, 2747, equations A19 and A20.

    Examples
    --------
    >>> from skymere.resample import noise_correlation
    >>> round(noise_correlation(0.8, 0.6), 2)
    1.78
    """
    for name, value, lowest in (("pixfrac", pixfrac, pixfrac >= 0), ("scale_ratio", scale_ratio, scale_ratio > 0)):
        if not (lowest and np.isfinite(value)):
            msg = f"{name}: {value} is not allowed, it must be positive"
            raise InvalidInputError(msg)
    r = pixfrac / scale_ratio
    return r / (1 - 1 / (3 * r)) if r >= 1 else 1 / (1 - r / 3)
