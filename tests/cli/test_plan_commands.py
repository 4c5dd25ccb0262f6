"""``skymere plan`` and ``skymere exposures``: what they print, write, refuse and return."""

import json
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from skymere.cli import app
from skymere.lake import Lake
from skymere.testing import CameraParams, SceneParams, SurveyParams, simulate_survey

SURVEY = SurveyParams(
    bands=("f125w", "f160w"),
    n_dithers=2,
    scene=SceneParams(n_galaxies=2, n_stars=1, radius_arcsec=3.0),
    camera=CameraParams(shape=(60, 70), n_cosmic_rays=0, n_bad_pixels=3, n_dead_pixels=0),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("survey")
    simulate_survey(made, params=SURVEY, n_workers=1)
    return made


def call(*words: str | Path):
    return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)


def test_a_plan_is_written_checked_and_explained(folder: Path, tmp_path: Path) -> None:
    plan = folder / "imaging.toml"
    assert call("plan", "init", "imaging", "-o", plan).exit_code == 0
    again = call("plan", "init", "imaging", "-o", plan)
    assert again.exit_code == 1
    assert "is there already" in again.stderr
    assert call("plan", "init", "-o", plan, "--force").exit_code == 0
    assert call("plan", "init", "movie", "-o", tmp_path / "x.toml").exit_code == 2
    checked = call("plan", "check", plan)
    assert checked.exit_code == 0
    assert "no fault" in checked.stdout
    told = json.loads(call("plan", "explain", plan, "--json").stdout)
    assert {row["state"] for row in told["tasks"]} == {"new"}
    assert {row["stage"] for row in told["stages"] if row["is_asked"]} >= {"ingest", "mosaic", "detect", "release"}
    some = json.loads(call("plan", "explain", plan, "--json", "--stage", "mosaic", "--tile", "field").stdout)
    assert [(row["stage"], row["tile"]) for row in some["tasks"]] == [("mosaic", "field")]
    assert "ingest" in call("plan", "explain", plan).stdout
    assert call("plan", "explain", plan, "--stage", "movie").exit_code == 2
    assert not (folder / "lake").exists()


def test_every_fault_is_a_line_and_the_exit_code_is_1(folder: Path) -> None:
    plan = folder / "wrong.toml"
    plan.write_text('[survey]\nexposures = ["exposures/*_flt.fits"]\nlakes = "a"\n[detect]\nbands = ["f814w"]\n')
    found = call("plan", "check", plan)
    assert found.exit_code == 1
    lines = found.stderr.splitlines()
    assert len(lines) == 3
    assert all(str(plan) in line for line in lines[:2])
    assert "nearest: survey.lake" in lines[0]
    assert lines[2] == "2 faults"
    refused = call("run", plan)
    assert refused.exit_code == 2
    assert "unknown key survey.lakes" in refused.stderr


def test_exposures_of_files_are_listed_by_visit_and_overlap(folder: Path, tmp_path: Path) -> None:
    rows = tmp_path / "groups.parquet"
    shown = call("exposures", folder / "exposures", "-o", rows)
    assert shown.exit_code == 0
    assert "f160w-00" in shown.stdout
    table = pl.read_parquet(rows)
    assert table.height == 4
    assert table["group"].unique().sort().to_list() == ["f125w-0001", "f160w-0001"]
    for by in ("visit", "exposure"):
        assert call("exposures", folder / "exposures", "--by", by).exit_code == 0
    assert call("exposures", folder / "exposures", "--by", "colour").exit_code == 2
    nothing = call("exposures", tmp_path / "nowhere")
    assert nothing.exit_code == 1
    assert "nowhere" in nothing.stderr


def test_exposures_of_a_lake_are_listed(tmp_path: Path) -> None:
    Lake.create(tmp_path / "lake", tiles="healpix", scale_arcsec=0.1)
    assert call("exposures", tmp_path / "lake").exit_code == 0


def test_what_a_run_would_cost_is_printed_saved_and_refused(folder: Path, tmp_path: Path) -> None:
    plan = folder / "cost.toml"
    plan.write_text('[survey]\nexposures = ["exposures/*_flt.fits"]\n')
    rows = [
        {"stage": "ingest", "quantity": "seconds", "constant": 0.5, "n_tasks": 3},
        {"stage": "ingest", "quantity": "cpu_seconds", "constant": 0.25, "n_tasks": 3},
        {
            "stage": "ingest",
            "product": "exposure",
            "quantity": "array_bytes",
            "per_exposure_pixels": 5.0,
            "n_tasks": 3,
        },
    ]
    tree = {
        "format": "skymere costs 1",
        "about": {"hosts": "a"},
        "yields": {"sources_per_arcmin2": 50.0},
        "stages": rows,
    }
    costs = tmp_path / "costs.json"
    costs.write_text(json.dumps(tree))
    told = json.loads(call("plan", "estimate", plan, "--costs", costs, "--json", "--workers", "2").stdout)
    ingest = next(row for row in told["stages"] if row["stage"] == "ingest")
    assert (ingest["n_tasks"], ingest["seconds"], ingest["wall_seconds"]) == (4, 2.0, 0.5)
    assert {row["product"]: row["bytes_written"] for row in told["products"]} == {"exposure": 4 * 60 * 70 * 5.0}
    assert told["totals"]["n_workers"] == 2
    printed = call("plan", "estimate", plan, "--costs", costs, "--save", tmp_path / "again.json").stdout
    assert "ingest" in printed
    assert "learnt from hosts a" in printed
    assert json.loads((tmp_path / "again.json").read_text())["stages"] == rows
    assert not (folder / "lake").exists()
    assert call("plan", "estimate", plan).exit_code == 2
    assert call("plan", "estimate", plan, "--costs", costs, "--from", "lake").exit_code == 2
    assert call("plan", "estimate", plan, "--from", tmp_path / "nothing").exit_code == 1
