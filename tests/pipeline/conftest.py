"""A survey of two bands that simulates and runs in seconds."""

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from skymere.lake import Lake
from skymere.pipeline import read_plan, run_plan
from skymere.testing import (
    CameraParams,
    LowResolutionParams,
    SceneParams,
    SurveyParams,
    simulate_low_resolution,
    simulate_survey,
)

SURVEY = SurveyParams(
    bands=("f125w", "f160w"),
    n_dithers=4,
    scene=SceneParams(n_galaxies=40, n_stars=8, radius_arcsec=14.0, bright_mag=20.0, faint_mag=26.0),
    camera=CameraParams(shape=(220, 240), n_cosmic_rays=25, n_bad_pixels=200, n_dead_pixels=10),
)
# The tile is 0.4 arcmin wide.
LOW = LowResolutionParams(size_pix=90, rms=0.01)
PLAN_WITH_FLUXES = """
[psf]
source = "moffat"
fwhm_arcsec = 0.17
size_pix = 41

[profiles]
band = "f160w"

[photometry]
bands = ["f125w"]

[[photometry.images]]
band = "irac1"
image = "images/irac1.fits"
psf = "images/irac1_psf.fits"
photometry.shift.method = "joint"
photometry.noise.n_positions = 6
photometry.has_shape_errors = true

[release]
name = "DR2"
"""
TILES = '\n[tile]\nkind = "healpix"\nscale_arcsec = 0.08\nwidth_pix = 1000\n'
PLAN = '[survey]\nexposures = ["exposures/*_flt.fits"]\n\n[tile]\nname = "field"\n'


@pytest.fixture(scope="session")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with exposures, truth and plan; not to be changed."""
    folder = tmp_path_factory.mktemp("survey")
    simulate_survey(folder, params=SURVEY, n_workers=1)
    (folder / "plan.toml").write_text(PLAN)
    return folder


@pytest.fixture
def fresh(survey: Path, tmp_path: Path) -> Path:
    """A copy of the survey, without a lake, that a test may change."""
    folder = tmp_path / "survey"
    shutil.copytree(survey, folder)
    return folder


@pytest.fixture(scope="session")
def finished(survey: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the survey that was run without interruption; not to be changed."""
    folder = tmp_path_factory.mktemp("finished") / "survey"
    shutil.copytree(survey, folder)
    run_plan(read_plan(folder / "plan.toml"))
    return folder


@pytest.fixture(scope="session")
def tiled(survey: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small survey, run on HEALPix tiles; not to be changed."""
    folder = tmp_path_factory.mktemp("tiled") / "survey"
    shutil.copytree(survey, folder)
    (folder / "plan.toml").write_text('[survey]\nexposures = ["exposures/*_flt.fits"]\n' + TILES)
    run_plan(read_plan(folder / "plan.toml"))
    return folder


@pytest.fixture(scope="session")
def low() -> LowResolutionParams:
    """The image of low resolution of `measured`."""
    return LOW


@pytest.fixture(scope="session")
def measured(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the survey with profiles and fluxes; not to be changed."""
    folder = tmp_path_factory.mktemp("photometry") / "survey"
    shutil.copytree(finished, folder)
    truth = pl.read_parquet(folder / "truth" / "sources.parquet")
    grid = Lake.open(folder / "lake").tiles["field"].grid
    ra, dec = (float(v[0]) for v in grid.sky(*(np.array([(n - 1) / 2]) for n in grid.shape[::-1])))
    simulate_low_resolution(truth, folder / "images", ra=ra, dec=dec, params=LOW)
    plan = folder / "plan.toml"
    plan.write_text(plan.read_text() + PLAN_WITH_FLUXES)
    report = run_plan(read_plan(plan))
    done = {stage.name: stage.n_done for stage in report.stages}
    assert (done["profiles"], done["photometry"], done["measure"]) == (1, 1, 0)
    return folder


@pytest.fixture
def copied(measured: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    folder = tmp_path / "survey"
    shutil.copytree(measured, folder)
    return folder
