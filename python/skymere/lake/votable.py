"""What columns mean, for astropy and the Virtual Observatory: VOTable headers inside Parquet files, units."""

import io
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import polars as pl

from skymere.errors import SchemaError
from skymere.lake.forms import polars_schema
from skymere.lake.schemas import Column, load_schema

__all__ = ["rows_from_astropy", "votable", "vounit"]

# VOTables since 1.4 want VOUnits, in which erg and Angstrom are deprecated; these are equal to them.
_VOUNIT: Mapping[str, str] = {
    "Angstrom": "0.1nm",
    "erg.s**-1.cm**-2": "mW.m**-2",
    "erg.s**-1.cm**-2.Angstrom**-1": "10mW.m**-2.nm**-1",
}


def votable(name: str, description: str, columns: Iterable[Column], lengths: Mapping[str, int]) -> str:
    """Return the VOTable header that VOParquet puts into a Parquet file."""
    # A length is always given: astropy cannot read strings with arraysize="*".
    sized = tuple((column, (column.length or lengths[column.name]) if column.is_text else None) for column in columns)
    return _votable(name, description, sized)


@lru_cache(maxsize=256)
def _votable(name: str, description: str, columns: tuple[tuple[Column, int | None], ...]) -> str:
    from astropy.io.votable import tree

    file = tree.VOTableFile(version="1.4")
    resource = tree.Resource()
    table = tree.TableElement(file, name=name)
    table.description = description
    file.resources.append(resource)
    resource.tables.append(table)
    for column, length in columns:
        size = {} if length is None else {"arraysize": str(length)}
        field = tree.Field(
            file,
            name=column.name,
            ID=column.name,
            datatype="char" if column.is_text else column.datatype,
            unit=vounit(column.unit) or None,
            ucd=column.ucd or None,
            **size,
        )
        field.description = column.description
        table.fields.append(field)
    out = io.BytesIO()
    file.to_xml(out)
    return out.getvalue().decode()


def vounit(unit: str) -> str:
    """Return a FITS unit of a schema as the VOUnit that is equal to it."""
    return _VOUNIT.get(unit, unit)


def rows_from_astropy(product: str, table: Any) -> pl.DataFrame:
    """Return an astropy table as rows for `Run.publish`; masked values are null.

    Parameters
    ----------
    product : str
        Product of which these are rows.
    table : astropy.table.Table
        Columns named as in the schema; those with a unit must have the unit of the schema.

    Raises
    ------
    SchemaError
        When a column is not in the schema, or is in another unit, also when that could be converted.

    Examples
    --------
    >>> from astropy.table import QTable
    >>> from astropy import units as u
    >>> from skymere.lake import rows_from_astropy
    >>> rows_from_astropy("source", QTable({"ra": [10.0] * u.deg}))["ra"].to_list()
    [10.0]
    """
    from astropy import units

    schema = load_schema(product)
    columns = {column.name: column for column in schema.expand(schema.bands(table.colnames))}
    kinds = polars_schema(columns.values())
    out = []
    for name in table.colnames:
        if name not in columns:
            msg = f"{schema.name}: column {name}: expected one of {list(columns)}, found a column that is not in it"
            raise SchemaError(msg)
        values = table[name]
        wanted = units.Unit(columns[name].unit)
        if values.unit is not None and values.unit != wanted:
            msg = f"{schema.name}: column {name}: expected unit {str(wanted)!r}, found unit {str(values.unit)!r}"
            raise SchemaError(msg)
        mask = getattr(values, "mask", None)
        plain = np.asarray(getattr(values, "value", values))
        # FITS tables are big-endian, which Polars does not take.
        plain = plain.astype(plain.dtype.newbyteorder("="))
        series = pl.Series(name, plain.tolist() if plain.dtype.kind in "OSU" else plain)
        if mask is not None and np.any(mask):
            series = pl.select(pl.when(pl.Series(~np.broadcast_to(mask, len(series)))).then(series)).to_series()
        out.append(series.alias(name) if series.len() else pl.Series(name, [], kinds[name]))
    return pl.DataFrame(out)
