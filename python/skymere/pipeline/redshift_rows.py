"""Rows and arrays of the products ``redshift``, ``pz`` and ``line`` of fits to slit spectra."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.spectra import RedshiftFit, RedshiftParams
from skymere.spectra.templates import LineComplex, Template

__all__ = ["FLAGS", "line_rows", "pz_planes", "pz_row", "redshift_planes", "redshift_row", "template_digest"]

# Bits of the column flags of redshift.
FLAGS: Mapping[str, int] = {"ambiguous": 1, "at_edge": 2}
_LINE_FLAGS: Mapping[str, int] = {"at_bound": 1, "undetermined": 2}
_METHOD, _KIND = "slit", "stack"
# f_lambda [erg/s/cm2/Angstrom] of 1 uJy at 1 um.
_FLAMBDA = 2.99792458e-19


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def template_digest(templates: tuple[Template, ...], params: RedshiftParams) -> str:
    """Return a sha256 that stands for templates and parameters, hexadecimal.

    Parameters
    ----------
    templates : tuple
        What is fitted.
    params : RedshiftParams
        How.
    """
    text = "\n".join(
        repr(one) if isinstance(one, LineComplex) else f"{type(one).__name__} {_values(one)}" for one in templates
    )
    return hashlib.sha256(f"{text}\n{params!r}".encode()).hexdigest()


def _values(template: Template) -> str:
    parts = ((f.name, getattr(template, f.name)) for f in fields(template))
    return ", ".join(f"{name}={v.tolist() if isinstance(v, np.ndarray) else v!r}" for name, v in parts)


def redshift_row(source: Mapping[str, Any], fit: RedshiftFit | str, *, digest: str, row: int | None) -> dict[str, Any]:
    """Return the row of a source.

    Parameters
    ----------
    source : mapping
        Row of its spectrum in ``slit_spectrum``.
    fit : RedshiftFit or str
        The fit, or why there is none.
    digest : str
        See `template_digest`.
    row : int or None
        Row in the arrays.
    """
    base = {
        "source_id": source["source_id"],
        "ra": source["ra"],
        "dec": source["dec"],
        "method": _METHOD,
        "template_set": digest,
        "lines": "[]",
        "photometry_scale": "[]",
        "coefficients": "[]",
        "has_bad_pa": False,
        "has_synthetic_filter": False,
        "n_beams": source["n_slitlets"],
        "flags": 0,
        "redshift_row": row,
    }
    if isinstance(fit, str):
        return base | {"status": "failed", "message": fit}
    if fit.status == "no_data":
        return base | {"status": "rejected", "message": f"no_data: {fit.n_pixels} pixels can be used"}
    low2, low, middle, high, high2 = fit.percentiles
    dof = fit.n_pixels - fit.n_parameters
    lines = fit.lines.filter(pl.col("status") == "ok")["line"].to_list()
    return base | {
        "status": "ok",
        "message": "" if fit.status == "ok" else fit.status,
        "flags": FLAGS.get(fit.status, 0),
        "redshift": _finite(fit.z),
        "z02": _finite(low2),
        "z16": _finite(low),
        "z50": _finite(middle),
        "z84": _finite(high),
        "z97": _finite(high2),
        "z_width1": _finite((high - low) / 2),
        "z_width2": _finite((high2 - low2) / 4),
        "z_map": _finite(float(fit.z_grid[np.argmax(fit.pdf)])),
        "chi2": _finite(fit.chi2),
        "dof": dof,
        "chinu": _finite(fit.chi2 / dof) if dof > 0 else None,
        "chi2_spline": _finite(fit.chi2 + fit.delta_chi2),
        "n_lines": len(lines),
        "lines": json.dumps(lines),
        "coefficients": json.dumps(fit.coefficients["template"].to_list()),
    }


def redshift_planes(wave: NDArray[np.float64], fit: RedshiftFit) -> dict[str, NDArray[Any]]:
    """Return the arrays of a source.

    Parameters
    ----------
    wave : ndarray, float64, shape (n,) [um]
        Wavelengths of its spectrum.
    fit : RedshiftFit
        The fit.
    """
    to_flambda = _FLAMBDA / wave**2
    return {
        "coefficient": fit.coefficients["coefficient"].to_numpy(),
        "coefficient_err": fit.coefficients["coefficient_err"].to_numpy(),
        "template_wavelength": wave,
        "template_continuum": fit.continuum * to_flambda,
        "template_full": fit.model * to_flambda,
    }


def pz_row(source: Mapping[str, Any], fit: RedshiftFit, *, row: int) -> dict[str, Any]:
    """Return the row of a source in ``pz``.

    Parameters
    ----------
    source : mapping
        Row of its spectrum.
    fit : RedshiftFit
        The fit.
    row : int
        Row in the arrays.
    """
    return {
        "source_id": source["source_id"],
        "method": _METHOD,
        "kind": _KIND,
        "n_z": fit.z_grid.size,
        "n_coefficients": fit.coefficients.height,
        "has_prior": False,
        "pdf_sum": _finite(float(np.trapezoid(fit.pdf, fit.z_grid))),
        "pz_row": row,
    }


def pz_planes(fit: RedshiftFit) -> dict[str, NDArray[Any]]:
    """Return the arrays of a source in ``pz``.

    Parameters
    ----------
    fit : RedshiftFit
        The fit.
    """
    return {"z": fit.z_grid, "chi2": fit.chi2_grid, "pdf": fit.pdf}


def line_rows(source: Mapping[str, Any], fit: RedshiftFit) -> list[dict[str, Any]]:
    """Return the rows of a source's lines.

    Parameters
    ----------
    source : mapping
        Row of its spectrum.
    fit : RedshiftFit
        The fit.

    Notes
    -----
    Equivalent widths have a symmetric error here: ``ew16`` and ``ew84`` are one sigma to both sides of ``ew50``.
    """
    several = {one.name for one in fit.templates if isinstance(one, LineComplex) and len(one.wave) > 1}
    number = {name: k for k, name in enumerate(fit.coefficients["template"].to_list())}
    rows = []
    for line in fit.lines.iter_rows(named=True):
        ew, ew_err = line["ew"], line["ew_err"]
        rows.append(
            {
                "source_id": source["source_id"],
                "line": line["line"][:16],
                "method": _METHOD,
                "grating": source["grating"],
                "redshift": _finite(fit.z),
                "wavelength_rest": line["wave_rest"],
                "wavelength": line["wave"],
                "flux": _finite(line["flux"]),
                "flux_err": _finite(line["flux_err"]),
                "snr": _finite(line["snr"]),
                "ew16": _finite(ew - ew_err),
                "ew50": _finite(ew),
                "ew84": _finite(ew + ew_err),
                "ewhw": _finite(ew_err),
                "continuum": _finite(line["continuum"] * _FLAMBDA / line["wave"] ** 2),
                "width_reason": "not fitted",
                "is_complex": line["line"] in several,
                "coefficient": number.get(line["line"]),
                "flags": _LINE_FLAGS.get(line["status"], 0),
            }
        )
    return rows
