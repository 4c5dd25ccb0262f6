"""Fake galaxies behind a grism."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.pipeline.grism_survey import simulated

from skymere.pipeline import InjectionResult, InjectParams, inject, read_plan, run_plan
from skymere.testing import write_grism_templates

PLAN = """
[survey]
exposures = []

[tile]
kind = "healpix"

[contam]
files = ["exposures/*g_flt.fits"]
direct = ["exposures/*d_flt.fits", "mosaic_f140w_drz.fits"]
catalogue = "catalogue.csv"
segmentation = "segmentation.fits"
conf = "CONF"
frame.pad = [20, 256]

[redshifts.grism]
templates = "templates/"
z_range = [0.6, 1.6]
dz = [0.01, 0.001]

[maps]
is_on = false
"""
# H alpha and [OIII] lie on the grism, bright against the noise.
PARAMS = InjectParams(
    through="beams", n=4, mag=(22.0, 23.5), redshift=(1.2, 1.45), line_flux=(40.0, 80.0), n_mag_bins=1
)


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("injected") / "survey"
    simulated(folder)
    write_grism_templates(folder / "templates")
    (folder / "plan.toml").write_text(PLAN)
    run_plan(read_plan(folder / "plan.toml"))
    return folder


@pytest.fixture(scope="module")
def injected(survey: Path) -> InjectionResult:
    return inject(read_plan(survey / "plan.toml"), PARAMS)


def test_lines_of_fake_galaxies_behind_a_grism_are_right(injected: InjectionResult) -> None:
    table = injected.injected
    assert table.height == PARAMS.n
    assert (table["status"] == "found").sum() >= 3
    found = table.filter(pl.col("status") == "found")
    # Bright lines are right within the calibration of the simulation; their errors are small against it.
    for name in ("Ha", "OIII"):
        ratio = (found[f"flux_{name}"] / found[f"true_flux_{name}"]).to_numpy()
        assert np.median(ratio) == pytest.approx(1.0, abs=0.15)
        assert (found[f"flux_err_{name}"] > 0).all()


def test_files_of_fake_galaxies_have_a_figure_for_each_line(injected: InjectionResult, tmp_path: Path) -> None:
    files = {path.name for path in injected.write(tmp_path)}
    assert {"injected.parquet", "summary.parquet", "completeness.png", "flux_Ha.png", "redshift.png"} <= files
    assert "spurious.parquet" not in files
