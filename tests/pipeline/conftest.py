"""A survey of two bands that simulates and runs in seconds."""

import shutil
from pathlib import Path

import pytest

from skymere.pipeline import read_plan, run_plan
from skymere.testing import CameraParams, SceneParams, SurveyParams, simulate_survey

SURVEY = SurveyParams(
    bands=("f125w", "f160w"),
    n_dithers=4,
    scene=SceneParams(n_galaxies=40, n_stars=8, radius_arcsec=14.0, bright_mag=20.0, faint_mag=26.0),
    camera=CameraParams(shape=(220, 240), n_cosmic_rays=25, n_bad_pixels=200, n_dead_pixels=10),
)
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
