"""Time-dependent distortion of ACS/WFC."""

from dataclasses import dataclass, field

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

__all__ = ["Skew", "read_skew"]

_Matrix = NDArray[np.float64]

# Anderson 2007, ACS ISR 2007-08: alpha and beta [pix at 2048 pix from the middle] at 2004.5, and their rates [1 / yr].
_REFERENCE_YEAR = 2004.5
_ALPHA, _BETA = (0.095, 0.090 / 2.5), (-0.029, -0.030 / 2.5)
# From the axes of the detector, in which alpha and beta were measured, to V2, V3 [deg].
_TO_V2V3_DEG = 2.234529
_HALF_SIZE_PIX = 2048.0
_SCALE_ARCSEC = 0.05
# Where the middles of the chips are in the plane of the detector, from its own middle [pix].
_MIDDLE_PIX = {1: (0.0, 1024.0), 2: (0.0, -1024.0)}


@dataclass(frozen=True, kw_only=True)
class Skew:
    """How the linear terms of a chip changed since its coefficients were measured.

    Parameters
    ----------
    chip : int
        CCDCHIP.
    alpha, beta : float
        Skew and stretch of the detector [pix at 2048 pix].
    moves : bool
        Whether alpha and beta also move the chips in the V2, V3 plane.
    values, changes : dict
        New values of single coefficients, and what is added to them: names such as ``cx11`` [arcsec / pix].

    Notes
    -----
    The matrix ``[[1 + beta/2048, alpha/2048], [alpha/2048, 1 - beta/2048]]`` acts in the detector's axes [1]_. Later
    tables hold rates of single terms instead.

    References
    ----------
    .. [1] Anderson 2007, ACS ISR 2007-08.
    """

    chip: int = 1
    alpha: float = 0.0
    beta: float = 0.0
    moves: bool = False
    values: dict[str, float] = field(default_factory=dict)
    changes: dict[str, float] = field(default_factory=dict)

    def apply(self, cx: _Matrix, cy: _Matrix) -> tuple[_Matrix, _Matrix]:
        """Return the coefficients after the change."""
        turn = _turn()
        skew = np.eye(2) + np.array([[self.beta, self.alpha], [self.alpha, -self.beta]]) / _HALF_SIZE_PIX
        matrix = turn @ skew @ turn.T
        tables = dict(zip(("cx", "cy"), np.einsum("ij,jmn->imn", matrix, [cx, cy]), strict=True))
        for name, value in self.values.items():
            tables[name[:2]][int(name[2]), int(name[3])] = value
        for name, change in self.changes.items():
            tables[name[:2]][int(name[2]), int(name[3])] += change
        return tables["cx"], tables["cy"]

    def moved(self, v2v3: tuple[float, float], factor: float) -> tuple[float, float]:
        """Return where the reference point of the chip is by now in V2, V3 [arcsec].

        Parameters
        ----------
        v2v3 : tuple of float
            Where the table has it [arcsec].
        factor : float
            Scale of the header over that of the coefficients.
        """
        if not self.moves:
            return v2v3
        skew = np.array([[self.beta, self.alpha], [self.alpha, -self.beta]])
        shift = _turn() / _HALF_SIZE_PIX @ skew @ np.array(_MIDDLE_PIX[self.chip]) * _SCALE_ARCSEC
        return v2v3[0] + float(shift[0]) * factor, v2v3[1] - float(shift[1]) * factor


def _turn() -> _Matrix:
    angle = np.deg2rad(_TO_V2V3_DEG)
    return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def read_skew(header: fits.Header, chip: int, year: float) -> Skew:
    """Return the change of a chip's coefficients at a time, from the primary header of its IDCTAB.

    Parameters
    ----------
    header : astropy.io.fits.Header
        Primary header of the table.
    chip : int
        CCDCHIP.
    year : float
        Year and day of the year over 365.25.

    Notes
    -----
    Tables since 2015 have rates TDD_CXB, TDD_CYB, TDD_CTB of three terms, those of 2014 TDD_CYA, TDD_CYB, TDD_CXA,
    TDD_CXB of two. Older ones have polynomials TDD_A, TDD_B of alpha and beta, or nothing: then those of Anderson hold,
    and only then stwcs moves the chips as well.
    """
    if "TDD_CTB1" in header:
        years = year - float(header["TDD_DATE"])
        terms = {"cx11": "TDD_CXB", "cy11": "TDD_CTB", "cy10": "TDD_CYB"}
        rates = {term: header.get(f"{key}{chip}") for term, key in terms.items()}
        return Skew(chip=chip, changes={k: float(rate) * years for k, rate in rates.items() if rate is not None})
    if "TDD_CYB1" in header:
        return _skew_of_2014(header, chip, year - float(header["TDD_DATE"]))
    if "TDDORDER" in header:
        powers = (year - float(header["TDD_DATE"])) ** np.arange(int(header["TDDORDER"]) + 1)
        alpha, beta = (
            float(sum(float(header.get(f"{key}{i}", 0.0)) * power for i, power in enumerate(powers)))
            for key in ("TDD_A", "TDD_B")
        )
        return Skew(chip=chip, alpha=alpha, beta=beta)
    years = year - _REFERENCE_YEAR
    return Skew(chip=chip, alpha=_ALPHA[0] + _ALPHA[1] * years, beta=_BETA[0] + _BETA[1] * years, moves=True)


def _skew_of_2014(header: fits.Header, chip: int, years: float) -> Skew:
    """Return new values where the table has an offset, changes where it has a rate only."""
    values, changes = {}, {}
    for term, key in (("cy11", "TDD_CY"), ("cx11", "TDD_CX")):
        start, rate = header.get(f"{key}A{chip}"), float(header.get(f"{key}B{chip}", 0.0))
        if start in (None, 0, "N/A"):
            if term == "cy11":
                changes[term] = rate * years
        else:
            values[term] = float(start) + rate * years
    return Skew(chip=chip, values=values, changes=changes)
