"""What is fitted to the beams of one source: redshift and lines; and the fit taken back from the lake."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.errors import NoDataError, NotFoundError, SkymereError
from skymere.grism import (
    FittedModel,
    LineWidths,
    MultiBeam,
    RedshiftFit,
    TemplateFit,
    drop_angles,
    drop_bad_angles,
    fit_line_widths,
    fit_redshift,
    fit_templates,
    line_deviations,
    line_table,
    refine_redshift,
    with_widths,
)
from skymere.lake import Lake
from skymere.lake.ragged import read_ragged
from skymere.pipeline.grism_plan import GrismFitPlan, place_or_pack
from skymere.spectra import IgmTransmission, TemplateSet

__all__ = [
    "FitTemplates",
    "ObjectFit",
    "StoredCurve",
    "fit_object",
    "fit_sets",
    "fitted_beams",
    "stored_curve",
    "stored_model",
]

BACKGROUND, SCALE = "bg", "scale"
MODEL_PLANES = ("coefficient", "coefficient_err", "covariance")


@dataclass(frozen=True, kw_only=True)
class FitTemplates:
    """Templates of both fits.

    Parameters
    ----------
    search, lines : TemplateSet
        With groups of lines of fixed ratios, and with each line by itself.
    igm : IgmTransmission or None
        Matter between galaxies.
    """

    search: TemplateSet
    lines: TemplateSet
    igm: IgmTransmission | None


def fit_sets(plan: GrismFitPlan, folder: Path) -> FitTemplates:
    """Return the templates that a section names.

    Parameters
    ----------
    plan : GrismFitPlan
        The section.
    folder : Path
        Where a relative folder begins.

    Raises
    ------
    NotFoundError
        When there is no such folder or pack, or a file is missing.
    """
    place = place_or_pack(plan.templates, folder)
    words: dict[str, Any] = {"fwhm_km_s": plan.fwhm_km_s, "lorentz": plan.lorentz, "alf": plan.alf}
    return FitTemplates(
        search=TemplateSet.load(place, **words),
        lines=TemplateSet.load(place, line_complexes=False, **words),
        igm=IgmTransmission.load() if plan.has_igm else None,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class ObjectFit:
    """The fits of a source.

    Parameters
    ----------
    multibeam : MultiBeam
        The beams that were fitted.
    search : RedshiftFit
        That of the redshift.
    redshift : RedshiftFit
        With single lines at the peak of the search; the search itself where these say nothing.
    fit : TemplateFit or None
        Continua and single lines at its redshift; None when there is no redshift.
    lines : polars.DataFrame
        See `skymere.grism.line_table`.
    deviation : tuple of (str, float) or None
        The line that differs most between orientations, and by how many sigmas.
    seconds : float
        Time [s].
    widths : LineWidths or None
        Widths of lines; None when they were not asked for, or there is no redshift.
    dropped : tuple of mapping
        Orientations that were left out: ``grism``, ``angle`` [deg] and ``ratio`` of reduced chi squares.
    """

    multibeam: MultiBeam
    search: RedshiftFit
    redshift: RedshiftFit
    fit: TemplateFit | None
    lines: pl.DataFrame
    deviation: tuple[str, float] | None
    seconds: float
    widths: LineWidths | None = None
    dropped: tuple[Mapping[str, Any], ...] = ()


def fit_object(multibeam: MultiBeam, sets: FitTemplates, plan: GrismFitPlan) -> ObjectFit:
    """Fit redshift and lines of a source.

    Parameters
    ----------
    multibeam : MultiBeam
        Its beams.
    sets : FitTemplates
        What it may be made of.
    plan : GrismFitPlan
        How.

    Raises
    ------
    SkymereError
        When an argument is not allowed; a source without a redshift is a status.
    """
    began = time.monotonic()
    kept, dropped = _without_bad_angles(multibeam, plan)
    found = fit_redshift(
        kept, templates=sets.search, z_range=plan.z_range, dz=plan.dz, params=plan.params, igm=sets.igm
    )
    if not np.isfinite(found.z_map):
        return ObjectFit(
            multibeam=kept,
            search=found,
            redshift=found,
            fit=None,
            lines=pl.DataFrame(),
            deviation=None,
            seconds=time.monotonic() - began,
            dropped=dropped,
        )
    return replace(lines_at(kept, found, sets, plan, began), dropped=dropped)


def _without_bad_angles(multibeam: MultiBeam, plan: GrismFitPlan) -> tuple[MultiBeam, tuple[Mapping[str, Any], ...]]:
    """Return the beams that are fitted, and the orientations that are not."""
    if plan.bad_pa_threshold == 0:
        return multibeam, ()
    try:
        kept, table = drop_bad_angles(multibeam, threshold=plan.bad_pa_threshold, params=plan.params)
    except NoDataError:
        # The fit says so.
        return multibeam, ()
    rows = table.filter(~pl.col("is_kept")).select("grism", "angle", "ratio").iter_rows(named=True)
    return kept, tuple(rows)


def fitted_beams(multibeam: MultiBeam, row: Mapping[str, Any]) -> MultiBeam:
    """Return the beams of a source that a row of ``redshift`` was fitted to.

    Parameters
    ----------
    multibeam : MultiBeam
        All of them.
    row : mapping
        The row; ``bad_pa`` lists what was left out.

    Raises
    ------
    NoDataError
        When none is left.
    """
    # Rows of schema 1.0.0 have no list.
    dropped = json.loads(row.get("bad_pa") or "[]")
    return drop_angles(multibeam, [(one["grism"], one["angle"]) for one in dropped])


def lines_at(
    multibeam: MultiBeam, found: RedshiftFit, sets: FitTemplates, plan: GrismFitPlan, began: float
) -> ObjectFit:
    """Fit lines at the redshift of a search, or beside it; ``began`` is when that began."""
    refined = found
    if plan.is_refined:
        refined = refine_redshift(multibeam, found, templates=sets.lines, params=plan.params, igm=sets.igm)
    z = refined.z_map
    fit = fit_templates(multibeam, z, templates=sets.lines, params=plan.params, igm=sets.igm)
    lines = line_table(fit, source_id=multibeam.source_id, n_draws=plan.n_draws, seed=plan.seed)
    widths = None
    if plan.has_widths:
        widths = fit_line_widths(multibeam, z, templates=sets.lines, params=plan.widths, fit=plan.params, igm=sets.igm)
        lines = with_widths(lines, widths)
    deviation = None
    if plan.has_deviations:
        table = line_deviations(multibeam, z, templates=sets.lines, params=plan.params, igm=sets.igm)
        table = table.filter(pl.col("deviation").is_finite())
        if table.height:
            deviation = str(table["line"][0]), float(table["deviation"][0])
    return ObjectFit(
        multibeam=multibeam,
        search=found,
        redshift=refined,
        fit=fit,
        lines=lines,
        deviation=deviation,
        seconds=time.monotonic() - began,
        widths=widths,
    )


def stored_model(lake: Lake, source_id: int, sets: FitTemplates) -> FittedModel:
    """Return the fit of continua and single lines that the lake has of the beams of a source.

    Parameters
    ----------
    lake : Lake
        The lake.
    source_id : int
        The source.
    sets : FitTemplates
        What was fitted.

    Raises
    ------
    NotFoundError
        When it has none.
    """
    row, arrays = stored_row(lake, source_id)
    return model_of_row(row, arrays, sets)


def model_of_row(row: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], sets: FitTemplates) -> FittedModel:
    """Return the fit of a row of ``redshift`` from its arrays; see `stored_model`."""
    names = json.loads(row["coefficients"])
    n = sum(name.startswith(f"{BACKGROUND} ") for name in names)
    end = len(names) - sum(name.startswith(f"{SCALE} ") for name in names)
    values, errors = arrays["coefficient"], arrays["coefficient_err"]
    own, grisms = tuple(names[n:end]), [name.removeprefix(f"{SCALE} ") for name in names[end:]]
    return FittedModel(
        z=row["redshift"],
        templates=sets.lines,
        coefficients=dict(zip(own, values[n:end].tolist(), strict=True)),
        errors=dict(zip(own, errors[n:end].tolist(), strict=True)),
        covariance=arrays["covariance"],
        covariance_names=own,
        backgrounds=tuple(values[:n].tolist()),
        igm=sets.igm,
        scales=dict(zip(grisms, values[end:].tolist(), strict=True)),
        scale_errors=dict(zip(grisms, errors[end:].tolist(), strict=True)),
    )


def stored_row(lake: Lake, source_id: int) -> tuple[Mapping[str, Any], Mapping[str, NDArray[Any]]]:
    """Return the row of ``redshift`` of the beams of a source, and its arrays; NotFoundError when there is none."""
    mine = pl.col("source_id") == source_id, pl.col("method") == "grism", pl.col("redshift_row").is_not_null()
    rows = lake.table("redshift").filter(*mine).collect()
    if rows.is_empty():
        msg = f"source_id: {source_id} has no redshift from beams in {lake.path}"
        raise NotFoundError(msg)
    read = read_ragged(lake, "redshift", rows, row="redshift_row", planes=MODEL_PLANES)
    return rows.row(0, named=True), read[0]


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredCurve:
    """A fit of redshifts out of the lake, as `skymere.grism.write_full` and figures take it.

    Parameters
    ----------
    zgrid, chi2, pdf : ndarray, float64, shape (n_z,)
        Trial redshifts with chi square and p(z).
    z_map : float
        Redshift of the highest p(z).
    z_percentiles : tuple of float
        2.5, 16, 50, 84 and 97.5 per cent.
    dof : int
        Degrees of freedom.
    z_risk, min_risk, chi2_poly, chi2_spline, bic_poly, bic_spline, bic_template : float
        See `skymere.grism.RedshiftFit`.
    """

    zgrid: NDArray[np.float64]
    chi2: NDArray[np.float64]
    pdf: NDArray[np.float64]
    z_map: float
    z_percentiles: tuple[float, ...]
    dof: int
    z_risk: float | None
    min_risk: float | None
    chi2_poly: float | None
    chi2_spline: float | None
    bic_poly: float | None
    bic_spline: float | None
    bic_template: float | None


def stored_curve(lake: Lake, source_id: int) -> StoredCurve:
    """Return the fit of redshifts that the lake has of the beams of a source.

    Parameters
    ----------
    lake : Lake
        The lake.
    source_id : int
        The source.

    Raises
    ------
    NotFoundError
        When it has none.
    """
    row, _ = stored_row(lake, source_id)
    table = lake.table("pz").filter(pl.col("source_id") == source_id, pl.col("method") == "grism").collect()
    arrays = read_ragged(lake, "pz", table, row="pz_row", planes=["z", "chi2", "pdf"])[0]
    same = ("z_risk", "min_risk", "chi2_poly", "chi2_spline", "bic_poly", "bic_spline", "bic_template")
    return StoredCurve(
        zgrid=arrays["z"],
        chi2=arrays["chi2"],
        pdf=arrays["pdf"],
        z_map=row["z_map"],
        z_percentiles=tuple(row[name] for name in ("z02", "z16", "z50", "z84", "z97")),
        dof=row["dof"],
        **{name: row[name] for name in same},
    )


def try_fit(multibeam: MultiBeam, sets: FitTemplates, plan: GrismFitPlan) -> ObjectFit | str:
    """Return the fits of a source, or why there are none."""
    try:
        # Covariances of all trial redshifts are not stored.
        return fit_object(multibeam, sets, replace(plan, params=replace(plan.params, has_covariance=False)))
    except (SkymereError, np.linalg.LinAlgError) as error:
        return f"{type(error).__name__}: {error}"
