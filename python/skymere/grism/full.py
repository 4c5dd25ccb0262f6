"""Everything of one object in one file: ``full.fits``, and its row ``row.fits``."""

from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.datamodels import LineMaps, Thumbnail
from skymere.errors import InvalidInputError
from skymere.grism.model_spectra import FittedModel, ModelSpectra, TemplateFactors, as_model, merged_spectrum
from skymere.io import FullFile, write_full_file

__all__ = ["RedshiftCurve", "redshift_row", "write_full"]

_Array = NDArray[np.float64]
_LINE_COLUMNS = ("line", "flux", "flux_err", "ew16", "ew50", "ew84", "ewhw")


class RedshiftCurve(Protocol):
    """A fit of redshifts: what `write_full` and figures take of one."""

    @property
    def zgrid(self) -> _Array:
        """Trial redshifts, rising."""

    @property
    def chi2(self) -> _Array:
        """Chi square of each."""

    @property
    def pdf(self) -> _Array:
        """p(z) of each."""

    @property
    def z_map(self) -> float:
        """Redshift of the highest p(z)."""

    @property
    def z_percentiles(self) -> tuple[float, ...]:
        """2.5, 16, 50, 84 and 97.5 per cent."""


def redshift_row(redshift: RedshiftCurve) -> dict[str, Any]:
    """Return the columns of a redshift fit, with the names that users know.

    Parameters
    ----------
    redshift : RedshiftCurve
        The fit. Attributes that it has beyond those (``dof``, ``z_risk``, ``min_risk``, ``chi2_poly``,
        ``chi2_spline``, ``bic_poly``, ``bic_spline``, ``bic_template``, ``n_parameters``, ``n_spline``) give the
        columns of quality; without them these are None.

    Returns
    -------
    dict
        By column.
    """
    z02, z16, z50, z84, z97 = (float(value) for value in redshift.z_percentiles)
    chi2 = np.asarray(redshift.chi2)
    names = {
        "dof": "dof",
        "z_risk": "z_risk",
        "min_risk": "min_risk",
        "chi2poly": "chi2_poly",
        "chi2spl": "chi2_spline",
        "bic_poly": "bic_poly",
        "bic_spl": "bic_spline",
        "bic_temp": "bic_template",
        "ktempl": "n_parameters",
        "kspl": "n_spline",
    }
    row: dict[str, Any] = {
        "z_map": float(redshift.z_map),
        "z02": z02,
        "z16": z16,
        "z50": z50,
        "z84": z84,
        "z97": z97,
        "zwidth1": 0.5 * (z84 - z16),
        "zwidth2": 0.5 * (z97 - z02),
        "chimin": float(chi2.min()) if chi2.size else None,
        "chimax": float(chi2.max()) if chi2.size else None,
        "zrmin": float(redshift.zgrid[0]) if chi2.size else None,
        "zrmax": float(redshift.zgrid[-1]) if chi2.size else None,
    }
    row |= {name: getattr(redshift, attribute, None) for name, attribute in names.items()}
    return {
        name: None if value is None or (isinstance(value, float) and not np.isfinite(value)) else value
        for name, value in row.items()
    }


