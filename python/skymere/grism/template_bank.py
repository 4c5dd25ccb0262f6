"""Templates as the kernel takes them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skymere._rust import grism as _grism
from skymere._rust import spectra as _spectra
from skymere.datamodels import ANGSTROM
from skymere.errors import InvalidInputError
from skymere.spectra import IgmTransmission, LineComplex, TabulatedTemplate, TemplateSet

__all__ = [
    "LORENTZIAN_REACH",
    "TemplateBank",
    "as_template_set",
    "grizli_line",
    "line_profile",
    "line_scale",
    "line_sigma",
    "polynomials",
    "profile_places",
]

_Array = NDArray[np.float64]

_LIGHT_KM_S = 299792.458
_FWHM_OVER_SIGMA = float(np.sqrt(8 * np.log(2)))
# How grizli draws a line: points within 50 sigma, a tenth of a sigma apart, with its own factor of the width.
_GRIZLI_FWHM, _GRIZLI_STEP, _GRIZLI_REACH, _GRIZLI_CLIP = 2.35, 0.1, 50, 1e-6
_GRIZLI_ENDS = (91.0, 1e8)
#: Half of what is drawn of a Lorentzian, in half widths: 50 sigma of the Gaussian that is as wide.
LORENTZIAN_REACH = 2 * _GRIZLI_REACH / _FWHM_OVER_SIGMA
# Where polynomials are known [Angstrom].
_POLY_WAVE = (1000.0, 52000.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class TemplateBank:
    """Templates in the order of their coefficients.

    Parameters
    ----------
    kernel
        What the fits use.
    names : tuple of str
        A name for each coefficient.
    is_line : ndarray, bool, shape (n,)
        Which are lines.
    """

    kernel: _grism.Bank
    names: tuple[str, ...]
    is_line: NDArray[np.bool_]

    @classmethod
    def of(cls, templates: TemplateSet, profiles: str, igm: IgmTransmission | None) -> "TemplateBank":
        """Return a set as the kernel takes it; made once for each set.

        Parameters
        ----------
        templates : TemplateSet
            Continua and lines.
        profiles : str
            Of lines, see `FitParams`.
        igm : IgmTransmission, optional
            What absorbs on the way.
        """
        return _bank(templates, profiles, igm)

    @classmethod
    def fixed(cls, wave: _Array, flux: _Array, names: Sequence[str]) -> "TemplateBank":
        """Return spectra that do not move with redshift.

        Parameters
        ----------
        wave : ndarray, float64, shape (n,) [Angstrom]
            Observed wavelengths.
        flux : ndarray, float64, shape (n_templates, n)
            Spectra.
        names : sequence of str
            Their names.
        """
        kernel = _grism.Bank(tables=[(wave, np.ascontiguousarray(flux), True)], lines=[], igm=None)
        return cls(kernel=kernel, names=tuple(names), is_line=np.zeros(len(names), bool))

    @classmethod
    def pieces(cls, wave: _Array, flux: _Array, names: Sequence[str], *, size: int) -> "TemplateBank":
        """Return spectra that do not move with redshift and that are each zero nearly everywhere.

        Parameters
        ----------
        wave : ndarray, float64, shape (n,) [Angstrom]
            Observed wavelengths.
        flux : ndarray, float64, shape (n_templates, n)
            Spectra, neighbours beside each other.
        names : sequence of str
            Their names.
        size : int
            How many neighbours are kept together.
        """
        tables = []
        for first in range(0, len(flux), size):
            part = flux[first : first + size]
            held = np.flatnonzero((part != 0).any(axis=0))
            near = slice(max(held[0] - 1, 0), held[-1] + 2)
            tables.append((np.ascontiguousarray(wave[near]), np.ascontiguousarray(part[:, near]), True))
        kernel = _grism.Bank(tables=tables, lines=[], igm=None)
        return cls(kernel=kernel, names=tuple(names), is_line=np.zeros(len(names), bool))

    @classmethod
    def rest(cls, wave: _Array, flux: _Array, names: Sequence[str]) -> "TemplateBank":
        """Return spectra at rest, without absorption.

        Parameters
        ----------
        wave : ndarray, float64, shape (n,) [Angstrom]
            Wavelengths at rest.
        flux : ndarray, float64, shape (n_templates, n)
            Spectra.
        names : sequence of str
            Their names.
        """
        kernel = _grism.Bank(tables=[(wave, np.ascontiguousarray(flux), False)], lines=[], igm=None)
        return cls(kernel=kernel, names=tuple(names), is_line=np.zeros(len(names), bool))


def as_template_set(templates: TemplateSet | str | Path, *, line_complexes: bool) -> TemplateSet:
    """Return a set of itself or of a folder.

    Parameters
    ----------
    templates : TemplateSet or path-like
        See `skymere.grism.fit_redshift`.
    line_complexes : bool
        What a folder means.
    """
    if isinstance(templates, TemplateSet):
        return templates
    if not isinstance(templates, str | Path):
        msg = f"templates: {templates!r} is not allowed, it must be a TemplateSet or a folder"
        raise InvalidInputError(msg)
    return _loaded(str(Path(templates).resolve()), "complexes" if line_complexes else "single")


@lru_cache(maxsize=8)
def polynomials(order: int) -> TemplateBank:
    """Return powers of (wave / 1 um - 1), which do not move with redshift.

    Parameters
    ----------
    order : int
        The highest power.
    """
    wave = np.linspace(*_POLY_WAVE, 1000)
    flux = np.stack([(wave / 1e4 - 1) ** i for i in range(order + 1)])
    return TemplateBank.fixed(wave, flux, [f"poly {i}" for i in range(order + 1)])


@lru_cache(maxsize=8)
def _loaded(path: str, lines: str) -> TemplateSet:
    return TemplateSet.load(path, line_complexes=lines == "complexes")


@lru_cache(maxsize=16)
def _bank(templates: TemplateSet, profiles: str, igm: IgmTransmission | None) -> TemplateBank:
    tables: list[tuple[_Array, _Array, bool]] = []
    group: list[TabulatedTemplate] = []
    for one in templates.continua:
        if group and not np.array_equal(one.wave, group[0].wave):
            tables.append(_table(group))
            group = []
        group.append(one)
    if group:
        tables.append(_table(group))
    lines = []
    if profiles == "grizli":
        for line in templates.lines:
            wave, flux = grizli_line(line)
            tables.append((wave, flux[None], False))
    else:
        lines = [(_members(line), line.is_lorentzian) for line in templates.lines]
    kernel = _grism.Bank(tables=tables, lines=lines, igm=_igm(igm))
    names = (*(one.name for one in templates.continua), *(f"line {one.name}" for one in templates.lines))
    is_line = np.arange(len(names)) >= len(templates.continua)
    return TemplateBank(kernel=kernel, names=names, is_line=is_line)


def _igm(igm: IgmTransmission | None) -> _spectra.Igm | None:
    return None if igm is None else igm.kernel


def _table(group: Sequence[TabulatedTemplate]) -> tuple[_Array, _Array, bool]:
    return np.ascontiguousarray(group[0].wave / ANGSTROM), np.stack([one.flux for one in group]), False


def _width(line: LineComplex) -> float:
    """Full width at half maximum over the wavelength."""
    if line.fwhm_km_s is None:
        msg = f"templates: line {line.name!r} without fwhm_km_s is not allowed, grism templates need a width"
        raise InvalidInputError(msg)
    return line.fwhm_km_s / _LIGHT_KM_S


def line_sigma(line: LineComplex) -> float:
    """Return the width of a line, 1 sigma over the wavelength.

    Parameters
    ----------
    line : LineComplex
        The line.
    """
    return _width(line) / _FWHM_OVER_SIGMA


def line_scale(line: LineComplex) -> float:
    """Return the unit of a line's profile over the wavelength: one sigma, of a Lorentzian half of its full width.

    Parameters
    ----------
    line : LineComplex
        The line.
    """
    return _width(line) / 2 if line.is_lorentzian else line_sigma(line)


def line_profile(line: LineComplex, t: _Array) -> _Array:
    """Return the density of a line whose unit is 1, float64, shape of t.

    Parameters
    ----------
    line : LineComplex
        The line.
    t : ndarray, float64
        Places from its middle, in its unit.
    """
    if not line.is_lorentzian:
        return np.asarray(np.exp(-0.5 * t**2) / np.sqrt(2 * np.pi), np.float64)
    return np.where(np.abs(t) <= LORENTZIAN_REACH, 0.5 / np.arctan(LORENTZIAN_REACH) / (1 + t**2), 0.0)


def profile_places(line: LineComplex, reach: float, n: int) -> _Array:
    """Return places at which a line is drawn in straight pieces, float64, shape (n,).

    Parameters
    ----------
    line : LineComplex
        The line.
    reach : float
        First and last place of a Gaussian; a Lorentzian has all of its own.
    n : int
        How many.
    """
    if not line.is_lorentzian:
        return np.linspace(-reach, reach, n)
    # Even in the middle, and in the logarithm far out, where it falls with the square.
    end = np.arcsinh(LORENTZIAN_REACH)
    return np.asarray(np.sinh(np.linspace(-end, end, n)), np.float64)


def _members(line: LineComplex) -> list[Any]:
    scale = line_scale(line)
    return [[wave / ANGSTROM, part, scale] for wave, part in zip(line.wave, line.parts, strict=True)]


def grizli_line(line: LineComplex) -> tuple[_Array, _Array]:
    """Return a line as grizli draws it: wavelengths [Angstrom] and fluxes.

    Parameters
    ----------
    line : LineComplex
        The line.
    """
    wave, flux = np.zeros(0), np.zeros(0)
    for centre_um, part in zip(line.wave, line.parts, strict=True):
        centre = centre_um / ANGSTROM
        rms = centre * _width(line) / _GRIZLI_FWHM
        grid = np.arange(-_GRIZLI_REACH, _GRIZLI_REACH, _GRIZLI_STEP) * rms + centre
        grid = np.concatenate([_GRIZLI_ENDS[:1], grid, _GRIZLI_ENDS[1:]])
        if line.is_lorentzian:
            one = 1.0 / (1.0 + ((grid - centre) / (0.5 * centre * _width(line))) ** 2)
            one[[0, 1, -2, -1]] = 0.0
            one /= np.trapezoid(one, grid)
            peak = one.max()
        else:
            peak = np.sqrt(2 * np.pi * rms**2)
            one = np.exp(-((grid - centre) ** 2) / 2 / rms**2) / peak
        one[one < _GRIZLI_CLIP / peak] = 0
        # grizli adds pairs: the sum so far is interpolated to the points of both.
        union = np.unique(np.concatenate([wave, grid]))
        own = part * np.interp(union, grid, one)
        flux = own if not wave.size else np.interp(union, wave, flux) + own
        wave = union
    return wave, flux
