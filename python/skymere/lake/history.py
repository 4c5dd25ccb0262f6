"""Older versions of tables: what two of them do not have in common, and what a run that was replaced had said."""

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import polars as pl

from skymere.errors import StorageError
from skymere.lake.schemas import Schema

if TYPE_CHECKING:
    from skymere.lake.asking import LakeQueries

__all__ = ["difference", "rows_of_run"]

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


def rows_of_run(lake: "LakeQueries", product: str, tile: str, run: str) -> tuple[Mapping[str, Any], ...]:
    """Return the rows of a run, also of one that was replaced, as long as they are there."""
    mine = (pl.col("tile") == tile) & (pl.col("run_id") == run)
    versions = [entry["version"] for entry in lake.history(product) if entry["run"] == run]
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