def write_full(
    path: str | Path,
    *,
    maps: LineMaps,
    thumbnails: Thumbnail | None = None,
    psf: Mapping[str, NDArray[np.float32]] | None = None,
    fit: ModelSpectra | TemplateFactors | None = None,
    redshift: RedshiftCurve | None = None,
    lines: pl.DataFrame | None = None,
) -> FullFile:
    """Write a ``full.fits`` that users of grizli and of GALFIT can open.

    Parameters
    ----------
    path : path-like
        The file; it appears whole or not at all, and replaces an older one.
    maps : LineMaps
        Those of `line_maps`.
    thumbnails : Thumbnail, optional
        Direct images, made with the same geometry.
    psf : mapping of str to ndarray, float32, shape of the maps, optional
        PSF of each band, in place of those of the thumbnails.
    fit : ModelSpectra or TemplateFactors, optional
        The fit behind the maps: spectrum, coefficients and covariance.
    redshift : RedshiftCurve, optional
        The fit of redshifts.
    lines : polars.DataFrame, optional
        Table of lines with ``line, flux, flux_err`` and ``ew16, ew50, ew84, ewhw`` where they are known, as of
        `fit_lines`; fluxes of the maps and the fit when not given.

    Returns
    -------
    FullFile
        What was written.

    Raises
    ------
    InvalidInputError
        When images are on another grid than the maps, a PSF is of no band or of another shape, or a column of lines is
        missing.
    StorageError
        When the file cannot be written.
    """
    model = None if fit is None else as_model(fit)
    table = _lines(maps, model) if lines is None else _given(lines)
    columns: dict[str, Any] = {} if redshift is None else redshift_row(redshift)
    curve = pl.DataFrame()
    if redshift is not None:
        curve = pl.DataFrame(
            {"z": np.asarray(redshift.zgrid), "chi2": np.asarray(redshift.chi2), "pdf": np.asarray(redshift.pdf)}
        )
    full = FullFile(
        maps=maps,
        thumbnail=_with_psf(thumbnails, psf),
        columns=columns,
        lines=table,
        redshifts=curve,
        covariance=model.covariance if isinstance(model, FittedModel) else None,
        template=pl.DataFrame() if model is None else _template(model),
        coefficients=_coefficients(model) if isinstance(model, FittedModel) else pl.DataFrame(),
    )
    write_full_file(full, path, version=version("skymere"))
    return full


def _with_psf(thumbnail: Thumbnail | None, psf: Mapping[str, NDArray[np.float32]] | None) -> Thumbnail | None:
    if psf is None:
        return thumbnail
    names = [] if thumbnail is None else [one.band for one in thumbnail.bands]
    given = {name.lower(): image for name, image in psf.items()}
    if unknown := [name for name in given if name not in names]:
        msg = f"psf: {unknown} are not allowed, there are images of {names}"
        raise InvalidInputError(msg)
    assert thumbnail is not None
    bands = tuple(replace(one, psf=given.get(one.band, one.psf)) for one in thumbnail.bands)
    return replace(thumbnail, bands=bands)


def _lines(maps: LineMaps, model: ModelSpectra | None) -> pl.DataFrame:
    fluxes = {one.line: (one.flux, one.flux_err) for one in maps.lines}
    if model is not None:
        fluxes |= {name: values for name, values in model.line_fluxes.items() if values[1] != 0}
    rows = [{"line": name, "flux": flux, "flux_err": error} for name, (flux, error) in fluxes.items()]
    schema = dict.fromkeys(_LINE_COLUMNS[1:], pl.Float64)
    return pl.DataFrame(rows, schema={"line": pl.String, **schema}).with_columns(pl.selectors.float().fill_nan(None))


def _given(lines: pl.DataFrame) -> pl.DataFrame:
    missing = [name for name in _LINE_COLUMNS[:3] if name not in lines.columns]
    if missing:
        msg = f"lines: columns {missing} are missing, it has {lines.columns}"
        raise InvalidInputError(msg)
    absent = [pl.lit(None, pl.Float64).alias(name) for name in _LINE_COLUMNS if name not in lines.columns]
    return lines.with_columns(absent).select(_LINE_COLUMNS)


def _template(model: ModelSpectra) -> pl.DataFrame:
    wave, continuum, whole = merged_spectrum(model)
    return pl.DataFrame({"wave": wave, "continuum": continuum, "full": whole})


def _coefficients(model: FittedModel) -> pl.DataFrame:
    lines = {one.name for one in model.templates.lines}
    rows: list[tuple[str, float, float | None]] = [
        (f"bg {i:03d}", level, None) for i, level in enumerate(model.backgrounds)
    ]
    rows += [
        (f"line {name}" if name in lines else name, value, model.errors.get(name))
        for name, value in model.coefficients.items()
    ]
    return pl.DataFrame(rows, schema={"name": pl.String, "value": pl.Float64, "error": pl.Float64}, orient="row")
