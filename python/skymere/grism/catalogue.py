"""The catalogue of many objects, with the names that users know."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from skymere.errors import InvalidInputError
from skymere.io import FullFile, read_full_file, redshift_columns, write_table
from skymere.io.full_files import exposures_of

__all__ = ["catalogue_lines", "catalogue_wide", "redshift_cdf", "write_row"]

_Array = NDArray[np.float64]
_SIGMAS = np.linspace(-5.0, 5.0, 51)
_WHOLE = ("id", "ninput", "numlines", "dof", "beam_dof")


def redshift_cdf(z: ArrayLike, pdf: ArrayLike, *, sigmas: ArrayLike = _SIGMAS) -> _Array:
    """Return the redshifts below which p(z) has what a Gaussian has below so many sigmas.

    Parameters
    ----------
    z, pdf : array_like, float64, shape (n,)
        Redshifts in rising order and p(z).
    sigmas : array_like, float64, shape (m,), optional
        51 places from -5 to 5 when not given.

    Returns
    -------
    ndarray, float64, shape (m,)
        Redshifts; NaN when p(z) is empty.
    """
    at, p = np.asarray(z, np.float64), np.asarray(pdf, np.float64)
    wanted = np.array([0.5 * (1 + math.erf(value / math.sqrt(2))) for value in np.asarray(sigmas, np.float64)])
    if at.size < 2:
        return np.full(wanted.size, np.nan)
    below = np.concatenate([[0.0], np.cumsum(0.5 * (p[1:] + p[:-1]) * np.diff(at))])
    if not below[-1] > 0:
        return np.full(wanted.size, np.nan)
    rising = np.concatenate([[True], np.diff(below) > 0])
    found: _Array = np.interp(wanted, below[rising] / below[-1], at[rising])
    return found


def _full(one: FullFile | str | Path) -> FullFile:
    return one if isinstance(one, FullFile) else read_full_file(one)


def catalogue_lines(objects: Iterable[FullFile | str | Path]) -> pl.DataFrame:
    """Return the lines of objects, one row for each object and line.

    Parameters
    ----------
    objects : iterable of FullFile or path-like
        Of skymere or of grizli, each with lines of its own.

    Returns
    -------
    polars.DataFrame
        ``source_id, line, flux, flux_err, sn, ew16, ew50, ew84, ewhw`` [erg/s/cm2, Angstrom at rest]; null where
        nothing is known.

    Raises
    ------
    NotFoundError, StorageError, FormatError
        When a file is missing or unreadable.
    """
    parts = [_lines(_full(one)) for one in objects]
    return pl.concat(parts) if parts else _lines(None)


def _lines(full: FullFile | None) -> pl.DataFrame:
    names = ("flux", "flux_err", "ew16", "ew50", "ew84", "ewhw")
    schema = {"line": pl.String, **dict.fromkeys(names, pl.Float64)}
    table = pl.DataFrame(schema=schema) if full is None or not full.lines.height else full.lines.select(list(schema))
    source = 0 if full is None else full.maps.source_id
    has_error = pl.col("flux_err") > 0
    return table.select(
        pl.lit(source, pl.Int64).alias("source_id"),
        "line",
        "flux",
        "flux_err",
        pl.when(has_error).then(pl.col("flux") / pl.col("flux_err")).alias("sn"),
        "ew16",
        "ew50",
        "ew84",
        "ewhw",
    )


def catalogue_wide(objects: Iterable[FullFile | str | Path]) -> pl.DataFrame:
    """Return a table of objects, one row each.

    Parameters
    ----------
    objects : iterable of FullFile or path-like
        Of skymere or of grizli, each with lines of its own.

    Returns
    -------
    polars.DataFrame
        ``id, ra, dec, redshift``, columns of the redshift fit (``z_map, z02 ... z97, zwidth1, chinu, bic_diff, zq`` and
        others, ``beam_`` for the fit of beams), ``cdf_z``, of each grism exposure time, exposures and angles (``t_g141,
        n_g141, p_g141``), and of each line of any object ``flux_, err_, sn_, ew50_`` and ``ewhw_`` with its name; null
        where nothing is known.

    Raises
    ------
    NotFoundError, StorageError, FormatError
        When a file is missing or unreadable.
    InvalidInputError
        When an object is there twice.

    Notes
    -----
    ``chinu = chimin / dof``, ``bic_diff = bic_poly - bic_temp`` and ``zq = log_risk - log_pdf_max``. Values belong to
    lines by their names, whatever lines other objects have.
    """
    rows = [_row(_full(one)) for one in objects]
    ids = [row["id"] for row in rows]
    if len(set(ids)) != len(ids):
        twice = sorted({one for one in ids if ids.count(one) > 1})
        msg = f"objects: {twice} are there twice"
        raise InvalidInputError(msg)
    names = list(dict.fromkeys(name for row in rows for name in row))
    texts = ("haslines", "version", "dlineid")
    schema: dict[str, Any] = {
        name: pl.String
        if name in texts
        else pl.Array(pl.Float64, _SIGMAS.size)
        if name == "cdf_z"
        else pl.Int64
        if name in _WHOLE or name[:2] in ("n_", "p_")
        else pl.Float64
        for name in names
    }
    return pl.DataFrame([{name: row.get(name) for name in names} for row in rows], schema=schema)


def _row(full: FullFile) -> dict[str, Any]:
    row = dict(full.columns)
    row["id"], row["ra"], row["dec"], row["redshift"] = full.maps.source_id, full.maps.ra, full.maps.dec, full.maps.z
    for grism in dict.fromkeys(full.maps.beams["grism"].to_list()):
        mine = exposures_of(full.maps.beams, grism)
        row[f"t_{grism.lower()}"] = _known(mine["exptime"].sum())
        row[f"n_{grism.lower()}"] = mine.height
        row[f"p_{grism.lower()}"] = mine["angle"].round(0).n_unique()
    row["numlines"], row["haslines"] = len(full.maps.lines), " ".join(full.maps.names)
    row = {name: row.get(name) for name in (*row, *(key for key in redshift_columns() if key not in row))}
    row |= _quality(row, full)
    for line in _lines(full).iter_rows(named=True):
        name = line["line"]
        row |= {
            f"flux_{name}": line["flux"],
            f"err_{name}": line["flux_err"],
            f"sn_{name}": line["sn"],
            f"ew50_{name}": line["ew50"],
            f"ewhw_{name}": line["ewhw"],
        }
    return row


def _known(value: Any) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)


def _quality(row: Mapping[str, Any], full: FullFile) -> dict[str, Any]:
    """Return what follows from the fit."""
    chimin, dof, poly, best, risk = (row.get(name) for name in ("chimin", "dof", "bic_poly", "bic_temp", "min_risk"))
    log_risk = float(np.log10(risk)) if risk is not None and risk > 0 else None
    log_max, cdf = None, None
    if full.redshifts.height:
        z, pdf = (full.redshifts[name].to_numpy() for name in ("z", "pdf"))
        log_max = float(np.log10(pdf.max())) if pdf.size and pdf.max() > 0 else None
        cdf = redshift_cdf(z, pdf).tolist()
    return {
        "chinu": chimin / dof if chimin is not None and dof else None,
        "bic_diff": poly - best if poly is not None and best is not None else None,
        "log_risk": log_risk,
        "log_pdf_max": log_max,
        "zq": None if log_risk is None or log_max is None else log_risk - log_max,
        "cdf_z": cdf,
    }


def write_row(full: FullFile, path: str | Path) -> None:
    """Write the row of an object as ``row.fits``.

    Parameters
    ----------
    full : FullFile
        The object.
    path : path-like
        The file; it appears whole or not at all, and replaces an older one.

    Raises
    ------
    StorageError
        When it cannot be written.
    """
    table = catalogue_wide([full])
    # FITS has no null, and a column without any value has no use.
    write_table(table.select([series for series in table if series.null_count() < table.height]), path)
