"""Catalogues of others as tables of the lake, under the names that their columns have."""

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
import yaml
from numpy.typing import NDArray

from skymere import __version__
from skymere.errors import FormatError, InvalidInputError, NotFoundError
from skymere.lake.astropy_tables import WIDER
from skymere.lake.externals import EXTERNAL, externals
from skymere.lake.layout import Layout
from skymere.lake.run import Run
from skymere.lake.schemas import Schema, parse_schema, products
from skymere.lake.tables import Outcome

__all__ = ["Catalogue", "external_schema", "publish_catalogue", "read_catalogue"]

_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_FORMATS = {
    ".fits": "fits",
    ".fit": "fits",
    ".vot": "votable",
    ".xml": "votable",
    ".votable": "votable",
    ".ecsv": "ascii.ecsv",
    ".parquet": "parquet",
}
_DATATYPES: Mapping[pl.DataType, str] = {
    pl.Boolean(): "boolean",
    pl.Int16(): "short",
    pl.Int32(): "int",
    pl.Int64(): "long",
    pl.Float32(): "float",
    pl.Float64(): "double",
    pl.String(): "text",
}
_OURS = ("_healpix_29", "tile", "run_id")
_PLACE = {
    "_healpix_29": ("long", "", "pos.healpix", "Nested HEALPix index of order 29 of (ra, dec)"),
    "ra": ("double", "deg", "pos.eq.ra;meta.main", "ICRS"),
    "dec": ("double", "deg", "pos.eq.dec;meta.main", "ICRS"),
    "tile": ("text", "", "meta.id;obs.field", "Name of the catalogue"),
    "run_id": ("text", "", "meta.id", "Run that took the row in"),
}


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """A catalogue as it was read, with its positions as ``ra, dec``, ICRS [deg].

    Parameters
    ----------
    frame : polars.DataFrame
        Rows.
    units, ucds, descriptions : mapping of str to str
        What is known of the columns.
    key : str
        Column that identifies a row.
    """

    frame: pl.DataFrame
    key: str
    units: Mapping[str, str] = field(default_factory=dict)
    ucds: Mapping[str, str] = field(default_factory=dict)
    descriptions: Mapping[str, str] = field(default_factory=dict)


def external_schema(layout: Layout, name: str, catalogue: Catalogue) -> Schema:
    """Return the schema of a catalogue: that of its last import when nothing has changed, else the next major version.

    Raises
    ------
    InvalidInputError
        When the name is not allowed.
    """
    if not _NAME.fullmatch(name) or name in products():
        rule = "1 to 32 small letters, digits and '_', beginning with a letter"
        msg = f"name: {name!r} is not allowed, it must be {rule}, and none of {list(products())}"
        raise InvalidInputError(msg)
    before = externals(layout).get(name)
    if before is None:
        return _schema(name, catalogue, 1)
    newest = before[-1].version[0]
    same = _schema(name, catalogue, newest)
    return same if same.text == before[-1].text else _schema(name, catalogue, newest + 1)


def _schema(name: str, catalogue: Catalogue, major: int) -> Schema:
    columns = []
    for column, dtype in catalogue.frame.schema.items():
        if column in _PLACE:
            continue
        columns.append(
            {
                "name": column,
                "@id": f"#{name}.{column}",
                "datatype": _DATATYPES[dtype],
                "nullable": column != catalogue.key and dtype != pl.String,
                **({"ivoa:unit": catalogue.units[column]} if catalogue.units.get(column) else {}),
                "ivoa:ucd": catalogue.ucds.get(column) or ("meta.id;meta.main" if column == catalogue.key else "meta"),
                "description": catalogue.descriptions.get(column) or column,
            }
        )
    for column, (datatype, unit, ucd, description) in _PLACE.items():
        about = {"name": column, "@id": f"#{name}.{column}", "datatype": datatype, "nullable": False}
        columns.append({**about, **({"ivoa:unit": unit} if unit else {}), "ivoa:ucd": ucd, "description": description})
    tree = {
        "name": f"skymere_{name}",
        "@id": f"#skymere_{name}",
        "version": {"current": f"{major}.0.0", "compatible": []},
        "description": f"Imported catalogue {name}",
        EXTERNAL: True,
        "skymere:not_content": ["run_id"],
        "tables": [
            {
                "name": name,
                "@id": f"#{name}",
                "description": f"Imported catalogue {name}",
                "primaryKey": [f"#{name}.{catalogue.key}"],
                "columns": columns,
            }
        ],
    }
    return parse_schema(yaml.safe_dump(tree, sort_keys=False, allow_unicode=True), f"schema of {name}")


