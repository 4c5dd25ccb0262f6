"""Cubic B-splines on evenly spaced knots: the basis in which tables of shadows and corrections are kept."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_array
from skymere.errors import InvalidInputError

__all__ = ["bspline_basis"]


def bspline_basis(
    x: ArrayLike, *, n_functions: int, limits: tuple[float, float], degree: int = 3, clip: float = 0.0
) -> NDArray[np.float64]:
    """Return the B-splines of evenly spaced knots at some places.

    Parameters
    ----------
    x : array_like, float64, shape (n,)
        Places.
    n_functions : int
        Number of functions.
    limits : tuple of float
        Where the knots begin and end; outside all functions are 0.
    degree : int, optional
        Degree of the pieces.
    clip : float, optional
        Values below this fraction of the largest one that a function has at ``x`` become 0. The default keeps them;
        1e-4 is what grizli does, so its functions have small steps where they should end smoothly.

    Returns
    -------
    ndarray, float64, shape (n, n_functions)
        Inside the limits the functions are not negative and sum to 1; NaN where ``x`` is NaN.

    Raises
    ------
    InvalidInputError
        When there are fewer functions than ``degree + 1``, or the limits do not rise.

    Notes
    -----
    ``B_i,0 = 1`` between the knots i and i + 1, and ``B_i,k = (x - t_i) / (t_i+k - t_i) B_i,k-1 +
    (t_i+k+1 - x) / (t_i+k+1 - t_i+1) B_i+1,k-1`` with ``degree + 1`` knots at each end.

    References
    ----------
    de Boor (1978), A Practical Guide to Splines, chapter IX, equation 14.

    Examples
    --------
    >>> from skymere.slit import bspline_basis
    >>> bspline_basis([0.0, 0.5, 1.0], n_functions=4, limits=(0.0, 1.0)).round(3)
    array([[1.   , 0.   , 0.   , 0.   ],
           [0.125, 0.375, 0.375, 0.125],
           [0.   , 0.   , 0.   , 1.   ]])
    """
    places = np.asarray(as_array(x, "x", np.float64, shape=(None,)), np.float64)
    low, high = limits
    if degree < 0 or n_functions < degree + 1:
        msg = f"n_functions: {n_functions} is not allowed for degree {degree}, it must be at least {degree + 1}"
        raise InvalidInputError(msg)
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        msg = f"limits: {limits} are not allowed, they must rise"
        raise InvalidInputError(msg)
    n_pieces = n_functions - degree
    inner = np.linspace(0.0, 1.0, n_pieces + 1)
    knots = np.concatenate([np.zeros(degree), inner, np.ones(degree)]) * (high - low) + low
    inside = (places >= low) & (places <= high)
    at = np.where(inside, places, low)
    piece = np.clip(np.searchsorted(knots[degree : degree + n_pieces + 1], at, side="right") - 1, 0, n_pieces - 1)
    # Of each place only the degree + 1 functions that are not 0 there, by the triangle of de Boor.
    values = np.zeros((degree + 1, at.size))
    values[0] = 1.0
    first = piece + degree
    for k in range(1, degree + 1):
        carry = np.zeros(at.size)
        for i in range(k):
            left, right = knots[first + i + 1 - k], knots[first + i + 1]
            share = values[i] / (right - left)
            values[i] = carry + (right - at) * share
            carry = (at - left) * share
        values[k] = carry
    basis = np.zeros((at.size, n_functions))
    basis[np.arange(at.size)[:, None], piece[:, None] + np.arange(degree + 1)] = values.T
    basis[~inside] = 0.0
    if clip > 0 and at.size:
        basis[basis < clip * basis.max(axis=0)] = 0.0
    basis[np.isnan(places)] = np.nan
    return basis
