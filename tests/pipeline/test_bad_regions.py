"""Regions of bad pixels in a survey of two bands: whose pixels they take away, and that fluxes go without them."""

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from skymere.lake import Lake, add_regions, replay_outcomes, retract_edits
from skymere.pipeline import read_plan, run_plan
from skymere.pipeline.products import load_segmentation
from skymere.regions import Circle, mask_from_region
from skymere.segmentation import SourceFlag

WHO = {"author": "Ada", "reason": "satellite"}
BAD = SourceFlag.BAD_PIXELS.value


def again(folder: Path, release: str) -> pl.DataFrame:
    plan = folder / "plan.toml"
    plan.write_text(
        f'[survey]\nexposures = ["exposures/*_flt.fits"]\n\n[tile]\nname = "field"\n[release]\nname = "{release}"\n'
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("skymere.pipeline.runner.draw_pictures", lambda *_, **__: [])
        run_plan(read_plan(plan))
    return Lake.open(folder / "lake").table("source").sort("source_id").collect()


def test_bad_pixels_of_a_band_are_not_used_in_that_band_and_found_in_the_other(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "changed"
    shutil.copytree(finished, folder)
    lake = Lake.open(folder / "lake")
    before = lake.table("source").sort("flux_auto_f160w", descending=True, nulls_last=True).collect()
    grid = lake.tiles["field"].grid
    clean = before.filter(pl.col("flags") == 0, pl.col("area") > 30)
    first, second = clean.row(0, named=True), clean.row(1, named=True)
    circles = [Circle(centre=(row["ra"], row["dec"]), radius=2.0 * grid.scale_arcsec) for row in (first, second)]
    one_band = add_regions(lake, "bad", [[circles[0]]], band="f125w", **WHO)["edit_id"][0]
    all_bands = add_regions(lake, "bad", [[circles[1]]], **WHO)["edit_id"][0]
    after = again(folder, "DR2")
    labels = load_segmentation(lake, "field").labels
    inside = [mask_from_region(circle, grid) for circle in circles]
    # Found in f160w alone, flux of f125w from the pixels opposite and around.
    row = after.filter(pl.col("source_id") == first["source_id"]).row(0, named=True)
    assert set(np.unique(labels[inside[0]])) == {row["label"]}
    assert row["flags_f125w"] & BAD
    assert not row["flags_f160w"] & BAD
    assert row["flux_auto_f160w"] == pytest.approx(first["flux_auto_f160w"], rel=0.1)
    assert row["flux_iso_f125w"] < 0.7 * first["flux_iso_f125w"]
    assert not labels[inside[1]].any()
    outcomes = {outcome.edit_id: outcome for outcome in replay_outcomes(lake, "field")}
    assert outcomes[one_band].status == outcomes[all_bands].status == "applied"
    assert outcomes[one_band].n_pixels == inside[0].sum()
    run = lake.table("source").select("run_id").first().collect().item()
    inputs = lake.table("run").filter(pl.col("run_id") == run).collect()["inputs"].item()
    assert "region/field" in inputs
    # Taken back, everything is as it was.
    retract_edits(lake, [one_band, all_bands], author="Bo", reason="none there")
    back = again(folder, "DR3")
    fluxes = [name for name in before.columns if name.startswith("flux")]
    assert back.select("source_id", *fluxes).equals(before.sort("source_id").select("source_id", *fluxes))