def read_catalogue(
    path: Path,
    *,
    key: str,
    ra: str,
    dec: str,
    units: Mapping[str, str],
    frame: str,
    columns: Sequence[str] | None,
) -> Catalogue:
    """Read a catalogue; see `Lake.import_catalogue`."""
    if not path.is_file():
        msg = f"{path}: there is no such file"
        raise NotFoundError(msg)
    known = path.name.removesuffix(".gz")
    kind = _FORMATS.get(Path(known).suffix.lower())
    if kind is None:
        msg = f"{path}: the ending is not allowed, it must be one of {list(_FORMATS)}"
        raise InvalidInputError(msg)
    rows, found, ucds, descriptions = _read_parquet(path) if kind == "parquet" else _read_astropy(path, kind, key)
    asked = {"key": [key], "ra": [ra], "dec": [dec], "units": units, "columns": columns or []}
    for argument, name in ((argument, name) for argument, names in asked.items() for name in names):
        if name not in rows.columns:
            msg = f"{argument}: column {name!r} is missing in {path}, there are {rows.columns}"
            raise InvalidInputError(msg)
    if columns is not None:
        rows = rows.select(list(dict.fromkeys([key, ra, dec, *columns])))
    rows = _fit(rows, path)
    known_units = {name: _checked_unit(name, unit) for name, unit in {**found, **units}.items() if name in rows.columns}
    placed = _with_place(rows, ra, dec, known_units, frame)
    return Catalogue(frame=placed, key=key, units=known_units, ucds=ucds, descriptions=descriptions)


_Read = tuple[pl.DataFrame, dict[str, str], dict[str, str], dict[str, str]]


def _read_parquet(path: Path) -> _Read:
    import io

    import pyarrow.parquet as pq
    from astropy.io.votable import parse

    try:
        frame = pl.read_parquet(path)
        words = pq.read_schema(path).metadata or {}
        header = words.get(b"IVOA.VOTable-Parquet.content")
        fields = parse(io.BytesIO(header)).get_first_table().fields if header else []
    except (OSError, ValueError, pl.exceptions.PolarsError) as error:
        msg = f"{path}: not a Parquet file that can be read: {error}"
        raise FormatError(msg) from error
    return (
        frame,
        {f.name: str(f.unit) for f in fields if f.unit},
        {f.name: f.ucd for f in fields if f.ucd},
        {f.name: str(f.description) for f in fields if f.description},
    )


def _read_astropy(path: Path, kind: str, key: str) -> _Read:
    from astropy.table import Column
    from astropy.table import Table as AstropyTable
    from astropy.units import UnitsWarning

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UnitsWarning)
            if kind == "fits":
                table, ucds = _read_fits(path, key)
            else:
                table, ucds = AstropyTable.read(path, format=kind), {}
    except Exception as error:
        # The readers of astropy raise what they like on damaged files.
        msg = f"{path}: not a {kind} table that can be read: {error}"
        raise FormatError(msg) from error
    known = {name: column for name, column in table.columns.items() if isinstance(column, Column)}
    ucds |= {name: str(column.meta["ucd"]) for name, column in known.items() if column.meta.get("ucd")}
    return (
        pl.DataFrame([_series(name, column) for name, column in table.columns.items()]),
        {name: column.unit.to_string() for name, column in known.items() if column.unit is not None},
        ucds,
        {name: str(column.description) for name, column in known.items() if column.description},
    )


def _read_fits(path: Path, key: str) -> tuple[Any, dict[str, str]]:
    """Return the first table that has the key, else the first, and the UCDs of its columns.

    SExtractor's LDAC files have the header of the image as a table before that of the sources.
    """
    from astropy.io import fits
    from astropy.table import Table as AstropyTable

    with fits.open(path) as hdus:
        tables = [hdu for hdu in hdus if isinstance(hdu, fits.BinTableHDU | fits.TableHDU)]
        if not tables:
            msg = "it has no table"
            raise FormatError(msg)
        hdu = next((hdu for hdu in tables if key in hdu.columns.names), tables[0])
        ucds = {name: hdu.header.get(f"TUCD{i}", "") for i, name in enumerate(hdu.columns.names, start=1)}
        read = AstropyTable.read(hdu, format="fits", unit_parse_strict="silent")
    return read, {name: ucd for name, ucd in ucds.items() if ucd}


def _series(name: str, column: Any) -> pl.Series:
    from astropy.table import Column

    if not isinstance(column, Column) or column.ndim != 1 or column.dtype.kind not in "biufSUO":
        # Kept, so that a caller who leaves the column out is not bothered by it.
        return pl.Series(name, [None] * len(column), dtype=pl.Object)
    mask = np.broadcast_to(np.asarray(getattr(column, "mask", False)), (len(column),))
    data = np.asarray(column.filled() if hasattr(column, "filled") else column)
    if data.dtype.kind in "SUO":
        texts = [v.decode() if isinstance(v, bytes) else str(v) for v in data.tolist()]
        return pl.Series(name, ["" if gone else text.strip() for text, gone in zip(texts, mask, strict=True)])
    values = pl.Series(name, np.ascontiguousarray(data.astype(data.dtype.newbyteorder("="))))
    return values.set(pl.Series(mask), None) if mask.any() else values


