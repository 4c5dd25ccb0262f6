"""What maps, spectra and figures need to know of a fit: its continuum, its lines, its backgrounds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from skymere.errors import InvalidInputError
from skymere.grism.beam import BeamModel
from skymere.grism.template_bank import line_profile, line_scale, profile_places
from skymere.spectra import IgmTransmission, LineComplex, TabulatedTemplate, TemplateSet

__all__ = ["FittedModel", "ModelSpectra", "TemplateFactors", "as_model", "full_model", "within"]

_Array = NDArray[np.float64]
# Half of what is drawn of a Gaussian, in units of its sigma, and points of it and of a Lorentzian.
_REACH, _STEPS, _MORE_STEPS = 6.0, 73, 289

_MERGED = 1e-9


@runtime_checkable
class ModelSpectra(Protocol):
    """What line maps, spectra in one dimension, stacks and figures take of a fit; `FittedModel` is one."""

    @property
    def z(self) -> float:
        """Redshift."""

    @property
    def backgrounds(self) -> Sequence[float]:
        """Background of every beam [e/s]; empty when there is none."""

    @property
    def line_fluxes(self) -> Mapping[str, tuple[float, float]]:
        """Flux and its error of every line by name [erg/s/cm2]."""

    def line(self, name: str) -> LineComplex:
        """Return the wavelengths and ratios of a line."""

    def continuum_spectrum(self) -> tuple[_Array, _Array]:
        """Return the observed continuum: wavelengths [um] and flux densities [erg/s/cm2/A]."""

    def line_shape(self, name: str, member: int | None = None) -> tuple[_Array, _Array]:
        """Return an observed line of flux 1, or what one member is of it: wavelengths [um] and densities [1/A]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedModel:
    """A redshift with the coefficients of templates.

    Parameters
    ----------
    z : float
        Redshift.
    templates : TemplateSet
        Continua and lines.
    coefficients : mapping of str to float
        By the name of the template: factor of a continuum ``f(w / (1 + z)) / (1 + z)``, flux of a line
        [erg/s/cm2]. Templates that are not in it do not count.
    errors : mapping of str to float
        1 sigma of these.
    covariance : ndarray, float64, shape (n, n), optional
        Covariance of all coefficients in the order of ``covariance_names``.
    covariance_names : tuple of str
        Names of its rows.
    backgrounds : tuple of float
        Background of every beam [e/s].
    igm : IgmTransmission, optional
        Absorption of continua between galaxies.
    scales, scale_errors : mapping of str to float
        Factor of each grism that had one of its own; the fit is that of `skymere.grism.scale_beams` with them.

    Raises
    ------
    InvalidInputError
        When a coefficient is of no template, or the redshift is not more than -1.
    """

    z: float
    templates: TemplateSet
    coefficients: Mapping[str, float]
    errors: Mapping[str, float] = field(default_factory=dict)
    covariance: _Array | None = None
    covariance_names: tuple[str, ...] = ()
    backgrounds: tuple[float, ...] = ()
    igm: IgmTransmission | None = None
    scales: Mapping[str, float] = field(default_factory=dict)
    scale_errors: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not -1 < self.z < np.inf:
            msg = f"z: {self.z} is not allowed, it must be more than -1"
            raise InvalidInputError(msg)
        if unknown := [name for name in self.coefficients if name not in self.templates.names]:
            msg = f"coefficients: {unknown} are of no template"
            raise InvalidInputError(msg)
        n = len(self.covariance_names)
        if self.covariance is not None and np.shape(self.covariance) != (n, n):
            msg = f"covariance: shape {np.shape(self.covariance)} is not allowed, it must be {(n, n)}"
            raise InvalidInputError(msg)

    @cached_property
    def line_fluxes(self) -> Mapping[str, tuple[float, float]]:
        """Flux and its error of every line by name [erg/s/cm2]; the error is NaN when it is not known."""
        return {
            one.name: (float(self.coefficients[one.name]), float(self.errors.get(one.name, np.nan)))
            for one in self.templates.lines
            if one.name in self.coefficients
        }

    def line(self, name: str) -> LineComplex:
        """Return the wavelengths and ratios of a line.

        Parameters
        ----------
        name : str
            Its name.

        Raises
        ------
        InvalidInputError
            When there is none of that name.
        """
        for one in self.templates.lines:
            if one.name == name:
                return one
        msg = f"line: {name!r} is not allowed, the fit has {[one.name for one in self.templates.lines]}"
        raise InvalidInputError(msg)

    @cached_property
    def _continuum(self) -> tuple[_Array, _Array]:
        used = [one for one in self.templates.continua if self.coefficients.get(one.name, 0.0) != 0.0]
        if not used:
            return np.array([1e-3, 1e3]), np.zeros(2)
        wave = used[0].wave if all(np.array_equal(one.wave, used[0].wave) for one in used) else _union(used)
        if self.igm is not None and self.z > 0:
            wave = np.union1d(wave, self.igm.nodes(float(wave[0]), float(wave[-1])))
        flux = sum(self.coefficients[one.name] * np.interp(wave, one.wave, one.flux, 0, 0) for one in used)
        observed = wave * (1 + self.z)
        through = 1.0 if self.igm is None or self.z <= 0 else self.igm.transmission(observed, self.z)
        return observed, np.asarray(flux) / (1 + self.z) * through

    def continuum_spectrum(self) -> tuple[_Array, _Array]:
        """Return the observed continuum.

        Returns
        -------
        ndarray, float64, shape (n,) [um]
            Wavelengths.
        ndarray, float64, shape (n,) [erg/s/cm2/A]
            Flux densities.
        """
        return self._continuum

    def line_shape(self, name: str, member: int | None = None) -> tuple[_Array, _Array]:
        """Return an observed line of flux 1.

        Parameters
        ----------
        name : str
            The line.
        member : int, optional
            One of its members by its place in `LineComplex.wave`; all of them when not given.

        Returns
        -------
        ndarray, float64, shape (n,) [um]
            Wavelengths.
        ndarray, float64, shape (n,) [1/Angstrom]
            Flux densities; their integral is 1, or what the member has of that.

        Raises
        ------
        InvalidInputError
            When there is no such line, or it has no width.

        Notes
        -----
        Every member is a Gaussian (or a Lorentzian, see `skymere.spectra.LineComplex`) of the line's width in velocity,
        with the part ``r_m / sum(r)`` of the flux.
        """
        one = self.line(name)
        chosen = range(len(one.wave)) if member is None else (member,)
        middles = np.array([one.wave[k] for k in chosen]) * (1 + self.z)
        parts = np.array([one.parts[k] for k in chosen])
        scale = middles * line_scale(one)
        places = profile_places(one, _REACH, _STEPS if not one.is_lorentzian else _MORE_STEPS)
        wave = np.unique(np.concatenate([m + s * places for m, s in zip(middles, scale, strict=True)]))
        if wave.size > 1:
            wave = wave[np.concatenate([[True], np.diff(wave) > _MERGED])]
        norm = parts / (scale * 1e4)
        shape = line_profile(one, (wave - middles[:, None]) / scale[:, None])
        return wave, np.asarray(norm @ shape)

    def with_fluxes(self, fluxes: Mapping[str, float]) -> "FittedModel":
        """Return the fit with other fluxes of lines.

        Parameters
        ----------
        fluxes : mapping of str to float [erg/s/cm2]
            By line.
        """
        return replace(self, coefficients={**self.coefficients, **fluxes})


