"""Lines of beams: fluxes, equivalent widths, and how well orientations agree."""

from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.errors import InvalidInputError
from skymere.grism.fit_params import FitParams
from skymere.grism.multibeam import MultiBeam
from skymere.grism.photometry import PhotometryInput
from skymere.grism.template_bank import as_template_set, line_sigma
from skymere.grism.template_fit import TemplateFit, fit_templates
from skymere.spectra import IgmTransmission, LineComplex, TemplateSet

__all__ = ["fit_lines", "line_deviations", "line_table"]

_Array = NDArray[np.float64]

_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "line": pl.String,
    "status": pl.String,
    "flux": pl.Float64,
    "flux_err": pl.Float64,
    "snr": pl.Float64,
    "wave": pl.Float64,
    "members": pl.List(pl.Float64),
    "shares": pl.List(pl.Float64),
    "blend": pl.List(pl.String),
    "ew16": pl.Float64,
    "ew50": pl.Float64,
    "ew84": pl.Float64,
    "ewhw": pl.Float64,
    "covariance": pl.List(pl.Float64),
}
_BLEND_SIGMA = 2.355
_DEVIATIONS: dict[str, pl.DataType | type[pl.DataType]] = {
    "line": pl.String,
    "grism": pl.String,
    "angle": pl.Float64,
    "flux": pl.Float64,
    "flux_err": pl.Float64,
    "others": pl.Float64,
    "others_err": pl.Float64,
    "deviation": pl.Float64,
}


def fit_lines(
    multibeam: MultiBeam,
    z: float,
    *,
    templates: TemplateSet | str | Path,
    params: FitParams | None = None,
    igm: IgmTransmission | None = None,
    photometry: PhotometryInput | None = None,
    n_draws: int = 1000,
    seed: int = 0,
) -> pl.DataFrame:
    """Fit the lines of a source at a redshift that is known.

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
    n_draws : int, optional
        Draws for equivalent widths.
    seed : int, optional
        Of the draws, together with the number of the source.

    Returns
    -------
    polars.DataFrame
        A row for each line that reaches the beams, see `line_table`.

    Raises
    ------
    InvalidInputError
        When an argument is not allowed.

    Examples
    --------
    >>> from skymere.grism import fit_lines, read_beams
    >>> mb = read_beams("j033216m2743_00152.beams.fits", conf_path="CONF")  # doctest: +SKIP
    >>> fit_lines(mb, 1.743, templates="templates").select("line", "flux", "flux_err")  # doctest: +SKIP
    """
    fit = fit_templates(multibeam, z, templates=templates, params=params, igm=igm, photometry=photometry)
    return line_table(fit, source_id=multibeam.source_id, n_draws=n_draws, seed=seed)


def line_table(fit: TemplateFit, *, source_id: int = 0, n_draws: int = 1000, seed: int = 0) -> pl.DataFrame:
    """Return the lines of a fit.

    Parameters
    ----------
    fit : TemplateFit
        The fit.
    source_id : int, optional
        Number of the source; with the seed it is the key of the random numbers.
    n_draws : int, optional
        Draws of coefficients for equivalent widths.
    seed : int, optional
        Of the draws.

    Returns
    -------
    polars.DataFrame
        ``line``, ``status`` (``ok``, ``at_bound``, ``undetermined``), ``flux``, ``flux_err`` [erg/s/cm2] (at a bound
        the error if the line left it), ``snr``, ``wave`` (observed, of the strongest member) [um], ``members`` (at
        rest) [um], ``shares`` (their parts in the flux), ``blend`` (other lines with a member nearer than half of the
        sum of both full widths at half maximum), ``ew16``, ``ew50``, ``ew84``, ``ewhw`` (equivalent width at
        rest and half of its range) [Angstrom], null where there is no continuum; ``covariance``: with the lines of
        this table [(erg/s/cm2)^2].

    Notes
    -----
    With draws ``a`` of the free coefficients from their covariance, the width of a line with the profile ``G`` over the
    continua ``T`` is ``a_line int G / (sum a T) dwave``, at rest. Random numbers are of Philox 4x64 with the key
    (seed, source), so they depend on nothing that was drawn before.

    Raises
    ------
    InvalidInputError
        When the seed is not allowed.

    References
    ----------
    Salmon et al. 2011, SC '11, 16 (Philox).
    """
    n = fit.n_continua
    lines = fit.templates.lines
    reaches = fit.is_free[n:] | (fit.bound_err[n:] > 0)
    shown = np.flatnonzero(reaches)
    if not 0 <= seed < 2**64:
        msg = f"seed: {seed} is not allowed, it must be from 0 to 2^64 - 1"
        raise InvalidInputError(msg)
    if not shown.size or fit.status == "no_data":
        return pl.DataFrame(schema=_SCHEMA)
    draws, free = _draws(fit, source_id, n_draws, seed)
    rows = []
    for i in shown:
        line, at = lines[i], n + int(i)
        is_free = bool(fit.is_free[at])
        err = float(np.sqrt(fit.covariance[at, at]) if is_free else fit.bound_err[at])
        status = "ok" if is_free else "at_bound"
        if not np.isfinite(err):
            status, err = "undetermined", float("nan")
        flux = float(fit.coefficients[at])
        widths = _equivalent_width(fit, line, draws, free, at) if is_free else None
        rows.append(
            {
                "line": line.name,
                "status": status,
                "flux": flux,
                "flux_err": err,
                "snr": flux / err if err > 0 else None,
                "wave": line.main * (1 + fit.z),
                "members": list(line.wave),
                "shares": list(line.parts),
                "blend": [lines[j].name for j in shown if j != i and _is_blended(line, lines[j])],
                **dict(zip(("ew16", "ew50", "ew84"), widths or (None,) * 3, strict=True)),
                "ewhw": None if widths is None else 0.5 * (widths[2] - widths[0]),
                "covariance": fit.covariance[at, n + shown].tolist(),
            }
        )
    return pl.DataFrame(rows, schema=_SCHEMA)


