"""The stage that aligns: what every later stage sees, and what becomes of exposures that cannot be aligned."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from astropy.io import fits

from skymere.errors import InvalidInputError, NoDataError, NotFoundError
from skymere.io import write_mosaic
from skymere.lake import Lake
from skymere.pipeline import read_plan, run_plan
from skymere.pipeline.attempts import run_task
from skymere.pipeline.exposures import load_exposure, usable_exposures
from skymere.pipeline.products import load_mosaics
from skymere.pipeline.runner import open_or_create_lake
from skymere.pipeline.stages import STAGES
from skymere.pipeline.thumbnails import lake_exposures
from skymere.testing import CameraParams, Pointing, SceneParams, draw_scene, render_exposure
from skymere.testing.exposures import write_exposure
from skymere.wcs import wcs_cards

FIELDS = {"a": (53.16, -27.78), "b": (53.20, -27.78)}
CAMERA = CameraParams(shape=(200, 200), n_cosmic_rays=5, n_bad_pixels=20, n_dead_pixels=2)
SCENE = SceneParams(n_galaxies=15, n_stars=20, radius_arcsec=11.0, bright_mag=19.0, faint_mag=22.5)
# How far the header of each exposure is off, to the east and north [arcsec].
OFF = {"a0": (0.0, 0.0), "a1": (0.25, -0.12), "a2": (-0.18, 0.2), "b0": (0.3, 0.1), "b1": (-0.1, -0.25)}
PLAN = """
[survey]
exposures = ["exposures/*_flt.fits"]

[tile]
scale_arcsec = 0.1

[align]
is_on = true
fitgeom = "shift"
min_matches = 8
{reference}
"""


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exposures whose headers are off, and a catalogue of the true positions."""
    folder = tmp_path_factory.mktemp("aligning")
    (folder / "exposures").mkdir()
    scenes = {field: draw_scene(*place, params=SCENE, seed=ord(field)) for field, place in FIELDS.items()}
    for name, (east, north) in OFF.items():
        ra, dec = FIELDS[name[0]]
        i = int(name[1])
        where = Pointing(name=name, band="f160w", ra=ra + i * 0.7 / 3600, dec=dec + i * 1.3 / 3600, pa_deg=15.0)
        path = folder / "exposures" / f"{name}_flt.fits"
        write_exposure(render_exposure(scenes[name[0]], where, params=CAMERA, seed=2), where, path, params=CAMERA)
        with fits.open(path, mode="update") as hdus:
            hdus["SCI"].header["CRVAL1"] += east / 3600 / np.cos(np.deg2rad(dec))
            hdus["SCI"].header["CRVAL2"] += north / 3600
    pl.concat(scenes.values()).filter(pl.col("mag_f160w") < 22.5).select("ra", "dec").write_csv(folder / "gaia.csv")
    return folder


def ran_to(folder: Path, observed: Path, last: str, *, reference: str = "") -> Lake:
    """Run the stages of a plan up to one."""
    folder.mkdir(exist_ok=True)
    for name in ("exposures", "gaia.csv"):
        if not (folder / name).exists():
            (folder / name).symlink_to(observed / name)
    (folder / "plan.toml").write_text(PLAN.format(reference=reference))
    plan = read_plan(folder / "plan.toml")
    lake = open_or_create_lake(plan)
    for stage in STAGES:
        for task in stage.tasks(plan, lake) if stage.tasks else ():
            run_task(stage, task, lake)
        if stage.name == last:
            break
    return Lake.open(folder / "lake")


