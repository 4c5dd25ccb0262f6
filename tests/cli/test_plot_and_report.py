"""``skymere plot`` and ``skymere report``: files that are written, words that are said, calls that are refused."""

import numpy as np
import polars as pl
import pytest
from matplotlib.image import imread

from skymere.datamodels import Mosaic
from skymere.io import write_mosaic
from skymere.wcs import Grid


@pytest.fixture
def lake(full):
    """The lake of the other commands: two publications of every product, two releases; for reading only."""
    return full


def first_of(lake, tile="east"):
    rows = lake.table("source").filter(pl.col("tile") == tile).sort("label").collect()
    return int(rows["source_id"][0])


def test_pictures_of_a_lake_are_written_where_they_are_asked_for(lake, call, tmp_path):
    source_id = first_of(lake)
    for words in (("mosaic", lake.path, "--tile", "east"), ("weights", lake.path, "--tile", "west", "--band", "f140w")):
        out = tmp_path / "new" / f"{words[0]}.png"
        done = call("plot", *words, "-o", out)
        assert done.exit_code == 0, done.stderr
        assert str(out) in done.stdout
        assert imread(out).shape[0] > 300
    done = call("plot", "source", lake.path, source_id, "-o", tmp_path / "s.png", "--dpi", "40", "--size", "32")
    assert done.exit_code == 0, done.stderr
    assert imread(tmp_path / "s.png").shape[1] == 600
    done = call("plot", "sed", lake.path, source_id, "-o", tmp_path / "sed.svg", "--release", "DR1")
    assert done.exit_code == 0, done.stderr
    assert "<svg" in (tmp_path / "sed.svg").read_text()


def test_several_sources_have_a_file_each(lake, call, tmp_path):
    ids = lake.table("source").sort("label").collect()["source_id"].head(2).to_list()
    done = call("plot", "sed", lake.path, *ids, "-o", tmp_path / "sed.png", "--dpi", "30")
    assert done.exit_code == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"sed_{one}.png" for one in ids)


def test_an_image_in_a_file_is_drawn(call, tmp_path):
    data = np.random.default_rng(1).normal(0, 1, (60, 80)).astype(np.float32)
    blank = np.ones((60, 80), np.float32)
    mosaic = Mosaic(
        band="f160w", grid=Grid.tangent(10.0, 5.0, shape=(60, 80), scale_arcsec=0.1), data=data, weight=blank,
        variance=blank, context=np.ones((1, 60, 80), np.int32), exposure_ids=("a",),
    )  # fmt: skip
    write_mosaic(mosaic, tmp_path / "a_drz.fits")
    for what in ("mosaic", "weights"):
        done = call("plot", what, tmp_path / "a_drz.fits", "-o", tmp_path / f"{what}.png")
        assert done.exit_code == 0, done.stderr
        assert imread(tmp_path / f"{what}.png").size


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("source", "LAKE", "123"), "NotFoundError: source_id: 123 is in none"),
        (("source", "LAKE"), "SOURCE: is missing; sources of"),
        (("source", "LAKE", "nobody"), "'nobody' is neither a source_id nor the name of a slit"),
        (("mosaic", "LAKE", "--tile", "north"), "'north' has no mosaic"),
        (("mosaic", "LAKE", "--tile", "east", "-o", "a.txt"), "its name must end with .png"),
        (("align", "LAKE"), "the stage align was not run"),
        (("sed", "LAKE", "123", "--wavelength", "irac1"), "it must be BAND=UM"),
        (("beam", "nowhere"), "there is no such lake or file"),
        (("slit", "."), "is a folder and no lake"),
        (("redshift", "FILE", "12"), "is a file of one source"),
        (("redshift", "FILE"), "file.fits"),
    ],
)
def test_what_cannot_be_drawn_is_one_line_and_writes_nothing(lake, call, tmp_path, monkeypatch, words, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.fits").write_text("nothing of FITS")
    there = {"LAKE": lake.path, "FILE": "file.fits"}
    done = call("plot", *(there.get(word, word) for word in words))
    assert done.exit_code == 1
    assert told in done.stderr
    assert done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file.fits"]


def test_a_report_needs_no_word_but_the_lake(lake, call, tmp_path):
    done = call("report", lake.path, "-o", tmp_path / "r.html", "-n", "1", "--release", "DR1")
    assert done.exit_code == 0, done.stderr
    assert "r.html: " in done.stdout
    text = (tmp_path / "r.html").read_text()
    assert "release DR1" in text
    done = call("report", "lake", lake.path, "-o", tmp_path / "s.html", "--source", first_of(lake))
    assert done.exit_code == 0, done.stderr
    assert str(first_of(lake)) in (tmp_path / "s.html").read_text()
    done = call("report", lake.path, "--release", "DR1", "--run", "ab", "-o", tmp_path / "no.html")
    assert done.exit_code == 1
    assert "not allowed together" in done.stderr
    assert call("report", "--help").exit_code == 0
    assert not (tmp_path / "no.html").exists()


def test_two_releases_are_compared_with_a_table_of_what_changed(lake, call, tmp_path):
    done = call(
        "report", "compare", lake.path, "DR1", "DR2", "--source", first_of(lake), "-o", tmp_path / "c.html", "--assets",
        tmp_path / "c.csv",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert "changed" in done.stdout
    told = pl.read_csv(tmp_path / "c.csv")
    assert told.columns == ["source_id", "panel", "state", "largest"]
    assert "changed" in told["state"]
    assert "A = release DR1, B = release DR2" in (tmp_path / "c.html").read_text()
    done = call("report", "compare", lake.path, "DR1", "DR7", "-o", tmp_path / "no.html")
    assert done.exit_code == 1
    assert "'DR7' is no release" in done.stderr
