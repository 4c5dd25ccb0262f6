"""Imported catalogues: tables whose schema no skymere ships, so that the lake's own copy is the only one."""

from collections.abc import Mapping

from skymere.errors import NotFoundError
from skymere.lake.layout import Layout
from skymere.lake.schemas import Schema, parse_schema, products
from skymere.lake.stores import matching
from skymere.lake.tables import Table

__all__ = ["EXTERNAL", "external_table", "externals"]

EXTERNAL = "skymere:external"


def externals(layout: Layout) -> dict[str, tuple[Schema, ...]]:
    """Return the schemas of every imported catalogue, oldest first, by name."""
    shipped = set(products())
    found: dict[str, list[Schema]] = {}
    for path in matching(layout.schemas, "*.yaml"):
        if path.name.partition("-")[0] in shipped:
            continue
        text = path.read_text(encoding="utf-8")
        if EXTERNAL in text:
            schema = parse_schema(text, str(path))
            found.setdefault(schema.product, []).append(schema)
    return {name: tuple(sorted(all_of, key=lambda s: s.version)) for name, all_of in sorted(found.items())}


def external_table(layout: Layout, name: str, *, pins: Mapping[str, int] | None = None) -> Table:
    """Return the table of an imported catalogue: that of a release, or of the last import that was committed.

    Raises
    ------
    NotFoundError
        When there is no such product or catalogue.
    """
    known = externals(layout)
    if name not in known:
        msg = f"product {name!r} has no schema, it must be one of {[*products(), *known]}"
        raise NotFoundError(msg)
    tables = [Table(layout, name, schema) for schema in reversed(known[name])]
    if pins is not None:
        return next((table for table in tables if table.key in pins), tables[0])
    # An import that changes the columns keeps its schema before it commits its rows.
    return next((table for table in tables if len(tables) > 1 and table.live(table.open())), tables[0])