def errors_of(lake: Lake) -> dict[str, tuple[float, float]]:
    """How far each exposure is off with the coordinates that all stages see, to the east and north [arcsec]."""
    found = {}
    for name, (east, north) in OFF.items():
        header = json.loads(lake.table("exposure").filter(pl.col("exposure_id") == name).collect()["wcs"][0])
        true_ra = header["CRVAL1"] - east / 3600 / np.cos(np.deg2rad(header["CRVAL2"]))
        true = load_exposure(lake, name).wcs.deepcopy()
        true.wcs.crval = [true_ra, header["CRVAL2"] - north / 3600]
        true.wcs.cd = [[header[f"CD{i}_{j}"] for j in (1, 2)] for i in (1, 2)]
        true.wcs.set()
        there, here = (wcs.all_pix2world(100.0, 100.0, 0) for wcs in (true, load_exposure(lake, name).wcs))
        off = (np.array(here) - there) * (np.cos(np.deg2rad(there[1])), 1.0) * 3600
        found[name] = (float(off[0]), float(off[1]))
    return found


def test_exposures_are_aligned_to_a_catalogue_each_by_itself_and_all_stages_see_it(
    observed: Path, tmp_path: Path
) -> None:
    lake = ran_to(tmp_path / "survey", observed, "mosaic", reference='reference = "gaia.csv"')
    rows = lake.table("wcs_solution").sort("exposure_id").collect()
    assert rows["tile"].to_list() == [f"align.{name}" for name in OFF]
    assert rows["method"].to_list() == ["catalogue"] * 5
    assert rows["reference"].to_list() == ["gaia.csv"] * 5
    assert rows["is_active"].all()
    assert (rows["n_matches"] >= 8).all()
    assert np.abs(list(errors_of(lake).values())).max() < 0.02
    used = usable_exposures(lake).sort("exposure_id")
    assert used["wcs_sha256"].to_list() == rows["wcs_sha256"].to_list()
    assert used["footprint"].to_list() == rows["footprint"].to_list()
    header = lake.table("exposure").sort("exposure_id").collect()
    assert (header["footprint"] != used["footprint"]).all()
    # The same coordinates are in the list from which thumbnails are drawn, and among the inputs of the mosaic.
    listed = lake_exposures(lake)
    assert listed.table.sort("exposure_id")["footprint"].to_list() == used["footprint"].to_list()
    run = lake.table("run").filter(pl.col("product") == "mosaic").collect()
    inputs = {entry["uri"]: entry.get("wcs_sha256") for entry in json.loads(run["inputs"][0])}
    assert {inputs[f"exposure/{name}"] for name in OFF} == set(rows["wcs_sha256"])


def test_an_image_is_a_reference_as_a_catalogue_is(observed: Path, tmp_path: Path) -> None:
    first = ran_to(tmp_path / "first", observed, "mosaic", reference='reference = "gaia.csv"')
    folder = tmp_path / "second"
    folder.mkdir()
    (mosaic,) = load_mosaics(first, "field")
    write_mosaic(mosaic, folder / "reference_drz.fits")
    lake = ran_to(folder, observed, "align", reference='reference = "reference_drz.fits"')
    assert lake.table("wcs_solution").collect()["reference"].to_list() == ["reference_drz.fits"] * 5
    assert np.abs(list(errors_of(lake).values())).max() < 0.03


def test_exposures_that_overlap_are_aligned_to_the_first_of_them(observed: Path, tmp_path: Path) -> None:
    lake = ran_to(tmp_path / "survey", observed, "align")
    rows = lake.table("wcs_solution").sort("exposure_id").collect()
    assert rows["tile"].to_list() == ["align.a0"] * 3 + ["align.b0"] * 2
    assert rows["method"].to_list() == ["header", "catalogue", "catalogue", "header", "catalogue"]
    off = errors_of(lake)
    for field, first in (("a", "a0"), ("b", "b0")):
        assert off[first] == pytest.approx(OFF[first], abs=1e-4)
        for name in OFF:
            if name[0] == field:
                assert off[name] == pytest.approx(off[first], abs=0.03)


