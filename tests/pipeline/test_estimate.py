"""What a run will cost, told before it is made, compared with what it then does."""

import shutil
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from tests.pipeline.conftest import SURVEY, TILES

from skymere.errors import InvalidInputError, NoDataError
from skymere.lake import Lake
from skymere.pipeline import CostModel, estimate_plan, fit_costs, read_plan, run_plan
from skymere.pipeline.estimate import _wall
from skymere.testing import simulate_survey


@pytest.fixture(scope="module")
def costs(tiled: Path) -> CostModel:
    return fit_costs([tiled / "lake"])


@pytest.fixture(scope="module")
def half(survey: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The survey with half of its exposures, on tiles, not run yet; not to be changed."""
    folder = tmp_path_factory.mktemp("half") / "survey"
    shutil.copytree(survey, folder)
    files = sorted((folder / "exposures").glob("*_flt.fits"))
    for path in files[::2]:
        path.unlink()
    (folder / "plan.toml").write_text('[survey]\nexposures = ["exposures/*_flt.fits"]\n' + TILES)
    return folder


def test_tasks_bytes_and_files_of_another_survey_are_foretold(
    half: Path, costs: CostModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = read_plan(half / "plan.toml")
    before = sorted(half.rglob("*"))
    told = estimate_plan(plan, costs)
    assert sorted(half.rglob("*")) == before
    folder = tmp_path / "run"
    shutil.copytree(half, folder)
    monkeypatch.setattr("skymere.pipeline.runner.draw_pictures", lambda *_, **__: [])
    report = run_plan(read_plan(folder / "plan.toml"))
    lake = Lake.open(folder / "lake")
    done = {stage.name: stage.n_done for stage in report.stages if stage.name != "release" and stage.n_done}
    assert dict(told.stages.select("stage", "n_tasks").iter_rows()) == done
    assert told.stages["note"].unique().to_list() == [""]
    assert told.totals["n_tasks"] == sum(done.values())
    runs = lake.table("run").collect()
    assert told.totals["bytes_written"] == pytest.approx(runs["bytes_written"].sum(), rel=0.3)
    by_product = dict(runs.group_by("product").agg(pl.col("bytes_written").sum()).iter_rows())
    foretold = dict(told.products.select("product", "bytes_written").iter_rows())
    for product in ("exposure", "mosaic", "segmentation"):
        assert foretold[product] == pytest.approx(by_product[product], rel=0.3), product
    n_sources = lake.table("source").select(pl.len()).collect().item()
    assert told.totals["n_sources"] == pytest.approx(n_sources, rel=0.3)
    there = [path for path in (folder / "lake").rglob("*") if path.is_file() and "_delta_log" not in path.parts]
    assert told.totals["n_files"] == pytest.approx(len(there), rel=0.3)
    commits = sum(version + 1 for version in lake.versions().values())
    assert told.totals["n_commits"] == pytest.approx(commits, rel=0.3)
    again = estimate_plan(read_plan(folder / "plan.toml"), costs)
    assert again.totals["n_tasks"] == 0
    assert again.stages["n_fresh"].sum() == sum(done.values())


def test_more_workers_take_less_time_and_more_memory(half: Path, costs: CostModel) -> None:
    plan = read_plan(half / "plan.toml")
    one, four = estimate_plan(plan, costs, n_workers=1), estimate_plan(plan, costs, n_workers=4)
    assert one.totals["wall_seconds"] == pytest.approx(one.totals["seconds"])
    assert four.totals["cpu_seconds"] / 4 <= four.totals["wall_seconds"] <= four.totals["cpu_seconds"]
    assert four.totals["memory_mib"] > one.totals["memory_mib"]
    assert four.totals["n_workers"] == 4


def test_the_density_of_sources_is_what_is_given(half: Path, costs: CostModel) -> None:
    plan = read_plan(half / "plan.toml")
    known = estimate_plan(plan, costs)
    twice = estimate_plan(plan, costs, sources_per_arcmin2=2 * costs.yields["sources_per_arcmin2"])
    assert twice.totals["n_sources"] == pytest.approx(2 * known.totals["n_sources"])
    cutouts = [dict(one.products.select("product", "bytes_written").iter_rows())["cutout"] for one in (known, twice)]
    assert cutouts[1] > cutouts[0]


def test_what_nobody_measured_is_said_and_not_invented(half: Path, costs: CostModel) -> None:
    plan = read_plan(half / "plan.toml")
    lacking = replace(costs, stages=costs.stages.filter(pl.col("stage") != "detect"))
    row = estimate_plan(plan, lacking).stages.row(by_predicate=pl.col("stage") == "detect", named=True)
    assert (row["seconds"], row["bytes_written"]) == (None, None)
    assert row["note"] == "the lakes of the costs have no run of it"
    with pytest.raises(NoDataError, match="sources_per_arcmin2: it must be given"):
        estimate_plan(plan, replace(costs, yields={}))
    assert estimate_plan(plan, replace(costs, yields={}), sources_per_arcmin2=0.0).totals["n_sources"] == 0
    with pytest.raises(InvalidInputError, match="n_workers: 0 is not allowed, the least is 1"):
        estimate_plan(plan, costs, n_workers=0)
    with pytest.raises(InvalidInputError, match="sources_per_arcmin2: nan is not allowed"):
        estimate_plan(plan, costs, sources_per_arcmin2=float("nan"))


def test_tasks_go_to_the_first_worker_that_is_free() -> None:
    assert _wall([4.0, 3.0, 3.0, 2.0], 2) == 6.0
    assert _wall([4.0, 1.0], 8) == 4.0
    assert _wall([], 3) == 0.0


@pytest.mark.validate
def test_the_seconds_of_a_survey_of_twice_the_area_are_foretold_within_30_percent(
    costs: CostModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ny, nx = SURVEY.camera.shape
    scene = replace(SURVEY.scene, n_galaxies=80, n_stars=16, radius_arcsec=20.0)
    params = replace(SURVEY, camera=replace(SURVEY.camera, shape=(round(1.42 * ny), round(1.42 * nx))), scene=scene)
    simulate_survey(tmp_path, params=params, n_workers=1)
    (tmp_path / "plan.toml").write_text('[survey]\nexposures = ["exposures/*_flt.fits"]\n' + TILES)
    plan = read_plan(tmp_path / "plan.toml")
    told = estimate_plan(plan, costs)
    monkeypatch.setattr("skymere.pipeline.runner.draw_pictures", lambda *_, **__: [])
    run_plan(plan)
    runs = Lake.open(tmp_path / "lake").table("run").collect()
    for name in ("seconds", "cpu_seconds"):
        assert told.totals[name] == pytest.approx(runs[name].sum(), rel=0.3), name
