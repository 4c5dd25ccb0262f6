"""``skymere grism contam | extract`` from files alone."""

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from skymere.cli import app
from skymere.grism import GRIZLI_EXTRACT, read_beams
from skymere.testing import GrismSceneParams, GrismSurveyParams, simulate_grism_survey

run = CliRunner()


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    scene = GrismSceneParams(
        shape=(140, 340), oversampling=5, orders=("A", "B"), segment_level=0.004, direct_noise=0.01, stamp_pix=14
    )
    params = GrismSurveyParams(
        n_dithers=1,
        angles_deg=(0.0, 70.0),
        grisms=("g141",),
        n_sources=6,
        n_points=1,
        flux_range=(50, 500),
        scene=scene,
    )
    return simulate_grism_survey(tmp_path_factory.mktemp("survey"), params=params, seed=2)


def _inputs(survey):
    words = [str(path) for path in survey.grism]
    for path in (*survey.direct, survey.mosaic):
        words += ["--direct", str(path)]
    return [
        *words,
        *("--catalogue", str(survey.catalogue), "--segmentation", str(survey.segmentation), "--conf", str(survey.conf)),
        *("--pad", "20", "256"),
    ]


@pytest.fixture(scope="module")
def frames(survey, tmp_path_factory):
    out = tmp_path_factory.mktemp("frames")
    master = f"g141={survey.conf / 'g141_sky.fits'}"
    made = run.invoke(app, ["grism", "contam", *_inputs(survey), "--master", master, "-o", str(out)])
    assert made.exit_code == 0, made.output
    assert "masters" in made.output
    assert "gsim001d" in made.output
    return out


def test_contam_keeps_frames_and_extract_cuts_beams_from_them(survey, frames, tmp_path):
    assert {path.name for path in frames.glob("*.frame")} == {"gsim001g.frame", "gsim002g.frame"}
    assert set(pl.read_csv(frames / "spectra.csv")["status"]) == {"ok"}
    (tmp_path / "actions.csv").write_text("source_id,exposure_id,action\n2,gsim001g,omit\n3,nowhere,omit\n")
    words = ["grism", "extract", "--frames", str(frames), "-o", str(tmp_path), "--root", "sim", "--suggest"]
    made = run.invoke(app, [*words, "--pad", "20", "256", "--actions", str(tmp_path / "actions.csv")])
    assert made.exit_code == 0, made.output
    table = pl.read_csv(tmp_path / "beams.csv")
    assert (table["status"] == "ok").sum() >= 5
    assert (tmp_path / "suggested.csv").is_file()
    beams = read_beams(tmp_path / "sim_00003.beams.fits", conf_path=survey.conf)
    assert beams.source_id == 3
    assert table.filter(pl.col("id") == 3)["n_beams"][0] == beams.N
    two = table.filter(pl.col("id") == 2)["n_beams"][0]
    assert two == 1
    assert table.filter(pl.col("id") == 3)["message"][0].startswith("no beam of nowhere: omit")


def test_extract_takes_exposures_alone_and_says_of_each_source_what_became_of_it(survey, tmp_path):
    made = run.invoke(app, ["grism", "extract", *_inputs(survey), "--ids", "1,99", "-o", str(tmp_path)])
    assert made.exit_code == 0, made.output
    table = pl.read_csv(tmp_path / "beams.csv")
    assert dict(table.select("id", "status").iter_rows()) == {1: "ok", 99: "no_overlap"}


def test_the_preset_of_grizli_takes_its_magnitudes_and_size_and_leaves_files_alone(survey, frames, tmp_path):
    catalogue = pl.read_csv(survey.catalogue)
    mags = dict(catalogue.select("id", "mag").iter_rows())
    words = ["grism", "extract", "--frames", str(frames), "-o", str(tmp_path), "--pad", "20", "256"]
    made = run.invoke(app, [*words, "--preset", "grizli"])
    assert made.exit_code == 0, made.output
    low, high = GRIZLI_EXTRACT.mag_limits
    inside = {one for one, mag in mags.items() if low <= mag <= high}
    table = pl.read_csv(tmp_path / "beams.csv")
    assert set(table["id"]) <= inside
    one = int(table.filter(pl.col("status") == "ok")["id"][0])
    file = tmp_path / f"grism_{one:05d}.beams.fits"
    beams = read_beams(file, conf_path=survey.conf)
    assert beams.beams[0].beam.direct.shape[0] >= 2 * GRIZLI_EXTRACT.size
    before = file.stat().st_mtime_ns
    middle = float(np.median(list(mags.values())))
    made = run.invoke(app, [*words, "--preset", "grizli", "--mag-limits", str(low), str(middle)])
    assert made.exit_code == 0, made.output
    again = pl.read_csv(tmp_path / "beams.csv")
    assert all(mags[one] <= middle for one in again["id"])
    assert 0 < again.height < table.height
    assert again.filter(pl.col("status") == "ok")["message"].unique().to_list() == ["was there"]
    assert file.stat().st_mtime_ns == before
    for wrong, told in ((("--preset", "other"), "--preset"), (("--mag-limits", "1", "2"), "--mag-limits")):
        made = run.invoke(app, [*words, *wrong])
        assert made.exit_code == 1
        assert told in made.output


def test_bad_input_is_one_line(survey, tmp_path):
    words = _inputs(survey)
    words[words.index("--conf") + 1] = str(tmp_path)
    made = run.invoke(app, ["grism", "contam", *words, "-o", str(tmp_path)])
    assert made.exit_code == 1
    assert "G141.F140W.V4.32.conf" in made.output
    assert str(tmp_path) in made.output.replace("\n", "")
    made = run.invoke(app, ["grism", "extract", "-o", str(tmp_path)])
    assert made.exit_code == 1
    assert "--catalogue" in made.output
    made = run.invoke(app, ["grism", "extract", "--frames", str(tmp_path)])
    assert made.exit_code == 1
    assert "contam" in made.output
    made = run.invoke(app, ["grism", "contam", *_inputs(survey), "--master", "g141", "-o", str(tmp_path)])
    assert made.exit_code == 1
    assert "GRISM=FILE" in made.output
    made = run.invoke(app, ["grism", "extract", "--frames", str(tmp_path), "--ids", "a"])
    assert made.exit_code == 1
