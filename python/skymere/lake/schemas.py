"""The schema files: what every column and array of every product is called and means.

The files are Felis YAML (tables) with a ``skymere:arrays`` block, one per product and version.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from skymere.errors import FormatError, NotFoundError, SchemaError

__all__ = ["ArraySpec", "Column", "Schema", "load_schema", "majors", "parse_schema", "products"]

DATATYPES = ("boolean", "short", "int", "long", "float", "double", "string", "text")
LOSSY = (None, "quantise", "weight7")
_FILE = re.compile(r"([a-z][a-z0-9_]*)-(\d+)\.(\d+)\.(\d+)\.yaml")
_FIELDS = {
    "band": "[a-z][a-z0-9]*",
    "line": "[A-Za-z][A-Za-z0-9]*",
    "level": "[1-9][0-9]*",
    "exposure": "[A-Za-z0-9][A-Za-z0-9._-]*",
}


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a table; ``{band}`` in its name stands for any band.

    Parameters
    ----------
    name : str
        Name.
    datatype : str
        Felis datatype.
    nullable : bool
        Whether values may be missing. A text never is, because astropy cannot read such files: one that a minor
        version adds is nullable, and empty in rows that are older.
    description : str
        In words.
    unit, ucd : str, optional
        FITS unit and IVOA UCD.
    length : int, optional
        Most characters of a string.
    """

    name: str
    datatype: str
    nullable: bool
    description: str
    unit: str = ""
    ucd: str = ""
    length: int | None = None

    @property
    def is_pattern(self) -> bool:
        """Whether the name holds ``{band}``."""
        return "{band}" in self.name

    @property
    def is_text(self) -> bool:
        """Whether the values are strings."""
        return self.datatype in ("string", "text")

    @property
    def absent(self) -> str | None:
        """The value in rows that are older than the column."""
        return "" if self.is_text else None

    def for_band(self, band: str) -> "Column":
        """Return the column of one band."""
        text = f"{self.description} ({band})"
        return replace(self, name=self.name.replace("{band}", band), description=text)


@dataclass(frozen=True, kw_only=True)
class ArraySpec:
    """An array of a product; ``unit`` is None where each array brings its own.

    ``{band}`` and the like in ``path`` and ``dims`` stand for any band, level or exposure.

    Parameters
    ----------
    path : str
        Place inside the group.
    dims : tuple of str
        Names of the axes.
    dtype : str
        NumPy dtype.
    fill : float
        Value where nothing was written.
    chunk, shard : tuple of int
        Shapes of the inner chunks and of the files.
    description : str
        In words.
    unit : str, optional
        FITS unit.
    lossy : str, optional
        Rounding that is allowed.
    codec : str, optional
        How chunks are compressed.
    offset, shape : str, optional
        For a flat axis that holds the pixels of many objects, one after the other: arrays of the same group that say
        where each object begins and which shape it has (none: one axis).
    """

    path: str
    dims: tuple[str, ...]
    dtype: str
    fill: float
    chunk: tuple[int, ...]
    shard: tuple[int, ...]
    description: str
    unit: str | None = None
    lossy: str | None = None
    codec: str = "blosc(zstd, 3, bitshuffle)"
    offset: str | None = None
    shape: str | None = None

    def beside(self, name: str) -> str:
        """Return the path of the array of this name in the same group."""
        return f"{self.path[: self.path.rfind('/') + 1]}{name}"

    def at(self, path: str) -> "ArraySpec | None":
        """Return the declaration of the array at a path inside the group; None when that is not one of these."""
        found = _pattern(self.path).fullmatch(path)
        if found is None:
            return None
        return replace(self, path=path, dims=tuple(dim.format(**found.groupdict()) for dim in self.dims))