def _union(templates: Sequence[TabulatedTemplate]) -> _Array:
    return np.unique(np.concatenate([one.wave for one in templates]))


@runtime_checkable
class TemplateFactors(Protocol):
    """A fit of templates at one redshift: what `as_model` takes."""

    @property
    def z(self) -> float:
        """Redshift."""

    @property
    def templates(self) -> TemplateSet:
        """Continua and lines."""

    @property
    def names(self) -> tuple[str, ...]:
        """Templates in the order of the coefficients."""

    @property
    def coefficients(self) -> _Array:
        """Their factors, float64, shape (n,)."""

    @property
    def covariance(self) -> _Array:
        """Covariance of those that are not at a bound, 0 elsewhere, float64, shape (n, n)."""

    @property
    def backgrounds(self) -> _Array:
        """Constant of each beam, float64, shape (N,) [e/s]."""


def as_model(fit: ModelSpectra | TemplateFactors) -> ModelSpectra:
    """Return what maps and figures need of a fit.

    Parameters
    ----------
    fit : ModelSpectra or TemplateFactors
        A `FittedModel`, or the factors of templates at a redshift, as `fit_templates` gives them.

    Raises
    ------
    InvalidInputError
        When it is neither.
    """
    if isinstance(fit, ModelSpectra):
        return fit
    if not isinstance(fit, TemplateFactors) or np.ndim(fit.coefficients) != 1:
        msg = f"fit: {type(fit).__name__} is not allowed, it must be the factors of templates at one redshift"
        raise InvalidInputError(msg)
    # Fits tell lines apart from continua by their names; the order of both is the same.
    names = fit.templates.names
    if len(fit.names) != len(names):
        msg = f"fit: {len(fit.names)} coefficients are not allowed, there are {len(names)} templates"
        raise InvalidInputError(msg)
    variance = np.diag(fit.covariance)
    at_bound = getattr(fit, "bound_err", np.zeros(variance.size))
    error = np.where(variance > 0, np.sqrt(np.maximum(variance, 0.0)), at_bound)
    return FittedModel(
        z=float(fit.z),
        templates=fit.templates,
        coefficients=dict(zip(names, map(float, fit.coefficients), strict=True)),
        errors=dict(zip(names, map(float, error), strict=True)),
        covariance=np.asarray(fit.covariance, np.float64),
        covariance_names=names,
        backgrounds=tuple(map(float, fit.backgrounds)),
        igm=getattr(fit, "igm", None),
        scales=getattr(fit, "scales", {}),
        scale_errors=getattr(fit, "scale_errors", {}),
    )


