"""Redshifts of beams."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skymere._rust import spectra as _spectra
from skymere.errors import InvalidInputError, NoDataError
from skymere.grism.fit_params import FitParams
from skymere.grism.multibeam import MultiBeam
from skymere.grism.photometry import PhotometryInput, photometry_of
from skymere.grism.photometry_scale import fit_photometry_scale, scale_beams_to_photometry
from skymere.grism.problem import BeamProblem, Scan
from skymere.grism.redshift_pdf import RedshiftPdf, find_peaks, log_grid, make_pdf
from skymere.grism.scales import fit_grism_scales, scale_beams
from skymere.grism.template_bank import TemplateBank, as_template_set, polynomials
from skymere.spectra import IgmTransmission, PhotometryScale, TemplateSet

__all__ = ["RedshiftFit", "fit_redshift"]

_Array = NDArray[np.float64]

_ZOOM = 1.1
_PEAK_THRESHOLD, _PEAK_DISTANCE = 0.4, 9
# Where the spline is known, and more if beams reach farther by parts of a last number, where it is cut, and how finely
# it is drawn [Angstrom].
_SPLINE_WAVE, _SPLINE_CLIP, _SPLINE_STEP, _SPLINE_MORE = (4200.0, 24999.0), 1e-4, 3.0, 1000.0
# How often scales of grisms are found anew, and what is the same redshift, relative to 1 + z.
_SCALE_ROUNDS, _SAME_Z = 3, 1e-3
# Splines that share a list of wavelengths, so that those out of reach are left out.
_SPLINE_PIECE = 5


@dataclass(frozen=True, kw_only=True, eq=False)
class RedshiftFit:
    """Redshift of a source from its beams.

    Parameters
    ----------
    status : str
        ``ok``; ``at_edge`` when the best redshift is an end of the grid; ``no_template`` when no template reaches the
        beams at the best redshift; ``no_light`` when templates do, but none is there, as for negative data;
        ``no_data`` when no pixel can be fitted: then lists are empty and numbers NaN.
    zgrid : ndarray, float64, shape (n_z,)
        Trial redshifts, rising.
    chi2 : ndarray, float64, shape (n_z,)
        Sum of Huber's loss of each; of squares when ``huber_delta`` is not positive.
    chi2_plain : ndarray, float64, shape (n_z,)
        Sum of squares.
    pdf : ndarray, float64, shape (n_z,)
        ``p(z) ~ prior exp(-chi2 / 2)``.
    pdf_scaled : ndarray, float64, shape (n_z,)
        ``p(z) ~ prior exp(-chi2 / (2 s))`` with ``s = min(chi2) / DoF``, as grizli has it.
    z_map : float
        Redshift of the highest p(z); NaN where no template has a factor at any of several redshifts, and no prior
        tells them apart.
    z_percentiles, z_percentiles_scaled : tuple of float
        2.5, 16, 50, 84 and 97.5 per cent of either are below them.
    z_risk, min_risk : float
        Redshift of the least risk, and that risk, of the unscaled p(z).
    risk : ndarray, float64, shape (n_z,)
        Risk at each redshift.
    coefficients : ndarray, float64, shape (n_z, n_templates)
        Factor of each template at each redshift; a line's is its flux [erg/s/cm2].
    covariance : ndarray, float64, shape (n_z, n_templates, n_templates)
        Covariance of those that are not at a bound, of the weighted estimator; empty when not asked for.
    backgrounds, background_err : ndarray, float64, shape (n_z, N) [e/s]
        Constant of each beam, and its error.
    names : tuple of str
        Templates in the order of coefficients.
    dof : int
        Pixels, those beside contamination counting less.
    chi2_poly, chi2_spline : float
        Of the polynomial and the spline.
    n_parameters : int
        Templates with a factor other than 0 at the best redshift.
    n_spline : int
        Backgrounds and splines that reach the beams.
    bic_poly, bic_spline, bic_template : float
        Bayesian information criteria, above the least chi square.
    kkt : float
        Largest violation of the conditions of Karush, Kuhn and Tucker of all fits, over the largest slope.
    is_photometry_used : bool
        Whether photometry was fitted, that is, had a flux with an error.
    z_range : tuple of float
        As given.
    templates : TemplateSet
        What was fitted.
    params : FitParams
        How.
    scales, scale_errors : mapping of str to float
        Factor of each grism with ``scale="per_grism"``, else empty. `scale_beams` with them gives the beams that fit.
    photometry_scale : PhotometryScale or None
        Beams over photometry with ``scale_photometry``, else None. `scale_beams_to_photometry` with it gives the beams
        that fit.
    """

    status: str
    zgrid: _Array
    chi2: _Array
    chi2_plain: _Array
    pdf: _Array
    pdf_scaled: _Array
    z_map: float
    z_percentiles: tuple[float, ...]
    z_percentiles_scaled: tuple[float, ...]
    z_risk: float
    min_risk: float
    risk: _Array
    coefficients: _Array
    covariance: _Array
    backgrounds: _Array
    background_err: _Array
    names: tuple[str, ...]
    dof: int
    chi2_poly: float
    chi2_spline: float
    n_parameters: int
    n_spline: int
    bic_poly: float
    bic_spline: float
    bic_template: float
    kkt: float
    is_photometry_used: bool
    z_range: tuple[float, ...]
    templates: TemplateSet
    params: FitParams
    scales: Mapping[str, float] = field(default_factory=dict)
    scale_errors: Mapping[str, float] = field(default_factory=dict)
    photometry_scale: PhotometryScale | None = None


def fit_redshift(
    multibeam: MultiBeam,
    *,
    templates: TemplateSet | str | Path,
    z_range: Sequence[float] = (0.65, 1.6),
    dz: tuple[float, float] = (0.004, 0.0002),
    params: FitParams | None = None,
    igm: IgmTransmission | None = None,
    photometry: PhotometryInput | None = None,
    prior: tuple[_Array, _Array] | None = None,
) -> RedshiftFit:
    """Fit the redshift of a source to its beams, pixel by pixel.

    Parameters
    ----------
    multibeam : MultiBeam
        The beams; their weights have contamination, systematic error and masks in them.
    templates : TemplateSet or path-like
        What the source may be made of. A folder means `TemplateSet.load` of it with complexes of lines. Stars are
        fitted at redshift 0.
    z_range : sequence of float, optional
        Least and largest redshift; one number is a redshift that is known; three are a redshift, a step in ln(1 + z)
        and a number of steps to both sides.
    dz : tuple of float, optional
        Steps in ln(1 + z) of the first grid, and of those around its peaks.
    params : FitParams, optional
        How to fit; `GRIZLI_REDSHIFT` is what grizli does.
    igm : IgmTransmission, optional
        What absorbs continua blueward of 1216 (1 + z) Angstrom, at every trial redshift.
    photometry : PhotometryInput, optional
        Photometry that is fitted together with the beams.
    prior : tuple of ndarray, optional
        Redshifts and their density, as of `PhotozFit.prior`.

    Returns
    -------
    RedshiftFit
        With its status.

    Raises
    ------
    InvalidInputError
        When an argument is not allowed. A source that cannot be fitted is a status.

    Notes
    -----
    At each redshift, factors ``a >= 0`` of templates and a constant ``b`` of each beam minimise
    ``|sqrt(W) (A T a + b - d)|^2``, with the weights ``W = exp(-fcontam |contam| / sigma) / sigma^2``. The fit is done
    on the triangle of each beam (see `BeamProblem`), which loses nothing; then Huber's loss is summed over all pixels.
    Covariances are those of the weighted estimator, ``J (A' W V W A) J`` with ``J = (A' W A)^-1`` and the variance
    ``V``. Fits around the three highest peaks have the second step, within ``1.1 dz[0] (1 + z)``.

    References
    ----------
    Huber 1964, Ann. Math. Statist. 35, 73 (loss). White 1980, Econometrica 48, 817 (covariance).

    Examples
    --------
    >>> from skymere.grism import fit_redshift, read_beams
    >>> mb = read_beams("j033216m2743_00152.beams.fits", conf_path="CONF")  # doctest: +SKIP
    >>> fit_redshift(mb, templates="templates", z_range=(0.05, 3.4)).z_map  # doctest: +SKIP
    1.743
    """
    p = params or FitParams()
    chosen = as_template_set(templates, line_complexes=True)
    grid, has_zoom = _grid(z_range, dz, is_stellar=chosen.is_stellar)
    _check_prior(prior)
    if p.scale_photometry:
        measured = fit_photometry_scale(multibeam, photometry, order=p.scale_photometry - 1, params=p)
        fit = fit_redshift(
            scale_beams_to_photometry(multibeam, measured),
            templates=chosen,
            z_range=z_range,
            dz=dz,
            params=replace(p, scale_photometry=0),
            igm=igm,
            photometry=photometry,
            prior=prior,
        )
        return replace(fit, params=p, photometry_scale=measured)
    if p.scale == "per_grism":
        words = {"dz": dz, "igm": igm, "photometry": photometry, "prior": prior}
        return _with_scales(multibeam, chosen, z_range, p, words)
    bank = TemplateBank.of(chosen, p.profiles, igm)
    given = tuple(float(z) for z in z_range)
    try:
        problem = BeamProblem(multibeam, errors=p.errors)
    except NoDataError:
        return _nothing(given, chosen, p, bank)
    fitter = p.fitter or "nnls"

    def scan(z: _Array) -> Scan:
        return problem.scan(
            bank,
            z,
            params=p,
            fitter=fitter,
            photometry=photometry_of(photometry, chosen, z, igm),
            has_covariance=p.has_covariance,
        )

    baseline = {
        name: problem.scan(one, 0.0, params=p, fitter="lstsq", is_loose=True)
        for name, one in (("poly", polynomials(p.poly_order)), ("spline", _splines_of(multibeam, p)))
    }
    chi2_poly, chi2_spline = (float(baseline[name].loss[0]) for name in ("poly", "spline"))
    dof = max(multibeam.DoF, 1)
    scans = [scan(grid)]
    if has_zoom:
        cost = scans[0].loss if prior is None else scans[0].loss - 2 * _log_prior(grid, prior)
        around = [
            log_grid(z - _ZOOM * dz[0] * (1 + z), z + _ZOOM * dz[0] * (1 + z), dz[1])
            for z in grid[_peaks(cost, chi2_spline, dof)[: p.n_peaks]]
        ]
        if around:
            scans.append(scan(np.setdiff1d(np.concatenate(around), grid)))
    found = Scan.joined(scans)
    plain = make_pdf(found.z, found.loss, prior=prior, gamma=p.risk_gamma)
    best, least = int(np.argmin(found.loss)), float(found.loss.min())
    status = "ok"
    if not found.coefficients[best, multibeam.N :].any():
        at_best = problem.scan(bank, found.z[best], params=p, fitter=fitter, has_covariance=True)
        status = "no_light" if (at_best.bound_variance > 0).any() else "no_template"
        if found.z.size > 1 and prior is None:
            plain = replace(plain, z_map=float("nan"))
    scaled = make_pdf(found.z, found.loss, scale=max(least, 1e-300) / dof, prior=prior, gamma=p.risk_gamma)
    return _result(
        found, plain, scaled, multibeam.N, dof, {"poly": chi2_poly, "spline": chi2_spline}, baseline["spline"],
        {
            "names": bank.names,
            "status": status,
            "is_photometry_used": photometry_of(photometry, chosen, found.z[:1], igm) is not None,
            "z_range": given,
            "templates": chosen,
            "params": p,
        },
    )  # fmt: skip


def _with_scales(
    multibeam: MultiBeam, templates: TemplateSet, z_range: Sequence[float], params: FitParams, words: dict[str, Any]
) -> RedshiftFit:
    """Return the fit with a factor for each grism: that of the best redshift, which is found again with it."""
    plain = replace(params, scale="none")
    fit = fit_redshift(multibeam, templates=templates, z_range=z_range, params=plain, **words)
    same = {"igm": words["igm"], "photometry": words["photometry"]}
    for _ in range(_SCALE_ROUNDS):
        if not np.isfinite(fit.z_map):
            return replace(fit, params=params)
        z, known = fit.z_map, replace(plain, fitter=params.fitter or "nnls")
        scales = fit_grism_scales(multibeam, z, templates=templates, params=known, **same)
        scaled = scale_beams(multibeam, scales.scales)
        fit = fit_redshift(scaled, templates=templates, z_range=z_range, params=plain, **words)
        fit = replace(fit, params=params, scales=scales.scales, scale_errors=scales.errors)
        if abs(fit.z_map - z) < _SAME_Z * (1 + z):
            break
    return fit


def _result(
    found: Scan,
    plain: RedshiftPdf,
    scaled: RedshiftPdf,
    n_beams: int,
    dof: int,
    chi2: dict[str, float],
    spline: Scan,
    fields: dict[str, object],
) -> RedshiftFit:
    best, least = int(np.argmin(found.loss)), float(found.loss.min())
    n_parameters = int(np.count_nonzero(found.coefficients[best]))
    params: FitParams = fields["params"]  # type: ignore[assignment]
    n_spline = int(np.count_nonzero(spline.coefficients[0]))
    top = int(np.argmax(plain.pdf)) if found.z.size > 1 else 0
    if fields["status"] == "ok" and found.z.size > 1 and top in (0, found.z.size - 1):
        fields["status"] = "at_edge"
    return RedshiftFit(
        zgrid=found.z,
        chi2=found.loss,
        chi2_plain=found.chi2,
        pdf=plain.pdf,
        pdf_scaled=scaled.pdf,
        z_map=plain.z_map,
        z_percentiles=plain.percentiles,
        z_percentiles_scaled=scaled.percentiles,
        z_risk=plain.z_risk,
        min_risk=plain.min_risk,
        risk=plain.risk,
        coefficients=found.coefficients[:, n_beams:],
        covariance=found.covariance,
        backgrounds=found.coefficients[:, :n_beams],
        background_err=np.sqrt(np.maximum(found.background_variance, 0.0)),
        dof=dof,
        chi2_poly=chi2["poly"],
        chi2_spline=chi2["spline"],
        n_parameters=n_parameters,
        n_spline=n_spline,
        bic_poly=float(np.log(dof) * (params.poly_order + 1 + n_beams) + chi2["poly"] - least),
        bic_spline=float(np.log(dof) * n_spline + chi2["spline"] - least),
        bic_template=float(np.log(dof) * n_parameters),
        kkt=float(found.violation.max()),
        **fields,  # type: ignore[arg-type]
    )


def _nothing(z_range: tuple[float, ...], templates: TemplateSet, params: FitParams, bank: TemplateBank) -> RedshiftFit:
    nan, none, n = float("nan"), np.zeros(0), len(bank.names)
    return RedshiftFit(
        status="no_data",
        zgrid=none,
        chi2=none,
        chi2_plain=none,
        pdf=none,
        pdf_scaled=none,
        z_map=nan,
        z_percentiles=(nan,) * 5,
        z_percentiles_scaled=(nan,) * 5,
        z_risk=nan,
        min_risk=nan,
        risk=none,
        coefficients=np.zeros((0, n)),
        covariance=np.zeros((0, n, n)),
        backgrounds=np.zeros((0, 0)),
        background_err=np.zeros((0, 0)),
        names=bank.names,
        dof=0,
        chi2_poly=nan,
        chi2_spline=nan,
        n_parameters=0,
        n_spline=0,
        bic_poly=nan,
        bic_spline=nan,
        bic_template=nan,
        kkt=nan,
        is_photometry_used=False,
        z_range=z_range,
        templates=templates,
        params=params,
    )


def _grid(z_range: Sequence[float], dz: tuple[float, float], *, is_stellar: bool) -> tuple[_Array, bool]:
    """Return the first grid, and whether its peaks get finer ones."""
    if is_stellar:
        return np.zeros(1), False
    values = [float(z) for z in z_range]
    if len(dz) != 2 or not all(0 < step < 1 for step in dz):
        msg = f"dz: {dz} is not allowed, it must be two steps between 0 and 1"
        raise InvalidInputError(msg)
    if len(values) == 1 and -1 < values[0] < np.inf:
        return np.array(values), False
    if len(values) == 2 and -1 < values[0] < values[1] < np.inf:
        grid = log_grid(values[0], values[1], dz[0])
        return grid, grid.size > 1
    if len(values) == 3 and values[0] > -1 and 0 < values[1] < 1 and values[2] >= 1:
        half = values[1] * values[2] * (1 + values[0])
        if values[0] - half > -1:
            return log_grid(values[0] - half, values[0] + half, values[1]), False
    msg = f"z_range: {tuple(z_range)} is not allowed, it must be a redshift above -1, two that rise, or (z, step, n)"
    raise InvalidInputError(msg)


def _check_prior(prior: tuple[_Array, _Array] | None) -> None:
    if prior is None:
        return
    z, p = (np.asarray(one, np.float64) for one in prior)
    if z.shape != p.shape or z.ndim != 1 or not np.all(np.diff(z) > 0) or not np.all(p >= 0) or not p.any():
        msg = f"prior: shapes {z.shape}, {p.shape} are not allowed, it must be rising redshifts and their density"
        raise InvalidInputError(msg)


def _log_prior(z: _Array, prior: tuple[_Array, _Array]) -> _Array:
    density = np.interp(z, prior[0], prior[1], left=0.0, right=0.0)
    density /= max(float(np.trapezoid(density, z)), 1e-10)
    return np.log(np.maximum(density, 1e-300))


def _peaks(loss: _Array, chi2_spline: float, dof: int) -> list[int]:
    """Return the peaks of chi square below the spline's, as grizli chooses them."""
    least = float(loss.min())
    if chi2_spline > least + 100:
        level = least + 100
    elif chi2_spline < least + 9:
        level = least + 16
    else:
        level = chi2_spline
    signal = np.maximum((level - loss) / dof, 0.0)
    return find_peaks(signal, threshold=_PEAK_THRESHOLD, min_distance=_PEAK_DISTANCE)


