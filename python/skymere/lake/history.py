"""What two versions of a table do not have in common."""

import polars as pl

from skymere.lake.schemas import Schema

__all__ = ["difference"]

ADDED, REMOVED, CHANGED = "added", "removed", "changed"


def difference(old: pl.LazyFrame, new: pl.LazyFrame, schema: Schema) -> pl.DataFrame:
    """Return the rows that differ between two versions of a table; see `Lake.diff`."""
    key = list(schema.primary_key)
    silent = schema.not_content
    before, after = (frame.drop(silent - set(key), strict=False).collect() for frame in (old, new))
    both = sorted((set(before.columns) & set(after.columns)) - set(key))
    joined = before.join(after, on=key, how="inner", suffix="_new", nulls_equal=True)
    differs = {name: _differs(joined[name], joined[f"{name}_new"]) for name in both}
    # A band that only one version has says something where it has a value.
    for only in (set(before.columns) | set(after.columns)) - set(both) - set(key):
        differs[only] = joined[only].is_not_null()
    columns = [[name for name, flags in differs.items() if flags[i]] for i in range(joined.height)]
    changed = joined.select(key).with_columns(
        change=pl.lit(CHANGED), columns=pl.Series(columns, dtype=pl.List(pl.String))
    )
    empty = pl.lit([], dtype=pl.List(pl.String))
    parts = [
        changed.filter(pl.col("columns").list.len() > 0),
        after.join(before, on=key, how="anti").select(key).with_columns(change=pl.lit(ADDED), columns=empty),
        before.join(after, on=key, how="anti").select(key).with_columns(change=pl.lit(REMOVED), columns=empty),
    ]
    return pl.concat(parts).sort("change", *key)


def _differs(a: pl.Series, b: pl.Series) -> pl.Series:
    return a.ne_missing(b)
