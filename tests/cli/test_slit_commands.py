"""``skymere slit`` on the three real slitlets."""

import shutil

import polars as pl
import pytest
from typer.testing import CliRunner

from skymere.cli import app
from skymere.cli._print import console
from skymere.io import add_pack, read_spectrum


@pytest.fixture
def files(shared_data, tmp_path, monkeypatch):
    folder = shared_data / "spectra" / "nirspec"
    if not folder.is_dir():
        pytest.skip(f"real slitlets are not in {folder}")
    monkeypatch.setenv("SKYMERE_PACKS", str(tmp_path / "packs"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(console, "width", 200)
    # Only what the prism needs: sums of large tables would take longer than the spectra.
    calib = tmp_path / "calib"
    calib.mkdir()
    for pattern in ("prism_*", "*badpix_nrs2*", "*prism_disp*", "*.csv"):
        for path in (folder / "calib").glob(pattern):
            shutil.copyfile(path, calib / path.name)
    add_pack(calib, name="nirspec", version="0.9.19", into=tmp_path / "packs")
    return sorted(folder.glob("*_phot.*.fits"))


def run(*words):
    return CliRunner().invoke(app, ["slit", *map(str, words)])


def test_exposures_become_a_spectrum_and_a_page(files, tmp_path):
    looked = run("inspect", *files)
    assert looked.exit_code == 0, looked.output
    for word in ("prism-clear", "replaced", "PATHLOSS_UN", "get_global_sky: ok"):
        assert word in looked.output
    made = run("combine", *files, "-o", tmp_path / "out", "--root", "ceers")
    assert made.exit_code == 0, made.output
    path = tmp_path / "out" / "ceers_prism-clear_1345_933.spec.fits"
    assert path.is_file()
    drawn = run("plot", path)
    assert drawn.exit_code == 0, drawn.output
    assert path.with_suffix("").with_suffix(".png").stat().st_size > 20_000
    fitted = run("redshift", path, "--z-min", "4", "--z-max", "4.5")
    assert fitted.exit_code == 0, fitted.output
    # The covariance of raw pixels goes with the spectrum; pixels that each count in one bin make bins independent.
    n_neighbours = read_spectrum(path).covariance.shape[1] - 1
    words = f"correlated over {n_neighbours} neighbours" if n_neighbours else "independent pixels"
    assert f"noise: {words}" in fitted.output
    assert "z = 4.23" in fitted.output


def test_one_exposure_is_told_and_fails(files, tmp_path):
    made = run("combine", files[0], "-o", tmp_path / "out")
    assert made.exit_code == 1
    assert "one_position" in made.output


def test_redshifts_settings_and_lines_are_printed_and_written(files, shared_data, tmp_path):
    path = shared_data / "spectra" / "nirspec" / "static-test-driz-center-bkg_933.spec.fits"
    out = tmp_path / "lines.parquet"
    made = run("redshift", path, tmp_path / "none.fits", "--z-min", "3.5", "--z-max", "5", "-o", out)
    assert made.exit_code == 0, made.output
    for word in (
        "z = 4.23",
        "systematic error: 0.02 of the model's flux",
        "scale_disp 1.3",
        "absorption between",
        "OIII",
    ):
        assert word in made.output
    assert "none.fits: NotFoundError" in made.output
    table = pl.read_parquet(out)
    assert set(table["source_id"]) == {"1345_933"}
    assert table["z"][0] == pytest.approx(4.235, abs=0.01)
    row = table.row(by_predicate=pl.col("line") == "OIII", named=True)
    assert row["snr"] > 20
    assert row["members"] == pytest.approx([0.500824, 0.4960295])
    known = run("redshift", path, "--z", "4.235")
    assert known.exit_code == 0, known.output
    assert "z = 4.23500" in known.output
    missing = run("redshift", tmp_path / "none.fits")
    assert missing.exit_code == 1
    wanted = run("redshift", path, "--igm")
    assert wanted.exit_code == 1


def test_absorption_of_a_pack_is_used_and_said(files, shared_data, tmp_path):
    add_pack(shared_data / "spectra" / "igm", name="igm", version="1", into=tmp_path / "packs")
    path = shared_data / "spectra" / "nirspec" / "static-test-driz-center-bkg_933.spec.fits"
    made = run("redshift", path, "--z-min", "4", "--z-max", "4.5")
    assert made.exit_code == 0, made.output
    assert "absorption between galaxies: pack igm-1 (sha256" in made.output
    without = run("redshift", path, "--z-min", "4", "--z-max", "4.5", "--no-igm")
    assert "absorption between galaxies: none" in without.output
