"""Tables of sources in files."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl
from astropy.io import fits
from numpy.typing import NDArray

from skymere.errors import FormatError, InvalidInputError, NotFoundError, StorageError
from skymere.io._columns import native_columns
from skymere.io._open import open_fits, write_whole

__all__ = ["read_numbers", "read_table", "write_table", "write_tables"]


def read_numbers(path: str | Path) -> NDArray[np.float64]:
    """Read columns of numbers from a text file; lines that begin with # do not count.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    ndarray, float64, shape (n_rows, n_columns)
        The numbers.

    Raises
    ------
    NotFoundError
        When there is no such file.
    StorageError
        When it cannot be read.
    FormatError
        When it holds something else.
    """
    path = Path(path)
    if not path.is_file():
        msg = f"{path}: no such file"
        raise NotFoundError(msg)
    try:
        return np.loadtxt(path, ndmin=2)
    except OSError as error:
        msg = f"{path}: cannot be read: {error.strerror or error}"
        raise StorageError(msg) from error
    except ValueError as error:
        msg = f"{path}: not a table of numbers: {error}"
        raise FormatError(msg) from error


def read_table(path: str | Path) -> pl.DataFrame:
    """Read a table from a Parquet, CSV or FITS file.

    Parameters
    ----------
    path : path-like
        The kind of the file is said by its ending; of a FITS file the first table is read, its columns of arrays are
        left out.

    Raises
    ------
    NotFoundError
        When there is no such file.
    FormatError
        When it holds no table.
    """
    path = Path(path)
    if not path.is_file():
        msg = f"{path}: no such file"
        raise NotFoundError(msg)
    try:
        if path.suffix == ".parquet":
            return pl.read_parquet(path)
        if path.suffix in (".csv", ".txt"):
            return pl.read_csv(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        msg = f"{path}: cannot be read as a table: {error}"
        raise FormatError(msg) from error
    with open_fits(path) as hdus:
        tables = [hdu for hdu in hdus if isinstance(hdu, fits.BinTableHDU)]
        if not tables:
            msg = f"{path}: holds no table"
            raise FormatError(msg)
        columns = native_columns(tables[0], path)
    return pl.DataFrame({name: values for name, values in columns.items() if values.ndim == 1})


def write_table(table: pl.DataFrame, path: str | Path, *, units: Mapping[str, str] | None = None) -> None:
    """Write a data frame as a FITS table.

    Parameters
    ----------
    table : polars.DataFrame
        Numbers, booleans and texts; null numbers become NaN.
    path : path-like
        The file; it appears whole or not at all, and replaces an older one.
    units : mapping of str to str, optional
        FITS units of columns.

    Raises
    ------
    StorageError
        When the file cannot be written.
    """
    write_tables({"SOURCES": table}, path, units=units)


def write_tables(
    tables: Mapping[str, pl.DataFrame], path: str | Path, *, units: Mapping[str, str] | None = None
) -> None:
    """Write data frames as the tables of one FITS file.

    Parameters
    ----------
    tables : mapping of str to polars.DataFrame
        By the name of their extension, in their order: numbers, booleans and texts; null numbers become NaN.
    path : path-like
        The file; it appears whole or not at all, and replaces an older one.
    units : mapping of str to str, optional
        FITS units of columns, in all tables.

    Raises
    ------
    InvalidInputError
        When there is no table.
    StorageError
        When the file cannot be written.
    """
    if not tables:
        msg = "tables: at least one is needed"
        raise InvalidInputError(msg)
    hdus = fits.HDUList([fits.PrimaryHDU(), *(_hdu(table, name, units or {}) for name, table in tables.items())])
    write_whole(hdus, Path(path))


def _hdu(table: pl.DataFrame, name: str, units: Mapping[str, str]) -> fits.BinTableHDU:
    columns = []
    for series in table:
        is_text = series.dtype == pl.String
        values = series.fill_null("").to_numpy().astype(str) if is_text else series.to_numpy()
        kind = fits.ColDefs(np.zeros(0, dtype=[("column", values.dtype)]))[0].format
        kind = f"{values.shape[1]}{kind}" if values.ndim == 2 else kind
        columns.append(fits.Column(name=series.name, array=values, format=kind, unit=units.get(series.name) or None))
    return fits.BinTableHDU.from_columns(columns, name=name)
