"""Catalogues of fluxes for other programs, and the transmission curves of filters."""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import polars as pl
from astropy import units as u
from numpy.typing import NDArray

from skymere.errors import FormatError, InvalidInputError, NotFoundError, StorageError

__all__ = ["read_transmission", "write_fast"]

# What FAST and EAZY take for no measurement, and for no redshift.
_MISSING = -99.0
_NO_REDSHIFT = -1.0


def write_fast(
    table: pl.DataFrame, path: str | Path, *, columns: Mapping[str, tuple[str, str]], filter_ids: Mapping[str, int]
) -> Path:
    """Write a catalogue of fluxes as FAST and EAZY read it.

    Parameters
    ----------
    table : polars.DataFrame
        ``id`` and the columns of fluxes [uJy], and ``ra, dec`` [deg] and ``z_spec`` where they are known.
    path : path-like
        The catalogue, ``*.cat``; it and its ``.translate`` replace older ones.
    columns : mapping of str to (str, str)
        Columns of the flux and its error for each band, in the order wanted.
    filter_ids : mapping of str to int
        Number of the filter of a band in the file of filters, ``FILTERS_RES``; bands without one are in the catalogue,
        and not used.

    Returns
    -------
    path
        The ``.translate`` file beside it.

    Raises
    ------
    InvalidInputError
        When the path has another ending, a column is missing, or a name has spaces.
    StorageError
        When a file cannot be written.

    Notes
    -----
    One line ``# id ra dec z_spec F_band E_band ...``, then one for each source. The ``.translate`` file names the
    filter of each column, ``F_band F205``. A flux or an error that is not finite, and an error that is not positive,
    are both -99, a redshift that is not known -1. ``AB_ZEROPOINT`` of the parameter file must be 23.9.

    References
    ----------
    Kriek et al. 2009, ApJ 700, 221, appendix (FAST); Brammer et al. 2008, ApJ 686, 1503 (EAZY).
    """
    path = Path(path)
    if path.suffix != ".cat":
        msg = f"path: {path.name!r} is not allowed, a catalogue of FAST ends with .cat"
        raise InvalidInputError(msg)
    known = [name for name in ("id", "ra", "dec", "z_spec") if name in table.columns]
    for name in ("id", *(one for pair in columns.values() for one in pair)):
        if name not in table.columns:
            msg = f"table: column {name!r} is missing, it has {', '.join(table.columns)}"
            raise InvalidInputError(msg)
    for band in columns:
        if not band or any(c.isspace() or c == "#" for c in band):
            msg = f"columns: band {band!r} is not allowed, it must be one word"
            raise InvalidInputError(msg)
    header = known + [f"{kind}_{band}" for band in columns for kind in "FE"]
    fields = [_text_of(table[name], name) for name in known]
    for flux, error in columns.values():
        pair = [table[name].cast(pl.Float64).fill_null(np.nan).to_numpy() for name in (flux, error)]
        missing = ~(np.isfinite(pair[0]) & np.isfinite(pair[1]) & (pair[1] > 0))
        fields += [[f"{v:.6e}" for v in np.where(missing, _MISSING, values)] for values in pair]
    lines = ["# " + " ".join(header), *(" ".join(row) for row in zip(*fields, strict=True))]
    named = [f"{kind}_{band} {kind}{filter_ids[band]}" for band in columns if band in filter_ids for kind in "FE"]
    translate = path.with_suffix(".translate")
    _write_lines(lines, path)
    _write_lines(named, translate)
    return translate


def _text_of(series: pl.Series, name: str) -> list[str]:
    if name == "id":
        texts = [str(v) for v in series]
        if any(not text or any(c.isspace() for c in text) for text in texts):
            msg = "table: an id has a space or is empty, FAST needs one word"
            raise InvalidInputError(msg)
        return texts
    values = series.cast(pl.Float64).fill_null(np.nan).to_numpy()
    if name == "z_spec":
        return [f"{v:.5f}" for v in np.where(np.isfinite(values) & (values >= 0), values, _NO_REDSHIFT)]
    return [f"{v:.9f}" if np.isfinite(v) else f"{_MISSING:g}" for v in values]


def _write_lines(lines: list[str], path: Path) -> None:
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        staged.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        staged.replace(path)
    except OSError as error:
        with suppress(OSError):
            staged.unlink()
        msg = f"{path}: cannot be written: {error.strerror or error}"
        raise StorageError(msg) from error


def read_transmission(path: str | Path, *, unit: str = "Angstrom") -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Read the transmission curve of a filter from a text file.

    Parameters
    ----------
    path : path-like
        Two columns, wavelength and transmission, with comments behind ``#``; more columns are not looked at.
    unit : str, optional
        Unit of its wavelengths, as astropy names it.

    Returns
    -------
    wavelength : ndarray, float64, shape (n,) [um]
        Increasing.
    transmission : ndarray, float64, shape (n,)
        As it is.

    Raises
    ------
    NotFoundError, StorageError, FormatError
        When the file is missing, cannot be read or has no such columns.
    InvalidInputError
        When the unit is not one of length.
    """
    path = Path(path)
    try:
        to_um = float(u.Unit(unit).to(u.um))
    except (ValueError, TypeError, u.UnitConversionError) as error:
        msg = f"unit: {unit!r} is not allowed, it must be a unit of length"
        raise InvalidInputError(msg) from error
    if not path.exists():
        msg = f"{path}: no such file"
        raise NotFoundError(msg)
    try:
        text = path.read_text(encoding="utf-8")
        rows = [line.split("#")[0].replace(",", " ").split()[:2] for line in text.splitlines()]
        curve = np.array([[float(v) for v in row] for row in rows if row], np.float64)
    except OSError as error:
        msg = f"{path}: {error.strerror}"
        raise StorageError(msg) from error
    except ValueError as error:
        msg = f"{path}: not two columns of numbers ({error})"
        raise FormatError(msg) from error
    if curve.ndim != 2 or curve.shape[1] != 2 or len(curve) < 2:
        msg = f"{path}: {curve.shape} values are no transmission curve, two columns of at least 2 rows are needed"
        raise FormatError(msg)
    order = np.argsort(curve[:, 0], kind="stable")
    return curve[order, 0] * to_um, curve[order, 1]
