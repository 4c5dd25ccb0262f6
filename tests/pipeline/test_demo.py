"""`run_demo` with a small survey: every query has an answer, and every score a table."""

import polars as pl

from skymere.pipeline import run_demo
from skymere.testing import CameraParams, SurveyParams

PARAMS = SurveyParams(n_dithers=3, camera=CameraParams(shape=(640, 640)))


def test_a_small_demo_answers_its_questions_and_finds_its_redshifts(tmp_path):
    report = run_demo(tmp_path / "demo", params=PARAMS)
    for query in report.queries:
        assert query.result.height, query.question
    # Half of the demo's exposures.
    assert report.detections["purity"][0] > 0.9
    assert set(report.sources) == set(PARAMS.bands)
    assert report.slit_redshifts["is_right"].mean() >= 0.8
    assert report.grism_redshifts.filter(pl.col("snr") > 15)["is_right"].all()
    for name in ("slits.png", "grism.png", "field_rgb.png"):
        assert (tmp_path / "demo" / "pictures" / name).stat().st_size > 10_000
