"""``skymere lake catalogue`` and ``skymere refit`` on a lake with profiles and fluxes."""

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from astropy.io import fits

from skymere.lake import Lake, profile_edit_rows
from skymere.pipeline import read_plan, run_plan
from skymere.testing import CameraParams, SceneParams, SurveyParams, simulate_survey

PLAN = """
[survey]
exposures = ["exposures/*_flt.fits"]

[tile]
name = "field"

[psf]
source = "moffat"
fwhm_arcsec = 0.17
size_pix = 41

[profiles]
band = "f160w"

[photometry]
bands = ["f125w", "f160w"]
"""


@pytest.fixture(scope="module")
def run_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A survey of two bands, measured; not to be changed."""
    folder = tmp_path_factory.mktemp("refit") / "survey"
    camera = CameraParams(shape=(200, 210), n_cosmic_rays=10, n_bad_pixels=50, n_dead_pixels=5)
    scene = SceneParams(n_galaxies=25, n_stars=4, radius_arcsec=12.0, bright_mag=20.0, faint_mag=25.0)
    simulate_survey(
        folder, params=SurveyParams(bands=("f125w", "f160w"), n_dithers=3, scene=scene, camera=camera), n_workers=1
    )
    (folder / "plan.toml").write_text(PLAN)
    run_plan(read_plan(folder / "plan.toml"))
    return folder


@pytest.fixture
def survey_folder(run_once: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "survey"
    shutil.copytree(run_once, folder)
    return folder


def brightest(folder: Path) -> int:
    rows = Lake.open(folder / "lake").table("profile").filter(pl.col("status") == "ok", pl.col("r_eff") > 0.1)
    return rows.sort("flux", descending=True).collect()["source_id"][0]


def test_fluxes_go_out_with_one_row_for_each_source(call, run_once: Path, tmp_path: Path) -> None:
    lake, out = run_once / "lake", tmp_path / "fluxes.fits"
    assert call("lake", "catalogue", lake, out, "--error-floor", "0.05").exit_code == 0
    with fits.open(out) as hdus:
        table, units = hdus[1].data, hdus[1].columns
        assert units["flux_f160w"].unit == "uJy"
        flux, error = table["flux_f160w"], table["flux_err_f160w"]
        assert np.nanmin(error / np.abs(flux)) >= 0.05 * (1 - 1e-6)
        assert set(table["error_floor_f160w"]) == {0.05}
    n_sources = Lake.open(lake).table("source").collect().height
    assert len(table) == n_sources
    cat = tmp_path / "fluxes.cat"
    done = call("lake", "catalogue", lake, cat, "--filter-id", "f160w=205", "--calibrate", "f160w=1.1")
    assert done.exit_code == 0, done.output
    lines = cat.read_text().splitlines()
    assert lines[0].split()[:5] == ["#", "id", "ra", "dec", "F_f125w"]
    assert len(lines) == n_sources + 1
    assert "F_f160w F205" in cat.with_suffix(".translate").read_text()
    first = dict(zip(lines[0].split()[1:], lines[1].split(), strict=True))
    row = int(np.flatnonzero(table["source_id"] == int(first["id"]))[0])
    assert float(first["F_f160w"]) == pytest.approx(1.1 * flux[row], rel=1e-5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--calibrate", "f160w"), "--calibrate: 'f160w' is not allowed, it must be BAND=VALUE"),
        (("--calibrate", "k=1.1"), "'k'"),
        (("--error-floor", "-1"), "error_floor"),
    ],
)
def test_a_wrong_option_of_a_catalogue_is_named(call, run_once: Path, tmp_path: Path, words, message) -> None:
    done = call("lake", "catalogue", run_once / "lake", tmp_path / "fluxes.fits", *words)
    assert done.exit_code == 1
    assert message in done.stderr
    assert not any(tmp_path.glob("*.fits"))


def test_refit_lists_changes_chooses_and_undoes(call, survey_folder: Path) -> None:
    plan, target = survey_folder / "plan.toml", brightest(survey_folder)
    listed = call("refit", plan, target)
    assert listed.exit_code == 0, listed.output
    assert str(target) in listed.stdout
    who = ("--author", "Ada", "--why", "a disc")
    done = call("refit", plan, target, "--start", "sersic_index=1", "--fix", "sersic_index", *who)
    assert done.exit_code == 0, done.output
    rows = Lake.open(survey_folder / "lake").table("profile").filter(pl.col("source_id") == target).collect()
    assert rows["attempt"].to_list() == [0, 1]
    assert rows["sersic_index"][1] == pytest.approx(1.0)
    assert call("refit", plan, target, "--choose", "0", *who).exit_code == 0
    rows = Lake.open(survey_folder / "lake").table("profile").filter(pl.col("source_id") == target).collect()
    assert rows["is_best"].to_list() == [True, False]
    edits = profile_edit_rows(Lake.open(survey_folder / "lake"))
    assert edits["action"].to_list() == ["refit", "choose"]
    undo = [word for name in edits["edit_id"] for word in ("--undo", name)]
    assert call("refit", plan, target, *undo, *who).exit_code == 0
    rows = Lake.open(survey_folder / "lake").table("profile").filter(pl.col("source_id") == target).collect()
    assert rows["attempt"].to_list() == [0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--start", "sersic_index"), "--start: 'sersic_index' is not allowed, it must be NAME=VALUE"),
        (("--start", "sersic_index=x"), "sersic_index: 'x' is not allowed, it must be a number"),
        (("--bounds", "r_eff=3"), "it must be r_eff=LOW:HIGH"),
        (("--start", "size=3"), "'size' is not allowed"),
        (("--kind", "spiral"), "kind: 'spiral' is not allowed, it must be one of sersic"),
        (("--choose", "7"), "attempt: 7"),
        (("--neighbour", "5"), "source_id: 5 is not a source of the tile today"),
    ],
)
def test_a_wrong_refit_is_named_and_changes_nothing(call, survey_folder: Path, words, message) -> None:
    target = brightest(survey_folder)
    before = Lake.open(survey_folder / "lake").table("profile").drop("run_id").collect()
    done = call("refit", survey_folder / "plan.toml", target, *words, "--author", "Ada", "--why", "x")
    assert done.exit_code == 1, done.output
    assert message in " ".join(done.stderr.split())
    assert Lake.open(survey_folder / "lake").table("profile").drop("run_id").collect().equals(before)
