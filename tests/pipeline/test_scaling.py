"""What is done again: a new exposure, a parameter and a region are the business of their tiles alone."""

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from skymere.datamodels import FLAG_BITS
from skymere.lake import Lake, add_regions, polygons_overlap
from skymere.mosaic import flag_exposures
from skymere.pipeline import read_plan, run_plan
from skymere.pipeline.exposures import StoredExposures, flagged_exposures, load_flagged, outline_of, usable_exposures
from skymere.regions import Circle
from skymere.resample import drizzle
from skymere.testing import CameraParams, Pointing, SceneParams, draw_scene, render_exposure
from skymere.testing.exposures import write_exposure

CAMERA = CameraParams(shape=(150, 150), n_cosmic_rays=15, n_bad_pixels=60, n_dead_pixels=4)
SCENE = SceneParams(n_galaxies=24, n_stars=10, radius_arcsec=9.0, bright_mag=19.5, faint_mag=23.5)
FIELDS = {"a": (53.16, -27.78), "b": (53.21, -27.78)}
STEP = 1.1 / 3600
PLAN = """
[survey]
exposures = ["exposures/*_flt.fits"]

[tile]
kind = "healpix"
scale_arcsec = 0.1
width_pix = 800

[align]
is_on = true
reference = "gaia.csv"
fitgeom = "shift"
min_matches = 6

[mosaic.noise]
n_cells = 16
measure = false

[release]
name = "DR1"
"""


