"""From a spectrum and templates to what the kernel fits."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import uniform_filter1d

from skymere._rust import spectra as _rust
from skymere.datamodels import Spectrum1D
from skymere.errors import InvalidInputError
from skymere.spectra.igm import IgmTransmission
from skymere.spectra.params import RedshiftParams
from skymere.spectra.templates import LineComplex, SplineContinuum, TabulatedTemplate, Template

__all__ = [
    "FWHM_OVER_SIGMA",
    "UNIT",
    "Parts",
    "as_spectrum",
    "build_problem",
    "flambda_per_ujy",
    "systematic",
    "usable",
]

_Array = NDArray[np.float64]

# The kernel's unit of flux [erg/s/cm2], so that its numbers are near 1.
UNIT = 1e-18
FWHM_OVER_SIGMA = float(np.sqrt(8 * np.log(2)))
# Pixels that a line is in, more or less.
_LINE_PIXELS = 7
_LIGHT_UM_S = 2.99792458e14
_UJY = 1e-29


def flambda_per_ujy(wave: Any) -> Any:
    """Return f_lambda [1e-18 erg/s/cm2/um] of 1 uJy at wavelengths [um]: ``c / wave^2``."""
    return _UJY * _LIGHT_UM_S / UNIT / wave**2


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Templates in the kernel's order: splines, tables, lines."""

    splines: tuple[SplineContinuum, ...]
    tables: tuple[TabulatedTemplate, ...]
    lines: tuple[LineComplex, ...]

    @classmethod
    def of(cls, templates: Sequence[Template]) -> "Parts":
        """Sort templates by their kind.

        Parameters
        ----------
        templates : sequence
            In any order.
        """
        if isinstance(templates, str) or not isinstance(templates, Sequence):
            msg = f"templates: {templates!r} is not allowed, it must be a list of templates"
            raise InvalidInputError(msg)
        if not templates:
            msg = "templates: an empty list is not allowed, at least one is needed"
            raise InvalidInputError(msg)
        for template in templates:
            if not isinstance(template, SplineContinuum | LineComplex | TabulatedTemplate):
                msg = f"templates: {template!r} is not allowed, it must be splines, a table or lines"
                raise InvalidInputError(msg)
        parts = cls(
            splines=tuple(t for t in templates if isinstance(t, SplineContinuum)),
            tables=tuple(t for t in templates if isinstance(t, TabulatedTemplate)),
            lines=tuple(t for t in templates if isinstance(t, LineComplex)),
        )
        _check_names(parts.lines)
        return parts

    @property
    def n_splines(self) -> int:
        """Number of spline functions."""
        return sum(t.n_functions for t in self.splines)

    @property
    def n_smooth(self) -> int:
        """Number of templates that are no lines."""
        return self.n_splines + len(self.tables)

    @property
    def names(self) -> list[str]:
        """A name for every coefficient."""
        splines = [f"spline {i}" for i in range(self.n_splines)]
        return [*splines, *(t.name for t in self.tables), *(t.name for t in self.lines)]

    @property
    def kinds(self) -> list[str]:
        """The kind of every coefficient."""
        return ["spline"] * self.n_splines + ["table"] * len(self.tables) + ["line"] * len(self.lines)

    def without_lines(self) -> "Parts":
        """Return the smooth part alone."""
        return Parts(splines=self.splines, tables=self.tables, lines=())


def _check_names(lines: tuple[LineComplex, ...]) -> None:
    """Raise unless lines of the same name are for redshifts that do not overlap."""
    seen: dict[str, LineComplex] = {}
    for line in sorted(lines, key=lambda line: line.z_range):
        before = seen.get(line.name)
        if before is not None and line.z_range[0] < before.z_range[1]:
            msg = f"templates: line {line.name!r} twice at the same redshift is not allowed"
            raise InvalidInputError(msg)
        seen[line.name] = line


def as_spectrum(spectrum: Spectrum1D | tuple[ArrayLike, ArrayLike, ArrayLike]) -> Spectrum1D:
    """Return a spectrum of itself, of arrays, or of anything that has ``wave``, ``flux`` and ``err``.

    Parameters
    ----------
    spectrum
        See `skymere.spectra.fit_redshift`.
    """
    if isinstance(spectrum, Spectrum1D):
        return spectrum
    if isinstance(spectrum, tuple | list):
        if len(spectrum) not in (3, 4):
            msg = f"spectrum: {len(spectrum)} arrays are not allowed, it must be wave, flux, err and maybe resolution"
            raise InvalidInputError(msg)
        names = ("wave", "flux", "err", "resolution")
        arrays: dict[str, Any] = {name: np.asarray(a) for name, a in zip(names, spectrum, strict=False)}
        return Spectrum1D(**arrays)
    missing = [name for name in ("wave", "flux", "err") if not hasattr(spectrum, name)]
    if missing:
        msg = f"spectrum: {type(spectrum).__name__} is not allowed, it has no {', '.join(missing)}"
        raise InvalidInputError(msg)
    names = ("flux", "err", "resolution", "mask", "covariance")
    found = {name: getattr(spectrum, name, None) for name in names}
    spread = getattr(spectrum, "wave_spread", None)
    return Spectrum1D(wave=getattr(spectrum, "wave_mean", spectrum.wave), spread=spread, **found)