def within(spectrum: tuple[_Array, _Array], low: float, high: float) -> tuple[_Array, _Array]:
    """Return the part of a spectrum between two wavelengths [um], with a point to either side; zeros without any."""
    if spectrum[0][-1] < low or spectrum[0][0] > high:
        return np.array([low, high]), np.zeros(2)
    first = max(int(np.searchsorted(spectrum[0], low)) - 1, 0)
    last = int(np.searchsorted(spectrum[0], high)) + 1
    return spectrum[0][first : last + 1], spectrum[1][first : last + 1]


def full_model(beam: BeamModel, fit: ModelSpectra) -> tuple[_Array, _Array]:
    """Return the model of the continuum and that of all lines of a fit in a beam, float64, shape (ny, nx) [e/s]."""
    low, high = float(np.min(beam.wave)), float(np.max(beam.wave))
    continuum = beam.compute_model(*within(fit.continuum_spectrum(), low, high))
    lines = np.zeros(beam.shape)
    for name, (flux, _) in fit.line_fluxes.items():
        wave, shape = fit.line_shape(name)
        if flux != 0 and wave[-1] >= low and wave[0] <= high:
            lines += beam.compute_model(wave, shape * flux)
    return continuum, lines


def merged_spectrum(fit: ModelSpectra) -> tuple[_Array, _Array, _Array]:
    """Return wavelengths [um] with the continuum, and with the continuum and all lines [erg/s/cm2/A]."""
    wave, continuum = fit.continuum_spectrum()
    shapes = {name: (*fit.line_shape(name), flux) for name, (flux, _) in fit.line_fluxes.items() if flux != 0}
    merged = np.unique(np.concatenate([wave, *(at for at, _, _ in shapes.values())]))
    below = np.interp(merged, wave, continuum, left=0.0, right=0.0)
    whole = below.copy()
    for at, shape, flux in shapes.values():
        whole += np.interp(merged, at, shape * flux, left=0.0, right=0.0)
    return merged, below, whole
