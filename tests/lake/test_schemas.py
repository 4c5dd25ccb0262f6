import hashlib
import json
from importlib.resources import files
from pathlib import Path

import felis.datamodel
import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
import yaml
from astropy import units as u
from astropy.io.votable.ucd import parse_ucd
from astropy.table import Table
from deltalake import DeltaTable

from skymere.errors import FormatError, NotFoundError, SchemaError
from skymere.lake import load_schema, products
from skymere.lake.schemas import parse_schema
from skymere.lake.votable import vounit

FOLDER = Path(str(files("skymere") / "_schemas"))


def test_released_files_never_change():
    manifest = json.loads((FOLDER / "manifest.json").read_text())
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in FOLDER.glob("*.yaml")}
    assert found == manifest


@pytest.mark.parametrize("product", products())
def test_every_column_and_array_says_what_it_means(product):
    schema = load_schema(product)
    for column in schema.columns:
        assert column.description
        parse_ucd(column.ucd, check_controlled_vocabulary=True)
        if column.unit:
            assert u.Unit(vounit(column.unit), format="vounit") == u.Unit(column.unit)
    for spec in schema.arrays:
        assert spec.description
        if spec.unit:
            u.Unit(spec.unit, format="fits")
        chunk = int(np.prod(spec.chunk)) * np.dtype(spec.dtype).itemsize
        assert 2**16 <= chunk <= 2**18
    assert {"tile", "run_id"} <= {column.name for column in schema.columns}


def test_every_product_of_the_lake_has_a_schema():
    wanted = """exposure wcs_solution region beam_action grism_frame mosaic segmentation source alias cutout beam slitlet pixel_table
    profile profile_edit flux redshift line pz spectrum slit_spectrum line_map stack model mask sky psf note run run_item"""
    assert set(products()) == set(wanted.split())


@pytest.mark.parametrize("product", products())
def test_felis_accepts_every_table(product):
    tree = yaml.safe_load(load_schema(product).text)
    plain = {key: value for key, value in tree.items() if not key.startswith("skymere:")}
    found = felis.datamodel.Schema.model_validate(plain, context={"id_generation": False})
    (table,) = found.tables
    assert [c.name for c in table.columns] == [c.name for c in load_schema(product).columns]


def test_a_name_means_the_same_in_every_product():
    meanings = {}
    for product in products():
        for column in load_schema(product).columns:
            meanings.setdefault(column.name, {}).setdefault((column.unit, column.is_text), []).append(product)
    different = {name for name, found in meanings.items() if len(found) > 1}
    # Line fluxes are no flux densities; the sky of a mask is in the unit of its exposure; a run's attempt is a name.
    assert different == {"flux", "flux_err", "sky", "attempt"}


def test_patterns_become_the_columns_of_each_band():
    schema = load_schema("source")
    names = [column.name for column in schema.expand(["f125w", "f140w"])]
    assert {"flux_auto_f125w", "flux_auto_err_f140w"} <= set(names)
    assert schema.bands(names) == ("f125w", "f140w")
    assert schema.bands(["flux_auto_err_f140w", "ra", "other_f999w"]) == ("f140w",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("datatype: long", "datatype: integer"), "datatype 'integer'"),
        (("name: label,", "name: tile,"), "stands twice"),
        (('primaryKey: ["#source.source_id"]', 'primaryKey: ["#source.number"]'), "'number'"),
        (("tables:", "tabels:"), "not a schema"),
        (("datatype: string, length: 64", "datatype: string"), "has a length"),
        (("length: 64, nullable: false", "length: 64, nullable: true"), "strings cannot be null"),
    ],
)
def test_faulty_schema_files_are_refused(change, message):
    # Strings that a later version adds may be null.
    text = load_schema("source", "1.0.0").text
    assert change[0] in text
    with pytest.raises(FormatError, match=message):
        parse_schema(text.replace(*change), "a file")


def test_unknown_products_and_versions_name_the_known_ones():
    with pytest.raises(NotFoundError, match=r"'sources'.*'source'"):
        load_schema("sources")
    with pytest.raises(NotFoundError, match=r"9\.0\.0.*1\.0\.0"):
        load_schema("source", "9.0.0")


def good(survey):
    names, x, y, ra, dec = survey.centres("east", 1)
    rows = [
        survey.empty_row("source", ["f140w"], source_id=k, ra=a, dec=d, label=k, x=u, y=v, segmentation_run="s")
        for k, a, d, u, v in zip(names.tolist(), ra, dec, x, y, strict=True)
    ]
    return survey.frame("source", rows, ["f140w"])


