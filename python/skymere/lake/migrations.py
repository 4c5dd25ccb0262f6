"""Migrations: how the rows of one major version of a schema become those of the next.

They work whether the table was rewritten or not: `migrated` changes rows while they are read, `migrate` once and for
all. The table of the older version stays as it was, and nobody publishes to it any more.
"""

from collections.abc import Callable
from itertools import groupby

import polars as pl

from skymere.errors import ConflictError, NotFoundError, SchemaError
from skymere.lake.checks import check_frame
from skymere.lake.committing import record
from skymere.lake.forms import polars_schema
from skymere.lake.layout import Layout, TableFile
from skymere.lake.majors import stored
from skymere.lake.schemas import Column, Schema, majors
from skymere.lake.tables import Outcome, Rows, Table, absent

__all__ = ["migrate", "migrated", "migration"]

Migration = Callable[[pl.LazyFrame], pl.LazyFrame]
_REGISTERED: dict[tuple[str, int], Migration] = {}


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

    Notes
    -----
    The function is called with all rows, or with those of a part, and must treat each row by itself. Nullable columns
    that it does not make are null.

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


def migrated(rows: pl.LazyFrame, table: Table, major: int) -> pl.LazyFrame:
    """Return rows of a table as those of a later major version of its schema.

    Parameters
    ----------
    rows : polars.LazyFrame
        Rows.
    table : Table
        Whose they are.
    major : int
        Major version.

    Raises
    ------
    NotFoundError
        When nobody registered how.
    SchemaError
        When what comes out does not match the schema.
    """
    product = table.schema.product
    known = majors(product)
    for step in range(table.major + 1, major + 1):
        if step not in known or (product, step) not in _REGISTERED:
            msg = f"table {table.key}: no migration of {product!r} to version {step} is registered"
            raise NotFoundError(msg)
        rows = _fitted(_REGISTERED[product, step](rows), known[step])
    return rows


def migrate(layout: Layout, product: str) -> Outcome:
    """Fill the table of the newest major version with the rows of an older one, in one commit; see `Lake.migrate`."""
    old, new = stored(layout, product), Table(layout, product)
    delta = old.open()
    if delta is None or old.major >= new.major:
        return "already"
    _record_all(layout, old.live(delta), product)
    written = _rewrite(old, delta.version(), new)
    old.close(delta)
    last = old.open()
    if last is not None and old.live(last) != old.live(delta):
        # Somebody published before the table was closed; now nobody can.
        written = _rewrite(old, last.version(), new)
    columns = {column.name: column for part in written for column in part.columns}
    return new.adopt(written, new.schema.expand(new.schema.bands(columns)), info={"migrated": old.key})


def _record_all(layout: Layout, live: list[TableFile], product: str) -> None:
    """Commit the rows of runs that a crash left out, while the files of their attempts can be told."""
    runs = stored(layout, "run")
    known = set(runs.scan(runs.open()).select("tile", "run_id").collect().iter_rows())
    for file in live:
        if (file.tile, file.run) not in known:
            record(layout, product, file)


def _rewrite(old: Table, version: int, new: Table) -> list[Rows]:
    """Write the rows of every tile and run to the new table; nobody sees them yet."""
    delta = old.open(version)
    if delta is None:
        return []
    live = sorted(old.live(delta), key=_owner)
    tiles = [(owner, list(files)) for owner, files in groupby(live, key=_owner)]
    return [_rewrite_tile(old.rows(delta, files), old, new, files[0]) for _, files in tiles]


def _owner(file: TableFile) -> tuple[str, str]:
    return file.tile, file.run


def _rewrite_tile(rows: pl.LazyFrame, old: Table, new: Table, file: TableFile) -> Rows:
    mine = rows.filter(pl.col("run_id") == file.run)
    frame = migrated(mine, old, new.major).collect()
    spoken = [band for band in new.schema.bands(frame.columns) if not _is_silent(frame, new.schema, band)]
    frame = frame.select(column.name for column in new.schema.expand(spoken))
    columns = check_frame(frame, new.schema, tile=file.tile, run=file.run)
    return new.write(frame, columns, file.of_another_attempt(), empty_at=file.empty_at)


def _fitted(rows: pl.LazyFrame, schema: Schema) -> pl.LazyFrame:
    """Return what a migration made with exactly the columns of the schema, in their order."""
    found = rows.collect_schema()
    columns = schema.expand(schema.bands(found.names()))
    wanted = polars_schema(columns)
    for column in columns:
        if not _fits(column, found.get(column.name), wanted[column.name]):
            expected, kind = wanted[column.name], found.get(column.name, "nothing")
            msg = f"{schema.name}: column {column.name}: expected {expected} from the migration, found {kind}"
            raise SchemaError(msg)
    extra = [name for name in found.names() if name not in wanted]
    if extra:
        msg = f"{schema.name}: column {extra[0]}: the migration leaves it, but the schema does not have it"
        raise SchemaError(msg)
    present = [column for column in columns if column.name in found]
    return rows.with_columns(absent(columns, present)).select(*wanted)


def _fits(column: Column, found: pl.DataType | None, wanted: pl.DataType) -> bool:
    return found == wanted or (found is None and column.nullable)


def _is_silent(frame: pl.DataFrame, schema: Schema, band: str) -> bool:
    """Whether a tile says nothing of a band, which is there because others have it."""
    names = [column.for_band(band).name for column in schema.columns if column.is_pattern]
    return all(frame[name].null_count() == frame.height for name in names)
