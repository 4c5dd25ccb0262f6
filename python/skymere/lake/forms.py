"""A schema in the forms that others read: Polars, Arrow and Delta; see `votable` for astropy's."""

from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl
import pyarrow as pa
from deltalake import Field, Schema
from deltalake.schema import PrimitiveType

from skymere.lake.schemas import Column, load_schema

__all__ = ["arrow_schema", "delta_schema", "polars_schema", "table_dtypes"]

_POLARS: Mapping[str, Any] = {
    "boolean": pl.Boolean(),
    "short": pl.Int16(),
    "int": pl.Int32(),
    "long": pl.Int64(),
    "float": pl.Float32(),
    "double": pl.Float64(),
    "string": pl.String(),
    "text": pl.String(),
}
_ARROW: Mapping[str, Any] = {
    "boolean": pa.bool_(),
    "short": pa.int16(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "string": pa.large_string(),
    "text": pa.large_string(),
}
_DELTA: Mapping[str, str] = {
    "boolean": "boolean",
    "short": "short",
    "int": "integer",
    "long": "long",
    "float": "float",
    "double": "double",
    "string": "string",
    "text": "string",
}


def polars_schema(columns: Iterable[Column]) -> dict[str, pl.DataType]:
    """Return name and dtype of each column."""
    return {column.name: _POLARS[column.datatype] for column in columns}


def table_dtypes(product: str, bands: Iterable[str] = ()) -> dict[str, pl.DataType]:
    """Return name and dtype of each column of a product's table, for ``frame.cast`` before `Run.publish`.

    Parameters
    ----------
    product : str
        The product.
    bands : iterable of str, optional
        Bands that its patterns stand for.

    Examples
    --------
    >>> from skymere.lake import table_dtypes
    >>> table_dtypes("source", ["f140w"])["flux_auto_f140w"]
    Float32
    """
    return polars_schema(load_schema(product).expand(bands))


def arrow_schema(columns: Iterable[Column], lengths: Mapping[str, int]) -> Any:
    """Return the Arrow schema of a Parquet file, with unit, UCD and description of each column.

    ``lengths`` are the longest strings of the file; astropy reads them from ``table::len::<column>``.
    """
    fields = [
        pa.field(column.name, _ARROW[column.datatype], nullable=column.nullable, metadata=_meaning(column))
        for column in columns
    ]
    return pa.schema(fields, metadata={f"table::len::{name}": str(length) for name, length in lengths.items()})


def delta_schema(columns: Iterable[Column]) -> Schema:
    """Return the schema of the Delta table."""
    return Schema(
        [
            Field(
                column.name, PrimitiveType(_DELTA[column.datatype]), nullable=column.nullable, metadata=_meaning(column)
            )
            for column in columns
        ]
    )


def _meaning(column: Column) -> dict[str, str]:
    meaning = {"unit": column.unit, "ucd": column.ucd, "description": column.description}
    return {key: value for key, value in meaning.items() if value}
