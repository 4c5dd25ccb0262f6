"""A survey of a dozen tiles with everything in it: on every executor, killed, with a dead worker and a broken file."""

import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import runs
import simulated_survey

from skymere.lake import Lake
from skymere.pipeline.demo_grism import score_grism_redshifts
from skymere.pipeline.demo_slits import score_slit_redshifts
from skymere.pipeline.products import falls_on, load_mosaics

pytestmark = [pytest.mark.faults, pytest.mark.timeout(7200)]
EXECUTORS = {"processes": runs.PROCESSES, "dask": runs.DASK}
BROKEN = "sim01001q"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The survey, run here, one task after the other; not to be changed."""
    folder = tmp_path_factory.mktemp("whole") / "survey"
    simulated_survey.simulate(folder, simulated_survey.WHOLE)
    runs.run(folder)
    return folder


@pytest.fixture(scope="module")
def whole(finished: Path) -> Lake:
    """Its lake."""
    return Lake.open(finished / "lake")


def test_the_survey_has_a_dozen_tiles_and_every_product(whole: Lake) -> None:
    assert len(whole.live_runs("mosaic")) >= 12
    filled = {name for name in whole.names() if whole.table(name).collect().height}
    assert filled >= simulated_survey.PRODUCTS
    assert set(whole.table("flux").collect()["band"]) == {"f105w", "f125w", "irac1"}
    runs.expect_whole(whole, whole)


def test_every_true_bright_source_is_in_the_catalogue_exactly_once(finished: Path, whole: Lake) -> None:
    truth = pl.read_parquet(finished / "truth" / "sources.parquet")
    owners = whole.tiles.at(truth["ra"].to_numpy(), truth["dec"].to_numpy())
    truth = truth.with_columns(tile=pl.Series(owners))
    seen = []
    for (tile,), own in truth.group_by("tile"):
        if tile not in whole.live_runs("mosaic"):
            continue
        mosaics = load_mosaics(whole, tile)
        deep = np.logical_and.reduce([m.weight > 0 for m in mosaics])
        seen.append(own.filter(falls_on(deep, whole.tiles[tile].grid, own)))
    sources = whole.table("source").collect()
    bright = pl.concat(seen).filter(pl.col("mag_f160w") < 25.0)
    # Two that are nearly as bright and overlap may be one detection.
    rivals = [
        truth.filter(pl.col("truth_id") != row["truth_id"], pl.col("mag_f160w") < row["mag_f160w"] + 1.0)
        for row in bright.to_dicts()
    ]
    is_alone = [bool((apart(row, near) > 1.2).all()) for row, near in zip(bright.to_dicts(), rivals, strict=True)]
    bright = bright.filter(pl.Series(is_alone))
    assert bright.height >= 15
    assert bright["tile"].n_unique() >= 4
    assert [int((apart(row, sources) < 0.4).sum()) for row in bright.to_dicts()] == [1] * bright.height
    assert sources["source_id"].is_unique().all()


def apart(row: dict[str, float], others: pl.DataFrame) -> pl.Series:
    """Distances from a place [arcsec]."""
    east = (others["ra"] - row["ra"]) * np.cos(np.deg2rad(row["dec"]))
    return (east**2 + (others["dec"] - row["dec"]) ** 2).sqrt() * 3600


def test_redshifts_of_slits_and_emitters_are_right(finished: Path, whole: Lake) -> None:
    slits = score_slit_redshifts(finished, whole)
    assert slits.height == simulated_survey.WHOLE.n_slits
    assert slits["is_right"].all()
    emitters = score_grism_redshifts(finished, whole)
    assert emitters.height >= 3
    assert emitters["is_right"].mean() >= 0.75, emitters


@pytest.mark.parametrize("executor", EXECUTORS)
def test_two_workers_make_the_lake_that_one_makes(finished: Path, whole: Lake, tmp_path: Path, executor: str) -> None:
    lake = runs.run(runs.copy_of(finished, tmp_path / "survey"), EXECUTORS[executor])
    runs.expect_whole(lake, whole)
    runs.expect_same(lake, whole)


def test_ten_kills_at_random_moments_change_nothing(finished: Path, whole: Lake, tmp_path: Path) -> None:
    folder = runs.copy_of(finished, tmp_path / "survey")
    options = (runs.SERIAL, runs.PROCESSES, runs.DASK)
    for i, (n_tasks, delay) in enumerate(runs.random_moments(runs.n_done(finished), 10, seed=11)):
        runs.kill_after(folder, n_tasks, delay, options[i % 3])
    lake = runs.run(folder)
    runs.expect_whole(lake, whole)
    runs.expect_same(lake, whole)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_worker_that_is_killed_costs_no_tile_and_doubles_none(
    finished: Path, whole: Lake, tmp_path: Path, executor: str
) -> None:
    folder = runs.copy_of(finished, tmp_path / "survey")
    ((n_tasks, _),) = runs.random_moments(runs.n_done(finished), 1, seed=len(executor))
    events = runs.kill_worker(folder, n_tasks, EXECUTORS[executor])
    assert "worker_died" in {event["name"] for event in events}
    lake = Lake.open(folder / "lake")
    runs.expect_whole(lake, whole)
    runs.expect_same(lake, whole)


def test_a_broken_exposure_is_told_and_the_rest_is_as_without_it(finished: Path, whole: Lake, tmp_path: Path) -> None:
    folder, without = (runs.copy_of(finished, tmp_path / name) for name in ("broken", "without"))
    (path,) = (folder / "exposures").glob(f"{BROKEN}*")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    (without / "exposures" / path.name).unlink()
    lake, expected = runs.run(folder), runs.run(without)
    rows = lake.table("exposure").collect()
    (bad,) = rows.filter(pl.col("status") != "ok").to_dicts()
    assert bad["exposure_id"].startswith(BROKEN)
    assert path.name in bad["path"] + bad["message"]
    assert bad["message"]
    assert rows.filter(pl.col("status") == "ok")["exposure_id"].sort().to_list() == (
        expected.table("exposure").collect()["exposure_id"].sort().to_list()
    )
    found, wanted = runs.content(lake), runs.content(expected)
    assert {name for name in found | wanted if found.get(name) != wanted.get(name)} <= {"exposure", "run"}
    assert lake.content_hash("source") != whole.content_hash("source")
    assert lake.fsck(hashes=True) == []
