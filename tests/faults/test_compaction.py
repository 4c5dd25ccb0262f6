"""Merged files say the same as the small ones, before and after tiles are published again."""

import shutil

import polars as pl
import pytest

from skymere.errors import InvalidInputError
from skymere.lake import Lake


@pytest.fixture
def lake(survey, full_copy):
    return Lake.open(full_copy)


@pytest.fixture(scope="session")
def full_path(survey, tmp_path_factory):
    lake = survey.create(tmp_path_factory.mktemp("full") / "lake")
    survey.publish_all(lake)
    return lake.path


@pytest.fixture
def full_copy(full_path, tmp_path):
    return shutil.copytree(full_path, tmp_path / "lake")


def files(lake, product):
    lake.compact(product)
    return lake.compact(product).before


def test_the_lake_says_the_same_in_fewer_files(survey, lake):
    before, runs = lake.content_hash(), {p: lake.live_runs(p) for p in survey.PRODUCTS}
    lake.release("DR1")
    done = {product: lake.compact(product) for product in (*survey.PRODUCTS, "run", "run_item")}
    assert (done["run"].before, done["run"].after) == (12, 1)
    assert (done["mosaic"].before, done["mosaic"].after) == (2, 1)
    assert lake.content_hash() == before
    assert {p: lake.live_runs(p) for p in survey.PRODUCTS} == runs
    assert lake.fsck(hashes=True) == []
    assert Lake.open(lake.path, "DR1").content_hash() == before
    assert survey.publish_all(lake) == ["already"] * 12
    assert lake.table("run").collect().height == 12


def test_a_tile_of_a_merged_file_is_replaced_alone(survey, lake):
    clean = Lake.open(shutil.copytree(lake.path, lake.path.with_name("clean")))
    for product in (*survey.PRODUCTS, "run"):
        lake.compact(product)
    for one in (lake, clean):
        survey.publish_all(one, 2, tiles=["east"])
    assert lake.content_hash() == clean.content_hash()
    assert lake.live_runs("source") == clean.live_runs("source")
    assert lake.fsck(hashes=True) == []
    for product in survey.PRODUCTS:
        lake.compact(product)
    for one in (lake, clean):
        survey.publish_all(one, 2, tiles=["west"])
    assert lake.content_hash() == clean.content_hash()
    assert lake.fsck(hashes=True) == []
    assert lake.gc(grace_days=7).n_bytes == 0


def test_sizes_decide_what_is_merged(survey, lake):
    assert lake.compact("run", target_mib=1e-6).after == 12
    few = lake.compact("run", target_mib=0.05)
    assert 1 < few.after < 12
    assert lake.compact("alias").after <= 1
    with pytest.raises(InvalidInputError, match=r"target_mib: 0"):
        lake.compact("run", target_mib=0)
    assert lake.table("run").select(pl.col("run_id").n_unique()).collect().item() == 12
