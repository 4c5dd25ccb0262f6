"""``skymere slit`` on a lake, with simulated slits."""

import polars as pl
import pytest
from typer.testing import CliRunner

from skymere.cli import app
from skymere.cli._print import console
from skymere.lake import Lake
from skymere.testing import SlitFilesParams, SlitSceneParams, simulate_slit_files, write_slit_pack

PARAMS = SlitFilesParams(scene=SlitSceneParams(shape=(25, 200)))
SOURCES = pl.DataFrame(
    {
        "name": ["9998_1", "9998_2"],
        "ra": [150.0, 150.01],
        "dec": [2.0, 2.0],
        "redshift": [2.0, 3.0],
        "continuum": [0.3, 0.3],
        "line_flux": [2.0, 2.0],
    }
)


def run(*words):
    return CliRunner().invoke(app, ["slit", *map(str, words)])


@pytest.fixture
def files(tmp_path, monkeypatch):
    write_slit_pack(tmp_path / "packs", params=PARAMS)
    monkeypatch.setenv("SKYMERE_PACKS", str(tmp_path / "packs"))
    monkeypatch.setattr(console, "width", 200)
    monkeypatch.chdir(tmp_path)
    return simulate_slit_files(SOURCES, tmp_path / "slits", seed=1, params=PARAMS)


def test_spectra_go_into_a_lake_source_by_source_and_are_drawn_from_it(files, tmp_path):
    lake = tmp_path / "lake"
    made = run("combine", *files[:3], "--lake", lake)
    assert made.exit_code == 0, made.output
    first = Lake.open(lake).live_runs("slit_spectrum")
    made = run("combine", *files[3:], "--lake", lake, "--plot", "-o", tmp_path / "pages", "--method", "drizzle")
    assert made.exit_code == 0, made.output
    assert "9998_2" in made.output
    assert (tmp_path / "pages" / "prism-clear_9998_2.png").stat().st_size > 20_000
    assert first.items() < Lake.open(lake).live_runs("slit_spectrum").items()
    # The files are not needed any more.
    for path in files:
        path.unlink()
    drawn = run("plot", lake, "--source", "9998_1", "-o", tmp_path / "a.png")
    assert drawn.exit_code == 0, drawn.output
    assert (tmp_path / "a.png").stat().st_size > 20_000
    marked = CliRunner().invoke(app, ["plot", "slit", str(lake), "9998_1", "-o", str(tmp_path / "plot.png")])
    assert marked.exit_code == 0, marked.output
    assert (tmp_path / "plot.png").stat().st_size > 20_000
    source_id = Lake.open(lake).table("slitlet").filter(pl.col("source_name") == "9998_2").collect()["source_id"][0]
    looked = run("inspect", lake, "--source", source_id)
    assert looked.exit_code == 0, looked.output
    for word in ("prism", "Redshift", "position_number", "flag_trace_outliers: ok"):
        assert word in looked.output


def test_one_exposure_is_told_and_fails_in_a_lake(files, tmp_path):
    made = run("combine", files[0], "--lake", tmp_path / "lake")
    assert made.exit_code == 1
    assert "one position" in made.output
    rows = Lake.open(tmp_path / "lake").table("slit_spectrum").collect()
    assert rows["status"].to_list() == ["rejected"]


def test_a_source_that_is_not_named_or_not_there_is_an_error(files, tmp_path):
    run("combine", *files[:3], "--lake", tmp_path / "lake")
    for words, told in (((), "--source: is missing"), (("--source", "9998_9"), "has no slit")):
        done = run("plot", tmp_path / "lake", *words)
        assert done.exit_code != 0
        assert told in str(done.exception) + done.output
