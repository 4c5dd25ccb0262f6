"""``skymere import`` and ``skymere export``."""

import sys
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[1] / "pipeline"))
import foreign_files as ff

from skymere.cli import app
from skymere.lake import Lake


def run(*words: object, code: int = 0) -> str:
    found = CliRunner().invoke(app, [str(word) for word in words])
    assert found.exit_code == code, found.output
    return found.output


def test_files_go_in_and_come_out(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    files = [ff.write_drz(tmp_path / "a_drz.fits"), ff.write_segmentation(tmp_path / "det_seg.fits")]
    said = run("import", lake, *files, ff.write_full(tmp_path / "x.full.fits"), "--tile", "goods", "--band", "f110w")
    assert "goods" in said
    opened = Lake.open(lake)
    assert opened.table("mosaic").collect()["band"].to_list() == ["f110w"]
    assert opened.table("source").collect().height == 2
    said = run("export", lake, tmp_path / "out", "--kind", "mosaic", "--kind", "full", "--tile", "goods")
    assert "mosaic" in said
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    number = opened.table("redshift").select(pl.col("source_id").first()).collect().item()
    assert written == sorted(["goods-f110w_drz.fits", f"goods_{number:05d}.full.fits"])


def test_a_file_that_fails_is_named_and_the_code_says_so(tmp_path: Path) -> None:
    bad = tmp_path / "b.spec.fits"
    bad.write_bytes(ff.write_spec(tmp_path / "a.spec.fits").read_bytes()[:20000])
    said = run("import", tmp_path / "lake", tmp_path / "a.spec.fits", bad, code=1)
    assert "b.spec.fits" in said


@pytest.mark.parametrize("words", [("import",), ("export", "nowhere", "out")])
def test_what_is_not_there_is_an_error_of_one_line(tmp_path: Path, words: tuple[str, ...]) -> None:
    if words == ("import",):
        words = ("import", str(tmp_path / "lake"), str(tmp_path / "nope.fits"))
    found = CliRunner().invoke(app, list(words))
    assert found.exit_code == 1
    assert "Traceback" not in found.output
    assert not (tmp_path / "lake").exists()
