"""From a cell of the catalogue to pixels, masks, parameters, code and files, on a lake of the pipeline (row O1)."""

import hashlib
from pathlib import Path

import numpy as np
import polars as pl

import skymere
from skymere.lake import Lake


def test_a_source_leads_to_every_exposure_that_it_was_measured_on(finished: Path) -> None:
    lake = Lake.open(finished / "lake", release="DR1")
    source = lake.table("source").sort("source_id").collect().row(3, named=True)
    tree = lake.provenance("source", source["source_id"])
    assert tree.row == source
    exposures = lake.table("exposure").collect()
    assert set(tree.exposures) == set(exposures["exposure_id"])
    given = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (finished / "exposures").iterdir()}
    assert {node.uri: node.sha256 for node in tree.files} == given


def test_the_exposures_that_saw_a_source_are_those_whose_footprint_holds_it(finished: Path) -> None:
    lake = Lake.open(finished / "lake")
    exposures = lake.table("exposure").collect()
    grids = {
        row["exposure_id"]: (row["band"], lake.arrays("exposure", row["exposure_id"]).grid("sci"))
        for row in exposures.iter_rows(named=True)
    }
    sources = lake.table("source").sort("dec").collect()
    partly = 0
    for source in sources.gather([0, 1, sources.height // 2, -2, -1]).iter_rows(named=True):
        covering = lake.provenance("source", source["source_id"]).covering
        assert set(covering) == {"f125w", "f160w"}
        for band, names in covering.items():
            inside = set()
            border = set()
            for name, (its_band, grid) in grids.items():
                x, y = (float(v[0]) for v in grid.pixels(np.array([source["ra"]]), np.array([source["dec"]])))
                # Rejected pixels give no light, so a source may lack an exposure that holds it; never the reverse.
                if its_band == band and -2 < x < grid.shape[1] + 1 and -2 < y < grid.shape[0] + 1:
                    border.add(name)
                if its_band == band and 2 < x < grid.shape[1] - 3 and 2 < y < grid.shape[0] - 3:
                    inside.add(name)
            assert set(names) <= border
            assert len(inside - set(names)) <= 1
            partly += len(border) < 4
        assert "exposures:" in str(lake.provenance("source", source["source_id"]))
    assert partly


def test_every_step_has_its_run_parameters_code_and_pixels(finished: Path) -> None:
    lake = Lake.open(finished / "lake")
    cutout = lake.table("cutout").collect().row(0, named=True)
    tree = lake.provenance("cutout", cutout["source_id"])
    runs = lake.table("run").collect()
    stages = {}
    for node in tree.walk():
        if not node.run:
            continue
        product, _, tile = node.uri.partition("/")
        row = runs.filter(pl.col("run_id") == node.run, pl.col("product") == product, pl.col("tile") == tile)
        assert row.height == 1
        stages.setdefault(product, node)
        assert node.stage == row["stage"][0]
        assert node.finished == row["finished"][0]
        assert node.code_version == row["code_version"][0]
        assert node.code_version.startswith(skymere.__version__)
        if product not in ("source", "sky"):
            assert (lake.path / node.arrays / "manifest.json").is_file()
    assert set(stages) == {"cutout", "source", "segmentation", "mosaic", "mask", "sky", "exposure"}
    assert stages["mosaic"].params
    text = str(tree)
    for node in stages.values():
        assert node.run in text
    assert "parameters" in text


def test_all_columns_of_the_catalogue_come_from_runs_that_are_known(finished: Path) -> None:
    lake = Lake.open(finished / "lake")
    for product in ("source", "cutout", "mosaic", "segmentation", "mask", "sky", "exposure"):
        row = lake.table(product).collect().row(0, named=True)
        tree = lake.provenance(product, {name: row[name] for name in lake.schema(product).primary_key})
        assert tree.files
        assert all(len(node.sha256) == 64 for node in tree.files)