def pointing(field: str, band: str, i: int) -> Pointing:
    ra, dec = FIELDS[field]
    return Pointing(name=f"{field}{i}", band=band, ra=ra + (i % 2) * STEP, dec=dec + (i // 2) * STEP, pa_deg=20.0)


def observe(folder: Path, field: str, band: str, i: int) -> str:
    where = pointing(field, band, i)
    scene = draw_scene(*FIELDS[field], params=SCENE, seed=ord(field))
    path = folder / "exposures" / f"{where.name}_{band}_flt.fits"
    write_exposure(render_exposure(scene, where, params=CAMERA, seed=3), where, path, params=CAMERA)
    return path.name.removesuffix("_flt.fits")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two fields far apart, in two bands, on HEALPix tiles; not to be changed."""
    folder = tmp_path_factory.mktemp("scaling") / "survey"
    (folder / "exposures").mkdir(parents=True)
    for field in FIELDS:
        for band in ("f125w", "f160w"):
            for i in range(2):
                observe(folder, field, band, i)
    scenes = [draw_scene(*place, params=SCENE, seed=ord(field)) for field, place in FIELDS.items()]
    pl.concat(scenes).select("ra", "dec").write_csv(folder / "gaia.csv")
    (folder / "plan.toml").write_text(PLAN)
    run_plan(read_plan(folder / "plan.toml"))
    return folder


@pytest.fixture
def again(ran: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "survey"
    shutil.copytree(ran, folder)
    return folder


def rerun(folder: Path, text: str = "") -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    """Run under another release; returns the tiles of each stage that were done, and those that were fresh."""
    plan, log = folder / "plan.toml", folder / "events.jsonl"
    plan.write_text(plan.read_text().replace('name = "DR1"', 'name = "DR2"') + text)
    skip = len(log.read_text().splitlines())
    run_plan(read_plan(plan))
    events = [json.loads(line) for line in log.read_text().splitlines()[skip:]]

    def tiles(name: str) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for event in events:
            if event["name"] == name:
                found.setdefault(event["stage"], set()).add(event["tile"])
        return found

    return tiles("task_done"), tiles("task_already")


def tiles_that_see(lake: Lake, outline: np.ndarray) -> set[str]:
    return {tile for tile in lake.live_runs("mosaic") if polygons_overlap(lake.tiles[tile].grid.corners(), outline)}


def test_a_new_exposure_is_the_business_of_its_tiles_and_its_band_alone(again: Path) -> None:
    name = observe(again, "b", "f160w", 2)
    done, fresh = rerun(again)
    lake = Lake.open(again / "lake")
    row = usable_exposures(lake).filter(pl.col("exposure_id") == name)
    tiles = tiles_that_see(lake, outline_of(row["footprint"][0]))
    groups = {f"{tile}.f160w" for tile in tiles}
    assert done == {
        "ingest": {name},
        "align": {f"align.{name}"},
        "background": groups,
        "outliers": groups,
        "mosaic": tiles,
        "detect": tiles,
        "measure": tiles,
        "cutouts": tiles & set(lake.live_runs("source")),
    }
    everything = set(lake.live_runs("mosaic"))
    assert fresh["ingest"] == {f"{field}{i}_{band}" for field in FIELDS for band in ("f125w", "f160w") for i in (0, 1)}
    assert fresh["align"] == {f"align.{one}" for one in fresh["ingest"]}
    assert fresh["outliers"] == {f"{tile}.{band}" for tile in everything for band in ("f125w", "f160w")} - groups
    assert fresh["mosaic"] == fresh["detect"] == fresh["measure"] == everything - tiles
    assert len(everything - tiles) >= 2
    sources = lake.table("source").collect()
    assert sources["source_id"].is_unique().all()


def test_a_parameter_of_the_detection_changes_nothing_before_it(again: Path) -> None:
    done, fresh = rerun(again, "[detect.sources]\nthreshold = 25.0\n")
    assert set(done) == {"detect", "measure", "cutouts"}
    assert set(fresh) == {"ingest", "align", "background", "outliers", "mosaic"}
    assert done["detect"] == set(Lake.open(again / "lake").live_runs("mosaic"))


def test_a_region_is_the_business_of_the_tiles_into_whose_image_it_reaches(again: Path) -> None:
    lake = Lake.open(again / "lake")
    # Where one tile alone looks, if there is such a place, and where few do otherwise.
    sources = lake.table("source").select("ra", "dec", "tile").sort("ra", "dec").collect()
    step = 0.5 / 3600

    def seeing(ra: float, dec: float) -> set[str]:
        corners = np.array([[ra + dx * step, dec + dy * step] for dx, dy in ((-1, -1), (1, -1), (1, 1), (-1, 1))])
        return tiles_that_see(lake, corners)

    ra, dec, tile = min(sources.iter_rows(), key=lambda row: len(seeing(row[0], row[1])))
    add_regions(lake, "bad", [[Circle(centre=(ra, dec), radius=0.4)]], author="Ada", reason="ghost")
    done, fresh = rerun(again)
    assert tile in done["detect"] <= seeing(ra, dec)
    assert len(done["detect"]) < len(lake.live_runs("mosaic"))
    assert done["measure"] == done["detect"]
    assert set(done) == {"detect", "measure", "cutouts"}
    assert fresh["mosaic"] == set(lake.live_runs("mosaic"))


def test_groups_of_older_plans_and_of_tiles_without_exposures_are_retired(again: Path) -> None:
    lake = Lake.open(again / "lake")
    before = lake.table("mask").collect().height
    for product in ("mask", "sky"):
        with lake.run(stage="outliers", tile="f160w", product=product, inputs=[], params={}) as run:
            if product == "mask":
                run.write("a0_f160w/mask", np.full((4, 4), 1, np.uint32))
            row = {"exposure_id": "a0_f160w", "status": "ok", "band": "f160w", "sky": 9.0}
            run.publish(run.frame([row]))
    assert lake.table("mask").collect().height == before + 1
    done, _ = rerun(again)
    assert done == {"background": {"f160w"}, "outliers": {"f160w"}}
    lake = Lake.open(again / "lake")
    assert lake.table("mask").collect().height == before
    assert "f160w" not in set(lake.table("sky").collect()["tile"])
    assert rerun(again)[0] == {}


def test_one_tile_that_holds_all_exposures_has_the_bits_of_exposures_that_are_flagged_together(finished: Path) -> None:
    lake, plan = Lake.open(finished / "lake"), read_plan(finished / "plan.toml")
    grid = lake.tiles["field"].grid
    for band in ("f125w", "f160w"):
        names = usable_exposures(lake).filter(pl.col("band") == band)["exposure_id"]
        together = flag_exposures(StoredExposures(lake, names))
        stored = list(flagged_exposures(lake, "field", band))
        for one, other in zip(together, stored, strict=True):
            assert one.sky == other.sky
            np.testing.assert_array_equal(one.flags, other.flags)
        mosaic = drizzle(together, grid, params=plan.mosaic.drizzle, noise=plan.mosaic.noise)
        arrays = lake.arrays("mosaic", "field")
        for plane, expected in (("sci", mosaic.data), ("wht", mosaic.weight), ("var", mosaic.variance)):
            np.testing.assert_array_equal(arrays[f"{band}/{plane}"][...], expected)


def test_cosmic_rays_near_the_border_of_a_tile_are_found_in_every_tile(tiled: Path, finished: Path) -> None:
    tiles, one = Lake.open(tiled / "lake"), Lake.open(finished / "lake")
    cosmic = np.uint32(FLAG_BITS["cosmic_ray"])
    n_near = n_same = n_lost = n_new = n_beside = 0
    for row in tiles.table("mask").collect().iter_rows(named=True):
        tile, band = row["tile"].split(".")
        (here,) = flagged_exposures(tiles, tile, band, [row["exposure_id"]])
        (whole,) = flagged_exposures(one, "field", band, [row["exposure_id"]])
        grid = tiles.tiles[tile].grid
        y, x = np.indices(here.shape)
        places = here.wcs.all_pix2world(x.ravel(), y.ravel(), 0)
        gx, gy = (v.reshape(here.shape) for v in grid.pixels(*places))
        ny, nx = grid.shape
        depth = np.minimum(np.minimum(gx, nx - 1 - gx), np.minimum(gy, ny - 1 - gy)) * grid.scale_arcsec
        flagged, expected = here.flags & cosmic > 0, whole.flags & cosmic > 0
        near = (depth >= 0) & (depth < 3.0)
        n_near += int((near & expected).sum())
        n_same += int((near & expected & flagged).sum())
        n_lost += int((near & expected & ~flagged).sum())
        n_new += int((near & flagged & ~expected).sum())
        n_beside += int((flagged & (depth < -6 * here.native_scale_arcsec)).sum())
        np.testing.assert_array_equal(here.flags & ~cosmic, whole.flags & ~cosmic)
    assert n_near > 100
    assert n_lost <= 0.02 * n_near
    assert n_new <= 0.02 * n_near
    assert n_beside == 0


def test_readers_without_a_tile_have_the_flags_of_all_tiles_and_the_sky_of_the_owner(tiled: Path) -> None:
    lake = Lake.open(tiled / "lake")
    rows = lake.table("mask").collect()
    name = rows.group_by("exposure_id").len().sort("len", "exposure_id")["exposure_id"][-1]
    groups = rows.filter(pl.col("exposure_id") == name)
    assert groups.height >= 2
    exposure = load_flagged(lake, name)
    union = np.zeros(exposure.shape, np.uint32)
    for group in groups["tile"]:
        union |= lake.arrays("mask", group)[f"{name}/mask"][...]
    np.testing.assert_array_equal(exposure.flags, union)
    (row,) = usable_exposures(lake).filter(pl.col("exposure_id") == name).iter_rows(named=True)
    (owner,) = lake.tiles.at(np.array([row["ra"]]), np.array([row["dec"]]))
    assert exposure.sky == dict(groups.select("tile", "sky").iter_rows())[f"{owner}.{exposure.band}"]
