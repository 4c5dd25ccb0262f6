"""A lake as it was while a tile showed a run."""

import polars as pl
import pytest

from skymere.errors import InvalidInputError, NotFoundError

CHAIN = ("segmentation", "source", "cutout")


@pytest.fixture
def twice(lake, survey):
    """A lake whose tile east was made twice, and the runs of both times."""
    runs = []
    for version in (1, 2):
        survey.publish_all(lake, version, tiles=("east",))
        runs.append({product: lake.live_run(product, "east") for product in CHAIN})
    return lake, runs


def test_a_run_that_was_replaced_is_shown_with_what_it_was_made_of(twice):
    lake, (first, second) = twice
    for product in CHAIN:
        old = lake.at_run(first[product])
        assert {one: old.live_run(one, "east") for one in CHAIN} == first
        assert lake.at_run(second[product][:12]).live_run(product, "east") == second[product]
    assert lake.live_runs("cutout")["east"] == second["cutout"]


def test_rows_and_arrays_are_those_of_then(twice):
    lake, (first, _) = twice
    old = lake.at_run(first["cutout"])
    ids = old.table("source").collect()["source_id"]
    assert len(ids) == lake.table("source").select(pl.len()).collect().item() + 1
    assert len(old.cutouts(ids.to_numpy(), ["f140w"], size_pix=32)) == len(ids)
    assert not (
        old.arrays("segmentation", "east")["label"][...] == lake.arrays("segmentation", "east")["label"][...]
    ).all()


def test_another_tile_and_a_later_product_do_not_end_it(lake, survey):
    survey.publish_all(lake, 1)
    run = lake.live_run("source", "east")
    survey.publish_all(lake, 2, tiles=("west",))
    assert lake.at_run(run).live_runs("source") == lake.live_runs("source")
    survey.publish(lake, "psf", "east")
    assert lake.at_run(run).live_runs("psf") == lake.live_runs("psf")


def test_such_a_lake_is_only_read_and_unknown_runs_are_told(twice):
    lake, (first, _) = twice
    old = lake.at_run(first["source"])
    assert old.pinned == f"run {first['source']}"
    with pytest.raises(InvalidInputError, match="can only be read"):
        old.release("DR1")
    with pytest.raises(InvalidInputError, match="can only be read"):
        old.at_run(first["source"])
    with pytest.raises(NotFoundError, match="run 'ffff'"):
        lake.at_run("ffff")


def test_what_gc_has_removed_is_gone(twice):
    lake, (first, second) = twice
    lake.gc(dry_run=False, grace_days=1e-9)
    with pytest.raises(NotFoundError, match="gc has removed"):
        lake.at_run(first["source"])
    assert lake.at_run(second["source"]).live_run("source", "east") == second["source"]
