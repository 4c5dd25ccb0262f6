"""``skymere slit`` on the three real slitlets."""

import shutil

import pytest
from typer.testing import CliRunner

from skymere.cli import app
from skymere.io import add_pack


@pytest.fixture
def files(shared_data, tmp_path, monkeypatch):
    folder = shared_data / "spectra" / "nirspec"
    if not folder.is_dir():
        pytest.skip(f"real slitlets are not in {folder}")
    monkeypatch.setenv("SKYMERE_PACKS", str(tmp_path / "packs"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")
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


def test_one_exposure_is_told_and_fails(files, tmp_path):
    made = run("combine", files[0], "-o", tmp_path / "out")
    assert made.exit_code == 1
    assert "one_position" in made.output
