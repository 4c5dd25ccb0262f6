"""Major versions of a product's schema: which of its tables holds the rows, and in which version they are read."""

from collections.abc import Iterable, Mapping
from itertools import groupby

from skymere.errors import ConflictError, FormatError, NotFoundError
from skymere.lake.layout import Layout
from skymere.lake.schemas import majors, products
from skymere.lake.tables import Table, has_migrated, tables_on_disk

__all__ = ["check_stored", "chosen", "filled", "stored"]


def filled(tables: Iterable[Table]) -> list[Table]:
    """Return the tables that hold rows, by product and version: the first of a product, and those migrated from it.

    A table without a log, of which only files are there, holds none, nor does one that a migration has begun to fill.
    """
    found: list[Table] = []
    for product, group in groupby(tables, key=lambda table: table.schema.product):
        there = list(group)
        # A new version of an imported catalogue is a catalogue of its own, and most products have one version.
        if product in products() and [table.major for table in there] != [max(majors(product))]:
            there = [table for table in there if table.open() is not None]
            there = there[:1] + [table for table in there[1:] if has_migrated(table.open())]
        found += there
    return found


def stored(layout: Layout, product: str, pins: Mapping[str, int] | None = None) -> Table:
    """Return the table that holds the rows of a product: that of the newest major version, to which they were migrated.

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
    there = tables_on_disk(layout, product)
    there = filled(there) if pins is None else [table for table in there if table.key in pins]
    return there[-1] if there else newest


def chosen(
    layout: Layout, product: str, pins: Mapping[str, int] | None = None, schema: int | None = None
) -> tuple[Table, int]:
    """Return the table to read, and the major version in which its rows are wanted.

    Parameters
    ----------
    layout : Layout
        The lake.
    product : str
        Product.
    pins : mapping, optional
        Version of each table of a release.
    schema : int, optional
        Major version; the newest that this skymere has when not given.

    Raises
    ------
    NotFoundError
        When there is no such product or version.
    FormatError
        When the rows are of a newer version than this skymere knows.
    """
    table = stored(layout, product, pins)
    known = majors(product)
    if schema is None:
        if table.major > max(known):
            msg = (
                f"table {table.key}: this skymere knows {product!r} up to version {max(known)}; update it, or ask for "
                f"schema={max(known)}, which holds what it held when it was migrated"
            )
            raise FormatError(msg)
        return table, max(known)
    there = {one.major: one for one in tables_on_disk(layout, product) if pins is None or one.key in pins}
    if schema < table.major and schema in there:
        return there[schema], schema
    have = sorted(there.keys() | {major for major in known if major >= table.major})
    if schema not in have:
        msg = f"schema: {product!r} has no version {schema} here, it must be one of {have}"
        raise NotFoundError(msg)
    return table, schema


def check_stored(table: Table) -> None:
    """Refuse to publish to a table while the rows of its product are those of another major version.

    Raises
    ------
    ConflictError
        When they are older, and must be migrated first.
    FormatError
        When they are newer.
    """
    product = table.schema.product
    # A new version of an imported catalogue takes the place of the one before.
    there = stored(table.layout, product) if product in products() else table
    if there.major < table.major:
        msg = f"table {table.key}: the lake has {product!r} of version {there.major}; call lake.migrate({product!r})"
        raise ConflictError(msg)
    if there.major > table.major:
        msg = f"table {table.key}: the lake has {product!r} of version {there.major}; update skymere"
        raise FormatError(msg)
