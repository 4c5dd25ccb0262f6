"""Rows and arrays of the products ``redshift``, ``pz`` and ``line`` of fits to beams."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.grism import MultiBeam, RedshiftFit, TemplateFit, as_model
from skymere.grism.extract import one_of_each_exposure
from skymere.grism.model_spectra import merged_spectrum
from skymere.pipeline.grism_fits import BACKGROUND, SCALE, ObjectFit
from skymere.pipeline.redshift_rows import FLAGS, LINE_FLAGS, FittedRows, blank_row, finite, pz_row

__all__ = ["METHOD", "exposure_columns", "grism_rows"]

METHOD = "grism"
# Template spectra are kept this much beyond the wavelengths of the beams.
_BEYOND = 0.02


def exposure_columns(multibeam: MultiBeam) -> dict[str, Any]:
    """Return exposure time, exposures and orientations of each grism, with the names of the columns of ``redshift``.

    Parameters
    ----------
    multibeam : MultiBeam
        The beams.
    """
    columns: dict[str, Any] = {}
    for grism, angles in multibeam.PA.items():
        name = grism.lower()
        mine = one_of_each_exposure(multibeam.beams[i] for some in angles.values() for i in some)
        columns[f"exptime_{name}"] = finite(float(np.nansum([one.beam.exptime for one in mine])))
        columns[f"n_exposures_{name}"] = len(mine)
        columns[f"n_pa_{name}"] = len(angles)
    return columns


def grism_rows(
    source: Mapping[str, Any], multibeam: MultiBeam | None, fit: ObjectFit | str, *, digest: str
) -> FittedRows:
    """Return what the lake gets of a fit to beams.

    Parameters
    ----------
    source : mapping
        ``source_id``, ``ra`` and ``dec``.
    multibeam : MultiBeam or None
        All beams; None when there are none.
    fit : ObjectFit or str
        The fits, or why there are none.
    digest : str
        See `skymere.pipeline.redshift_rows.template_digest`.
    """
    base = blank_row(source, METHOD, digest=digest, n_beams=0 if multibeam is None else multibeam.N)
    base |= {"line_width_reason": "not fitted"}
    if isinstance(fit, str) or multibeam is None:
        return FittedRows(redshift=base | {"status": "failed", "message": str(fit)})
    multibeam = fit.multibeam
    base |= exposure_columns(multibeam) | {"mw_ebv": multibeam.beams[0].params.mw_ebv, "n_beams": multibeam.N}
    base |= {"has_bad_pa": bool(fit.dropped), "bad_pa": json.dumps(fit.dropped)} | _width_columns(fit)
    found, lines = fit.search, fit.lines
    if fit.fit is None or fit.fit.status == "no_data":
        return FittedRows(redshift=base | {"status": "rejected", "message": f"{found.status}: no pixel can be fitted"})
    good = lines.filter(pl.col("status") == "ok")["line"].to_list() if lines.height else []
    names = [f"{BACKGROUND} {i:03d}" for i in range(multibeam.N)] + list(fit.fit.templates.names)
    names += [f"{SCALE} {grism}" for grism in fit.fit.scales]
    row = (
        base
        | _redshift_columns(found)
        | _refined_columns(fit)
        | {
            "status": "ok",
            "redshift": finite(fit.redshift.z_map),
            "redshift_err": finite((fit.redshift.z_percentiles[3] - fit.redshift.z_percentiles[1]) / 2),
            "message": "" if found.status == "ok" else found.status,
            "flags": FLAGS.get(found.status, 0),
            "n_lines": len(good),
            "lines": json.dumps(good),
            "coefficients": json.dumps(names),
        }
    )
    if fit.deviation is not None:
        row |= {"deviant_line": fit.deviation[0][:16], "deviant_snr": finite(fit.deviation[1])}
    return FittedRows(
        redshift=row,
        numbers=_numbers(multibeam, fit.fit),
        pz=pz_row(source, METHOD, found.zgrid, found.pdf, n_coefficients=len(found.names)),
        density={"z": found.zgrid, "chi2": found.chi2, "pdf": found.pdf, "risk": found.risk},
        lines=_line_rows(source, multibeam, fit.fit, lines),
    )


def _width_columns(fit: ObjectFit) -> dict[str, Any]:
    """Return the width of the group of lines with the brightest one."""
    if fit.widths is None:
        return {}
    if fit.widths.table.is_empty():
        return {"line_width_reason": fit.widths.status}
    row = fit.widths.table.sort("snr", descending=True).row(0, named=True)
    reason = "" if row["status"] == "ok" else row["status"]
    return {"line_width": row["fwhm"], "line_width_err": row["fwhm_err"], "line_width_reason": reason}


def _redshift_columns(found: RedshiftFit) -> dict[str, Any]:
    low2, low, middle, high, high2 = found.z_percentiles
    least = float(found.chi2.min())
    log_risk = float(np.log10(found.min_risk)) if found.min_risk > 0 else None
    top = float(found.pdf.max())
    return {
        "z02": finite(low2),
        "z16": finite(low),
        "z50": finite(middle),
        "z84": finite(high),
        "z97": finite(high2),
        "z_width1": finite((high - low) / 2),
        "z_width2": finite((high2 - low2) / 4),
        "z_map": finite(found.z_map),
        "z_risk": finite(found.z_risk),
        "min_risk": finite(found.min_risk),
        "log_risk": log_risk,
        "zq": None if log_risk is None or not top > 0 else log_risk - float(np.log10(top)),
        "chi2": finite(least),
        "dof": found.dof,
        "chinu": finite(least / found.dof) if found.dof > 0 else None,
        "chi2_poly": finite(found.chi2_poly),
        "chi2_spline": finite(found.chi2_spline),
        "bic_template": finite(found.bic_template),
        "bic_poly": finite(found.bic_poly),
        "bic_spline": finite(found.bic_spline),
        "bic_diff": finite(found.bic_poly - found.bic_template),
    }


def _refined_columns(fit: ObjectFit) -> dict[str, Any]:
    """Return the columns of the fit of single lines; none when it is not the one of the redshift."""
    if fit.redshift is fit.search:
        return {}
    names = ("beam_z02", "beam_z16", "beam_z50", "beam_z84", "beam_z97")
    found = {name: finite(z) for name, z in zip(names, fit.redshift.z_percentiles, strict=True)}
    return found | {"beam_z_map": finite(fit.redshift.z_map), "beam_z_risk": finite(fit.redshift.z_risk)}


def _numbers(multibeam: MultiBeam, fit: TemplateFit) -> dict[str, NDArray[Any]]:
    variance = np.diag(fit.covariance)
    err = np.where(variance > 0, np.sqrt(np.maximum(variance, 0.0)), fit.bound_err)
    wave, continuum, whole = merged_spectrum(as_model(fit))
    low = min(float(one.wave.min()) for one in multibeam.beams) * (1 - _BEYOND)
    high = max(float(one.wave.max()) for one in multibeam.beams) * (1 + _BEYOND)
    inside = (wave >= low) & (wave <= high)
    return {
        "coefficient": np.concatenate([fit.backgrounds, fit.coefficients, list(fit.scales.values())]),
        "coefficient_err": np.concatenate([fit.background_err, err, list(fit.scale_errors.values())]),
        "covariance": np.ascontiguousarray(fit.covariance),
        "template_wavelength": wave[inside],
        "template_continuum": continuum[inside],
        "template_full": whole[inside],
    }


def _line_rows(
    source: Mapping[str, Any], multibeam: MultiBeam, fit: TemplateFit, lines: pl.DataFrame
) -> list[dict[str, Any]]:
    grisms = multibeam.grisms
    names = list(fit.templates.names)
    rows = []
    for line in lines.iter_rows(named=True):
        continuum = float(fit.continuum([line["wave"]])[0])
        rows.append(
            {
                "source_id": source["source_id"],
                "line": line["line"][:16],
                "method": METHOD,
                "grating": grisms[0].lower()[:16] if len(grisms) == 1 else "",
                "redshift": finite(fit.z),
                "wavelength_rest": line["wave"] / (1 + fit.z),
                "wavelength": line["wave"],
                "flux": finite(line["flux"]),
                "flux_err": finite(line["flux_err"]),
                "snr": finite(line["snr"]),
                **{name: finite(line[name]) for name in ("ew16", "ew50", "ew84", "ewhw")},
                "continuum": finite(continuum),
                "width": line.get("width"),
                "width_err": line.get("width_err"),
                "width_reason": line.get("width_reason", "not fitted"),
                "is_complex": len(line["members"]) > 1,
                "coefficient": multibeam.N + names.index(line["line"]),
                "flags": LINE_FLAGS.get(line["status"], 0),
            }
        )
    return rows
