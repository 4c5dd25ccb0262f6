"""Extinction by the dust of the Milky Way."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere.errors import InvalidInputError

__all__ = ["milky_way_extinction"]

_Array = NDArray[np.float64]
# Fitzpatrick 1999, table 3: wavelengths [Angstrom] and, of the optical ones, A / E(B-V) for R_V = 3.1. The last two
# have the value of the ultraviolet formula.
_R_V = 3.1
_SPLINE_ANGSTROM = (np.inf, 26500.0, 12200.0, 6000.0, 5470.0, 4670.0, 4110.0, 2700.0, 2600.0)
_OPTICAL = (
    -0.426 + 1.0044 * _R_V,
    -0.050 + 1.0016 * _R_V,
    0.701 + 1.0016 * _R_V,
    1.208 + 1.0032 * _R_V - 0.00033 * _R_V**2,
)
_C2 = -0.824 + 4.717 / _R_V
_C1, _C3, _C4 = 2.030 - 3.007 * _C2, 3.23, 0.41
_X0, _GAMMA, _BEND = 4.596, 0.99, 5.9
_ULTRAVIOLET = 1e4 / 2700.0


def milky_way_extinction(wave: ArrayLike) -> _Array:
    """Return the extinction for a colour excess E(B-V) of 1 [mag].

    Parameters
    ----------
    wave : array_like, float64, shape (n,) [um]
        Observed wavelengths.

    Returns
    -------
    ndarray, float64, shape (n,) [mag]
        It goes to 0 at long wavelengths; multiply with E(B-V).

    Raises
    ------
    InvalidInputError
        When a wavelength is not positive.

    Notes
    -----
    With ``x = 1 / wave``, above 2700 Angstrom a cubic spline through eight values; below, ``3.1 + c1 + c2 x + c3 D(x) +
    c4 (0.5392 (x - 5.9)^2 + 0.05644 (x - 5.9)^3)`` with the Drude profile ``D`` of the bump at 2175 Angstrom.

    References
    ----------
    Fitzpatrick 1999, PASP 111, 63, tables 3 and 4 and the appendix, for R_V = 3.1.
    """
    places = np.asarray(wave, np.float64)
    if not np.all(places > 0):
        msg = f"wave: {np.min(places)} is not allowed, wavelengths must be positive"
        raise InvalidInputError(msg)
    x = 1.0 / places
    return np.where(x < _ULTRAVIOLET, _spline(np.minimum(x, _ULTRAVIOLET)), _far(np.maximum(x, _ULTRAVIOLET)))


def _far(x: Any) -> _Array:
    """Extinction in the ultraviolet."""
    drude = x**2 / ((x**2 - _X0**2) ** 2 + (x * _GAMMA) ** 2)
    bent = np.maximum(x - _BEND, 0.0)
    curve = _R_V + _C1 + _C2 * x + _C3 * drude + _C4 * (0.5392 * bent**2 + 0.05644 * bent**3)
    return np.asarray(curve, np.float64)


def _spline(x: _Array) -> _Array:
    """Extinction in the optical and infrared, a natural cubic spline."""
    knots = 1e4 / np.array(_SPLINE_ANGSTROM)
    values = np.concatenate([[0.0], np.array([0.265, 0.829]), _OPTICAL, _far(knots[-2:])])
    step, n = np.diff(knots), len(knots)
    matrix, right = np.eye(n), np.zeros(n)
    for i in range(1, n - 1):
        matrix[i, i - 1 : i + 2] = step[i - 1], 2 * (step[i - 1] + step[i]), step[i]
        right[i] = 6 * ((values[i + 1] - values[i]) / step[i] - (values[i] - values[i - 1]) / step[i - 1])
    bend = np.linalg.solve(matrix, right)
    at = np.clip(np.searchsorted(knots, x, side="right") - 1, 0, n - 2)
    a, b = (knots[at + 1] - x) / step[at], (x - knots[at]) / step[at]
    curved = ((a**3 - a) * bend[at] + (b**3 - b) * bend[at + 1]) * step[at] ** 2 / 6
    return np.asarray(a * values[at] + b * values[at + 1] + curved, np.float64)
