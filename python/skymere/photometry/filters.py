"""Wavelengths of filters, from their transmission curves."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_array
from skymere.errors import InvalidInputError

__all__ = ["FilterWavelengths", "filter_table", "filter_wavelengths"]

# Of Gauss-Legendre between two points: a power of wavelengths that differ by a factor of 2 is good to 1e-10.
_NODES = 8


@dataclass(frozen=True, kw_only=True)
class FilterWavelengths:
    """Where a filter lets light through.

    Parameters
    ----------
    effective_um : float
        Mean wavelength of the curve [um].
    low_um, high_um : float
        Where it first rises above and last falls below half of its maximum [um].
    pivot_um : float or None
        Pivot wavelength, with which flux densities per frequency and per wavelength are each other's [um]; None when it
        is not known.

    Raises
    ------
    InvalidInputError
        When the wavelengths are not positive or not in their order.
    """

    effective_um: float
    low_um: float
    high_um: float
    pivot_um: float | None = None

    def __post_init__(self) -> None:
        if not (0 < self.low_um < self.effective_um < self.high_um < np.inf):
            msg = (
                f"low_um, effective_um, high_um: {self.low_um}, {self.effective_um}, {self.high_um} are not allowed, "
                "they must be positive and increase"
            )
            raise InvalidInputError(msg)
        if self.pivot_um is not None and not 0 < self.pivot_um < np.inf:
            msg = f"pivot_um: {self.pivot_um} is not allowed, it must be positive or None"
            raise InvalidInputError(msg)


def filter_wavelengths(
    wavelength_um: ArrayLike, transmission: ArrayLike, *, is_photon: bool = True
) -> FilterWavelengths:
    """Return effective, pivot and half-maximum wavelengths of a filter.

    Parameters
    ----------
    wavelength_um : array_like, float64, shape (n,) [um]
        Wavelengths, increasing.
    transmission : array_like, float64, shape (n,)
        Part of the light that is detected, of any scale; linear between the wavelengths and 0 beyond them.
    is_photon : bool, optional
        Whether it is the part of photons; else that of energy, as of bolometers.

    Returns
    -------
    FilterWavelengths
        With all four.

    Raises
    ------
    InvalidInputError
        When lengths differ, wavelengths do not increase, values are not finite or negative, or all are 0.

    Notes
    -----
    With the curve T of photons, or T / lambda of energy [1]_::

        effective = int T lambda dl / int T dl,    pivot^2 = int T lambda dl / int (T / lambda) dl

    The integrals and the places of half of the maximum are those of the curve that is linear between its points. A dip
    below half of it within the filter is not an edge.

    References
    ----------
    .. [1] Tokunaga & Vacca 2005, PASP 117, 421, appendix.

    Examples
    --------
    >>> from skymere.photometry import filter_wavelengths
    >>> found = filter_wavelengths([1.0, 1.1, 1.3, 1.4], [0.0, 0.4, 0.4, 0.0])
    >>> round(found.effective_um, 4), round(found.low_um, 4), round(found.high_um, 4)
    (1.2, 1.05, 1.35)
    """
    wave = np.asarray(as_array(wavelength_um, "wavelength_um", np.float64, shape=(None,)), np.float64)
    part = np.asarray(as_array(transmission, "transmission", np.float64, shape=(wave.size,)), np.float64)
    if wave.size < 2 or not np.isfinite(wave).all() or wave[0] <= 0 or (np.diff(wave) <= 0).any():
        msg = f"wavelength_um: {wave.size} values are not allowed, there must be at least 2, positive and increasing"
        raise InvalidInputError(msg)
    if not np.isfinite(part).all() or (part < 0).any() or not part.max() > 0:
        msg = "transmission: its values must be finite and at least 0, and not all of them 0"
        raise InvalidInputError(msg)
    # Of a curve that is linear in energy, T is linear over lambda: all powers of lambda are one less.
    first = 0 if is_photon else -1
    light, moment, inverse = (_integral(wave, part, first + power) for power in (0, 1, -1))
    low, high = _half_maximum(wave, part)
    return FilterWavelengths(
        effective_um=moment / light, low_um=low, high_um=high, pivot_um=float(np.sqrt(moment / inverse))
    )


def _integral(wave: NDArray[np.float64], part: NDArray[np.float64], power: int) -> float:
    """Return the integral of a curve that is linear between points, times a power of the wavelength."""
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    step = np.diff(wave)[:, None]
    t = (nodes + 1) / 2
    values = part[:-1, None] * (1 - t) + part[1:, None] * t
    return float(np.sum(values * (wave[:-1, None] + step * t) ** float(power) * weights / 2 * step))


def _half_maximum(wave: NDArray[np.float64], part: NDArray[np.float64]) -> tuple[float, float]:
    half = part.max() / 2
    above = np.flatnonzero(part >= half)

    def edge(inside: int, outside: int) -> float:
        if not 0 <= outside < wave.size:
            return float(wave[inside])
        t = (part[inside] - half) / (part[inside] - part[outside])
        return float(wave[inside] + t * (wave[outside] - wave[inside]))

    return edge(int(above[0]), int(above[0]) - 1), edge(int(above[-1]), int(above[-1]) + 1)


def filter_table(filters: Mapping[str, FilterWavelengths]) -> pl.DataFrame:
    """Return the wavelengths of bands as a table, ``band, effective_um, low_um, high_um, pivot_um``.

    Parameters
    ----------
    filters : mapping of str to FilterWavelengths
        By band, in the order wanted.
    """
    names = ("effective_um", "low_um", "high_um", "pivot_um")
    columns = {name: pl.Series([getattr(one, name) for one in filters.values()], dtype=pl.Float64) for name in names}
    return pl.DataFrame({"band": pl.Series(list(filters), dtype=pl.String)} | columns)
