"""The sky of exposures is a product of its own, by tile and band, with what went wrong as a status."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from astropy.io import fits

from skymere.errors import InvalidInputError
from skymere.lake import Lake
from skymere.mosaic import solve_sky
from skymere.pipeline import read_plan
from skymere.pipeline.attempts import run_task
from skymere.pipeline.exposures import StoredExposures, usable_exposures
from skymere.pipeline.runner import open_or_create_lake
from skymere.pipeline.stages import STAGES


def ran_to(folder: Path, last: str, text: str) -> Lake:
    """Run the stages of the plan, and more text in it, up to one."""
    path = folder / "plan.toml"
    path.write_text(path.read_text() + text)
    plan = read_plan(path)
    lake = open_or_create_lake(plan)
    for stage in STAGES:
        for task in stage.tasks(plan, lake) if stage.tasks else ():
            run_task(stage, task, lake)
        if stage.name == last:
            break
    return Lake.open(folder / "lake")


def test_levels_that_are_matched_say_how_well_they_fit_their_overlaps(fresh: Path) -> None:
    lake = ran_to(fresh, "background", '[background]\nmethod = "globalmin+match"\n[outliers]\nstatic = false\n')
    sky = lake.table("sky").sort("tile", "exposure_id").collect()
    assert sky["tile"].unique().sort().to_list() == ["field.f125w", "field.f160w"]
    assert sky["n_exposures"].to_list() == [4] * 8
    assert sky["n_groups"].to_list() == [1] * 8
    assert sky["n_overlaps"].to_list() == [3] * 8
    for band in ("f125w", "f160w"):
        names = usable_exposures(lake).filter(pl.col("band") == band)["exposure_id"]
        plan = read_plan(fresh / "plan.toml")
        solution = solve_sky(StoredExposures(lake, names), params=plan.background)
        mine = sky.filter(pl.col("band") == band)
        assert mine["sky"].to_list() == list(solution.levels)
        together = np.sqrt((mine["n_cells"] * mine["residual"] ** 2).sum() / mine["n_cells"].sum())
        assert together == pytest.approx(solution.rms, rel=1e-9)


def test_an_exposure_without_a_sky_is_a_status_and_the_others_go_on(fresh: Path) -> None:
    path = min((fresh / "exposures").glob("*_f125w_flt.fits"))
    with fits.open(path, mode="update") as hdus:
        hdus["SCI"].data = hdus["SCI"].data + np.float32(50.0)
    name = path.name.removesuffix("_flt.fits")
    lake = ran_to(fresh, "mosaic", "[background.pedestal]\nupper = 5.0\n")
    for product in ("sky", "mask"):
        rows = {row["exposure_id"]: row for row in lake.table(product).collect().iter_rows(named=True)}
        assert len(rows) == 8
        assert {one for one, row in rows.items() if row["status"] != "ok"} == {name}
        assert rows[name]["status"] == "rejected"
        assert "pixel" in rows[name]["message"]
        assert rows[name]["sky"] is None
    mosaics = {row["band"]: row for row in lake.table("mosaic").collect().iter_rows(named=True)}
    assert {band: row["n_exposures"] for band, row in mosaics.items()} == {"f125w": 3, "f160w": 4}
    assert name not in mosaics["f125w"]["exposure_ids"]


def test_skies_that_are_given_are_those_of_each_band(fresh: Path) -> None:
    names = sorted(path.name.removesuffix("_flt.fits") for path in (fresh / "exposures").iterdir())
    given = {name: 0.5 + 0.01 * k for k, name in enumerate(names)}
    values = ", ".join(f'["{name}", {value}]' for name, value in given.items())
    lake = ran_to(fresh, "background", f'[background]\nmethod = "user"\nuser = [{values}]\n')
    found = dict(lake.table("sky").select("exposure_id", "sky").collect().iter_rows())
    assert found == pytest.approx(given)
    plan = (fresh / "plan.toml").read_text().replace(f'["{names[0]}", {given[names[0]]}], ', "")
    (fresh / "plan.toml").write_text(plan)
    with pytest.raises(InvalidInputError, match=rf"background\.user: \['{names[0]}'\] have no value"):
        ran_to(fresh, "background", "")
