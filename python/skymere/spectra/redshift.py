"""Redshifts and lines of spectra: chi square along a grid of redshifts, and the lines at the best one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from skymere._rust import spectra as _rust
from skymere.datamodels import Spectrum1D
from skymere.errors import InvalidInputError
from skymere.spectra.igm import IgmTransmission
from skymere.spectra.line_list import prism_templates
from skymere.spectra.line_table import LIGHT_KM_S, LINE_SCHEMA, line_table
from skymere.spectra.params import RedshiftParams
from skymere.spectra.problem import (
    FWHM_OVER_SIGMA,
    Parts,
    as_spectrum,
    build_problem,
    flambda_per_ujy,
    systematic,
    usable,
)
from skymere.spectra.results import RedshiftFit
from skymere.spectra.template_set import TemplateSet
from skymere.spectra.templates import Template

__all__ = ["fit_lines", "fit_redshift"]

_Array = NDArray[np.float64]
_Input = Spectrum1D | tuple[ArrayLike, ArrayLike, ArrayLike] | tuple[ArrayLike, ArrayLike, ArrayLike, ArrayLike]
_Templates = Sequence[Template] | TemplateSet | str | Path

_PERCENTILES = (0.025, 0.16, 0.5, 0.84, 0.975)
# Minima that are worse than this are no rivals of the best: on a coarse grid a true one may look that bad.
_RIVAL_CHI2 = 100.0
_RIVAL_PART = 0.5
# Passes after which the model that systematic errors are relative to stays the same.
_N_LEVELS = 2


@dataclass(frozen=True, kw_only=True)
class _Input1D:
    """A spectrum that was checked, with what it is fitted with."""

    spectrum: Spectrum1D
    valid: NDArray[np.bool_]
    parts: Parts
    params: RedshiftParams
    igm: IgmTransmission | None

    @property
    def igm_source(self) -> str:
        return "none" if self.igm is None else self.igm.source

    @property
    def n_correlated(self) -> int:
        return 0 if self.spectrum.covariance is None else self.spectrum.covariance.shape[1] - 1

    def problem(self, level: _Array, parts: Parts | None = None) -> tuple[_rust.Problem, _Array]:
        err = systematic(self.spectrum, self.valid, level, self.params.sys_err)
        chosen = parts or self.parts
        return build_problem(self.spectrum, self.valid, err, chosen, self.params, self.igm), err


def fit_redshift(
    spectrum: _Input,
    *,
    templates: _Templates | None = None,
    z_range: tuple[float, float] = (0.2, 10.0),
    params: RedshiftParams | None = None,
    igm: IgmTransmission | None = None,
) -> RedshiftFit:
    """Fit redshift, continuum and lines of a spectrum.

    Parameters
    ----------
    spectrum : Spectrum1D, or tuple of array_like
        The spectrum; or anything else with ``wave`` [um], ``flux`` and ``err`` [uJy] and maybe ``wave_mean`` [um],
        where its light was measured, ``wave_spread`` [um] around that, ``resolution``, ``mask`` and ``covariance``; or
        the arrays ``(wave, flux, err)`` or ``(wave, flux, err, resolution)``, float64, shape (n,). Without a resolution
        lines have the width ``vel_width`` alone.
    templates : sequence of SplineContinuum, LineComplex and TabulatedTemplate, TemplateSet or path-like, optional
        What it may be made of; `prism_templates` when not given. A folder means `TemplateSet.load` of it: complexes of
        lines here, single lines in `fit_lines`. A set of stars is fitted at redshift 0.
    z_range : tuple of float, optional
        Least and largest redshift.
    params : RedshiftParams, optional
        How to fit; `MSAEXP_PARAMS` with `msaexp_prism_templates` is what msaexp does.
    igm : IgmTransmission, optional
        What absorbs continua blueward of 1216 (1 + z) Angstrom, at every trial redshift; nothing when not given. Lines
        are fitted as they arrive.

    Returns
    -------
    RedshiftFit
        With its status.

    Raises
    ------
    InvalidInputError
        When an argument is not allowed. A spectrum that cannot be fitted is a status.

    Notes
    -----
    At each redshift the factors ``a`` of the templates ``T`` minimise ``chi2 = r^T C^-1 r`` with ``r = f - a T`` and
    the covariance ``C`` of the spectrum (``err^2`` on its diagonal alone when it has none), to whose diagonal
    ``(sys_err max(m, 0))^2`` of the model ``m`` is added. With ``C = L L^T`` (banded), ``L^-1 f`` and ``L^-1 T`` have
    independent errors of 1. ``p(z) ~ exp(-chi2 / 2)``; with ``line_prior`` ``s`` it is the integral over all factors,
    ``-2 ln p = min(chi2 + x^2 / s^2) + ln det(N + P) - ln det P``, where ``N = T C^-1 T^T`` and ``P`` is ``1 / s^2``
    for lines. Lines are Gaussians integrated over the pixels, with ``sigma^2 / wave^2 = (vel_width / c)^2 + (2.355 R
    scale_disp)^-2 + (spread / wave)^2``, where the spread of wavelengths in pixels is a mean of seven. A first grid is
    even in ln(1 + z); its lowest minima get finer ones.

    Examples
    --------
    >>> import numpy as np
    >>> from skymere.spectra import LINES, SplineContinuum, fit_redshift
    >>> wave = np.linspace(1.0, 2.0, 201)
    >>> line = np.exp(-0.5 * ((wave - 0.500824 * 3) / 0.01) ** 2)
    >>> fit = fit_redshift(
    ...     (wave, 1 + line, np.full(201, 0.01), np.full(201, 1.5024 / 0.02355)),
    ...     templates=[SplineContinuum(n_functions=6), LINES["OIII-5007"]],
    ...     z_range=(1.2, 2.8),
    ... )
    >>> round(fit.z, 2), fit.status
    (2.0, 'ok')
    """
    if isinstance(templates, TemplateSet) and templates.is_stellar:
        return fit_lines(spectrum, z=0.0, templates=templates, params=params, igm=igm)
    p = params or RedshiftParams()
    given = _check(spectrum, templates, p, igm, line_complexes=True)
    low, high = _check_range(z_range)
    if given.valid.sum() <= given.parts.n_smooth:
        return _no_data(given, (low, high))
    coarse = _grid(low, high, _coarse_step(given))
    level = np.where(given.valid, given.spectrum.flux, 0.0)
    problem, err = given.problem(level)
    trials = _Trials(problem, coarse)
    for _ in range(_N_LEVELS if p.sys_err_of == "model" and p.sys_err > 0 else 0):
        # The model at a point of the coarse grid would make weights depend on where that grid begins.
        z_first, _, cost = _refine(problem, trials, replace(p, n_peaks=1, n_per_sigma=0))
        _, coefficients, _, _, design, _ = problem.fit(_vertex(z_first, cost)[0])
        problem, err = given.problem(coefficients @ design / flambda_per_ujy(given.spectrum.wave))
        trials = _Trials(problem, coarse)
    z_grid, chi2_grid, cost = _refine(problem, trials, p)
    z, best = _vertex(z_grid, cost)
    pdf, cumulative = _density(z_grid, cost)
    percentiles = tuple(float(np.interp(q, cumulative, z_grid)) for q in _PERCENTILES)
    near = (1.0 + z) * np.exp(np.array([-1.0, 1.0]) * p.peak_half_width) - 1.0
    share = float(np.diff(np.interp(near, z_grid, cumulative))[0])
    status = "ambiguous" if share < p.min_peak_probability else "ok"
    if best in (0, len(z_grid) - 1):
        status = "at_edge"
    return _finish(
        given,
        problem,
        err,
        z,
        is_z_fixed=False,
        fields={
            "status": status,
            "z_err": 0.5 * (percentiles[3] - percentiles[1]),
            "percentiles": percentiles,
            "z_grid": z_grid,
            "chi2_grid": chi2_grid,
            "pdf": pdf,
            "z_range": (low, high),
        },
    )


def fit_lines(
    spectrum: _Input,
    *,
    z: float,
    templates: _Templates | None = None,
    params: RedshiftParams | None = None,
    igm: IgmTransmission | None = None,
) -> RedshiftFit:
    """Fit continuum and lines at a redshift that is known.

    Parameters
    ----------
    spectrum : Spectrum1D, or tuple of array_like
        As for `fit_redshift`.
    z : float
        The redshift, without an error of its own.
    templates : sequence of SplineContinuum, LineComplex and TabulatedTemplate, TemplateSet or path-like, optional
        As for `fit_redshift`.
    params : RedshiftParams, optional
        How to fit; what concerns grids is not used.
    igm : IgmTransmission, optional
        As for `fit_redshift`.

    Returns
    -------
    RedshiftFit
        Its grid has this one redshift; ``z_err`` is what the spectrum itself would tell.

    Raises
    ------
    InvalidInputError
        When an argument is not allowed.
    """
    p = params or RedshiftParams()
    given = _check(spectrum, templates, p, igm, line_complexes=False)
    if not -1 < z < np.inf:
        msg = f"z: {z} is not allowed, it must be above -1"
        raise InvalidInputError(msg)
    if given.valid.sum() <= given.parts.n_smooth:
        return _no_data(given, (z, z))
    problem, err = given.problem(np.where(given.valid, given.spectrum.flux, 0.0))
    for _ in range(_N_LEVELS if p.sys_err_of == "model" and p.sys_err > 0 else 0):
        _, coefficients, _, _, design, _ = problem.fit(z)
        problem, err = given.problem(coefficients @ design / flambda_per_ujy(given.spectrum.wave))
    fields = {
        "status": "ok",
        "percentiles": (),
        "z_grid": np.array([z]),
        "chi2_grid": _Trials(problem, np.array([z], np.float64)).chi2,
        "pdf": np.array([np.nan]),
        "z_range": (z, z),
    }
    return _finish(given, problem, err, float(z), is_z_fixed=True, fields=fields)


def _check(
    spectrum: _Input,
    templates: _Templates | None,
    params: RedshiftParams,
    igm: IgmTransmission | None,
    *,
    line_complexes: bool,
) -> _Input1D:
    if isinstance(templates, str | Path):
        if not Path(templates).is_dir():
            msg = f"templates: {str(templates)!r} is not allowed, there is no such folder"
            raise InvalidInputError(msg)
        templates = TemplateSet.load(templates, line_complexes=line_complexes)
    if isinstance(templates, TemplateSet):
        templates = templates.templates
    if igm is not None and not isinstance(igm, IgmTransmission):
        msg = f"igm: {igm!r} is not allowed, it must be an IgmTransmission"
        raise InvalidInputError(msg)
    parts = Parts.of(prism_templates() if templates is None else templates)
    one = as_spectrum(spectrum)  # type: ignore[arg-type]
    return _Input1D(spectrum=one, valid=usable(one, parts, params), parts=parts, params=params, igm=igm)


def _check_range(z_range: tuple[float, float]) -> tuple[float, float]:
    if len(z_range) != 2 or not -1 < z_range[0] < z_range[1] < np.inf:
        msg = f"z_range: {z_range} is not allowed, it must be two redshifts above -1 that rise"
        raise InvalidInputError(msg)
    return float(z_range[0]), float(z_range[1])


def _coarse_step(given: _Input1D) -> float:
    """Return the step of the first grid: no minimum of chi square is narrower than the narrowest line."""
    p, spectrum = given.params, given.spectrum
    if not (given.parts.lines or given.parts.tables) or p.coarse_per_sigma == 0:
        return p.coarse_step
    wave, edges = spectrum.wave[given.valid], spectrum.edges
    pixel = np.diff(edges)[given.valid] / wave / np.sqrt(12.0)
    power = np.inf if spectrum.resolution is None else spectrum.resolution[given.valid] * p.scale_disp
    sigma = np.sqrt((p.vel_width / LIGHT_KM_S) ** 2 + (1 / (FWHM_OVER_SIGMA * power)) ** 2 + pixel**2)
    return min(p.coarse_step, float(sigma.min()) / p.coarse_per_sigma)


def _grid(low: float, high: float, step: float) -> _Array:
    """Redshifts that are evenly spaced in ln(1 + z), at least three, and the last one."""
    span = np.log((1 + high) / (1 + low))
    step = min(step, 0.5 * span)
    n = int(np.floor(span / step * (1 + 1e-12))) + 1
    grid = np.asarray(np.exp(np.log1p(low) + step * np.arange(n, dtype=np.float64)) - 1.0, np.float64)
    return np.append(grid, high) if high > grid[-1] + 1e-9 * (1 + high) else grid


class _Trials:
    """Redshifts that were tried."""

    def __init__(self, problem: _rust.Problem, z: _Array) -> None:
        self.z = z
        self.chi2, self.cost = problem.scan(z)


def _refine(problem: _rust.Problem, coarse: _Trials, params: RedshiftParams) -> tuple[_Array, _Array, _Array]:
    """Add finer grids around the lowest minima, and finer ones still where those are narrow.

    Returns redshifts, their chi squares and what is -2 ln p(z).
    """
    cost = coarse.cost
    padded = np.concatenate([[np.inf], cost, [np.inf]])
    minima = np.flatnonzero((cost <= padded[:-2]) & (cost <= padded[2:]))
    limit = cost.min() + max(_RIVAL_CHI2, _RIVAL_PART * float(np.median(cost) - cost.min()))
    minima = minima[cost[minima] <= limit]
    peaks = coarse.z[minima[np.argsort(cost[minima], kind="stable")][: params.n_peaks]]
    n_fine = round(params.fine_half_width / params.fine_step)
    fine = [np.exp(np.log1p(peak) + params.fine_step * np.arange(-n_fine, n_fine + 1)) - 1.0 for peak in peaks]
    scans = [_Trials(problem, zs) for zs in fine]
    found = [coarse, *scans]
    lowest = min(float(scan.cost.min()) for scan in scans)
    for scan in scans if params.n_per_sigma else ():
        cost = scan.cost
        i = int(np.clip(np.argmin(cost), 1, len(cost) - 2))
        bend = cost[i - 1] - 2 * cost[i] + cost[i + 1]
        if cost.min() > lowest + _RIVAL_CHI2 or bend <= 0:
            continue
        sigma = params.fine_step * np.sqrt(2.0 / bend)
        centre = np.log1p(scan.z[i]) + 0.5 * params.fine_step * (cost[i - 1] - cost[i + 1]) / bend
        n_last = 6 * params.n_per_sigma
        last = np.exp(centre + sigma / params.n_per_sigma * np.arange(-n_last, n_last + 1)) - 1.0
        found.append(_Trials(problem, last))
    z_grid = np.concatenate([trials.z for trials in found])
    # Fine grids at the ends of the coarse one must not leave what was asked for.
    inside = (z_grid >= coarse.z[0]) & (z_grid <= coarse.z[-1])
    z_grid, first = np.unique(z_grid[inside], return_index=True)
    chi2 = np.concatenate([trials.chi2 for trials in found])[inside][first]
    return z_grid, chi2, np.concatenate([trials.cost for trials in found])[inside][first]


def _vertex(z_grid: _Array, cost: _Array) -> tuple[float, int]:
    """Return the redshift of the parabola through the three lowest neighbours, and the lowest point itself."""
    best = int(np.argmin(cost))
    if best in (0, len(cost) - 1):
        return float(z_grid[best]), best
    x = np.log1p(z_grid[best - 1 : best + 2]) - np.log1p(z_grid[best])
    y = cost[best - 1 : best + 2] - cost[best]
    curve = (y[0] / x[0] - y[2] / x[2]) / (x[0] - x[2])
    slope = y[0] / x[0] - curve * x[0]
    move = -0.5 * slope / curve if curve > 0 else 0.0
    return float((1.0 + z_grid[best]) * np.exp(np.clip(move, x[0], x[2])) - 1.0), best


def _density(z_grid: _Array, cost: _Array) -> tuple[_Array, _Array]:
    """Return p(z) and its integral."""
    density = np.exp(-0.5 * (cost - cost.min()))
    steps = 0.5 * (density[1:] + density[:-1]) * np.diff(z_grid)
    cumulative = np.concatenate([[0.0], np.cumsum(steps)])
    return density / cumulative[-1], cumulative / cumulative[-1]


def _finish(
    given: _Input1D,
    problem: _rust.Problem,
    err: _Array,
    z: float,
    *,
    is_z_fixed: bool,
    fields: Mapping[str, object],
) -> RedshiftFit:
    """Return the whole fit at the best redshift."""
    chi2, coefficients, is_used, joint, design, _ = problem.fit(z)
    covariance, z_var = joint[:-1, :-1], joint[-1, -1]
    if is_z_fixed and np.isfinite(z_var):
        # The covariance at a given redshift is that of all, less what follows from the redshift.
        covariance = covariance - np.outer(joint[:-1, -1], joint[-1, :-1]) / z_var
    parts = given.parts
    n_smooth = parts.n_smooth
    lines, line_covariance = line_table(
        given.spectrum,
        given.valid,
        parts,
        z,
        coefficients=coefficients,
        covariance=covariance,
        is_used=is_used,
        design=design,
        params=given.params,
    )
    table = pl.DataFrame(
        {
            "template": parts.names,
            "kind": parts.kinds,
            "coefficient": np.where(is_used, coefficients, np.nan),
            "coefficient_err": np.sqrt(np.diagonal(covariance)),
        }
    )
    unit = flambda_per_ujy(given.spectrum.wave)
    delta = np.nan
    if n_smooth:
        smooth = build_problem(given.spectrum, given.valid, err, parts.without_lines(), given.params, given.igm)
        delta = float(_Trials(smooth, np.array([z])).chi2[0] - chi2)
    known = {"z_err": float((1.0 + z) * np.sqrt(z_var))} | dict(fields)
    return RedshiftFit(
        z=z,
        chi2=chi2,
        n_pixels=int(given.valid.sum()),
        n_parameters=int(is_used.sum()),
        delta_chi2=delta,
        model=coefficients @ design / unit,
        continuum=coefficients[:n_smooth] @ design[:n_smooth] / unit,
        err=err,
        lines=lines,
        line_covariance=line_covariance,
        coefficients=table,
        templates=(*parts.splines, *parts.tables, *parts.lines),
        params=given.params,
        igm=given.igm_source,
        n_correlated=given.n_correlated,
        **known,  # type: ignore[arg-type]
    )


def _no_data(given: _Input1D, z_range: tuple[float, float]) -> RedshiftFit:
    """Return a fit without numbers."""
    nothing, nowhere = np.zeros(0), np.full(given.spectrum.wave.shape, np.nan)
    return RedshiftFit(
        status="no_data",
        z=np.nan,
        z_err=np.nan,
        percentiles=(np.nan,) * len(_PERCENTILES),
        chi2=np.nan,
        n_pixels=int(given.valid.sum()),
        n_parameters=0,
        delta_chi2=np.nan,
        z_grid=nothing,
        chi2_grid=nothing,
        pdf=nothing,
        model=nowhere,
        continuum=nowhere,
        err=np.full(given.spectrum.wave.shape, np.inf),
        lines=pl.DataFrame(schema=LINE_SCHEMA),
        line_covariance=np.zeros((0, 0)),
        coefficients=pl.DataFrame(
            schema={"template": pl.String, "kind": pl.String, "coefficient": pl.Float64, "coefficient_err": pl.Float64}
        ),
        templates=(*given.parts.splines, *given.parts.tables, *given.parts.lines),
        params=given.params,
        igm=given.igm_source,
        n_correlated=given.n_correlated,
        z_range=z_range,
    )
