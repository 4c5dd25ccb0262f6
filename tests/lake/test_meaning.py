"""Tables carry their meaning, and nothing that means something else gets in (S1)."""

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy import units as u
from astropy.table import MaskedColumn, QTable, Table
from deltalake import DeltaTable, Field
from deltalake.schema import PrimitiveType

from skymere.errors import ConflictError, SchemaError
from skymere.lake import load_schema, products, rows_from_astropy

BANDS = ("f140w",)


def publish(lake, product, frame, params=None, on_event=None):
    work = {"stage": "s", "tile": "east", "product": product, "inputs": [], "params": params or {}}
    with lake.run(**work, on_event=on_event) as run:
        return run.publish(frame)


def files(lake, product):
    return sorted((lake.path / "tables" / product).rglob("*.parquet"))


@pytest.mark.parametrize("product", [p for p in products() if p != "run"])
def test_astropy_sees_unit_ucd_and_description_of_every_column_of_every_product(lake, survey, product):
    n = 1 if load_schema(product).primary_key == ("tile",) else 3
    publish(lake, product, survey.rows_of(product, n))
    (path,) = files(lake, product)
    table = Table.read(path, format="parquet.votable")
    assert len(table) == n
    schema = load_schema(product)
    for column in schema.expand(BANDS if any(c.is_pattern for c in schema.columns) else ()):
        seen = table[column.name]
        assert (seen.unit or u.dimensionless_unscaled) == u.Unit(column.unit), column.name
        assert seen.meta["ucd"] == column.ucd
        # astropy folds long lines.
        assert "".join(seen.description.split()) == "".join(column.description.split())
    again = lake.table(product).collect()
    for name in ("source_id", "ra"):
        if name in again.columns:
            assert sorted(table[name].tolist()) == sorted(again[name].to_list())


def rewrite(path, change):
    """Change a Parquet file, which keeps its metadata where ``change`` does."""
    kept = {k: v for k, v in pq.read_metadata(path).metadata.items() if k != b"ARROW:schema"}
    pq.write_table(change(pq.read_table(path).replace_schema_metadata(kept)), path)


def with_field(table, name, change):
    i = table.schema.get_field_index(name)
    field, values = change(table.schema.field(i), table.column(i))
    return table.set_column(i, field, values)


ON_DISK = {
    "column x_err: expected float, found double": lambda t: with_field(
        t, "x_err", lambda f, v: (f.with_type(pa.float64()), v.cast(pa.float64()))
    ),
    "column r_half: expected in the table, found missing": lambda t: t.drop_columns(["r_half"]),
    "column colour: .* does not have": lambda t: t.append_column("colour", pa.array([1.0] * len(t))),
    "column ra: expected unit 'deg', found unit 'rad'": lambda t: with_field(
        t, "ra", lambda f, v: (f.with_metadata({"unit": "rad"}), v)
    ),
    "column ra: expected unit 'deg', found unit ''": lambda t: with_field(t, "ra", lambda f, v: (f.remove_metadata(), v)),
    "column flags: expected no null, found a column that may be null": lambda t: with_field(
        t, "flags", lambda f, v: (f.with_nullable(True), v)
    ),
    "column _healpix_29: expected sorted rows, found .* in row 1": lambda t: t.take(list(range(len(t)))[::-1]),
    "expected the metadata of source/1.1.0": lambda t: t.replace_schema_metadata({}),
}  # fmt: skip


@pytest.mark.parametrize("message", ON_DISK)
def test_a_file_that_changed_on_the_disk_is_not_committed(lake, survey, message):
    publish(lake, "source", survey.rows_of("source", 2), params={"n": 1})
    before, log = lake.table("source").collect(), lake.history("source")
    (old,) = files(lake, "source")

    def on_event(step):
        if step == "rows_written":
            (path,) = set(files(lake, "source")) - {old}
            rewrite(path, ON_DISK[message])

    with pytest.raises(SchemaError, match=message) as caught:
        publish(lake, "source", survey.rows_of("source"), params={"n": 2}, on_event=on_event)
    assert ".parquet" in str(caught.value)
    assert lake.table("source").collect().equals(before)
    assert lake.history("source") == log


def test_a_file_that_others_wrote_the_same_way_is_committed(lake, survey):
    def on_event(step):
        if step == "rows_written":
            rewrite(files(lake, "source")[0], lambda table: table)

    assert publish(lake, "source", survey.rows_of("source"), on_event=on_event) == "published"


