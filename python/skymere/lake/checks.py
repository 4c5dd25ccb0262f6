"""A table against its schema: every fault names the column, what was expected and what was found."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from skymere.errors import SchemaError
from skymere.lake.forms import arrow_schema, delta_schema, polars_schema
from skymere.lake.schemas import Column, Schema
from skymere.lake.sky import healpix29

__all__ = ["check_delta", "check_frame", "check_parquet", "check_units", "longest_texts", "with_index"]


def check_frame(
    frame: pl.DataFrame, schema: Schema, *, tile: str, run: str, is_placed: bool = False
) -> tuple[Column, ...]:
    """Return the columns of a table that is fit to be published; ``is_placed`` when its index was computed just now.

    Raises
    ------
    SchemaError
        When a column is missing, extra or of another type, a key null or not unique, a string too long, or a row
        belongs to another place, tile or run.
    """
    columns = schema.expand(schema.bands(frame.columns))
    _same(schema, polars_schema(columns), dict(frame.schema))
    longest = longest_texts(frame, [column.name for column in columns if column.length is not None])
    for column in columns:
        n_nulls = frame[column.name].null_count() if column.is_text or not column.nullable else 0
        if n_nulls:
            raise _fault(schema, column.name, "no null", f"{n_nulls} nulls")
        if longest.get(column.name, 0) > (column.length or 0):
            raise _fault(schema, column.name, f"at most {column.length} bytes", f"a string of {longest[column.name]}")
    for name, wanted in (("tile", tile), ("run_id", run)):
        others = frame.filter(pl.col(name) != wanted)
        if others.height:
            raise _fault(schema, name, repr(wanted), f"{others[name][0]!r}")
    if frame.height > 1 and frame.select(schema.primary_key).n_unique() < frame.height:
        key = frame.filter(frame.select(schema.primary_key).is_duplicated()).select(schema.primary_key).row(0)
        raise _fault(schema, " and ".join(schema.primary_key), "a unique key", f"{key} more than once")
    if schema.is_positional and not is_placed:
        _check_place(frame, schema)
    return columns


def longest_texts(frame: pl.DataFrame, names: Iterable[str]) -> dict[str, int]:
    """Return the bytes of the longest text of some columns, 0 where there is none; one query for all of them."""
    each = [pl.col(name).str.len_bytes().max() for name in names]
    found = frame.select(each).row(0, named=True) if each else {}
    return {name: length or 0 for name, length in found.items()}


def with_index(frame: pl.DataFrame, schema: Schema) -> pl.DataFrame:
    """Return rows with their place in the sky as ``_healpix_29``, where it can be had and is not there.

    Raises
    ------
    SchemaError
        When a position is not one.
    """
    floats = all(frame.schema.get(name) == pl.Float64 for name in ("ra", "dec"))
    if not (schema.is_positional and floats) or "_healpix_29" in frame.columns:
        return frame
    _check_range(frame, schema)
    index = healpix29(frame["ra"].to_numpy(), frame["dec"].to_numpy())
    return frame.with_columns(pl.Series("_healpix_29", index, pl.Int64))


def check_parquet(path: Path, schema: Schema, columns: Iterable[Column]) -> None:
    """Compare a Parquet file with the schema, since Delta itself accepts anything: its footer, and its order.

    Raises
    ------
    SchemaError
        When a column differs in name, type, nullability or unit, or rows are not sorted by their place in the sky.
    """
    expected = list(columns)
    footer = pq.read_schema(path)
    wanted = {field.name: field.type for field in arrow_schema(expected, {})}
    _same(schema, wanted, {field.name: _plain(field.type) for field in footer}, str(path))
    for column, field in ((column, footer.field(column.name)) for column in expected):
        if field.nullable and not column.nullable:
            raise _fault(schema, column.name, "no null", "a column that may be null", str(path))
    units = {field.name: (field.metadata or {}).get(b"unit", b"").decode() for field in footer}
    check_units(units, schema, expected, str(path))
    meta = pq.read_metadata(path).metadata or {}
    named = f"{meta.get(b'skymere.schema', b'').decode()}/{meta.get(b'skymere.schema.version', b'').decode()}"
    if named != schema.name or b"IVOA.VOTable-Parquet.content" not in meta:
        msg = f"{path}: expected the metadata of {schema.name} with its VOTable, found those of {named!r}"
        raise SchemaError(msg)
    if schema.is_positional:
        index = pq.read_table(path, columns=["_healpix_29"]).column(0).to_numpy()
        back = np.flatnonzero(np.diff(index) < 0)
        if back.size:
            row = int(back[0]) + 1
            found = f"{index[row]} after {index[row - 1]} in row {row}"
            raise _fault(schema, "_healpix_29", "sorted rows", found, str(path))


def check_delta(found: Any, schema: Schema, *, oldest: Schema | None = None) -> tuple[Column, ...]:
    """Return the columns of a Delta table whose names, types and units are those of the schema.

    What ``oldest``, an earlier minor version, did not have yet may be missing.

    Raises
    ------
    SchemaError
        When a column differs.
    """
    types = {field.name: field.type for field in found.fields}
    bands = schema.bands(types)
    needed = {column.name for column in (oldest or schema).expand(bands)}
    columns = tuple(column for column in schema.expand(bands) if column.name in needed or column.name in types)
    _same(schema, {field.name: field.type for field in delta_schema(columns).fields}, types)
    nullable = {field.name: field.nullable for field in found.fields}
    for column in columns:
        if nullable[column.name] and not column.nullable:
            raise _fault(schema, column.name, "no null", "a column that may be null")
    check_units({field.name: field.metadata.get("unit", "") for field in found.fields}, schema, columns)
    return columns


def check_units(units: Mapping[str, str], schema: Schema, columns: Iterable[Column], origin: str = "") -> None:
    """Compare the FITS units of columns with those of the schema; ``origin`` is the file that has them.

    Raises
    ------
    SchemaError
        When a unit differs, also when it could be converted: nothing is converted unasked.
    """
    for column in columns:
        if column.name in units and units[column.name] != column.unit:
            raise _fault(schema, column.name, f"unit {column.unit!r}", f"unit {units[column.name]!r}", origin)


def _same(schema: Schema, wanted: Mapping[str, Any], found: Mapping[str, Any], origin: str = "") -> None:
    for name, kind in found.items():
        if name not in wanted:
            raise _fault(schema, name, f"one of {list(wanted)}", "a column that the schema does not have", origin)
        if kind != wanted[name]:
            raise _fault(schema, name, str(wanted[name]), str(kind), origin)
    missing = [name for name in wanted if name not in found]
    if missing:
        raise _fault(schema, ", ".join(missing), "in the table", "missing", origin)


def _fault(schema: Schema, column: str, expected: str, found: str, origin: str = "") -> SchemaError:
    where = f"{origin}: " if origin else ""
    return SchemaError(f"{where}{schema.name}: column {column}: expected {expected}, found {found}")


def _plain(kind: Any) -> Any:
    return pa.large_string() if kind in (pa.string(), pa.large_string(), pa.string_view()) else kind


def _check_range(frame: pl.DataFrame, schema: Schema) -> None:
    for name, low, high in (("ra", 0.0, 360.0), ("dec", -90.0, 90.0)):
        bad = frame[name].filter(~frame[name].is_between(low, high) | frame[name].is_nan() | frame[name].is_null())
        if bad.len():
            raise _fault(schema, name, f"finite degrees from {low:g} to {high:g}", str(bad[0]))


def _check_place(frame: pl.DataFrame, schema: Schema) -> None:
    _check_range(frame, schema)
    index = healpix29(frame["ra"].to_numpy(), frame["dec"].to_numpy())
    wrong = np.flatnonzero(index != frame["_healpix_29"].to_numpy())
    if wrong.size:
        first = int(wrong[0])
        raise _fault(schema, "_healpix_29", str(index[first]), f"{frame['_healpix_29'][first]} in row {first}")
