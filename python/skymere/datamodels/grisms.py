"""Configurations of grisms: orders with their traces, wavelengths and sensitivities."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_floats
from skymere._rust import grism as _grism
from skymere.errors import InvalidInputError

__all__ = ["ANGSTROM", "GrismConfig", "GrismOrder"]

#: um per Angstrom.
ANGSTROM = 1e-4


@dataclass(frozen=True, kw_only=True, eq=False)
class GrismOrder:
    """One spectral order.

    Parameters
    ----------
    name : str
        Its letter in the convention of aXe: A is the first order, B the zeroth.
    form : str
        ``polynomial`` (aXe: length along the trace) or ``parametric`` (GRISMCONF).
    terms : mapping
        The coefficients, in the words of the form; wavelengths in Angstrom.
    first, end : int
        Offsets along the dispersion that are drawn, ``end`` excluded [pix].
    x_shift : float
        Added to offsets before they are looked up [pix].
    faintest_mag : float
        Sources that are fainter are not drawn in this order.
    wavelength : ndarray, float64, shape (n,) [Angstrom]
        Where the sensitivity is known, in rising order.
    sensitivity : ndarray, float64, shape (n,)
        e/s per erg/s/cm2/A, per Angstrom.
    file : str
        Where the sensitivity came from.

    Raises
    ------
    InvalidInputError
        When coefficients or the sensitivity are not what the form needs.
    """

    name: str
    form: str
    terms: Mapping[str, Any]
    first: int
    end: int
    wavelength: NDArray[np.float64]
    sensitivity: NDArray[np.float64]
    x_shift: float = 0.0
    faintest_mag: float = 99.0
    file: str = ""

    def __post_init__(self) -> None:
        for name in ("wavelength", "sensitivity"):
            object.__setattr__(self, name, as_floats(getattr(self, name), name, shape=(None,)))
        if self.form not in ("polynomial", "parametric"):
            msg = f"form: {self.form!r} is not allowed, it must be 'polynomial' or 'parametric'"
            raise InvalidInputError(msg)
        n_bad = int((~np.isfinite(self.sensitivity)).sum())
        if n_bad:
            msg = f"sensitivity: {n_bad} of {self.sensitivity.size} values that are not finite are not allowed"
            raise InvalidInputError(msg)
        _ = self.compiled

    @cached_property
    def compiled(self) -> Any:
        """The order as kernels take it."""
        law = getattr(_grism.Law, self.form)(**self.terms)
        return _grism.Order(law, self.first, self.end, (self.wavelength, self.sensitivity))

    def place(
        self, x: float, y: float, *, fwcpos: float | None = None, x_shift: float | None = None, y_shift: float = 0.0
    ) -> dict[str, Any]:
        """Return a place as kernels take it.

        Parameters
        ----------
        x, y : float [pix]
            The source on the detector.
        fwcpos : float, optional
            Position of the filter wheel [deg].
        x_shift, y_shift : float, optional
            Instead of the order's own shift; added to the trace [pix].
        """
        shift = self.x_shift if x_shift is None else x_shift
        return {"x": float(x), "y": float(y), "wheel": fwcpos, "x_shift": shift, "y_shift": float(y_shift)}


@dataclass(frozen=True, kw_only=True, eq=False)
class GrismConfig:
    """A grism with its orders.

    Parameters
    ----------
    name : str
        Name of the file.
    orders : mapping of str to GrismOrder
        By letter.
    path : str
        Where it was read.
    sources : tuple of str
        Names and digests of the packs and files that it was made of.
    header : mapping
        Other words of the file.
    """

    name: str
    orders: Mapping[str, GrismOrder]
    path: str = ""
    sources: tuple[str, ...] = ()
    header: Mapping[str, Any] = field(default_factory=dict)

    def order(self, name: str) -> GrismOrder:
        """Return an order by its letter.

        Parameters
        ----------
        name : str
            The letter.

        Raises
        ------
        InvalidInputError
            When there is none.
        """
        if name not in self.orders:
            msg = f"order: {name!r} is not allowed, {self.name} has {sorted(self.orders)}"
            raise InvalidInputError(msg)
        return self.orders[name]

    def trace(
        self, x: float, y: float, dx: ArrayLike, order: str = "A", *, fwcpos: float | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return where light falls and which wavelength it has.

        Parameters
        ----------
        x, y : float [pix]
            The source on the detector.
        dx : array_like, float64, shape (n,) [pix]
            Offsets along the dispersion.
        order : str, optional
            The order.
        fwcpos : float, optional
            Position of the filter wheel of NIRISS [deg], by which traces are turned.

        Returns
        -------
        ndarray, float64, shape (n,) [pix]
            Rows from the source. The order's own shift of offsets is not applied.
        ndarray, float64, shape (n,) [um]
            Wavelengths.

        Raises
        ------
        InvalidInputError
            When there is no such order.

        Notes
        -----
        ``dy = YOFF + sum_i DYDX_i (dx - XOFF)^i`` and ``wavelength = sum_i DLDP_i p^i`` with the length p along the
        trace, all coefficients polynomials of x and y.

        References
        ----------
        Kuemmel et al. 2009, PASP 121, 59, section 3 (aXe); Pirzkal & Ryan 2017, WFC3 ISR 2017-01 (GRISMCONF).
        """
        one = self.order(order)
        offsets = np.atleast_1d(as_floats(dx, "dx"))
        dy, wave = one.compiled.trace(one.place(x, y, fwcpos=fwcpos, x_shift=0.0), offsets)
        return dy, wave * ANGSTROM

    def sensitivity(self, wavelength: ArrayLike, order: str = "A") -> NDArray[np.float64]:
        """Return the sensitivity at wavelengths.

        Parameters
        ----------
        wavelength : array_like, float64, shape (n,) [um]
            Wavelengths.
        order : str, optional
            The order.

        Returns
        -------
        ndarray, float64, shape (n,)
            e/s per erg/s/cm2/A, per Angstrom; 0 where it is not known.

        Raises
        ------
        InvalidInputError
            When there is no such order.
        """
        one = self.order(order)
        at = as_floats(wavelength, "wavelength") / ANGSTROM
        return np.interp(at, one.wavelength, one.sensitivity, left=0.0, right=0.0)
