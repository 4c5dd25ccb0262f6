"""Major versions of a schema: how the rows of one become those of the next."""

from collections.abc import Callable, Mapping
from typing import Any

import polars as pl

from skymere.errors import ConflictError, InvalidInputError, NotFoundError, SchemaError
from skymere.lake.checks import check_frame
from skymere.lake.forms import polars_schema
from skymere.lake.layout import PARTITION_ORDER, Layout, TableFile
from skymere.lake.schemas import load_schema, majors
from skymere.lake.sky import DEEP
from skymere.lake.tables import Outcome, Rows, Table

__all__ = ["check_migrated", "migrate", "migrated", "migration", "stored"]

Migration = Callable[[pl.LazyFrame], pl.LazyFrame]
_REGISTERED: dict[tuple[str, int], Migration] = {}
_APP = "migration"


def migration(product: str, *, to: int) -> Callable[[Migration], Migration]:
    """Register how the rows of a product become those of the next major version of its schema.

    Parameters
    ----------
    product : str
        Product.
    to : int
        Major version that the function makes from the one before it.

    Raises
    ------
    ConflictError
        When there is one already.

    Examples
    --------
    >>> import polars as pl
    >>> from skymere.lake import migration
    >>> @migration("example", to=2)
    ... def in_microjansky(rows: pl.LazyFrame) -> pl.LazyFrame:
    ...     return rows.with_columns(flux=pl.col("flux") * 1e3)
    """

    def register(function: Migration) -> Migration:
        if (product, to) in _REGISTERED:
            msg = f"migration: {product!r} has one to version {to} already"
            raise ConflictError(msg)
        _REGISTERED[product, to] = function
        return function

    return register


def stored(layout: Layout, product: str, pins: Mapping[str, int] | None = None) -> Table:
    """Return the table of the newest major version that holds the rows of a product; the newest when none does.

    Parameters
    ----------
    layout : Layout
        The lake.
    product : str
        Product.
    pins : mapping, optional
        Version of each table of a release.

    Raises
    ------
    NotFoundError
        When there is no such product.
    """
    newest = Table(layout, product)
    older = [Table(layout, product, schema) for schema in reversed(majors(product)[:-1])]
    for table, below in ((table, older[i:]) for i, table in enumerate((newest, *older))):
        if pins is not None:
            if table.key in pins:
                return table
            continue
        delta = table.open()
        # A table that a migration has begun to fill holds nothing yet.
        if delta is not None and (delta.transaction_version(_APP) is not None or not any(t.exists for t in below)):
            return table
    return newest


def migrated(frame: pl.LazyFrame, table: Table, major: int) -> pl.LazyFrame:
    """Return rows of a table as those of another major version of its schema.

    Raises
    ------
    NotFoundError
        When nobody registered how.
    SchemaError
        When what comes out does not match the schema.
    """
    product, first = table.schema.product, table.schema.version[0]
    if major < first:
        msg = f"schema: the rows of {product!r} are of version {first}; there is no way back to {major}"
        raise InvalidInputError(msg)
    for step in range(first + 1, major + 1):
        if (product, step) not in _REGISTERED:
            msg = f"table {table.key}: no migration to version {step} is registered"
            raise NotFoundError(msg)
        frame = _REGISTERED[product, step](frame)
    if major == first:
        return frame
    schema = Table(table.layout, product, _newest(product, major)).schema
    found = frame.collect_schema()
    columns = schema.expand(schema.bands(found.names()))
    wanted = polars_schema(columns)
    for column in columns:
        kind = found.get(column.name)
        if kind != wanted[column.name] and not (kind is None and column.nullable):
            msg = f"{schema.name}: column {column.name}: expected {wanted[column.name]} from the migration, found {kind}"
            raise SchemaError(msg)
    extra = [name for name in found.names() if name not in wanted]
    if extra:
        msg = f"{schema.name}: column {extra[0]}: the migration leaves it, but the schema does not have it"
        raise SchemaError(msg)
    absent = [pl.lit(None, dtype=kind).alias(name) for name, kind in wanted.items() if name not in found]
    return frame.with_columns(absent).select(*wanted)


def migrate(layout: Layout, product: str) -> Outcome:
    """Fill the table of the newest major version with the rows of the one before, in one commit.

    Returns
    -------
    str
        ``published``, or ``already`` when there is nothing to do.

    Raises
    ------
    ConflictError
        When somebody published to the old table meanwhile; nothing has changed.
    """
    old, new = stored(layout, product), Table(layout, product)
    if old.key == new.key:
        return "already"
    delta = old.open()
    if delta is None:
        return "already"
    rows = old.scan(delta)
    live = {(file.tile, file.run): file for file in old.live(delta)}
    written = [_rewrite(rows, old, new, file) for file in live.values()]
    present = old.open()
    if present is None or present.version() != delta.version():
        msg = f"table {old.key} was published to while it was migrated; migrate again"
        raise ConflictError(msg)
    columns = {column.name: column for part in written for column in part.columns}
    paths = tuple(path for part in written for path in part.paths)
    every = new.schema.expand(new.schema.bands(columns))
    return new.adopt([Rows(paths, every)] if not written else written, every, _APP, info={"migrated": old.key})


def check_migrated(table: Table) -> None:
    """Refuse to publish to a table while the rows of its product are those of an older schema.

    Raises
    ------
    ConflictError
        When they must be migrated first.
    """
    if table.schema.version[0] > 1 and stored(table.layout, table.schema.product).key not in (table.key,):
        product = table.schema.product
        msg = f"table {table.key}: the lake has {product!r} of an older schema; call lake.migrate({product!r}) first"
        raise ConflictError(msg)


def _rewrite(rows: pl.LazyFrame, old: Table, new: Table, file: TableFile) -> Rows:
    """Write the rows of a tile and run anew; nobody sees them yet."""
    mine = rows.filter((pl.col("tile") == file.tile) & (pl.col("run_id") == file.run))
    frame = migrated(mine, old, new.schema.version[0]).collect()
    bands = new.schema.bands(frame.columns)
    silent = [band for band in bands if _is_silent(frame, new, band)]
    columns = new.schema.expand(set(bands) - set(silent))
    frame = frame.select(column.name for column in columns)
    check_frame(frame, new.schema, tile=file.tile, run=file.run)
    pixel = file.folder.rpartition("Npix=")[2]
    empty_at = int(pixel) * 4 ** (DEEP - PARTITION_ORDER) if pixel.isdigit() else 0
    return new.write(frame, columns, file, empty_at=empty_at)


def _is_silent(frame: pl.DataFrame, table: Table, band: str) -> bool:
    names = [column.for_band(band).name for column in table.schema.columns if column.is_pattern]
    return all(frame[name].null_count() == frame.height for name in names)


def _newest(product: str, major: int) -> Any:
    found = [schema for schema in majors(product) if schema.version[0] == major]
    if not found:
        have = [schema.version[0] for schema in majors(product)]
        msg = f"schema: {product!r} has no version {major}, it must be one of {have}"
        raise NotFoundError(msg)
    return found[0] if major != load_schema(product).version[0] else load_schema(product)
