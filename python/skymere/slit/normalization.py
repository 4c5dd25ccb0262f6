"""Response of slits: prism normalisation, sensitivity over the extended range, flat field of the shutters."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_array
from skymere.errors import InvalidInputError
from skymere.slit.bsplines import bspline_basis

__all__ = ["ExtendedCalibration", "extended_calibration", "shutter_flat", "slit_normalization"]

_Array = NDArray[np.float64]
# Beyond these the flats of the shutters are extrapolated.
_FLAT_LIMITS_UM = (0.55, 5.60)
_FLAT_MAX = 5.0


def _check_quadrant(quadrant: int) -> None:
    if quadrant not in (1, 2, 3, 4):
        msg = f"quadrant: {quadrant} is not allowed, it must be 1, 2, 3 or 4"
        raise InvalidInputError(msg)


def slit_normalization(
    wavelength: ArrayLike, *, quadrant: int, column: int, row: int, coefficients: ArrayLike, wavelengths: ArrayLike
) -> _Array:
    """Return the factor that brings a slit to the mean response of all slits.

    Parameters
    ----------
    wavelength : array_like, float64, any shape [um]
        Wavelengths.
    quadrant, column, row : int
        The shutter, all from 1.
    coefficients : array_like, float64, shape (n_functions, 4, 3)
        Of each function and quadrant: constant, slope with column, slope with row; `NormalizationTable`.
    wavelengths : array_like, float64, shape (n,) [um]
        Wavelengths between which the functions are spaced by rank.

    Returns
    -------
    ndarray, float64, shape of ``wavelength``
        What the data are to be multiplied by; NaN outside of the wavelengths.

    Raises
    ------
    InvalidInputError
        When the quadrant is not 1 to 4, or shapes do not fit.

    Notes
    -----
    ``1 / sum_i (c_i0 + c_i1 column + c_i2 row) B_i(u)``, where u is the rank of the wavelength over their number, so
    the last one is a little below 1.
    """
    _check_quadrant(quadrant)
    table = np.asarray(as_array(coefficients, "coefficients", np.float64, shape=(None, 4, 3)))
    knots = np.asarray(as_array(wavelengths, "wavelengths", np.float64, shape=(None,)))
    at = np.asarray(wavelength, np.float64)
    rank = np.interp(at.ravel(), knots, np.arange(len(knots)) / len(knots), left=np.nan, right=np.nan)
    response = bspline_basis(rank, n_functions=len(table), limits=(0.0, 1.0)) @ (
        table[:, quadrant - 1] @ np.array([1.0, column, row])
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = 1.0 / response
    return np.where(np.isfinite(factor), factor, np.nan).reshape(at.shape)


@dataclass(frozen=True, kw_only=True, eq=False)
class ExtendedCalibration:
    """A flux calibration over the extended range, and what is in it.

    Parameters
    ----------
    factor : ndarray, float64, shape of the wavelengths
        What the data are to be multiplied by; NaN where the sensitivity is too low or unknown.
    detector_correction, fixed_slit_correction : bool
        Whether NRS2 was brought to NRS1, and shutters to the fixed slit.
    quadrant_correction : int
        The quadrant whose correction it holds; 0 for none.
    """

    factor: _Array
    detector_correction: bool
    fixed_slit_correction: bool
    quadrant_correction: int


def extended_calibration(
    wavelength: ArrayLike,
    *,
    table_wavelength: ArrayLike,
    sensitivity: ArrayLike,
    nrs1_nrs2: ArrayLike | None = None,
    nrs1_s200a1: ArrayLike | None = None,
    quadrants: Mapping[int, ArrayLike] | None = None,
    quadrant: int = 0,
    threshold: float = 0.01,
    corrected_quadrants: tuple[int, ...] = (1, 2, 3),
) -> ExtendedCalibration:
    """Return the flux calibration of data whose flats left the sensitivity out.

    Parameters
    ----------
    wavelength : array_like, float64, any shape [um]
        Wavelengths.
    table_wavelength, sensitivity : array_like, float64, shape (n,) [um, ...]
        The table, `SensitivityTable`.
    nrs1_nrs2 : array_like, float64, shape (n,), optional
        Flux of NRS1 over NRS2; given for data of NRS2 alone.
    nrs1_s200a1 : array_like, float64, shape (n,), optional
        Flux through shutters over S200A1; given for fixed slits alone.
    quadrants : mapping of int to array_like, optional
        Further factors of the sensitivity by quadrant.
    quadrant : int, optional
        Quadrant of the shutter; 0 for none.
    threshold : float, optional
        Wavelengths with less than this fraction of the largest sensitivity are left out. A negative one gives the
        correction of the detector alone.
    corrected_quadrants : tuple of int, optional
        Quadrants whose factors are used; msaexp leaves the fourth out.

    Raises
    ------
    InvalidInputError
        When the lengths of the table differ, or the threshold is 1 or more.

    Notes
    -----
    ``factor = r_slit / (S / r_detector * q)`` with each term interpolated to the wavelengths.
    """
    if not threshold < 1:
        msg = f"threshold: {threshold} is not allowed, it must be below 1"
        raise InvalidInputError(msg)
    knots = np.asarray(as_array(table_wavelength, "table_wavelength", np.float64, shape=(None,)))
    response = np.asarray(as_array(sensitivity, "sensitivity", np.float64, shape=knots.shape))
    at = np.asarray(wavelength, np.float64)

    def on_pixels(values: ArrayLike, name: str) -> _Array:
        column = np.asarray(as_array(values, name, np.float64, shape=knots.shape))
        return np.interp(at.ravel(), knots, column, left=np.nan, right=np.nan).reshape(at.shape)

    if threshold < 0:
        response = np.ones_like(response)
    with np.errstate(divide="ignore", invalid="ignore"):
        if nrs1_nrs2 is not None:
            response = response / np.asarray(as_array(nrs1_nrs2, "nrs1_nrs2", np.float64, shape=knots.shape))
        factor = 1.0 / on_pixels(response, "sensitivity")
        if nrs1_s200a1 is not None:
            factor = factor * on_pixels(nrs1_s200a1, "nrs1_s200a1")
        has_quadrant = quadrants is not None and quadrant in quadrants and quadrant in corrected_quadrants
        if quadrants is not None and has_quadrant:
            factor = factor / on_pixels(quadrants[quadrant], f"quadrants[{quadrant}]")
        is_known = np.isfinite(factor) & (factor > 0)
        if threshold >= 0 and is_known.any():
            is_known &= 1.0 / factor > threshold * np.max(1.0 / factor[is_known])
    return ExtendedCalibration(
        factor=np.where(is_known, factor, np.nan),
        detector_correction=nrs1_nrs2 is not None,
        fixed_slit_correction=nrs1_s200a1 is not None,
        quadrant_correction=quadrant if has_quadrant else 0,
    )


def shutter_flat(
    wavelength: ArrayLike,
    *,
    column: int,
    row: int,
    table_wavelength: ArrayLike,
    coefficients: ArrayLike,
    n_x: int,
    n_y: int,
    x_limits: tuple[float, float],
    y_limits: tuple[float, float],
    smooth_wavelength: float = 3.1,
    smooth_width: float = 0.7,
    smooth_scale: float = 0.0,
) -> _Array:
    """Return the flat field of a shutter.

    Parameters
    ----------
    wavelength : array_like, float64, any shape [um]
        Wavelengths.
    column, row : int
        The shutter in its quadrant, from 1.
    table_wavelength, coefficients, n_x, n_y, x_limits, y_limits
        The table of its quadrant, `SlitFlatTable`.
    smooth_wavelength, smooth_width, smooth_scale : float, optional
        The same.

    Returns
    -------
    ndarray, float64, shape of ``wavelength``
        What the data are to be divided by; NaN below 0.55 and above 5.60 um, and where it is not in (0, 5].

    Raises
    ------
    InvalidInputError
        When shapes do not fit, or the shutter is not in the table.

    Notes
    -----
    At each wavelength of the table ``f = sum_jk c_jk B_j(row') B_k(column')``, drawn to 1 around ``smooth_wavelength``
    by ``(f - 1) (1 - a exp(-d^2 / 2 s^2)) + 1``; between the wavelengths these are the coefficients of a B-spline of
    the rank. The table's author laid its n places over n - 1 steps, so ``column' = column * n / (n - 1)``.
    """
    knots = np.asarray(as_array(table_wavelength, "table_wavelength", np.float64, shape=(None,)))
    table = np.asarray(as_array(coefficients, "coefficients", np.float64, shape=(len(knots), n_x * n_y)))
    along = []
    for name, place, n, (low, high) in (("row", row, n_y, y_limits), ("column", column, n_x, x_limits)):
        n_places = int(high - low)
        if not 1 <= place < n_places:
            msg = f"{name}: {place} is not allowed, it must be in [1, {n_places})"
            raise InvalidInputError(msg)
        along.append(bspline_basis([low + place * (high - low) / (n_places - 1)], n_functions=n, limits=(low, high))[0])
    flat = table @ np.outer(*along).ravel()
    distance = knots - smooth_wavelength
    keep = 1.0 - smooth_scale * np.exp(-(distance**2) / (2 * smooth_width**2))
    flat = (flat - 1.0) * keep + 1.0
    at = np.asarray(wavelength, np.float64)
    rank = np.interp(at.ravel(), knots, np.linspace(0.0, 1.0, len(knots)))
    out = (bspline_basis(rank, n_functions=len(knots), limits=(0.0, 1.0)) @ flat).reshape(at.shape)
    with np.errstate(invalid="ignore"):
        is_known = (out > 0) & (out <= _FLAT_MAX) & (at >= _FLAT_LIMITS_UM[0]) & (at <= _FLAT_LIMITS_UM[1])
    return np.where(is_known, out, np.nan)
