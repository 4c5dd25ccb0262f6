"""Traces, wavelengths and shutter coordinates of the cutouts behind a slit."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_array
from skymere.errors import InvalidInputError, NoDataError
from skymere.instruments import PIXELS_PER_SHUTTER

__all__ = [
    "SlitTrace",
    "dispersion",
    "fit_traces",
    "nod_index",
    "relative_nod_offsets",
    "shift_wavelength",
    "shifted_traces",
    "shutter_coordinate",
    "slit_trace",
    "trace_distance",
    "trace_phase",
]

_Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class SlitTrace:
    """Where a place along the slit falls on the cutout, column by column.

    Parameters
    ----------
    x, y : ndarray, float64, shape (nx,) [pix]
        Column and row; the row is NaN in columns without a pixel of the slit.
    wavelength : ndarray, float64, shape (nx,) [um]
        Wavelength there.
    """

    x: _Array
    y: _Array
    wavelength: _Array


def slit_trace(slit_y: ArrayLike, wavelength: ArrayLike, *, center: float = 0.0) -> SlitTrace:
    """Return the trace of a place along the slit.

    Parameters
    ----------
    slit_y : array_like, float64, shape (ny, nx)
        Coordinate along the slit of each pixel, which rises or falls along every column; NaN outside of the slit.
    wavelength : array_like, float64, shape (ny, nx) [um]
        Wavelength of each pixel.
    center : float, optional
        The place; that of the source is ``source_ypos``.

    Raises
    ------
    InvalidInputError
        When the shapes differ.
    NoDataError
        When no column has a pixel of the slit.

    Notes
    -----
    Linear interpolation between the two pixels on both sides; beyond the slit the trace stays at its last pixel.

    Examples
    --------
    >>> import numpy as np
    >>> from skymere.slit import slit_trace
    >>> rows = np.repeat(np.arange(5.0)[:, None], 3, axis=1)
    >>> slit_trace((rows - 1.5) / 5, rows + 1).y
    array([1.5, 1.5, 1.5])
    """
    y = np.asarray(as_array(slit_y, "slit_y", np.float64, shape=(None, None)), np.float64)
    values = np.asarray(as_array(wavelength, "wavelength", np.float64, shape=y.shape), np.float64)
    rows = np.broadcast_to(np.arange(y.shape[0], dtype=np.float64)[:, None], y.shape)
    steps = np.diff(y, axis=0)
    if not np.isfinite(steps).any():
        msg = "slit_y: no column has two pixels of the slit"
        raise NoDataError(msg)
    if np.nanmedian(steps) < 0:
        y, values, rows = y[::-1], values[::-1], rows[::-1]
    columns = np.arange(y.shape[1])
    known = np.isfinite(y)
    is_below, is_above = known & (y <= center), known & (y > center)
    # The last pixel below and the first above; where there is none, the pixel of the other side stands for both.
    below, above = y.shape[0] - 1 - np.argmax(is_below[::-1], axis=0), np.argmax(is_above, axis=0)
    has_below, has_above = is_below.any(axis=0), is_above.any(axis=0)
    below, above = np.where(has_below, below, above), np.where(has_above, above, below)
    at = (below, columns), (above, columns)
    with np.errstate(divide="ignore", invalid="ignore"):
        step = y[at[1]] - y[at[0]]
        trace = [
            np.where(
                below == above, plane[at[0]], (plane[at[1]] - plane[at[0]]) / step * (center - y[at[0]]) + plane[at[0]]
            )
            for plane in (rows, values)
        ]
    is_seen = has_below | has_above
    row, along = (np.where(is_seen, plane, np.nan) for plane in trace)
    return SlitTrace(x=columns.astype(np.float64), y=row, wavelength=along)


def dispersion(wavelength: ArrayLike) -> _Array:
    """Return the step of wavelength from column to column.

    Parameters
    ----------
    wavelength : array_like, float64, shape (ny, nx) [um]
        Wavelengths of the whole cutout: at its border the difference is one-sided.

    Returns
    -------
    ndarray, float64, shape (ny, nx) [um / pix]
        Central differences.
    """
    return np.gradient(np.asarray(as_array(wavelength, "wavelength", np.float64, shape=(None, None))), axis=1)


def shift_wavelength(
    wavelength: ArrayLike, slope: ArrayLike, dwave_dx: ArrayLike, *, x_position: float
) -> tuple[_Array, float]:
    """Return wavelengths for a source that is not in the middle of the slit's width.

    Parameters
    ----------
    wavelength : array_like, float64, shape (ny, nx) or (nx,) [um]
        Wavelengths of a source in the middle.
    slope : array_like, float64, shape (nx,) [um]
        Change of wavelength when the source moves by one slit width, `SlitGeometry.wavelength_slope`.
    dwave_dx : array_like, float64, shape (nx,) [um / pix]
        Dispersion along the trace.
    x_position : float
        Place of the source, in slit widths from the middle.

    Returns
    -------
    ndarray, float64, shape of ``wavelength`` [um]
        The new wavelengths.
    float
        Median shift [pix]; it has the sign of ``x_position``.

    Raises
    ------
    InvalidInputError
        When the place is not a number.

    Notes
    -----
    ``wavelength + s * slope(x)``, with the sign for which the shift in pixels agrees with ``s``. It is the shift of the
    geometry alone: the pipeline's reference tables add that of the PSF's light cut off by the slit.
    """
    if not np.isfinite(x_position):
        msg = f"x_position: {x_position} is not allowed, it must be a number"
        raise InvalidInputError(msg)
    shift = x_position * np.asarray(slope, np.float64)
    pixels = float(np.nanmedian(shift / np.asarray(dwave_dx, np.float64)))
    if pixels * x_position < 0:
        shift, pixels = -shift, -pixels
    return np.asarray(wavelength, np.float64) + shift, pixels


def trace_phase(x: ArrayLike, n_columns: int) -> _Array:
    """Return the variable of the trace's polynomial, ``(x - nx / 2) / nx``.

    Parameters
    ----------
    x : array_like, float64 [pix]
        Columns of the cutout.
    n_columns : int
        Number of its columns.
    """
    return (np.asarray(x, np.float64) - n_columns / 2) / n_columns


def shifted_traces(
    traces: ArrayLike, y_offset: ArrayLike, *, pixel_scale_arcsec: float, reference: int = 0, has_source: bool = True
) -> _Array:
    """Return the traces of several exposures from the dithers of their headers.

    Parameters
    ----------
    traces : array_like, float64, shape (n, nx) [pix]
        Row of the trace in each exposure, on a common cutout.
    y_offset : array_like, float64, shape (n,) [arcsec]
        Dithers along the slit.
    pixel_scale_arcsec : float
        Size of a pixel along the slit [arcsec].
    reference : int, optional
        The exposure whose dither counts as 0.
    has_source : bool, optional
        Every trace is that of the reference exposure, moved. Without a source each is its own, moved, because the files
        of all exposures point to the same place; of two exposures both are moved by half.

    Raises
    ------
    InvalidInputError
        When the number of offsets is another, the reference is none of them, or the scale is not positive.
    """
    rows = np.asarray(as_array(traces, "traces", np.float64, shape=(None, None)), np.float64)
    offsets = np.asarray(as_array(y_offset, "y_offset", np.float64, shape=rows.shape[:1]), np.float64)
    if not 0 < pixel_scale_arcsec < np.inf:
        msg = f"pixel_scale_arcsec: {pixel_scale_arcsec} is not allowed, it must be positive"
        raise InvalidInputError(msg)
    if not 0 <= reference < len(rows):
        msg = f"reference: {reference} is not allowed, it must be in [0, {len(rows)})"
        raise InvalidInputError(msg)
    moves = (offsets - offsets[reference]) / pixel_scale_arcsec
    if has_source:
        return np.asarray(rows[reference] + moves[:, None])
    if len(moves) == 2:
        moves = moves - moves.mean()
    return np.asarray(rows + moves[:, None])


def fit_traces(x: ArrayLike, traces: ArrayLike, *, degree: int = 2) -> _Array:
    """Fit a polynomial to the trace of each exposure.

    Parameters
    ----------
    x : array_like, float64, shape (nx,) or (n, nx) [pix]
        Columns.
    traces : array_like, float64, shape (n, nx) [pix]
        Rows; columns where it is NaN do not count.
    degree : int, optional
        Degree of the polynomial.

    Returns
    -------
    ndarray, float64, shape (n, degree + 1) [pix]
        Coefficients in `trace_phase`, the highest power first.

    Raises
    ------
    InvalidInputError
        When the degree is negative.
    NoDataError
        When an exposure has fewer known columns than coefficients.
    """
    if degree < 0:
        msg = f"degree: {degree} is not allowed, it must be 0 or more"
        raise InvalidInputError(msg)
    rows = np.asarray(as_array(traces, "traces", np.float64, shape=(None, None)), np.float64)
    phase = np.broadcast_to(trace_phase(x, rows.shape[1]), rows.shape)
    out = np.empty((len(rows), degree + 1))
    for k, row in enumerate(rows):
        known = np.isfinite(row + phase[k])
        if known.sum() <= degree:
            msg = f"traces: exposure {k} has {known.sum()} known columns, {degree + 1} are needed"
            raise NoDataError(msg)
        out[k] = np.polyfit(phase[k, known], row[known], degree)
    return out


def trace_distance(rows: ArrayLike, x: ArrayLike, *coefficients: ArrayLike) -> _Array:
    """Return the distance of every pixel of a cutout from the trace, along the column.

    Parameters
    ----------
    rows : array_like, float64, shape (ny, nx) [pix]
        Row of each pixel.
    x : array_like, float64, shape (nx,) [pix]
        Columns.
    *coefficients : array_like, float64
        Polynomials whose sum is the trace, as those of `fit_traces` and what a fit adds to it.

    Returns
    -------
    ndarray, float64, shape (ny, nx) [pix]
        ``y - sum of the polynomials``, 0 on the trace.
    """
    pixels = np.asarray(as_array(rows, "rows", np.float64, shape=(None, None)), np.float64)
    phase = trace_phase(x, pixels.shape[1])
    trace = np.zeros_like(phase)
    for polynomial in coefficients:
        trace = trace + np.polyval(np.asarray(polynomial, np.float64), phase)
    return pixels - trace


def shutter_coordinate(slit_y: ArrayLike, *, shutter_scale: float, offset: float = 0.0) -> _Array:
    """Return the place along the slit in shutters: integers are their centres.

    Parameters
    ----------
    slit_y : array_like, float64
        Coordinate along the slit.
    shutter_scale : float
        Change of it in a pixel.
    offset : float, optional
        Offset of the coordinate [pix].

    Raises
    ------
    InvalidInputError
        When the scale is not positive.

    Notes
    -----
    ``(slit_y / shutter_scale + offset) / 5``: 5 stands for the pixels in a shutter, as in the tables of bar shadows.
    """
    if not 0 < shutter_scale < np.inf:
        msg = f"shutter_scale: {shutter_scale} is not allowed, it must be positive"
        raise InvalidInputError(msg)
    return (np.asarray(slit_y, np.float64) / shutter_scale + offset) / PIXELS_PER_SHUTTER


def relative_nod_offsets(coefficients: ArrayLike) -> _Array:
    """Return the constant terms of the traces minus their median [pix]; 0 for a single exposure.

    Parameters
    ----------
    coefficients : array_like, float64, shape (n, degree + 1) [pix]
        Those of `fit_traces`.
    """
    last = np.asarray(as_array(coefficients, "coefficients", np.float64, shape=(None, None)), np.float64)[:, -1]
    return last - np.median(last)


def nod_index(y_offset: Sequence[float] | ArrayLike) -> NDArray[np.int64]:
    """Return the number of the nod of each exposure, from 1: the rank of its dither, rounded to 0.1 arcsec.

    Parameters
    ----------
    y_offset : array_like, float64, shape (n,) [arcsec]
        Dithers along the slit.

    Examples
    --------
    >>> from skymere.slit import nod_index
    >>> nod_index([11.817, 12.346, 11.288, 11.80]).tolist()
    [2, 3, 1, 2]
    """
    offsets = np.asarray(as_array(y_offset, "y_offset", np.float64, shape=(None,)), np.float64)
    return np.unique(np.round(offsets * 10), return_inverse=True)[1].astype(np.int64) + 1