def _fit(rows: pl.DataFrame, path: Path) -> pl.DataFrame:
    """Return rows in the types of the lake.

    Raises
    ------
    InvalidInputError
        When a column has another type, or a name that Parquet and Delta cannot keep.
    """
    lower = [name.lower() for name in rows.columns]
    for name, dtype in rows.schema.items():
        fault = ""
        if name.lower() in _OURS:
            fault = "is a name that the lake fills in itself"
        elif re.search(r"[ ,;{}()\n\t=]", name):
            fault = "has a character in its name that Delta tables do not allow"
        elif lower.count(name.lower()) > 1:
            fault = "differs from another one only in the size of letters"
        elif dtype not in _DATATYPES and dtype not in WIDER:
            fault = "is not one number or text in a row" if dtype == pl.Object else f"has the type {dtype}"
        if fault:
            msg = f"{path}: column {name!r} {fault}; name the columns that you want in 'columns'"
            raise InvalidInputError(msg)
    try:
        wide = rows.with_columns(pl.col(name).cast(WIDER[t]) for name, t in rows.schema.items() if t in WIDER)
    except pl.exceptions.PolarsError as error:
        msg = f"{path}: a number does not fit into 64 bits with sign: {error}"
        raise InvalidInputError(msg) from error
    return wide.fill_nan(None).with_columns(pl.col(pl.String).fill_null(""))


def _checked_unit(name: str, text: str) -> str:
    from astropy import units as u

    try:
        u.Unit(text)
    except ValueError as error:
        msg = f"units: {text!r} of column {name!r} is not a unit; give another one in 'units', '' for none"
        raise InvalidInputError(msg) from error
    return text


def _with_place(rows: pl.DataFrame, ra: str, dec: str, units: Mapping[str, str], frame: str) -> pl.DataFrame:
    """Return rows with ``ra, dec``, ICRS [deg]."""
    from astropy import units as u
    from astropy.coordinates import SkyCoord

    for name, column in (("ra", ra), ("dec", dec)):
        others = [other for other in rows.columns if other.lower() == name and other != column]
        if others:
            msg = (
                f"{name}: column {column!r} is declared, but there is another column named {others[0]!r}; leave one out"
            )
            raise InvalidInputError(msg)
        missing = (
            rows[column].is_null()
            if not rows[column].dtype.is_float()
            else ~rows[column].is_finite().fill_null(value=False)
        )
        if missing.any() or not rows[column].dtype.is_numeric():
            msg = f"{name}: column {column!r} must be numbers; {missing.sum()} of {rows.height} rows have none"
            raise InvalidInputError(msg)
        if not units.get(column):
            msg = f"units: column {column!r} has no unit; declare it, as in units={{{column!r}: 'deg'}}"
            raise InvalidInputError(msg)
    try:
        lon, lat = (rows[c].cast(pl.Float64).to_numpy() * u.Unit(units[c]) for c in (ra, dec))
        place = SkyCoord(lon, lat, frame=frame).icrs
    except (ValueError, u.UnitsError, TypeError) as error:
        msg = f"ra, dec: columns {ra!r}, {dec!r} in {units[ra]!r}, {units[dec]!r} and frame {frame!r}: {error}"
        raise InvalidInputError(msg) from error
    if frame == "icrs" and units[ra] == units[dec] == "deg":
        # Degrees stay what they were to the last bit.
        degrees = rows[ra].cast(pl.Float64) % 360.0, rows[dec].cast(pl.Float64)
    else:
        degrees = pl.Series(np.asarray(place.ra.deg)), pl.Series(np.asarray(place.dec.deg))
    # Delta tables do not tell RA from ra.
    rows = rows.drop(column for name, column in (("ra", ra), ("dec", dec)) if column.lower() == name)
    return rows.with_columns(degrees[0].alias("ra"), degrees[1].alias("dec"))


class _WholeSky:
    """The only tile of an imported catalogue, called after it."""

    healpix29 = 0

    def __getitem__(self, name: str) -> "_WholeSky":
        return self

    def owns(self, ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether positions belong to it: they do."""
        return np.ones(np.broadcast(ra, dec).shape, bool)


def publish_catalogue(
    layout: Layout, name: str, catalogue: Catalogue, *, inputs: Sequence[Any], params: Mapping[str, Any]
) -> Outcome:
    """Replace the rows of an imported catalogue, and record the run; see `Lake.import_catalogue`."""
    schema = external_schema(layout, name, catalogue)
    work = Run(
        layout,
        cast("Any", _WholeSky()),
        stage="import",
        tile=name,
        product=name,
        inputs=inputs,
        params={**params, "schema": schema.name},
        code_version=__version__,
        on_event=None,
        schema=schema,
    )
    with work as run:
        return "already" if run.already else run.publish(catalogue.frame)
