"""Regions proposed for a mosaic of a survey, kept as rows and as DS9 files."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from skymere.cli import app
from skymere.errors import InvalidInputError, NotFoundError
from skymere.lake import Lake, region_rows, regions_from_rows, stored_edits
from skymere.pipeline import propose_regions
from skymere.pipeline.products import load_mosaics, load_segmentation
from skymere.regions import mask_from_regions, read_regions
from skymere.segmentation import BlankParams


def test_borders_stars_and_blank_sky_of_a_mosaic(finished: Path) -> None:
    lake = Lake.open(finished / "lake")
    (mosaic,) = load_mosaics(lake, "field", ["f160w"])
    border = mask_from_regions(propose_regions(lake, "field", "f160w", "border"), mosaic.grid).mask
    assert border[~mosaic.covered].mean() > 0.99
    assert border.mean() < 0.9
    blank = propose_regions(lake, "field", "f160w", "blank", blank=BlankParams(radius_pix=4.0, n_apertures=30))
    apertures = mask_from_regions(blank, mosaic.grid).mask
    assert 5 < len(blank) <= 30
    assert not (apertures & ((load_segmentation(lake, "field").labels > 0) | ~mosaic.covered)).any()
    level = float(np.nanmax(mosaic.data)) / 2
    halos = [r for r in propose_regions(lake, "field", "f160w", "stars", saturation=level) if r.text == "halo"]
    y, x = np.unravel_index(np.nanargmax(np.where(mosaic.covered, mosaic.data, np.nan)), mosaic.shape)
    assert mask_from_regions(halos, mosaic.grid).mask[y, x]


def test_what_is_missing_is_said(finished: Path) -> None:
    lake = Lake.open(finished / "lake")
    with pytest.raises(InvalidInputError, match="saturation: is missing"):
        propose_regions(lake, "field", "f160w", "stars")
    with pytest.raises(NotFoundError, match="band: 'f999w' has no mosaic"):
        propose_regions(lake, "field", "f999w", "border")
    with pytest.raises(InvalidInputError, match="what: 'ghosts'"):
        propose_regions(lake, "field", "f160w", "ghosts")  # type: ignore[arg-type]


def test_the_command_writes_a_file_to_look_at_and_keeps_rows_that_no_detection_reads(
    finished: Path, tmp_path: Path
) -> None:
    import shutil

    folder = tmp_path / "lake"
    shutil.copytree(finished / "lake", folder)
    path = tmp_path / "f160w-sim.reg"
    words = [
        "edit",
        "propose",
        str(folder),
        "blank",
        "--band",
        "f160w",
        "--radius",
        "4",
        "--number",
        "20",
        "-o",
        str(path),
    ]
    done = CliRunner().invoke(app, [*words, "--save", "--author", "Ada", "--why", "noise"])
    assert done.exit_code == 0, done.output
    lake = Lake.open(folder)
    rows = region_rows(lake)
    assert rows.select("role", "band", "author").unique().rows() == [("sim", "f160w", "Ada")]
    assert regions_from_rows(rows) == read_regions(path)
    assert stored_edits(lake, "field") == ([], [])
    done = CliRunner().invoke(app, words[:-2])
    assert done.exit_code == 1
    assert "-o, --save: one of the two is needed" in done.stderr
    assert rows.filter(pl.col("edit_id").is_duplicated()).is_empty()
