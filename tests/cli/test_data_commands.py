"""``skymere data``: packs of reference files."""

import pytest
from typer.testing import CliRunner

from skymere.cli import app
from skymere.cli._print import console


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setenv("SKYMERE_PACKS", str(tmp_path / "packs"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(console, "width", 200)
    folder = tmp_path / "calib"
    folder.mkdir()
    (folder / "a.csv").write_text("wave,flux\n1,2\n")
    return folder


def run(*words):
    return CliRunner().invoke(app, ["data", *map(str, words)])


def test_a_folder_becomes_a_pack_that_is_listed_with_its_files(source, tmp_path):
    added = run("add", source, "--name", "nirspec", "--version", "0.9")
    assert added.exit_code == 0, added.output
    assert "nirspec-0.9, 1 files, sha256" in added.output
    listed = run("ls", "--files")
    assert listed.exit_code == 0, listed.output
    for word in ("nirspec", "0.9", "a.csv", "ok", str(tmp_path / "packs"), str(tmp_path / "home" / "skymere")):
        assert word in listed.output.replace("\n", "") or word in listed.output


def test_a_spoiled_file_is_told_and_a_second_pack_of_that_name_is_refused(source, tmp_path):
    run("add", source)
    (tmp_path / "packs" / "calib-1" / "a.csv").write_text("spoiled")
    assert "FormatError" in run("ls", "--files").output
    (source / "a.csv").write_text("other")
    again = run("add", source)
    assert again.exit_code == 1
    missing = run("add", tmp_path / "none")
    assert missing.exit_code == 1


def test_without_packs_the_folders_are_told(source, tmp_path):
    listed = run("ls")
    assert listed.exit_code == 0
    assert "looked for in" in listed.output