WRONG_ROWS = {
    "column x_err: expected Float32, found Float64": lambda f: f.with_columns(pl.col("x_err").cast(pl.Float64)),
    "column colour: .* does not have": lambda f: f.with_columns(colour=1.0),
    "column a: expected in the table, found missing": lambda f: f.drop("a"),
    "column source_id: expected no null, found 1 nulls": lambda f: f.with_columns(
        source_id=pl.when(pl.col("source_id") == 1).then(None).otherwise(pl.col("source_id"))
    ),
    r"column source_id: expected a unique key, found \(2,\) more than once": lambda f: pl.concat([f, f[2:]]),
    "column ra: expected finite degrees from 0 to 360, found nan": lambda f: f.with_columns(ra=pl.lit(np.nan)),
    "column dec: expected finite degrees from -90 to 90, found -inf": lambda f: f.with_columns(dec=pl.lit(-np.inf)),
    "column _healpix_29: expected .*, found 7 in row 0": lambda f: f.with_columns(_healpix_29=pl.lit(7, pl.Int64)),
    "column flux_auto_f140w: expected Float32, found Int32": lambda f: f.with_columns(pl.col("flux_auto_f140w").cast(pl.Int32)),
}  # fmt: skip


@pytest.mark.parametrize("message", WRONG_ROWS)
def test_wrong_rows_are_refused_and_what_was_published_stays(lake, survey, message):
    publish(lake, "source", survey.rows_of("source", 2), params={"n": 1})
    before, log, names = lake.content_hash(), lake.history("source"), files(lake, "source")
    with pytest.raises(SchemaError, match=message):
        publish(lake, "source", WRONG_ROWS[message](survey.rows_of("source")), params={"n": 2})
    assert (lake.content_hash(), lake.history("source"), files(lake, "source")) == (before, log, names)


def test_unsorted_rows_are_sorted_and_a_stale_publisher_is_a_conflict(lake, survey):
    frame = survey.rows_of("source").reverse()
    work = {"stage": "s", "tile": "east", "product": "source", "inputs": []}
    with lake.run(**work, params={"n": 1}) as first, lake.run(**work, params={"n": 2}) as second:
        second.publish(frame)
        with pytest.raises(ConflictError, match="'east' of table source/v1"):
            first.publish(frame)
    (live,) = set(lake.table("source").collect()["run_id"])
    assert live == second.id
    assert all(pl.read_parquet(path)["_healpix_29"].is_sorted() for path in files(lake, "source"))


@pytest.mark.parametrize("metadata", [{"unit": "mJy"}, {}])
def test_a_delta_table_in_another_unit_is_refused_when_read(lake, survey, metadata):
    publish(lake, "source", survey.rows_of("source").select(pl.exclude("^.*_f140w$")))
    fields = [
        Field(c.name, PrimitiveType("integer" if c.datatype == "int" else c.datatype), metadata=metadata)
        for c in load_schema("source").expand(["f999w"])
        if c.name.endswith("f999w")
    ]
    DeltaTable(lake.path / "tables/source/v1/dataset").alter.add_columns(fields)
    with pytest.raises(
        SchemaError, match=f"column flux_iso_f999w: expected unit 'uJy', found unit {metadata.get('unit', '')!r}"
    ):
        lake.table("source")


def test_astropy_tables_with_units_become_rows(lake, survey):
    frame = survey.rows_of("source").with_columns(x_err=pl.Series([0.5, None, 0.25], dtype=pl.Float32))
    columns = {c.name: c for c in load_schema("source").expand(BANDS)}
    table = QTable(
        {
            n: frame[n].to_numpy() * u.Unit(columns[n].unit) if columns[n].unit else frame[n].to_list()
            for n in frame.columns
            if n not in {"x_err", "source_id"}
        }
    )
    table["source_id"] = frame["source_id"].to_numpy()
    table["x_err"] = MaskedColumn(np.array([0.5, 9, 0.25], ">f4"), mask=[False, True, False], unit="pix")
    rows = rows_from_astropy("source", table)
    assert publish(lake, "source", rows.cast(dict(frame.schema))) == "published"
    assert lake.table("source").sort("source_id").collect()["x_err"].to_list() == [0.5, None, 0.25]
    with pytest.raises(SchemaError, match="column ra: expected unit 'deg', found unit 'hourangle'"):
        rows_from_astropy("source", QTable({"ra": [10.0] * u.hourangle}))
    with pytest.raises(SchemaError, match="column colour"):
        rows_from_astropy("source", QTable({"colour": [10.0]}))


def test_arrays_in_another_unit_are_refused(lake):
    with (
        lake.run(stage="s", tile="east", product="spectrum", inputs=[], params={}) as run,
        pytest.raises(SchemaError, match="array flux: unit: expected erg s-1 cm-2 Angstrom-1, found uJy"),
    ):
        run.write("flux", np.zeros(3, np.float32), unit="uJy")
