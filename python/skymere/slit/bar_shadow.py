"""The shadow of the bars between shutters: its throughput, and the change from the pipeline's to another one."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_array
from skymere.errors import InvalidInputError, NoDataError
from skymere.instruments import FIRST_SHUTTER
from skymere.slit.bsplines import bspline_basis

__all__ = ["BarShadow", "BarWrap", "bar_shutter_offset", "bar_table_number", "bar_throughput", "shutter_is_outside"]

BarWrap = Literal["auto", "yes", "no"]
_Array = NDArray[np.float64]
_MARGIN = 0.5  # shutters beyond a table that count as outside of it


@dataclass(frozen=True, kw_only=True, eq=False)
class BarShadow:
    """Throughput of the bars.

    Parameters
    ----------
    bar : ndarray, float64, shape of the coordinates
        Throughput; NaN where the table does not reach or the coordinate is unknown.
    is_wrapped : bool
        The middle of the table stands for every shutter.
    """

    bar: _Array
    is_wrapped: bool


def bar_table_number(n_shutters: int) -> tuple[int, BarWrap]:
    """Return which table serves a number of open shutters, and whether it is to be wrapped.

    Parameters
    ----------
    n_shutters : int
        Open shutters of the slitlet; 0 for a slit of unknown length.

    Notes
    -----
    Tables are for 1, 2 and 3 shutters. More shutters use the middle of that for 3 again and again.

    Examples
    --------
    >>> from skymere.slit import bar_table_number
    >>> bar_table_number(2), bar_table_number(5), bar_table_number(0)
    ((2, 'auto'), (3, 'yes'), (3, 'no'))
    """
    if n_shutters > max(FIRST_SHUTTER):
        return max(FIRST_SHUTTER), "yes"
    return (max(FIRST_SHUTTER), "no") if n_shutters <= 0 else (n_shutters, "auto")


def bar_shutter_offset(slit_y: ArrayLike, *, n_shutters: int, threshold: float | None = None) -> int:
    """Return by how many shutters a coordinate is to be moved so that it begins where the table does.

    Parameters
    ----------
    slit_y : array_like, float64
        Coordinate along the slit of the valid pixels, in shutters' openings; NaN does not count.
    n_shutters : int
        Number of the table.
    threshold : float, optional
        The first lit shutter is the lowest with more than this fraction of the pixels of the fullest; msaexp takes 0.8.
        When not given, it is the first of those ``n_shutters`` neighbours that have the most pixels together, so that
        a shutter with many bad pixels does not move the slit.

    Raises
    ------
    NoDataError
        When no coordinate is a number.

    Notes
    -----
    Of equal sums that nearest to the coordinate's 0 counts.
    """
    known = np.asarray(slit_y, np.float64)
    known = known[np.isfinite(known)]
    if not known.size:
        msg = "slit_y: no valid pixel"
        raise NoDataError(msg)
    if n_shutters not in FIRST_SHUTTER:
        return 0
    names, counts = np.unique(np.round(known).astype(np.int64), return_counts=True)
    if threshold is not None:
        first = int(names[counts > threshold * counts.max()][0])
    else:
        pixels = np.zeros(names[-1] - names[0] + 2 * n_shutters - 1, np.int64)
        pixels[names - names[0] + n_shutters - 1] = counts
        sums = np.convolve(pixels, np.ones(n_shutters, np.int64), mode="valid")
        starts = np.arange(len(sums)) + names[0] - (n_shutters - 1)
        middle = np.abs(starts + (n_shutters - 1) / 2)
        first = int(starts[np.lexsort((middle, -sums))[0]])
    return FIRST_SHUTTER[n_shutters] - first


def shutter_is_outside(shutter_y: ArrayLike, limits: tuple[float, float]) -> bool:
    """Return whether coordinates reach more than half a shutter beyond a table.

    Parameters
    ----------
    shutter_y : array_like, float64
        Coordinates in shutters; NaN does not count.
    limits : tuple of float
        Where the table begins and ends.
    """
    known = np.asarray(shutter_y, np.float64)
    known = known[np.isfinite(known)]
    return bool(known.size and (known.min() < limits[0] - _MARGIN or known.max() > limits[1] + _MARGIN))


def bar_throughput(
    shutter_y: ArrayLike,
    wavelength: ArrayLike | None = None,
    *,
    coefficients: ArrayLike,
    limits: tuple[float, float],
    wavelengths: ArrayLike | None = None,
    wrap: BarWrap = "auto",
) -> BarShadow:
    """Return the throughput of the bars of a table.

    Parameters
    ----------
    shutter_y : array_like, float64, any shape
        Places along the slit in shutters, `shutter_coordinate`.
    wavelength : array_like, float64, shape of ``shutter_y``, optional [um]
        Wavelengths; needed for a table with wavelengths.
    coefficients : array_like, float64, shape (n,) or (n, n_wavelengths)
        Coefficients of `bspline_basis`.
    limits : tuple of float
        Where its functions begin and end, in shutters.
    wavelengths : array_like, float64, shape (n_wavelengths,), optional [um]
        Wavelengths of the coefficients; between them they are linear, beyond them constant.
    wrap : {"auto", "yes", "no"}, optional
        Whether the middle shutter of the table stands for all; "auto" when a coordinate reaches more than half a
        shutter beyond the table.

    Returns
    -------
    BarShadow
        Throughput: the light of a uniform sky is multiplied by it.

    Raises
    ------
    InvalidInputError
        When shapes do not fit, or ``wrap`` is another word.

    Notes
    -----
    ``bar(y, w) = sum_i c_i(w) B_i(y)``; wrapped it is that of ``(y + 0.5) mod 1 - 0.5``.
    """
    if wrap not in ("auto", "yes", "no"):
        msg = f"wrap: {wrap!r} is not allowed, it must be 'auto', 'yes' or 'no'"
        raise InvalidInputError(msg)
    y = np.asarray(shutter_y, np.float64)
    has_waves = wavelengths is not None
    table = np.asarray(as_array(coefficients, "coefficients", np.float64, shape=(None, None) if has_waves else (None,)))
    is_wrapped = wrap == "yes" or (wrap == "auto" and shutter_is_outside(y, limits))
    places = (y + 0.5) % 1.0 - 0.5 if is_wrapped else y
    basis = bspline_basis(places.ravel(), n_functions=len(table), limits=limits)
    if wavelengths is None:
        bar = basis @ table
    else:
        at = np.asarray(np.nan if wavelength is None else wavelength, np.float64)
        if at.shape != y.shape:
            msg = f"wavelength: shape {at.shape} is not allowed, it must be {y.shape}"
            raise InvalidInputError(msg)
        knots = np.asarray(as_array(wavelengths, "wavelengths", np.float64, shape=(table.shape[1],)))
        bar = np.zeros(y.size)
        for function, row in zip(basis.T, table, strict=True):
            bar += function * np.interp(at.ravel(), knots, row)
    bar = bar.reshape(y.shape)
    bar[(places < limits[0]) | (places > limits[1])] = np.nan
    return BarShadow(bar=bar, is_wrapped=is_wrapped)
