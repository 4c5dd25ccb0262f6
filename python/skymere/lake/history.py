"""What changed: between versions of a table, between two runs; and what a run that was replaced had said."""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import polars as pl

from skymere.errors import StorageError
from skymere.lake.schemas import Schema

if TYPE_CHECKING:
    from skymere.lake.asking import LakeQueries

__all__ = ["difference", "difference_of_runs", "rows_of_run"]

# No column has a space in its name.
_NEW = " new"
_NOWHERE = pl.lit([], dtype=pl.List(pl.String)).alias("columns")
ADDED, REMOVED, CHANGED = "added", "removed", "changed"


def difference(old: pl.LazyFrame, new: pl.LazyFrame, schema: Schema) -> pl.DataFrame:
    """Return the rows that differ between two versions of a table; see `Lake.diff`."""
    key = list(schema.primary_key)
    silent = schema.not_content - set(key)
    before, after = (frame.drop(silent, strict=False).collect() for frame in (old, new))
    parts = [
        _changed(before, after, key),
        after.join(before, on=key, how="anti").select(*key, pl.lit(ADDED).alias("change"), _NOWHERE),
        before.join(after, on=key, how="anti").select(*key, pl.lit(REMOVED).alias("change"), _NOWHERE),
    ]
    return pl.concat(parts).sort("change", *key)


def difference_of_runs(old: Mapping[str, Any], new: Mapping[str, Any]) -> pl.DataFrame:
    """Return what two rows of ``run`` do not have in common; see `Lake.diff_runs`."""
    rows = []
    facts = [dict(_facts(row)) for row in (old, new)]
    for what, name in sorted({*facts[0], *facts[1]}):
        before, after = (one.get((what, name)) for one in facts)
        if before != after:
            rows.append({"what": what, "name": name, "old": before, "new": after})
    return pl.DataFrame(rows, schema=dict.fromkeys(("what", "name", "old", "new"), pl.String))


def _facts(row: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield what a run was: kind and name of a fact, and its value as text."""
    for name in ("stage", "tile", "product", "schema", "code_version"):
        yield ("run", name), row[name]
    yield from ((("parameter", name), text) for name, text in _leaves(json.loads(row["params"]), ""))
    for one in json.loads(row["inputs"]):
        said = {key: value for key, value in one.items() if key != "uri"}
        yield ("input", one.get("uri", "")), one.get("run") or one.get("sha256") or json.dumps(said, sort_keys=True)


def _leaves(value: Any, name: str) -> Iterator[tuple[str, str]]:
    """Yield the parameters of nested sections with dotted names; lists are one value."""
    if isinstance(value, Mapping) and value:
        for key, below in value.items():
            yield from _leaves(below, f"{name}.{key}" if name else key)
    else:
        yield name, json.dumps(value, sort_keys=True)


def rows_of_run(lake: "LakeQueries", product: str, tile: str, run: str) -> tuple[Mapping[str, Any], ...]:
    """Return the rows of a run, also of one that was replaced, as long as they are there."""
    mine = (pl.col("tile") == tile) & (pl.col("run_id") == run)
    versions = [entry["version"] for entry in lake.history(product) if run in (entry["run"] or "").split()]
    for version in (None, *versions):
        with suppress(StorageError, pl.exceptions.PolarsError, FileNotFoundError):
            rows = lake.table(product, version=version).filter(mine).collect()
            if rows.height:
                return tuple(rows.to_dicts())
    return ()


def _changed(before: pl.DataFrame, after: pl.DataFrame, key: list[str]) -> pl.DataFrame:
    """Return the rows of both that differ, with the names of the columns in which they do."""
    joined = before.join(after, on=key, how="inner", suffix=_NEW)
    differs = {}
    for name in [name for name in before.columns if name not in key]:
        # A band that only one version has says something where it has a value.
        differs[name] = (
            pl.col(name).ne_missing(pl.col(name + _NEW)) if name in after.columns else pl.col(name).is_not_null()
        )
    for name in [name for name in after.columns if name not in before.columns]:
        differs[name] = pl.col(name).is_not_null()
    if not differs:
        return joined.head(0).select(*key, pl.lit(CHANGED).alias("change"), _NOWHERE)
    touched = joined.filter(pl.any_horizontal(differs.values()))
    names = [pl.when(differ).then(pl.lit(name)) for name, differ in sorted(differs.items())]
    columns = pl.concat_list(names).list.drop_nulls().alias("columns")
    return touched.select(*key, pl.lit(CHANGED).alias("change"), columns)
