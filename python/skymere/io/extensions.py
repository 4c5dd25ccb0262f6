"""FITS files of named tables and images: the form of combined slit spectra."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from astropy.io import fits
from numpy.typing import NDArray

from skymere.errors import FormatError, InvalidInputError
from skymere.io._columns import native_columns
from skymere.io._open import open_fits, write_whole

__all__ = ["read_extensions", "write_extensions"]

Extension = pl.DataFrame | NDArray[Any]
Card = tuple[str, str | bool | int | float, str]


def write_extensions(
    extensions: Mapping[str, Extension],
    path: str | Path,
    *,
    cards: tuple[Card, ...] = (),
    units: Mapping[str, str] | None = None,
) -> None:
    """Write tables and images as the extensions of one FITS file.

    Parameters
    ----------
    extensions : mapping of str to polars.DataFrame or ndarray
        By name, in their order; null numbers of tables become NaN.
    path : path-like
        The file; it appears whole or not at all, and replaces an older one.
    cards : tuple of (str, value, str)
        Name, value and comment of header cards of the first extension.
    units : mapping of str to str, optional
        FITS units of the columns of tables, and of images by their extension.

    Raises
    ------
    InvalidInputError
        When there is nothing to write, or a table has a column of lists.
    StorageError
        When the file cannot be written.
    """
    if not extensions:
        msg = "extensions: at least one is needed"
        raise InvalidInputError(msg)
    known = units or {}
    hdus = fits.HDUList([fits.PrimaryHDU()])
    for name, content in extensions.items():
        if isinstance(content, pl.DataFrame):
            hdus.append(_table(content, name, known))
        else:
            hdus.append(fits.ImageHDU(data=np.asarray(content), name=name))
            if known.get(name):
                hdus[-1].header["BUNIT"] = known[name]
    for key, value, comment in cards:
        long = "HIERARCH " if len(key) > 8 else ""
        # FITS has no number for NaN and infinity, and astropy no long texts beside long names.
        text: str | bool | int | float = str(value) if isinstance(value, float) and not np.isfinite(value) else value
        if long and isinstance(text, str):
            text = text[: max(60 - len(key), 0)]
        # A comment that does not fit beside its value is cut, which astropy warns of.
        room = 80 - len(str(fits.Card(long + key.upper(), text)).rstrip()) - 3
        card = fits.Card(long + key.upper(), text, comment[: max(room, 0)])
        hdus[1].header.append(card, end=True)
    write_whole(hdus, Path(path))


def _table(table: pl.DataFrame, name: str, units: Mapping[str, str]) -> fits.BinTableHDU:
    columns = []
    for series in table:
        if series.dtype.is_nested():
            msg = f"extensions: column {series.name} of {name} holds {series.dtype}, numbers or texts are needed"
            raise InvalidInputError(msg)
        is_text = series.dtype == pl.String
        values = series.fill_null("").to_numpy().astype(str) if is_text else series.to_numpy()
        kind = fits.ColDefs(np.zeros(0, dtype=[("column", values.dtype)]))[0].format
        columns.append(fits.Column(name=series.name, array=values, format=kind, unit=units.get(series.name) or None))
    return fits.BinTableHDU.from_columns(columns, name=name)


def read_extensions(path: str | Path) -> tuple[dict[str, Extension], dict[str, Any]]:
    """Read the tables and images of a FITS file.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    extensions : dict of str to polars.DataFrame or ndarray
        By name; empty extensions are left out.
    cards : dict of str to value
        Header cards of the first extension.

    Raises
    ------
    NotFoundError, StorageError, FormatError
        When it cannot be read, or holds no extension.
    """
    path = Path(path)
    with open_fits(path) as hdus:
        if len(hdus) < 2:
            msg = f"{path}: holds no extension"
            raise FormatError(msg)
        found: dict[str, Extension] = {}
        for hdu in hdus[1:]:
            if isinstance(hdu, fits.BinTableHDU):
                found[hdu.name] = pl.DataFrame(native_columns(hdu, path))
            elif hdu.data is not None:
                found[hdu.name] = np.asarray(hdu.data).astype(hdu.data.dtype.newbyteorder("="))
        return found, {key: value for key, value in hdus[1].header.items() if key not in ("COMMENT", "HISTORY", "")}