def _is_blended(a: LineComplex, b: LineComplex) -> bool:
    reach = 0.5 * _BLEND_SIGMA * (line_sigma(a) + line_sigma(b))
    return any(abs(np.log(one / other)) < reach for one in a.wave for other in b.wave)


def _draws(fit: TemplateFit, source_id: int, n_draws: int, seed: int) -> tuple[_Array, NDArray[np.intp]]:
    """Draws of the free coefficients in units of their errors, times these."""
    free = np.flatnonzero(fit.is_free)
    variance = np.diagonal(fit.covariance)[free]
    free = free[variance > 0]
    sigma = np.sqrt(np.diagonal(fit.covariance)[free])
    correlation = fit.covariance[np.ix_(free, free)] / sigma / sigma[:, None]
    values, vectors = np.linalg.eigh(correlation)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    key = np.array([seed, source_id], np.uint64)
    normal = np.random.Generator(np.random.Philox(key=key)).standard_normal((n_draws, free.size))
    return fit.coefficients[free] + (normal @ root.T) * sigma, free


def _equivalent_width(
    fit: TemplateFit, line: LineComplex, draws: _Array, free: NDArray[np.intp], at: int
) -> tuple[float, float, float] | None:
    n = fit.n_continua
    smooth = free < n
    if at not in free or not smooth.any():
        return None
    wave, part = fit.profile_at_rest(line)
    continuum = draws[:, smooth] @ fit.continua_at(wave)[free[smooth]]
    if not np.median(continuum @ part) > 0:
        return None
    # f_lambda observed is that at rest over 1 + z, and so is the width.
    with np.errstate(divide="ignore", invalid="ignore"):
        widths = draws[:, free == at][:, 0] * ((1.0 / continuum) @ part)
    low, middle, high = np.nanpercentile(widths, [16.0, 50.0, 84.0])
    return float(low), float(middle), float(high)


def line_deviations(
    multibeam: MultiBeam,
    z: float,
    *,
    templates: TemplateSet | str | Path,
    params: FitParams | None = None,
    igm: IgmTransmission | None = None,
) -> pl.DataFrame:
    """Compare the lines of each orientation of each grism with those of all other beams.

    Parameters
    ----------
    multibeam : MultiBeam
        The beams.
    z : float
        The redshift.
    templates : TemplateSet or path-like
        As for `fit_lines`.
    params : FitParams, optional
        How to fit.
    igm : IgmTransmission, optional
        What absorbs continua.

    Returns
    -------
    polars.DataFrame
        The largest deviation first: ``line``, ``grism``, ``angle`` [deg], ``flux``, ``flux_err``, ``others``,
        ``others_err`` [erg/s/cm2], ``deviation``: the difference over its error. Empty where there is one orientation.

    Raises
    ------
    InvalidInputError
        When an argument is not allowed.
    """
    chosen = as_template_set(templates, line_complexes=False)
    groups = [(grism, angle, set(one)) for grism, parts in multibeam.PA.items() for angle, one in parts.items()]
    rows = []
    for grism, angle, members in groups if len(groups) > 1 else []:
        parts = [[one for i, one in enumerate(multibeam.beams) if (i in members) is wanted] for wanted in (True, False)]
        tables = [
            line_table(fit_templates(MultiBeam(part), z, templates=chosen, params=params, igm=igm), n_draws=1)
            for part in parts
        ]
        own, others = (table.filter(pl.col("status") != "undetermined") for table in tables)
        both = own.join(others, on="line", suffix="_others", how="inner")
        for row in both.iter_rows(named=True):
            error = np.hypot(row["flux_err"], row["flux_err_others"])
            rows.append(
                {
                    "line": row["line"],
                    "grism": grism,
                    "angle": angle,
                    "flux": row["flux"],
                    "flux_err": row["flux_err"],
                    "others": row["flux_others"],
                    "others_err": row["flux_err_others"],
                    "deviation": float((row["flux"] - row["flux_others"]) / error),
                }
            )
    table = pl.DataFrame(rows, schema=_DEVIATIONS)
    return table.sort(pl.col("deviation").abs(), descending=True)