FAULTS = {
    "column r_half: expected in the table, found missing": lambda f: f.drop("r_half"),
    "column flux_auto_err_f140w: expected in the table, found missing": lambda f: f.drop("flux_auto_err_f140w"),
    "column colour: .* does not have": lambda f: f.with_columns(colour=pl.lit(1.0)),
    "column flux_auto_f140w: expected Float32, found Float64": lambda f: f.with_columns(
        pl.col("flux_auto_f140w").cast(pl.Float64)
    ),
    "column label: expected Int32, found Int64": lambda f: f.with_columns(pl.col("label").cast(pl.Int64)),
    "column flags: expected no null": lambda f: f.with_columns(flags=pl.lit(None, pl.Int32)),
    "column source_id: expected a unique key": lambda f: f.with_columns(source_id=pl.lit(5, pl.Int64)),
    "column ra: expected finite degrees": lambda f: f.with_columns(ra=pl.lit(float("nan"))),
    "column dec: expected finite degrees": lambda f: f.with_columns(dec=pl.lit(91.0)),
    "column _healpix_29": lambda f: f.with_columns(_healpix_29=pl.lit(5, pl.Int64)),
    "column tile: expected 'east', found 'west'": lambda f: f.with_columns(tile=pl.lit("west")),
    "column run_id": lambda f: f.with_columns(run_id=pl.lit("0" * 16)),
    "column segmentation_run: expected at most 16": lambda f: f.with_columns(segmentation_run=pl.lit("s" * 17)),
    "does not belong to tile 'east'": lambda f: f.with_columns(ra=pl.col("ra") + 1.0),
}


@pytest.mark.parametrize("message", FAULTS)
def test_rows_that_do_not_match_are_refused_by_column_and_leave_no_trace(lake, survey, message):
    with (
        lake.run(stage="s", tile="east", product="source", inputs=[], params={}) as run,
        pytest.raises(SchemaError, match=message),
    ):
        run.publish(FAULTS[message](good(survey)))
    assert lake.table("source").collect().is_empty()
    assert not list((lake.path / "tables").rglob("*.parquet"))


@pytest.mark.parametrize("product", ["profile", "model"])
def test_a_fit_may_lie_across_the_border_of_the_tile_that_owns_its_source(lake, survey, product):
    across = pl.Series([150.0017, 150.0 - 1e-5, 150.0 - 2e-5])
    with lake.run(stage="s", tile="east", product=product, inputs=[], params={}) as run:
        run.publish(survey.rows_of(product).with_columns(ra=across))
    found = lake.cone(product, 150.0 - 1.5e-5, 1.5e-4, radius_arcsec=0.3).collect()
    assert found["tile"].to_list() == ["east", "east"]
    assert lake.fsck() == []


def publish_good(lake, survey):
    with lake.run(stage="s", tile="east", product="source", inputs=[], params={}) as run:
        assert run.publish(good(survey)) == "published"


def test_votable_metadata_give_astropy_units_and_ucds(lake, survey):
    publish_good(lake, survey)
    (path,) = (lake.path / "tables/source").rglob("*.parquet")
    table = Table.read(path, format="parquet.votable")
    assert len(table) == 9
    assert table["flux_auto_f140w"].unit == u.uJy
    assert table["ra"].unit == u.deg
    assert table["ra"].meta["ucd"] == "pos.eq.ra;meta.main"
    assert table["tile"][0] == "east"
    assert pq.read_schema(path).field("flux_auto_f140w").metadata[b"unit"] == b"uJy"
    delta = DeltaTable(lake.path / "tables/source/v1/dataset")
    fields = {field.name: field for field in delta.schema().fields}
    assert fields["flux_auto_f140w"].metadata["unit"] == "uJy"
    assert not fields["source_id"].nullable


def test_every_table_opens_in_astropy(full):
    for product in products():
        paths = sorted((full.path / "tables" / product).rglob("*.parquet"))
        for path in paths[:1]:
            assert len(Table.read(path, format="parquet.votable")) > 0


def test_files_lie_where_hats_puts_them_and_are_sorted(lake, survey):
    publish_good(lake, survey)
    for path in (lake.path / "tables/source").rglob("*.parquet"):
        index = pl.read_parquet(path)["_healpix_29"]
        npix = int(path.parent.name.removeprefix("Npix="))
        assert path.parent.parent.name == f"Dir={npix // 10000 * 10000}"
        assert path.parent.parent.parent.name == "Norder=6"
        assert (index // 4**23 == npix).all()
        assert index.is_sorted()


def test_a_new_band_adds_nullable_columns(lake, survey):
    survey.publish(lake, "segmentation", "east")
    survey.publish(lake, "segmentation", "west")
    survey.publish(lake, "source", "east", version=2)
    assert "flux_auto_f140w" not in lake.table("source").collect_schema()
    survey.publish(lake, "source", "west", version=1)
    table = lake.table("source").collect()
    assert table.filter(tile="east")["flux_auto_f140w"].is_null().all()
    assert table.filter(tile="west")["flux_auto_f140w"].is_not_null().all()


def test_a_delta_table_with_a_foreign_column_is_refused_when_read(lake, survey):
    publish_good(lake, survey)
    from deltalake import Field
    from deltalake.schema import PrimitiveType

    DeltaTable(lake.path / "tables/source/v1/dataset").alter.add_columns([Field("colour", PrimitiveType("float"))])
    with pytest.raises(SchemaError, match="colour"):
        lake.table("source")


def test_the_lake_keeps_the_schemas_it_used(lake, survey):
    publish_good(lake, survey)
    copies = {path.name for path in (lake.path / "schemas").iterdir()}
    assert copies == {"source-1.1.0.yaml", "run-1.1.0.yaml"}
    assert (lake.path / "schemas/source-1.1.0.yaml").read_text() == load_schema("source").text
    (lake.path / "schemas/source-1.1.0.yaml").write_text("other")
    with (
        lake.run(stage="s", tile="east", product="source", inputs=[], params={"n": 2}) as run,
        pytest.raises(SchemaError, match="never change"),
    ):
        run.publish(good(survey))