@dataclass(frozen=True, kw_only=True)
class Schema:
    """One version of the schema of one product.

    Parameters
    ----------
    product : str
        Name of the product and of its table.
    description : str
        In words.
    version : tuple of int
        Major, minor, patch.
    columns : tuple of Column
        In the order in which files have them; patterns come last.
    primary_key : tuple of str
        Columns that together are unique in a tile.
    arrays : tuple of ArraySpec
        Empty for a product that is a table alone.
    not_content : frozenset of str
        Columns that differ between equal lakes (runs, times, hosts) and stay out of the content hash.
    text : str
        The file.
    """

    product: str
    version: tuple[int, int, int]
    description: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...]
    arrays: tuple[ArraySpec, ...]
    not_content: frozenset[str]
    text: str

    @property
    def name(self) -> str:
        """``product/x.y.z``."""
        return f"{self.product}/{self.version_text}"

    @property
    def version_text(self) -> str:
        """``x.y.z``."""
        return ".".join(map(str, self.version))

    @property
    def is_positional(self) -> bool:
        """Whether rows are sorted and filed by their place in the sky."""
        return any(column.name == "_healpix_29" for column in self.columns)

    def bands(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return the bands that column names of a table speak of, sorted."""
        patterns = [_pattern(column.name) for column in self.columns if column.is_pattern]
        plain = {column.name for column in self.columns if not column.is_pattern}
        found = (pattern.fullmatch(name) for name in names if name not in plain for pattern in patterns)
        return tuple(sorted({match["band"] for match in found if match}))

    def expand(self, bands: Iterable[str] = ()) -> tuple[Column, ...]:
        """Return the columns of a table that has these bands."""
        plain = [column for column in self.columns if not column.is_pattern]
        patterns = [column for column in self.columns if column.is_pattern]
        return (*plain, *(column.for_band(band) for band in sorted(bands) for column in patterns))

    def array(self, path: str) -> ArraySpec:
        """Return the declaration of the array at a path inside the group.

        Raises
        ------
        SchemaError
            When the schema has no such array.
        """
        for spec in self.arrays:
            found = spec.at(path)
            if found is not None:
                return found
        msg = f"array {path!r} is not in schema {self.name}, which has {[spec.path for spec in self.arrays]}"
        raise SchemaError(msg)


@cache
def _pattern(name: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", name)
    return re.compile("".join(f"(?P<{p}>{_FIELDS[p]})" if i % 2 else re.escape(p) for i, p in enumerate(parts)))


def _folder() -> Path:
    return Path(str(files("skymere") / "_schemas"))


@cache
def _released() -> Mapping[str, tuple[tuple[int, int, int], ...]]:
    found: dict[str, list[tuple[int, int, int]]] = {}
    for path in _folder().iterdir():
        match = _FILE.fullmatch(path.name)
        if match:
            found.setdefault(match[1], []).append((int(match[2]), int(match[3]), int(match[4])))
    return {product: tuple(sorted(versions)) for product, versions in sorted(found.items())}


def products() -> tuple[str, ...]:
    """Return the names of all products, sorted."""
    return tuple(_released())


@cache
def load_schema(product: str, version: str | None = None) -> Schema:
    """Return a schema that this skymere ships.

    Parameters
    ----------
    product : str
        Name of the product.
    version : str, optional
        ``x.y.z``; the newest when not given.

    Raises
    ------
    NotFoundError
        When there is no such product or version.

    Examples
    --------
    >>> from skymere.lake import load_schema
    >>> load_schema("source").primary_key
    ('source_id',)
    """
    if product not in _released():
        msg = f"product {product!r} has no schema, it must be one of {list(products())}"
        raise NotFoundError(msg)
    versions = [".".join(map(str, v)) for v in _released()[product]]
    wanted = versions[-1] if version is None else version
    if wanted not in versions:
        msg = f"schema {product} has no version {wanted!r}, it must be one of {versions}"
        raise NotFoundError(msg)
    path = _folder() / f"{product}-{wanted}.yaml"
    return parse_schema(path.read_text(encoding="utf-8"), str(path))


def majors(product: str) -> dict[int, Schema]:
    """Return the newest schema of each major version of a product that this skymere ships, in ascending order.

    Raises
    ------
    NotFoundError
        When there is no such product.
    """
    load_schema(product)
    texts = {version[0]: ".".join(map(str, version)) for version in _released()[product]}
    return {major: load_schema(product, text) for major, text in texts.items()}


def parse_schema(text: str, origin: str) -> Schema:
    """Return the schema in the text of a file; ``origin`` names it in errors.

    Raises
    ------
    FormatError
        When the text is not a schema.
    """
    try:
        schema = _parsed(text)
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        msg = f"{origin}: not a schema of skymere: {type(error).__name__}: {error}"
        raise FormatError(msg) from error
    for fault in _faults(schema):
        msg = f"{origin}: {fault}"
        raise FormatError(msg)
    return schema


@lru_cache(maxsize=256)
def _parsed(text: str) -> Schema:
    # The loader in C is not part of every build of PyYAML.
    tree = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    (table,) = tree["tables"]
    return Schema(
        product=table["name"],
        version=_version(tree["version"]["current"]),
        description=table["description"],
        columns=tuple(_column(entry) for entry in table["columns"]),
        primary_key=tuple(key.rpartition(".")[2] for key in table["primaryKey"]),
        arrays=tuple(_array(entry) for entry in tree.get("skymere:arrays", ())),
        not_content=frozenset(tree["skymere:not_content"]),
        text=text,
    )


def _version(text: str) -> tuple[int, int, int]:
    major, minor, patch = (int(part) for part in text.split("."))
    return major, minor, patch


def _column(entry: Mapping[str, Any]) -> Column:
    return Column(
        name=entry["name"],
        datatype=entry["datatype"],
        nullable=entry["nullable"],
        description=entry["description"],
        unit=entry.get("ivoa:unit", ""),
        ucd=entry.get("ivoa:ucd", ""),
        length=entry.get("length"),
    )


def _array(entry: Mapping[str, Any]) -> ArraySpec:
    shapes = {key: tuple(entry[key]) for key in ("dims", "chunk", "shard")}
    return ArraySpec(**{**entry, **shapes, "fill": float(entry["fill"])})


def _faults(schema: Schema) -> Iterator[str]:
    names = [column.name for column in schema.columns]
    if len(set(names)) != len(names):
        yield "a column stands twice"
    for key in (*schema.primary_key, *schema.not_content):
        if key not in names:
            yield f"column {key!r} is named but not there"
    for column in schema.columns:
        yield from (f"column {column.name}: {fault}" for fault in _column_faults(column, schema))
    paths = {spec.path for spec in schema.arrays}
    for spec in schema.arrays:
        yield from (f"array {spec.path}: {fault}" for fault in _array_faults(spec, paths))


def _column_faults(column: Column, schema: Schema) -> Iterator[str]:
    if column.datatype not in DATATYPES:
        yield f"datatype {column.datatype!r} is not one of {DATATYPES}"
    if column.is_text and column.nullable and schema.version[1] == 0:
        yield "strings cannot be null, but for those that a minor version adds"
    if (column.datatype == "string") != (column.length is not None):
        yield "a string, and nothing else, has a length"
    if column.is_pattern and not column.nullable:
        yield "a pattern must be nullable, because a file may lack a band"
    if column.nullable and column.name in schema.primary_key:
        yield "a part of the primary key cannot be null"


def _array_faults(spec: ArraySpec, paths: set[str]) -> Iterator[str]:
    if not len(spec.dims) == len(spec.chunk) == len(spec.shard):
        yield "dims, chunk and shard differ in length"
    if any(s % c for s, c in zip(spec.shard, spec.chunk, strict=True)):
        yield f"shard {spec.shard} is not a multiple of chunk {spec.chunk}"
    if spec.lossy not in LOSSY:
        yield f"lossy {spec.lossy!r} is not one of {LOSSY}"
    for name in (spec.offset, spec.shape):
        if name is not None and spec.beside(name) not in paths:
            yield f"array {spec.beside(name)!r} is named but not there"