def usable(spectrum: Spectrum1D, parts: Parts, params: RedshiftParams) -> NDArray[np.bool_]:
    """Return the valid pixels, after a check that what moves with redshift has a width.

    Parameters
    ----------
    spectrum : Spectrum1D
        The spectrum.
    parts : Parts
        The templates.
    params : RedshiftParams
        How to fit.
    """
    if spectrum.resolution is None and (parts.lines or parts.tables) and params.vel_width == 0:
        msg = "resolution: None is not allowed with vel_width 0, lines need a width"
        raise InvalidInputError(msg)
    return spectrum.is_valid


def systematic(spectrum: Spectrum1D, valid: NDArray[np.bool_], level: _Array, sys_err: float) -> _Array:
    """Return errors with their systematic part [uJy], infinite for pixels that are not used.

    Parameters
    ----------
    spectrum : Spectrum1D
        The spectrum.
    valid : ndarray, bool, shape (n,)
        Pixels that are used.
    level : ndarray, float64, shape (n,) [uJy]
        What the systematic part is relative to, where positive.
    sys_err : float
        Relative error.
    """
    err = np.full(spectrum.wave.shape, np.inf)
    err[valid] = np.hypot(spectrum.err[valid], sys_err * np.maximum(level[valid], 0.0))
    return err


def build_problem(
    spectrum: Spectrum1D,
    valid: NDArray[np.bool_],
    err: _Array,
    parts: Parts,
    params: RedshiftParams,
    igm: IgmTransmission | None = None,
) -> _rust.Problem:
    """Return the kernel's problem.

    Parameters
    ----------
    spectrum : Spectrum1D
        The spectrum.
    valid : ndarray, bool, shape (n,)
        Pixels that are used.
    err : ndarray, float64, shape (n,) [uJy]
        Their errors.
    parts : Parts
        The templates.
    params : RedshiftParams
        How to fit.
    igm : IgmTransmission, optional
        What absorbs on the way.
    """
    unit = flambda_per_ujy(spectrum.wave)
    power = _power(spectrum, params.scale_disp)
    drawn = [t.draw(spectrum.wave) for t in parts.splines]
    fixed = np.concatenate(drawn) if drawn else np.zeros((0, spectrum.wave.size))
    # Tables come in any unit: the largest value becomes 1.
    tables = [(t.wave, t.flux / max(float(np.abs(t.flux).max()), 1e-300)) for t in parts.tables]
    smooth, lines = params.non_negative == "all", params.non_negative in ("all", "lines")
    narrower = params.line_prior / UNIT
    if wings := [t.name for t in parts.lines if t.is_lorentzian]:
        msg = f"templates: profile 'lorentzian' of {', '.join(wings)} is not allowed, lines of slits are gaussian"
        raise InvalidInputError(msg)
    return _rust.Problem(
        spectrum.edges,
        np.where(valid, spectrum.flux, 0.0) * unit,
        _covariance(spectrum, valid, err, unit),
        valid,
        fixed=np.ascontiguousarray(fixed),
        tables=tables,
        lines=[(list(t.wave), list(t.parts), t.z_range, t.velocity_sigma) for t in parts.lines],
        resolution=(spectrum.wave, power),
        scale_disp=params.scale_disp,
        vel_width=params.vel_width,
        igm=None if igm is None else igm.kernel,
        is_bounded=[smooth] * parts.n_smooth + [lines] * len(parts.lines),
        prior=[0.0] * parts.n_smooth + [narrower**-2 if narrower > 0 else 0.0] * len(parts.lines),
    )


def _power(spectrum: Spectrum1D, scale_disp: float) -> _Array:
    """Return the resolving power, before it is scaled, with what the spread of wavelengths in pixels adds to widths."""
    # Without a table lines have the width of the source alone.
    power = np.full(spectrum.wave.shape, 1e9) if spectrum.resolution is None else spectrum.resolution
    if spectrum.spread is None:
        return power
    # A line is in several pixels, each with a spread of its own.
    relative = uniform_filter1d((spectrum.spread / spectrum.wave) ** 2, _LINE_PIXELS, mode="nearest")
    return np.asarray(1.0 / np.sqrt(power**-2.0 + (FWHM_OVER_SIGMA * scale_disp) ** 2 * relative), np.float64)


def _covariance(spectrum: Spectrum1D, valid: NDArray[np.bool_], err: _Array, unit: _Array) -> _Array:
    """Return the covariance of every used pixel with itself and those after it, in the kernel's unit."""
    given = (err**2)[:, None] if spectrum.covariance is None else spectrum.covariance
    band = np.zeros_like(given)
    band[valid, 0] = (err[valid] * unit[valid]) ** 2
    for k in range(1, band.shape[1]):
        pairs = np.flatnonzero(valid[:-k] & valid[k:])
        band[pairs, k] = given[pairs, k] * unit[pairs] * unit[pairs + k]
    return band
