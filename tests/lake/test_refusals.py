"""Every fault in the rows of every product is refused with the column named, and leaves no trace (S1)."""

import numpy as np
import polars as pl
import pytest

from skymere.errors import SchemaError
from skymere.lake import load_schema, products

FILLED_IN = {"tile", "run_id", "_healpix_29", "stage"}
OTHER = {pl.Float64(): pl.Float32(), pl.Float32(): pl.Float64(), pl.Int64(): pl.Int32(), pl.Int32(): pl.Int64()}
PUBLISHED = [product for product in products() if product != "run"]


def null(frame, name):
    """The last row without a value."""
    kept = pl.int_range(pl.len()) < pl.len() - 1
    return frame.with_columns(pl.when(kept).then(pl.col(name)).alias(name))


def faults(frame, schema):
    """Yield rows with one fault each, and what must be said about them."""
    yield frame.with_columns(colour=1.0), "column colour: expected .*, found a column that the schema does not have"
    for column in schema.expand(["f140w"] if "flux_auto_f140w" in frame.columns else ()):
        if column.name not in frame.columns:
            continue
        name, kind = column.name, frame.schema[column.name]
        if name not in FILLED_IN:
            yield frame.drop(name), f"column (_healpix_29, )?{name}: expected in the table, found missing"
        other = OTHER.get(kind, pl.Int64())
        wrong = frame.with_columns(pl.lit(0).cast(other).alias(name))
        yield wrong, f"column {name}: expected {kind}, found {other}"
        if not column.nullable:
            yield null(frame, name), f"column {name}: expected (no null, found 1 nulls|finite degrees .* found None)"
        if column.length is not None:
            long = frame.with_columns(pl.lit("x" * (column.length + 1)).alias(name))
            yield long, f"column {name}: expected at most {column.length} bytes, found a string of {column.length + 1}"
    key = " and ".join(schema.primary_key)
    yield pl.concat([frame, frame[-1:]]), f"column {key}: expected a unique key, found .* more than once"
    yield frame.with_columns(tile=pl.lit("west")), "column tile: expected 'east', found 'west'"
    yield frame.with_columns(run_id=pl.lit("0" * 16)), "column run_id: expected '.*', found '0000000000000000'"


def misplaced(product, frame):
    """Yield rows whose positions cannot be, or are not those of their index."""
    for bad in (np.nan, np.inf, -np.inf, -1e-9, 360.1):
        yield frame.with_columns(ra=pl.lit(bad)), "column ra: expected finite degrees from 0 to 360"
    for bad in (np.nan, np.inf, -np.inf, 90.1):
        yield frame.with_columns(dec=pl.lit(bad)), "column dec: expected finite degrees from -90 to 90"
    yield frame.with_columns(_healpix_29=pl.lit(7, pl.Int64)), r"column _healpix_29: expected \d+, found 7 in row 0"
    yield frame.with_columns(_healpix_29=pl.lit(7, pl.Int32)), "column _healpix_29: expected Int64, found Int32"
    # These lie where a fit puts them.
    if product not in ("profile", "model"):
        yield frame.with_columns(ra=pl.col("ra") + 1), "column ra: row 0 at .* does not belong to tile 'east'"


@pytest.fixture(scope="module")
def still(survey, tmp_path_factory):
    """A lake to which nothing that is wrong was ever published."""
    return survey.create(tmp_path_factory.mktemp("still") / "lake")


@pytest.mark.parametrize("product", PUBLISHED)
def test_every_fault_of_every_column_is_refused_by_name(still, survey, product):
    schema = load_schema(product)
    frame = survey.rows_of(product, 1 if schema.primary_key == ("tile",) else 3)
    found = [*faults(frame, schema), *(misplaced(product, frame) if schema.is_positional else [])]
    assert len(found) > 2 * len(frame.columns)
    with still.run(stage="s", tile="east", product=product, inputs=[], params={}) as run:
        for wrong, message in found:
            with pytest.raises(SchemaError, match=message):
                run.publish(wrong)
    assert sorted(path.name for path in still.path.iterdir()) == ["lake.json"]