def _splines_of(multibeam: MultiBeam, params: FitParams) -> TemplateBank:
    """Return splines along all wavelengths at which a beam is sensitive, and those that grizli has in any case."""
    seen = np.concatenate([one.wave[one.sensitivity > 0] for one in multibeam.beams]) * 1e4
    low, high = _SPLINE_WAVE
    if seen.size and seen.max() > high:
        high += _SPLINE_MORE * float(np.ceil((seen.max() - high) / _SPLINE_MORE))
    if seen.size and seen.min() < low:
        low /= 2.0 ** float(np.ceil(np.log2(low / seen.min())))
    return _splines(params.spline_resolution, low, high)


@lru_cache(maxsize=8)
def _splines(resolution: float, low: float, high: float) -> TemplateBank:
    wave = np.linspace(low, high, int((high - low) / _SPLINE_STEP))
    # As many as pixels of that resolution, and two for the ends.
    n = log_grid(low, high, 1.0 / resolution).size + 2
    places = np.log(wave)
    basis = _spectra.bsplines(places, n, 3, (float(places[0]), float(places[-1])))
    basis[basis < _SPLINE_CLIP * basis.max(axis=1, keepdims=True)] = 0.0
    return TemplateBank.pieces(wave, basis, [f"spline {i}" for i in range(n)], size=_SPLINE_PIECE)
