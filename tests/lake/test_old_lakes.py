"""Lakes that earlier releases made (see old/make_lake.py) open, say what they said, and go on."""

import importlib.util
import json
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.table import Table

from skymere.lake import Lake, load_schema
from skymere.lake.schemas import parse_schema

OLD = Path(__file__).with_name("old")
MADE = sorted(path.name.removesuffix(".tar.xz") for path in OLD.glob("*.tar.xz"))


@pytest.fixture(scope="module")
def maker():
    """The program that made them."""
    spec = importlib.util.spec_from_file_location("make_lake", OLD / "make_lake.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=MADE)
def made(request, tmp_path):
    """An old lake, and what its content hashes were."""
    with tarfile.open(OLD / f"{request.param}.tar.xz") as tar:
        tar.extractall(tmp_path, filter="data")
    return Lake.open(tmp_path / "lake"), json.loads((OLD / f"{request.param}.json").read_text())


@pytest.fixture
def old(made):
    return made[0]


def schemas_of(lake):
    """The schemas that an old lake was made with."""
    copies = sorted((lake.path / "schemas").glob("*.yaml"))
    return {schema.product: schema for schema in (parse_schema(path.read_text(), path.name) for path in copies)}


def test_there_is_a_lake_of_each_step():
    assert {name.partition("-")[0] for name in MADE} == {"step1", "step2"}


def test_old_lakes_say_what_they_said(made):
    lake, hashes = made
    assert lake.content_hash() == hashes["newest"]
    assert lake.releases() == ["R1"]
    assert Lake.open(lake.path, "R1").content_hash() == hashes["R1"]


def test_every_row_of_an_old_lake_is_read(old, maker):
    schemas = schemas_of(old)
    assert len(schemas) >= 9
    for lake, version in ((Lake.open(old.path, "R1"), 1), (old, 2)):
        for product, schema in schemas.items():
            for tile, written in (("one", version), ("two", 1)):
                mine = lake.table(product).filter(tile=tile).collect()
                if product in ("run", "alias", "run_item"):
                    # These are added to; each publication brings its own.
                    assert mine.height == {"run": len(schemas) - 3}.get(product, 2) * written
                    continue
                known = {"segmentation_run": lake.live_run("segmentation", tile)}
                expected = maker.rows(schema, tile, written, **known)
                assert mine.sort(schema.primary_key).select(expected.columns).equals(expected), (product, tile)
                assert (mine["run_id"] == lake.live_run(product, tile)).all()


def test_every_array_of_an_old_lake_is_read(old, maker):
    for product, schema in schemas_of(old).items():
        for lake, version in ((Lake.open(old.path, "R1"), 1), (old, 2)):
            for path, expected in maker.arrays(schema, version):
                array = lake.arrays(product, "one")[path]
                assert array.dtype == expected.dtype
                np.testing.assert_array_equal(array[...], expected)
                np.testing.assert_array_equal(array[:1], expected[:1])


def test_an_old_lake_goes_on(made, maker):
    lake, hashes = made
    assert lake.fsck(hashes=True) == []
    west = lake.live_runs("source")["two"]
    for product in sorted(schemas_of(lake)):
        assert lake.migrate(product) == "already"
    maker.publish(lake, "one", 2)
    maker.publish(lake, "two", 2)
    assert lake.content_hash() != hashes["newest"]
    assert lake.live_runs("source")["two"] != west
    for product in sorted(schemas_of(lake)):
        assert lake.table(product).filter(tile="two").collect().height > 0, product
        lake.compact(product)
    lake.gc(dry_run=False, grace_days=1e-6)
    assert Lake.open(lake.path, "R1").content_hash() == hashes["R1"]
    assert lake.release("R2").keys() >= {"source/v1", "beam/v1"}
    assert lake.fsck(hashes=True) == []


def test_the_files_of_an_old_lake_are_still_those_of_its_schemas(old):
    for product, schema in schemas_of(old).items():
        assert load_schema(product, schema.version_text).text == schema.text
        for path in sorted((old.path / "tables" / product).rglob("*.parquet"))[:1]:
            assert pq.read_schema(path).names[: len(schema.expand())] == [c.name for c in schema.expand()]
            table = Table.read(path, format="parquet.votable")
            assert [table[c.name].meta["ucd"] for c in schema.expand()] == [c.ucd for c in schema.expand()]
