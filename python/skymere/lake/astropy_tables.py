"""Rows of the lake as astropy tables, with unit, UCD and description of every column."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import polars as pl

from skymere.errors import InvalidInputError
from skymere.lake.schemas import Column

__all__ = ["WIDER", "as_astropy"]

# Integers that neither FITS, VOTable nor Delta have, and those that hold them.
WIDER: Mapping[pl.DataType, pl.DataType] = {
    pl.Int8(): pl.Int16(),
    pl.UInt8(): pl.Int16(),
    pl.UInt16(): pl.Int32(),
    pl.UInt32(): pl.Int64(),
    pl.UInt64(): pl.Int64(),
}


def as_astropy(frame: pl.DataFrame, columns: Iterable[Column]) -> Any:
    """Return an `astropy.table.Table`; missing values are masked, and missing floats are NaN as well.

    Raises
    ------
    InvalidInputError
        When a column has a type that FITS and VOTable do not know.
    """
    from astropy.table import Table

    meaning: Mapping[str, Column] = {column.name: column for column in columns}
    table = Table()
    for values in frame:
        kept = values.cast(WIDER[values.dtype]) if values.dtype in WIDER else values
        table[values.name] = _column(kept, meaning.get(values.name))
    return table


def _blank(values: pl.Series) -> float | bool:
    """Return what stands in the place of a missing value: for integers a number that the column does not have."""
    if values.dtype.is_float():
        return float("nan")
    if values.dtype == pl.Boolean:
        return False
    blank = int(np.iinfo(values.clear().to_numpy().dtype).min)
    while (values == blank).any():
        blank += 1
    return blank


def _column(values: pl.Series, meaning: Column | None) -> Any:
    from astropy import units as u
    from astropy.table import Column as Plain
    from astropy.table import MaskedColumn

    missing = values.is_null().to_numpy()
    data: Any
    if values.dtype == pl.String:
        data = values.fill_null("").to_numpy().astype(str)
    elif values.dtype.is_numeric() or values.dtype == pl.Boolean:
        data = values.fill_null(_blank(values)).to_numpy()
    else:
        msg = f"column {values.name!r}: type {values.dtype} is not allowed, it must be text, number or true and false"
        raise InvalidInputError(msg)
    made = MaskedColumn(data, mask=missing) if missing.any() else Plain(np.array(data))
    if missing.any() and values.dtype.is_integer():
        # FITS writes this in the place of what is missing.
        made.fill_value = data[missing][0]
    if meaning is not None:
        made.description = meaning.description
        made.unit = u.Unit(meaning.unit) if meaning.unit else None
        if meaning.ucd:
            made.meta["ucd"] = meaning.ucd
    return made
