"""A tile that is worked on block by block is the same tile, and what its outer edge cuts is flagged."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from astropy.io import fits

from skymere.errors import InvalidInputError
from skymere.lake import Lake, add_regions
from skymere.pipeline import read_plan, run_plan
from skymere.regions import Circle
from skymere.segmentation import SourceFlag

_RUNS = ("run_id", "segmentation_run", "created", "parent_run", "code_version")


def run(folder: Path, old: str, new: str) -> Lake:
    plan = folder / "plan.toml"
    assert old in plan.read_text()
    plan.write_text(plan.read_text().replace(old, new))
    run_plan(read_plan(plan))
    return Lake.open(folder / "lake")


def assert_same(table: pl.DataFrame, expected: pl.DataFrame) -> None:
    for name in set(expected.columns) - set(_RUNS):
        assert table[name].equals(expected[name]) or np.array_equal(
            table[name].to_numpy(), expected[name].to_numpy(), equal_nan=True
        ), name


@pytest.mark.parametrize("image", ["stack", "max_snr"])
def test_blocks_smaller_than_the_tile_change_no_bit(finished: Path, tmp_path: Path, image: str) -> None:
    lakes = []
    for name, block_pix in (("whole", 4096), ("blocks", 90)):
        folder = tmp_path / name
        shutil.copytree(finished, folder)
        shutil.rmtree(folder / "lake" / "releases", ignore_errors=True)
        lake = Lake.open(folder / "lake")
        middle = lake.tiles["field"].grid.sky(np.array([100.0]), np.array([105.0]))
        bad = Circle(centre=(float(middle[0][0]), float(middle[1][0])), radius=2.0)
        for band in ("f125w", ""):
            add_regions(lake, "bad", [[bad]], band=band, author="Ada", reason="streak")
            bad = replace(bad, centre=(bad.centre[0], bad.centre[1] + 5 / 3600))
        detect = f'[detect]\nimage = "{image}"\nmin_exposures = 1\n[release]\nname = "{name}"\n[tile]'
        (folder / "plan.toml").write_text((folder / "plan.toml").read_text().replace("[tile]", detect))
        lakes.append(run(folder, "[survey]\n", f"[survey]\nblock_pix = {block_pix}\n"))
    whole, blocks = lakes
    labels = [lake.arrays("segmentation", "field")["label"][...] for lake in lakes]
    assert labels[0].max() > 10
    assert min(labels[0].shape) > 200
    assert np.array_equal(*labels)
    assert_same(*(lake.table("source").collect().sort("label") for lake in (blocks, whole)))


def test_a_band_that_is_masked_everywhere_is_not_searched_and_has_no_fluxes(finished: Path, tmp_path: Path) -> None:
    tables = []
    for name, block_pix in (("whole", 4096), ("blocks", 90)):
        folder = tmp_path / name
        shutil.copytree(finished, folder)
        lake = Lake.open(folder / "lake")
        grid = lake.tiles["field"].grid
        x, y = np.array([100.0, 30.0]), np.array([105.0, 40.0])
        (ra, ra_drawn), (dec, dec_drawn) = grid.sky(x, y)
        everything = Circle(centre=(float(ra), float(dec)), radius=3600.0)
        add_regions(lake, "bad", [[everything]], band="f125w", author="Ada", reason="no such filter")
        drawn = Circle(centre=(float(ra_drawn), float(dec_drawn)), radius=0.4)
        add_regions(lake, "manual", [[drawn]], band="f125w", author="Ada", reason="seen by eye")
        detect = f'[detect]\nwrite_fits = true\n[release]\nname = "{name}"\n[tile]'
        (folder / "plan.toml").write_text((folder / "plan.toml").read_text().replace("[tile]", detect))
        lake = run(folder, "[survey]\n", f"[survey]\nblock_pix = {block_pix}\n")
        table = lake.table("source").collect().sort("label")
        assert table.height > 10
        assert table["flux_auto_f125w"].is_nan().all()
        assert table["flux_auto_f160w"].is_finite().mean() > 0.9
        assert json.loads(lake.table("segmentation").collect()["bands"][0]) == ["f160w"]
        # An edit in a band that was not searched is an edit all the same.
        assert lake.arrays("segmentation", "field")["label"][40, 30] > 0
        tables.append(table)
    whole, blocks = tables
    assert_same(whole, blocks)
    for name in ("det_seg.fits", "det_stack.fits", "det_snr.fits", "det_cat.fits"):
        files = [next((tmp_path / kind).rglob(name)) for kind in ("whole", "blocks")]
        assert fits.FITSDiff(*files, ignore_keywords=["CHECKSUM", "DATASUM"]).identical, name


def test_what_the_outer_edge_of_a_tile_cuts_is_flagged_in_the_source_table(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cut"
    shutil.copytree(finished, folder, ignore=shutil.ignore_patterns("lake"))
    grid = Lake.open(finished / "lake").tiles["field"].grid
    labels = Lake.open(finished / "lake").arrays("segmentation", "field")["label"][...]
    # The window begins in the middle of the largest source.
    y, x = (int(np.median(axis)) for axis in np.nonzero(labels == np.bincount(labels.ravel())[1:].argmax() + 1))
    shape = min(150, grid.shape[0] - y), min(150, grid.shape[1] - x)
    header = grid.cutout(y, x, shape).wcs.to_header()
    planes = [fits.ImageHDU(np.zeros(shape, np.float32), header, name=name) for name in ("SCI", "WHT")]
    fits.HDUList([fits.PrimaryHDU(), *planes]).writeto(folder / "reference.fits")
    lake = run(folder, "[tile]\n", '[tile]\nreference_image = "reference.fits"\n')
    found = lake.arrays("segmentation", "field")["label"][...]
    assert found.shape == shape
    cut = set(np.concatenate([found[0], found[-1], found[:, 0], found[:, -1]]).tolist()) - {0}
    table = lake.table("source").collect()
    flagged = table.filter((table["flags"] & int(SourceFlag.TILE_EDGE)) > 0)["label"].to_list()
    assert len(cut) >= 1
    assert set(flagged) == cut & set(table["label"].to_list())
    assert flagged


def test_blocks_without_a_side_are_refused(finished: Path, tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text((finished / "plan.toml").read_text().replace("[survey]\n", "[survey]\nblock_pix = 0\n"))
    with pytest.raises(InvalidInputError, match="block_pix: 0"):
        read_plan(plan)
