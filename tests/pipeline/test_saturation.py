"""Saturated pixels of exposures become flags of sources."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from astropy.io import fits

from skymere.instruments import find_detector
from skymere.lake import Lake
from skymere.pipeline import read_plan, run_plan
from skymere.pipeline.products import load_segmentation
from skymere.segmentation import SourceFlag
from skymere.wcs import wcs_from_cards

SATURATED = SourceFlag.SATURATED.value


def test_sources_with_saturated_pixels_in_any_exposure_are_flagged_in_that_band(fresh: Path) -> None:
    bit = find_detector("HST", "WFC3", "IR").dq_bits["saturated"]
    exposures = sorted(fresh.glob("exposures/*_flt.fits"))
    path = next(path for path in exposures if fits.getheader(path)["FILTER"].lower() == "f125w")
    with fits.open(path, mode="update") as hdus:
        sci = np.array(hdus["SCI"].data, float)
        clean = np.where(hdus["DQ"].data == 0, sci, -np.inf)
        y, x = np.unravel_index(np.argmax(clean[30:-30, 30:-30]), (160, 180))
        places = [(y + 30, x + 30), (60, 60)]
        for place in places:
            hdus["DQ"].data[place] |= bit
        wcs = wcs_from_cards(dict(hdus["SCI"].header))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("skymere.pipeline.runner.draw_pictures", lambda *_, **__: [])
        run_plan(read_plan(fresh / "plan.toml"))
    lake = Lake.open(fresh / "lake")
    grid = lake.tiles["field"].grid
    arrays = lake.arrays("mosaic", "field")
    assert arrays.attributes("f125w")["dq_bits"] == {"saturated": 1}
    ra, dec = wcs.all_pix2world([p[1] for p in places], [p[0] for p in places], 0)
    u, v = (np.rint(p).astype(int) for p in grid.pixels(ra, dec))
    dq = arrays["f125w/dq"][...]
    assert (dq[v, u] == 1).all()
    assert np.count_nonzero(dq) < 2 * 30
    assert not arrays["f160w/dq"][...].any()
    labels = load_segmentation(lake, "field").labels
    expected = sorted(set(np.unique(labels[dq == 1]).tolist()) - {0})
    assert expected
    sources = lake.table("source").collect()
    for column in ("flags", "flags_f125w"):
        flagged = sources.filter(pl.col(column) & SATURATED > 0)["label"]
        assert sorted(flagged.to_list()) == expected
    assert sources.filter(pl.col("flags_f160w") & SATURATED > 0).is_empty()
