"""Templates fitted to beams at a redshift that is known."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_floats
from skymere.datamodels import ANGSTROM
from skymere.errors import InvalidInputError, NoDataError
from skymere.grism.fit_params import FitParams
from skymere.grism.multibeam import MultiBeam
from skymere.grism.photometry import PhotometryInput, photometry_of
from skymere.grism.photometry_scale import fit_photometry_scale, scale_beams_to_photometry, scale_covariance
from skymere.grism.problem import BeamProblem
from skymere.grism.scales import GrismScales, fit_grism_scales, scale_beams
from skymere.grism.template_bank import TemplateBank, as_template_set, line_profile, line_scale, profile_places
from skymere.spectra import IgmTransmission, LineComplex, PhotometryScale, TemplateSet

__all__ = ["TemplateFit", "fit_templates"]

_Array = NDArray[np.float64]

# Half of what is drawn of a Gaussian [sigma], and points of a line.
_PROFILE_REACH, _N_PROFILE = 4.0, 33


@dataclass(frozen=True, kw_only=True, eq=False)
class TemplateFit:
    """Factors of templates at a redshift.

    Parameters
    ----------
    status : str
        ``ok``; ``no_template`` when no template reaches the beams; ``no_data`` when no pixel can be fitted: then
        numbers are NaN.
    z : float
        The redshift.
    chi2, chi2_plain : float
        Sum of Huber's loss and of squares.
    dof : int
        Pixels, those beside contamination counting less.
    backgrounds, background_err : ndarray, float64, shape (N,) [e/s]
        Constant of each beam, and its error.
    coefficients : ndarray, float64, shape (n_templates,)
        Factor of each template; a line's is its flux [erg/s/cm2].
    is_free : ndarray, bool, shape (n_templates,)
        Which reach the beams and are not at a bound.
    covariance : ndarray, float64, shape (n_templates, n_templates)
        Of those that are free, 0 elsewhere.
    bound_err : ndarray, float64, shape (n_templates,)
        Error of those at a bound, if they alone left it; 0 elsewhere, infinite where the others determine it.
    names : tuple of str
        Templates.
    templates : TemplateSet
        The same.
    igm : IgmTransmission or None
        What absorbed continua.
    params : FitParams
        How.
    scales, scale_errors : mapping of str to float
        Factor of each grism with ``scale="per_grism"``, else empty. `scale_beams` with them gives the beams that fit.
    photometry_scale : PhotometryScale or None
        Beams over photometry with ``scale_photometry``, else None. `scale_beams_to_photometry` with it gives the beams
        that fit.
    """

    status: str
    z: float
    chi2: float
    chi2_plain: float
    dof: int
    backgrounds: _Array
    background_err: _Array
    coefficients: _Array
    is_free: NDArray[np.bool_]
    covariance: _Array
    bound_err: _Array
    names: tuple[str, ...]
    templates: TemplateSet
    igm: IgmTransmission | None
    params: FitParams
    scales: Mapping[str, float] = field(default_factory=dict)
    scale_errors: Mapping[str, float] = field(default_factory=dict)
    photometry_scale: PhotometryScale | None = None

    @property
    def n_continua(self) -> int:
        """Templates that are no lines; they come first."""
        return len(self.templates.continua)

    def continua_at(self, wave_rest: ArrayLike) -> _Array:
        """Return f_lambda of every continuum for a factor of 1, as emitted, shape (n_continua, n).

        Parameters
        ----------
        wave_rest : array_like, float64, shape (n,) [um]
            Wavelengths at rest.
        """
        at = as_floats(wave_rest, "wave_rest", shape=(None,))
        rows = [np.interp(at, one.wave, one.flux, left=0.0, right=0.0) for one in self.templates.continua]
        return np.stack(rows) if rows else np.zeros((0, at.size))

    def continuum(self, wave: ArrayLike) -> _Array:
        """Return the fitted continuum, float64, shape (n,) [erg/s/cm2/A].

        Parameters
        ----------
        wave : array_like, float64, shape (n,) [um]
            Observed wavelengths.
        """
        at = as_floats(wave, "wave", shape=(None,))
        flux = self.coefficients[: self.n_continua] @ self.continua_at(at / (1 + self.z)) / (1 + self.z)
        if self.igm is not None and self.z > 0:
            flux = flux * self.igm.transmission(at, self.z)
        return np.asarray(flux, np.float64)

    def line(self, name: str, wave: ArrayLike) -> _Array:
        """Return one fitted line or complex, float64, shape (n,) [erg/s/cm2/A].

        Parameters
        ----------
        name : str
            Its name.
        wave : array_like, float64, shape (n,) [um]
            Observed wavelengths.

        Raises
        ------
        InvalidInputError
            When there is no such line.
        """
        names = [one.name for one in self.templates.lines]
        if name not in names:
            msg = f"name: {name!r} is not allowed, it must be one of {', '.join(names)}"
            raise InvalidInputError(msg)
        i = names.index(name)
        flux = float(self.coefficients[self.n_continua + i])
        return flux * self._profile(self.templates.lines[i], wave)

    def spectrum(self, wave: ArrayLike) -> _Array:
        """Return the fitted spectrum with all lines, float64, shape (n,) [erg/s/cm2/A].

        Parameters
        ----------
        wave : array_like, float64, shape (n,) [um]
            Observed wavelengths.
        """
        total = self.continuum(wave)
        for line, flux in zip(self.templates.lines, self.coefficients[self.n_continua :], strict=True):
            if flux != 0:
                total = total + flux * self._profile(line, wave)
        return total

    def _profile(self, line: LineComplex, wave: ArrayLike) -> _Array:
        at = as_floats(wave, "wave", shape=(None,)) / ANGSTROM
        total = np.zeros(at.shape)
        for rest, part in zip(line.wave, line.parts, strict=True):
            centre = rest / ANGSTROM * (1 + self.z)
            scale = centre * line_scale(line)
            total += part * line_profile(line, (at - centre) / scale) / scale
        return total

    def profile_at_rest(self, line: LineComplex) -> tuple[_Array, _Array]:
        """Return wavelengths at rest [um] of a line's profile and the part of its light at each.

        Parameters
        ----------
        line : LineComplex
            The line.
        """
        places = profile_places(line, _PROFILE_REACH, _N_PROFILE)
        weights = line_profile(line, places) * np.gradient(places)
        weights /= weights.sum()
        wave = np.concatenate([rest * (1 + places * line_scale(line)) for rest in line.wave])
        return wave, np.concatenate([part * weights for part in line.parts])


def fit_templates(
    multibeam: MultiBeam,
    z: float,
    *,
    templates: TemplateSet | str | Path,
    params: FitParams | None = None,
    igm: IgmTransmission | None = None,
    photometry: PhotometryInput | None = None,
    problem: BeamProblem | None = None,
) -> TemplateFit:
    """Fit templates to the beams of a source at a redshift that is known.

    Parameters
    ----------
    multibeam : MultiBeam
        The beams.
    z : float
        The redshift.
    templates : TemplateSet or path-like
        What the source may be made of. A folder means `TemplateSet.load` of it with single lines.
    params : FitParams, optional
        How to fit; ``bounded`` unless it says another fitter.
    igm : IgmTransmission, optional
        What absorbs continua blueward of 1216 (1 + z) Angstrom.
    photometry : PhotometryInput, optional
        Photometry that is fitted together with the beams.
    problem : BeamProblem, optional
        The same beams, compressed before; not with ``scale="per_grism"``, which compresses scaled ones.

    Returns
    -------
    TemplateFit
        With its status.

    Raises
    ------
    InvalidInputError
        When an argument is not allowed.

    Notes
    -----
    As `skymere.grism.fit_redshift` at one redshift. With ``scale="per_grism"`` or ``scale_photometry`` the covariance
    has what the errors of the scales ``V`` add to it, ``C + J V J'`` with the slopes ``J`` of the factors.
    """
    p = params or FitParams()
    if not -1 < z < np.inf:
        msg = f"z: {z} is not allowed, it must be above -1"
        raise InvalidInputError(msg)
    chosen = as_template_set(templates, line_complexes=False)
    if p.scale_photometry and problem is None:
        return _with_photometry_scale(multibeam, z, p, {"templates": chosen, "igm": igm, "photometry": photometry})
    bank = TemplateBank.of(chosen, p.profiles, igm)
    scales: GrismScales | None = None
    if p.scale == "per_grism" and problem is not None:
        msg = "problem: beams that are compressed are not allowed with scale='per_grism', they cannot be scaled"
        raise InvalidInputError(msg)
    if p.scale == "per_grism":
        scales = fit_grism_scales(multibeam, z, templates=chosen, params=p, igm=igm, photometry=photometry)
        multibeam = scale_beams(multibeam, scales.scales)
    common = {"z": float(z), "names": bank.names, "templates": chosen, "igm": igm, "params": p}
    n, k = len(bank.names), multibeam.N
    try:
        compressed = problem or BeamProblem(multibeam, errors=p.errors)
    except NoDataError:
        nan = float("nan")
        return TemplateFit(
            status="no_data",
            chi2=nan,
            chi2_plain=nan,
            dof=0,
            backgrounds=np.full(k, nan),
            background_err=np.full(k, nan),
            coefficients=np.full(n, nan),
            is_free=np.zeros(n, bool),
            covariance=np.full((n, n), nan),
            bound_err=np.full(n, nan),
            **common,  # type: ignore[arg-type]
        )
    found = compressed.scan(
        bank,
        z,
        params=p,
        fitter=p.fitter or "bounded",
        photometry=photometry_of(photometry, chosen, np.array([float(z)]), igm),
        has_covariance=True,
    )
    free, covariance = found.is_free[0, k:], found.covariance[0]
    if scales is not None and scales.covariance.size:
        slopes = np.where(free, scales.slopes, 0.0)
        covariance = covariance + slopes.T @ scales.covariance @ slopes
    reaches = free | (found.bound_variance[0] > 0)
    return TemplateFit(
        status="ok" if reaches.any() else "no_template",
        chi2=float(found.loss[0]),
        chi2_plain=float(found.chi2[0]),
        dof=multibeam.DoF,
        backgrounds=found.coefficients[0, :k],
        background_err=np.sqrt(np.maximum(found.background_variance[0], 0.0)),
        coefficients=found.coefficients[0, k:],
        is_free=free,
        covariance=covariance,
        bound_err=np.sqrt(found.bound_variance[0]),
        scales={} if scales is None else scales.scales,
        scale_errors={} if scales is None else scales.errors,
        **common,  # type: ignore[arg-type]
    )


def _with_photometry_scale(multibeam: MultiBeam, z: float, params: FitParams, words: Mapping[str, Any]) -> TemplateFit:
    """Return the fit to beams that were scaled to the photometry before."""
    plain = replace(params, scale_photometry=0)
    scale = fit_photometry_scale(multibeam, words["photometry"], order=params.scale_photometry - 1, params=params)
    fit = fit_templates(scale_beams_to_photometry(multibeam, scale), z, params=plain, **words)
    covariance = fit.covariance
    if scale.is_scaled and fit.status == "ok":
        # Scales of grisms are relative to each other and stay.
        rest = replace(plain, scale="none")
        relative = scale_beams(multibeam, fit.scales)

        def factors(other: PhotometryScale) -> _Array:
            again = fit_templates(scale_beams_to_photometry(relative, other), z, params=rest, **words)
            return np.where(fit.is_free, again.coefficients, 0.0)

        covariance = covariance + scale_covariance(scale, factors)
    return replace(fit, params=params, covariance=covariance, photometry_scale=scale)