def test_what_people_decide_wins_and_the_others_follow_it(observed: Path, tmp_path: Path) -> None:
    lake = ran_to(tmp_path / "survey", observed, "align")
    moved = load_exposure(lake, "a2")
    wcs = moved.wcs.deepcopy()
    wcs.wcs.crval = [wcs.wcs.crval[0], wcs.wcs.crval[1] + 0.4 / 3600]
    wcs.wcs.set()
    before = errors_of(lake)
    with lake.run(stage="edit", tile="manual.a2", product="wcs_solution", inputs=[], params={}) as run:
        row = {"exposure_id": "a2", "solution_id": "manual-1", "status": "ok", "method": "manual", "is_active": True}
        run.publish(run.frame([row | {"wcs": json.dumps(wcs_cards(wcs), sort_keys=True), "wcs_sha256": "0" * 64}]))
    lake = ran_to(tmp_path / "survey", observed, "align")
    after = errors_of(lake)
    assert after["a2"] == pytest.approx((before["a2"][0], before["a2"][1] + 0.4), abs=1e-3)
    for name in ("a0", "a1"):
        assert after[name] == pytest.approx(after["a2"], abs=0.03)
    for name in ("b0", "b1"):
        assert after[name] == before[name]
    assert lake.table("wcs_solution").filter(pl.col("method") == "manual").collect().height == 1


def test_an_exposure_that_cannot_be_aligned_keeps_its_header_and_says_why(observed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "survey"
    folder.mkdir()
    few = pl.read_csv(observed / "gaia.csv").filter(pl.col("ra") > 53.18)
    few.write_csv(folder / "gaia.csv")
    lake = ran_to(folder, observed, "align", reference='reference = "gaia.csv"')
    rows = {row["exposure_id"]: row for row in lake.table("wcs_solution").collect().iter_rows(named=True)}
    for name in ("a0", "a1", "a2"):
        assert rows[name]["status"] in ("rejected", "failed")
        assert rows[name]["message"]
        assert not rows[name]["is_active"]
        assert errors_of(lake)[name] == pytest.approx(OFF[name], abs=1e-4)
    assert rows["b0"]["status"] == rows["b1"]["status"] == "ok"


def test_without_the_section_headers_hold_again(observed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "survey"
    lake = ran_to(folder, observed, "align", reference='reference = "gaia.csv"')
    assert np.abs(list(errors_of(lake).values())).max() < 0.02
    plan = read_plan(folder / "plan.toml")
    (stage,) = (one for one in STAGES if one.name == "align")
    for task in stage.tasks(replace(plan, align=replace(plan.align, is_on=False, reference="")), lake):
        run_task(stage, task, lake)
    lake = Lake.open(folder / "lake")
    assert lake.table("wcs_solution").collect().is_empty()
    assert errors_of(lake) == {name: pytest.approx(off, abs=1e-4) for name, off in OFF.items()}


def test_references_that_do_not_help_are_errors_that_name_the_key(observed: Path, tmp_path: Path) -> None:
    for content, error, match in (
        (None, NotFoundError, r"align\.reference: .*gaia\.csv: no such file"),
        (
            "x,y\n1,2\n",
            InvalidInputError,
            r"align\.reference: .* has the columns \['x', 'y'\], it must have ra and dec",
        ),
        ("ra,dec\n", NoDataError, r"align\.reference: .*gaia\.csv has no rows"),
    ):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        (folder / "exposures").symlink_to(observed / "exposures")
        if content is not None:
            (folder / "gaia.csv").write_text(content)
        (folder / "plan.toml").write_text(PLAN.format(reference='reference = "gaia.csv"'))
        with pytest.raises(error, match=match):
            run_plan(read_plan(folder / "plan.toml"))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ('[align]\nreference = "gaia.csv"\n', r"in \[align\]: reference: 'gaia\.csv' is not allowed without is_on"),
        ('[outliers.sky]\nmethod = "match"\n', r"outliers\.sky: moved to \[background\]"),
        (
            '[background]\nmethod = "match"\n',
            r"in \[background\] and \[outliers\]: sky\.method: 'match' is not allowed",
        ),
    ],
)
def test_sections_that_contradict_each_other_are_refused(tmp_path: Path, text: str, match: str) -> None:
    (tmp_path / "plan.toml").write_text('[survey]\nexposures = ["x_flt.fits"]\n' + text)
    with pytest.raises(InvalidInputError, match=match):
        read_plan(tmp_path / "plan.toml")
