"""Reference tables of slit spectra: what `skymere.io` reads from a pack and `skymere.slit` applies."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from skymere._arrays import as_array
from skymere.errors import InvalidInputError

__all__ = ["BadPixelTable", "BarShadowTable", "NormalizationTable", "SensitivityTable", "SlitFlatTable", "SlitTables"]

_Array = NDArray[np.float64]


def _check_limits(limits: tuple[float, float], name: str) -> None:
    if not limits[0] < limits[1]:
        msg = f"{name}: {limits} are not allowed, they must rise"
        raise InvalidInputError(msg)


@dataclass(frozen=True, kw_only=True, eq=False)
class BarShadowTable:
    """Throughput of the bars between shutters, as B-splines of the place along the slit.

    Parameters
    ----------
    limits : tuple of float
        Where the splines begin and end, in shutters.
    coefficients : ndarray, float64, shape (n_functions,) or (n_functions, n_wavelengths)
        Coefficients, without or with wavelength.
    wavelengths : ndarray, float64, shape (n_wavelengths,), optional [um]
        Where they hold, in rising order; None for a table without wavelength.

    Raises
    ------
    InvalidInputError
        When the shapes do not fit, or the limits do not rise.
    """

    limits: tuple[float, float]
    coefficients: _Array
    wavelengths: _Array | None = None

    def __post_init__(self) -> None:
        _check_limits(self.limits, "limits")
        shape: tuple[int | None, ...] = (None,)
        if self.wavelengths is not None:
            wavelengths = as_array(self.wavelengths, "wavelengths", np.float64, shape=(None,))
            object.__setattr__(self, "wavelengths", wavelengths)
            shape = (None, len(wavelengths))
        object.__setattr__(self, "coefficients", as_array(self.coefficients, "coefficients", np.float64, shape=shape))


@dataclass(frozen=True, kw_only=True, eq=False)
class NormalizationTable:
    """Relative response of the slits of a mask: B-splines of wavelength, linear in column and row of the shutter.

    Parameters
    ----------
    coefficients : ndarray, float64, shape (n_functions, 4, 3)
        Of each function and quadrant: constant, slope with the column, slope with the row.
    wavelengths : ndarray, float64, shape (n,) [um]
        Wavelengths between which the splines are evenly spaced, in rising order; no correction outside.

    Raises
    ------
    InvalidInputError
        When the shapes do not fit.
    """

    coefficients: _Array
    wavelengths: _Array

    def __post_init__(self) -> None:
        for name, shape in (("coefficients", (None, 4, 3)), ("wavelengths", (None,))):
            object.__setattr__(self, name, as_array(getattr(self, name), name, np.float64, shape=shape))


@dataclass(frozen=True, kw_only=True, eq=False)
class SensitivityTable:
    """Sensitivity over the extended range of wavelengths.

    Parameters
    ----------
    wavelength : ndarray, float64, shape (n,) [um]
        In rising order.
    sensitivity : ndarray, float64, shape (n,)
        What the data are divided by, of NRS1 and the shutters.
    nrs1_nrs2 : ndarray, float64, shape (n,), optional
        Flux of NRS1 over that of NRS2.
    nrs1_s200a1 : ndarray, float64, shape (n,), optional
        Flux through shutters over that through the fixed slit S200A1.
    quadrants : mapping of int to ndarray, float64, shape (n,)
        Further factor of the sensitivity of each quadrant that has one.

    Raises
    ------
    InvalidInputError
        When the lengths differ.
    """

    wavelength: _Array
    sensitivity: _Array
    nrs1_nrs2: _Array | None = None
    nrs1_s200a1: _Array | None = None
    quadrants: Mapping[int, _Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(np.asarray(self.wavelength))
        for name in ("wavelength", "sensitivity", "nrs1_nrs2", "nrs1_s200a1"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, as_array(getattr(self, name), name, np.float64, shape=(n,)))
        quadrants = {
            q: as_array(values, f"quadrants[{q}]", np.float64, shape=(n,)) for q, values in self.quadrants.items()
        }
        object.__setattr__(self, "quadrants", MappingProxyType(quadrants))


@dataclass(frozen=True, kw_only=True, eq=False)
class SlitFlatTable:
    """Flat field of a quadrant as a function of shutter and wavelength.

    Parameters
    ----------
    wavelength : ndarray, float64, shape (n,) [um]
        In rising order.
    coefficients : ndarray, float64, shape (n, n_y * n_x)
        Of each wavelength: B-splines of the row times B-splines of the column, the column varying fastest.
    n_x, n_y : int
        Number of functions along columns and rows.
    x_limits, y_limits : tuple of float
        Where the splines begin and end.
    smooth_wavelength, smooth_width : float
        Middle and sigma of the range in which the flat is drawn towards 1 [um].
    smooth_scale : float
        By how much, 0 not at all to 1 fully.

    Raises
    ------
    InvalidInputError
        When the shapes do not fit, or limits do not rise.
    """

    wavelength: _Array
    coefficients: _Array
    n_x: int
    n_y: int
    x_limits: tuple[float, float]
    y_limits: tuple[float, float]
    smooth_wavelength: float = 3.1
    smooth_width: float = 0.7
    smooth_scale: float = 0.0

    def __post_init__(self) -> None:
        for name in ("x_limits", "y_limits"):
            _check_limits(getattr(self, name), name)
        wavelength = as_array(self.wavelength, "wavelength", np.float64, shape=(None,))
        object.__setattr__(self, "wavelength", wavelength)
        shape = (len(wavelength), self.n_x * self.n_y)
        object.__setattr__(self, "coefficients", as_array(self.coefficients, "coefficients", np.float64, shape=shape))


@dataclass(frozen=True, kw_only=True, eq=False)
class BadPixelTable:
    """Bad pixels of a detector beyond those that the pipeline knows.

    Parameters
    ----------
    index : ndarray, int64, shape (n,)
        Places in the flattened frame.
    value : ndarray, uint32, shape (n,)
        Their bits.
    shape : tuple of int
        ``(ny, nx)`` of the frame.
    bits : mapping of str to int
        Name of each bit.

    Raises
    ------
    InvalidInputError
        When the lengths differ, or a place is not in the frame.
    """

    index: NDArray[np.int64]
    value: NDArray[np.uint32]
    shape: tuple[int, int]
    bits: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        index = as_array(self.index, "index", np.int64, shape=(None,))
        object.__setattr__(self, "index", index)
        object.__setattr__(self, "value", as_array(self.value, "value", np.uint32, shape=index.shape))
        object.__setattr__(self, "bits", MappingProxyType(dict(self.bits)))
        n = self.shape[0] * self.shape[1]
        if index.size and not (index.min() >= 0 and index.max() < n):
            msg = f"index: {index.min()} to {index.max()} are not allowed, they must be in [0, {n})"
            raise InvalidInputError(msg)

    def frame(self) -> NDArray[np.uint32]:
        """Return the bits of every pixel of the detector, shape (ny, nx)."""
        out = np.zeros(self.shape, np.uint32)
        out.flat[self.index] = self.value
        return out


@dataclass(frozen=True, kw_only=True, eq=False)
class SlitTables:
    """The tables that the corrections of one grating need; what is not there is None or missing.

    Parameters
    ----------
    bars : mapping of int to BarShadowTable
        Shadows without wavelength, by number of open shutters.
    wave_bars : mapping of int to BarShadowTable
        Shadows with wavelength, by number of open shutters.
    normalization : NormalizationTable, optional
        Relative response of the slits.
    sensitivity : SensitivityTable, optional
        Sensitivity over the extended range.
    flats : mapping of int to SlitFlatTable
        Flat fields by quadrant.
    bad_pixels : mapping of str to BadPixelTable
        Bad pixels by detector.
    pack : str
        Name and version of the pack that they come from; empty when made in memory.
    digest : str
        Its sha256.
    """

    bars: Mapping[int, BarShadowTable] = field(default_factory=dict)
    wave_bars: Mapping[int, BarShadowTable] = field(default_factory=dict)
    normalization: NormalizationTable | None = None
    sensitivity: SensitivityTable | None = None
    flats: Mapping[int, SlitFlatTable] = field(default_factory=dict)
    bad_pixels: Mapping[str, BadPixelTable] = field(default_factory=dict)
    pack: str = ""
    digest: str = ""

    def __post_init__(self) -> None:
        for name in ("bars", "wave_bars", "flats", "bad_pixels"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))
