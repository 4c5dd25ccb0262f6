"""`skymere run` over the ten semi-real WFC3/IR exposures; ``pytest -s`` prints the time and what came out."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
from astropy.io import fits

from skymere.lake import Lake

PLAN = """
[survey]
exposures = ["{folder}/semireal/*_flt.fits"]

[tile]
name = "ers"
reference_image = "{folder}/reference/f140w_astrodrizzle.fits"

[mosaic]
write_fits = true

[detect]
bands = ["f140w"]
"""


def test_the_ten_exposures_become_a_published_lake(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "imaging" / "wfc3ir_ers"
    plan = tmp_path / "plan.toml"
    plan.write_text(PLAN.format(folder=folder))
    start = time.monotonic()
    command = [sys.executable, "-m", "skymere", "run", str(plan)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - start
    assert done.returncode == 0, done.stderr
    lake = Lake.open(tmp_path / "lake", release="DR1")
    sources = lake.table("source").collect()
    mosaics = lake.table("mosaic").sort("band").collect()
    print(f"\nskymere run: {seconds:.0f} s, {sources.height} sources, {mosaics.select('band', 'n_exposures').rows()}")
    assert mosaics.select("band", "n_exposures").rows() == [("f125w", 6), ("f140w", 4)]
    assert mosaics["wcs"].n_unique() == 1
    with fits.open(folder / "reference" / "f140w_astrodrizzle.fits") as hdus:
        reference, weight = hdus["SCI"].data, hdus["WHT"].data
    ours = lake.arrays("mosaic", "ers")["f140w/sci"][...]
    assert ours.shape == reference.shape
    both = (weight > 250) & np.isfinite(ours)
    difference = (ours - reference)[both]
    difference -= np.median(difference)
    assert np.percentile(np.abs(difference), 99.0) < 0.02  # a third of the noise; the masks differ
    assert (tmp_path / "pictures" / "ers_f125w_drz.fits").is_file()
    bright = sources.filter(pl.col("flux_auto_f140w") > 5.0)
    stamps = lake.cutouts(bright["source_id"].to_numpy(), bands=["f140w", "f125w"], size_pix=64)
    assert stamps["f140w", "sci"].shape == (bright.height, 64, 64)
