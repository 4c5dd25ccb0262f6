"""Thumbnails from the exposures of a lake."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from skymere.errors import NoDataError
from skymere.io import read_thumbnail
from skymere.lake import Lake
from skymere.pipeline import lake_exposures, lake_sizes, lake_thumbnails
from skymere.pipeline.products import load_segmentation
from skymere.resample import Geometry

SQUARE = Geometry(kernel="square", pixfrac=0.8, pixscale=0.1, size=3.0)


@pytest.fixture(scope="module")
def lake(finished: Path) -> Lake:
    return Lake.open(finished / "lake")


def test_exposures_of_a_lake_come_with_their_sky_and_flags(lake: Lake) -> None:
    listed = lake_exposures(lake)
    assert listed.bands == ("f125w", "f160w")
    assert len(listed) == 8
    one = listed[0]
    assert one.flags is not None
    assert one.sky > 0


def test_thumbnails_agree_with_the_mosaic_and_hold_the_labels_of_their_tile(lake: Lake) -> None:
    exposures = lake_exposures(lake)
    sources = lake.table("source").sort("source_id").filter(pl.col("flags") == 0).head(30).collect()
    made = list(lake_thumbnails(lake, sources, exposures=exposures, geometry=SQUARE))
    assert sorted(one.row for one in made) == list(range(sources.height))
    mosaic = lake.arrays("mosaic", "field")
    grid = mosaic.grid("f160w/sci")
    image = mosaic["f160w/sci"][...]
    ratios = []
    for one in made:
        row = sources.row(one.row, named=True)
        assert (one.source_id, one.label) == (row["source_id"], row["label"])
        assert one.segmentation[round(one.y), round(one.x)] == row["label"]
        yy, xx = np.indices(one.grid.shape)
        here = one["f160w"].data[np.hypot(xx - one.x, yy - one.y) * 0.1 < 0.4]
        x, y = grid.pixels(np.array([one.ra]), np.array([one.dec]))
        yy, xx = np.indices(image.shape)
        there = image[np.hypot(xx - x[0], yy - y[0]) * grid.scale_arcsec < 0.4]
        if np.isfinite(here).all() and np.isfinite(there).all() and there.sum() > 1:
            ratios.append(here.sum() / there.sum())
    assert len(ratios) >= 3
    # Circles of four and of some six pixels hold the same light to a few per cent.
    assert np.median(ratios) == pytest.approx(1.0, abs=0.03)


def test_thumbnails_of_a_lake_fit_their_segments_and_come_from_two_processes_with_the_same_bits(lake: Lake) -> None:
    exposures = lake_exposures(lake)
    sources = lake.table("source").sort("source_id").head(6).collect()
    segmentation = load_segmentation(lake, "field")
    sides = lake_sizes(lake, sources, limits=(1.0, 6.0))
    assert sides.min() >= 1.0
    assert sides.max() <= 6.0
    assert np.unique(sides).size > 2
    options = {"exposures": exposures, "geometry": SQUARE, "sizes": sides, "filters": ["f160w"]}
    made = list(lake_thumbnails(lake, sources, **options))
    beside = list(lake_thumbnails(lake, sources, **options, n_workers=2))
    for one, other in zip(made, beside, strict=True):
        assert (one.row, one.source_id, one.geometry_sha256) == (other.row, other.source_id, other.geometry_sha256)
        assert one.grid.shape[0] == round(sides[one.row] / SQUARE.pixscale)
        assert one["f160w"].data.tobytes() == other["f160w"].data.tobytes()
        np.testing.assert_array_equal(one.segmentation, other.segmentation)
        # All of the segment is on it: what the target touches is the target's, so that it does not become smaller.
        area = np.count_nonzero(segmentation.labels == one.label) * segmentation.grid.scale_arcsec**2
        if sides[one.row] < 6.0:
            assert np.count_nonzero(one.segmentation == one.label) * 0.1**2 > 0.98 * area


def test_the_command_takes_sources_of_a_lake(lake: Lake, finished: Path, tmp_path: Path, monkeypatch) -> None:
    from skymere.cli import _print, app

    monkeypatch.setattr(_print.console, "_width", 200)
    ids = lake.table("source").sort("source_id").head(3).collect()["source_id"].to_list()
    (tmp_path / "g.toml").write_text('kernel = "square"\npixfrac = 0.8\nsize = 3\n')
    (tmp_path / "ids.txt").write_text("\n".join(map(str, ids)))
    base = ["thumbnails", "--from-lake", str(finished / "lake"), "--ids", str(tmp_path / "ids.txt")]
    options = [
        "--geometry",
        str(tmp_path / "g.toml"),
        "--filters",
        "f160w",
        "--root",
        "demo",
        "-o",
        str(tmp_path / "out"),
    ]
    done = CliRunner().invoke(app, base + options)
    assert done.exit_code == 0, done.output
    table = pl.read_parquet(tmp_path / "out" / "thumbnails.parquet")
    assert sorted(table["source_id"].to_list()) == ids
    for name in ids:
        one = read_thumbnail(tmp_path / "out" / f"demo_{name}.thumb.fits")
        assert one.source_id == name
        assert [band.band for band in one.bands] == ["f160w"]
        assert (one.segmentation == one.label).any()
    sized = ["--auto-size", "--size-limits", "1", "6", "--overwrite"]
    done = CliRunner().invoke(app, [*base, *options[:-1], str(tmp_path / "sized"), *sized])
    assert done.exit_code == 0, done.output
    shapes = {read_thumbnail(tmp_path / "sized" / f"demo_{name}.thumb.fits").grid.shape for name in ids}
    assert shapes != {(30, 30)}
    done = CliRunner().invoke(app, [*base, *options, "--where", "flags >= 0"])
    assert "3 unchanged" in done.output
    done = CliRunner().invoke(app, [*base, *options, "--dry-run"])
    assert "4 exposures would be used" in done.output


def test_an_empty_lake_says_so(survey: Path, tmp_path: Path) -> None:
    from skymere.lake import NamedTile
    from skymere.wcs import Grid

    grid = Grid.tangent(10.0, 5.0, shape=(64, 64), scale_arcsec=0.1)
    empty = Lake.create(tmp_path / "lake", tiles=[NamedTile("a", grid)])
    with pytest.raises(NoDataError, match="no exposures"):
        lake_exposures(empty)
