"""A plan chooses what is searched and how."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from skymere.errors import InvalidInputError
from skymere.lake import Lake
from skymere.pipeline import read_plan, run_plan


def changed(finished: Path, tmp_path: Path, text: str) -> Path:
    folder = tmp_path / "changed"
    shutil.copytree(finished, folder)
    plan = folder / "plan.toml"
    plan.write_text(plan.read_text() + text + '[release]\nname = "DR2"\n')
    run_plan(read_plan(plan))
    return folder


def test_peaks_in_the_chi_square_of_two_bands_become_sources(finished: Path, tmp_path: Path) -> None:
    text = '[detect]\nmethod = "peaks"\nimage = "chi_square"\nflux_band = "f160w"\nwrite_fits = true\n'
    folder = changed(finished, tmp_path, text + "[detect.peaks]\nmin_snr = 5\n")
    lake = Lake.open(folder / "lake", release="DR2")
    row = lake.table("segmentation").collect().row(0, named=True)
    assert (row["status"], row["message"]) == ("ok", "")
    params = json.loads(row["params"])
    assert (params["method"], params["image"], params["peaks"]["min_snr"]) == ("peaks", "chi_square", 5.0)
    labels = lake.arrays("segmentation", "field")["label"][...]
    sources = lake.table("source").collect()
    assert sorted(sources["label"].to_list()) == np.unique(labels[labels > 0]).tolist()
    assert row["n_sources"] == sources.height > 10
    before = Lake.open(folder / "lake", release="DR1").table("source").collect()
    # Sources that both methods find keep their identifiers.
    assert len(set(before["source_id"]) & set(sources["source_id"])) > 0.5 * sources.height
    with fits.open(folder / "pictures" / "field" / "det_seg.fits") as hdus:
        assert np.array_equal(hdus[1].data, labels)
    with fits.open(folder / "pictures" / "field" / "det_cat.fits") as hdus:
        assert sorted(hdus[1].data["id"]) == sorted(sources["label"].to_list())
        assert np.all(hdus[1].data["flux"] >= 5 * hdus[1].data["flux_err"])


def test_a_band_that_covers_too_little_is_named_in_the_row(finished: Path, tmp_path: Path) -> None:
    folder = changed(finished, tmp_path, "[detect]\nmin_coverage = 0.94\n")
    row = Lake.open(folder / "lake").table("segmentation").collect().row(0, named=True)
    # Its exposures leave more single coverage, which does not count.
    assert json.loads(row["bands"]) == ["f160w"]
    assert row["message"].startswith("f125w was not searched: coverage 0.9")


def test_a_wrong_word_names_its_key(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"detect\.method"):
        changed(finished, tmp_path, '[detect]\nmethod = "watershed"\n')
