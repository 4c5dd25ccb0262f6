"""Rows and arrays of the products ``redshift``, ``pz`` and ``line``: what all fits share, and those to slit spectra."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.spectra import RedshiftFit
from skymere.spectra.templates import LineComplex, Template

__all__ = ["FLAGS", "LINE_FLAGS", "FittedRows", "blank_row", "finite", "pz_row", "slit_rows", "template_digest"]

# Bits of the column flags of redshift.
FLAGS: Mapping[str, int] = {"ambiguous": 1, "at_edge": 2}
LINE_FLAGS: Mapping[str, int] = {"at_bound": 1, "undetermined": 2}
_METHOD = "slit"
# f_lambda [erg/s/cm2/Angstrom] of 1 uJy at 1 um.
_FLAMBDA = 2.99792458e-19


@dataclass(frozen=True, kw_only=True)
class FittedRows:
    """What the lake gets of a fit.

    Parameters
    ----------
    redshift : dict
        Row of ``redshift``, without its number.
    numbers, density : mapping of str to ndarray
        Arrays of ``redshift`` and of ``pz``; empty when there is no fit.
    pz : dict
        Row of ``pz``, without its number.
    lines : sequence of dict
        Rows of ``line``.
    """

    redshift: dict[str, Any]
    numbers: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    pz: dict[str, Any] = field(default_factory=dict)
    density: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    lines: Sequence[dict[str, Any]] = ()


def finite(value: float | None) -> float | None:
    """Return a number, or None when it is not finite."""
    return None if value is None or not math.isfinite(value) else float(value)


def template_digest(templates: tuple[Template, ...], params: object) -> str:
    """Return a sha256 that stands for templates and parameters, hexadecimal.

    Parameters
    ----------
    templates : tuple
        What is fitted.
    params : object
        How; a dataclass.
    """
    text = "\n".join(
        repr(one) if isinstance(one, LineComplex) else f"{type(one).__name__} {_values(one)}" for one in templates
    )
    return hashlib.sha256(f"{text}\n{params!r}".encode()).hexdigest()


def _values(template: Template) -> str:
    parts = ((f.name, getattr(template, f.name)) for f in fields(template))
    return ", ".join(f"{name}={v.tolist() if isinstance(v, np.ndarray) else v!r}" for name, v in parts)


def blank_row(source: Mapping[str, Any], method: str, *, digest: str, n_beams: int) -> dict[str, Any]:
    """Return the row of a source in ``redshift`` before anything is known.

    Parameters
    ----------
    source : mapping
        ``source_id``, ``ra`` and ``dec``.
    method : str
        Which spectra are fitted.
    digest : str
        See `template_digest`.
    n_beams : int
        Beams or slitlets.
    """
    return {
        "source_id": source["source_id"],
        "ra": source["ra"],
        "dec": source["dec"],
        "method": method,
        "template_set": digest,
        "lines": "[]",
        "photometry_scale": "[]",
        "coefficients": "[]",
        "has_bad_pa": False,
        "bad_pa": "[]",
        "has_synthetic_filter": False,
        "n_beams": n_beams,
        "flags": 0,
        "redshift_row": None,
    }


def pz_row(
    source: Mapping[str, Any], method: str, z: NDArray[np.float64], pdf: NDArray[np.float64], *, n_coefficients: int
) -> dict[str, Any]:
    """Return the row of a source in ``pz``, without its number.

    Parameters
    ----------
    source : mapping
        ``source_id``.
    method : str
        Which spectra were fitted.
    z, pdf : ndarray, float64, shape (n,)
        Redshifts and their density.
    n_coefficients : int
        Templates.
    """
    return {
        "source_id": source["source_id"],
        "method": method,
        # The one fit that there is; others would be of single beams.
        "kind": "stack",
        "n_z": z.size,
        "n_coefficients": n_coefficients,
        "has_prior": False,
        "pdf_sum": finite(float(np.trapezoid(pdf, z))),
    }


def slit_rows(
    source: Mapping[str, Any], wave: NDArray[np.float64], fit: RedshiftFit | str, *, digest: str
) -> FittedRows:
    """Return what the lake gets of a fit to a spectrum of slits.

    Parameters
    ----------
    source : mapping
        Row of its spectrum in ``slit_spectrum``.
    wave : ndarray, float64, shape (n,) [um]
        Wavelengths of its spectrum.
    fit : RedshiftFit or str
        The fit, or why there is none.
    digest : str
        See `template_digest`.
    """
    row = _redshift_row(source, fit, digest)
    if isinstance(fit, str) or fit.status == "no_data":
        return FittedRows(redshift=row)
    return FittedRows(
        redshift=row,
        numbers=_redshift_planes(wave, fit),
        pz=pz_row(source, _METHOD, fit.z_grid, fit.pdf, n_coefficients=fit.coefficients.height),
        density={"z": fit.z_grid, "chi2": fit.chi2_grid, "pdf": fit.pdf},
        lines=_line_rows(source, fit),
    )


def _redshift_row(source: Mapping[str, Any], fit: RedshiftFit | str, digest: str) -> dict[str, Any]:
    base = blank_row(source, _METHOD, digest=digest, n_beams=source["n_slitlets"])
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
        "redshift": finite(fit.z),
        "redshift_err": finite((high - low) / 2),
        "z02": finite(low2),
        "z16": finite(low),
        "z50": finite(middle),
        "z84": finite(high),
        "z97": finite(high2),
        "z_width1": finite((high - low) / 2),
        "z_width2": finite((high2 - low2) / 4),
        "z_map": finite(float(fit.z_grid[np.argmax(fit.pdf)])),
        "chi2": finite(fit.chi2),
        "dof": dof,
        "chinu": finite(fit.chi2 / dof) if dof > 0 else None,
        "chi2_spline": finite(fit.chi2 + fit.delta_chi2),
        "n_lines": len(lines),
        "lines": json.dumps(lines),
        "coefficients": json.dumps(fit.coefficients["template"].to_list()),
    }


def _redshift_planes(wave: NDArray[np.float64], fit: RedshiftFit) -> dict[str, NDArray[Any]]:
    to_flambda = _FLAMBDA / wave**2
    return {
        "coefficient": fit.coefficients["coefficient"].to_numpy(),
        "coefficient_err": fit.coefficients["coefficient_err"].to_numpy(),
        "template_wavelength": wave,
        "template_continuum": fit.continuum * to_flambda,
        "template_full": fit.model * to_flambda,
    }


def _line_rows(source: Mapping[str, Any], fit: RedshiftFit) -> list[dict[str, Any]]:
    """Return the rows of a source's lines: ``ew16`` and ``ew84`` are one sigma to both sides of ``ew50`` here."""
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
                "redshift": finite(fit.z),
                "wavelength_rest": line["wave_rest"],
                "wavelength": line["wave"],
                "flux": finite(line["flux"]),
                "flux_err": finite(line["flux_err"]),
                "snr": finite(line["snr"]),
                "ew16": finite(ew - ew_err),
                "ew50": finite(ew),
                "ew84": finite(ew + ew_err),
                "ewhw": finite(ew_err),
                "continuum": finite(line["continuum"] * _FLAMBDA / line["wave"] ** 2),
                "width_reason": "not fitted",
                "is_complex": line["line"] in several,
                "coefficient": number.get(line["line"]),
                "flags": LINE_FLAGS.get(line["status"], 0),
            }
        )
    return rows
