"""Slits written with evaluated coordinates are read back without a gwcs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from skymere.errors import FormatError, InvalidInputError
from skymere.io import list_slits, read_slitlets, write_slitlets

MULTI = Path(__file__).parents[1] / "data" / "jw09999001001_02101_00002_nrs1_cal.fits.gz"


@pytest.fixture(scope="module")
def slits():
    pytest.importorskip("gwcs")
    pytest.importorskip("stdatamodels")
    return read_slitlets(MULTI)


def test_every_plane_and_every_word_comes_back(slits, tmp_path, monkeypatch):
    path = tmp_path / MULTI.name.removesuffix(".gz")
    write_slitlets(slits, path)
    monkeypatch.setattr("skymere.io.slit_models.open_asdf_tree", lambda *_: pytest.fail("a gwcs was opened"))
    again = read_slitlets(path)
    assert len(again) == 3
    for a, b in zip(slits, again, strict=True):
        for name in ("source", "place", "exposure", "unit", "pixel_area_sr", "is_background", "is_fixed_slit"):
            # Missing numbers are NaN, which equals nothing.
            assert repr(getattr(a, name)) == repr(getattr(b, name)), name
        for name in ("sci", "var_rnoise", "var_poisson", "var_flat", "dq", "wavelength", "bar", "pathloss_ps"):
            assert getattr(a, name).tobytes() == getattr(b, name).tobytes(), name
        for name in ("wavelength", "slit_y", "wavelength_slope"):
            assert np.array_equal(getattr(a.geometry, name), getattr(b.geometry, name), equal_nan=True), name
        assert a.geometry.pixel_scale_arcsec == b.geometry.pixel_scale_arcsec
        assert a.geometry.shutter_scale == b.geometry.shutter_scale


def test_slits_are_listed_by_headers_and_read_in_the_order_asked_for(slits, tmp_path):
    path = tmp_path / "a_b_c_d_cal.fits"
    write_slitlets([replace(one, exposure=replace(one.exposure, exposure_id="a_b_c_d")) for one in slits], path)
    entries = list_slits(path)
    assert [one.slit_name for one in entries] == ["11", "12", "13"]
    assert {one.exposure_id for one in entries} == {"a_b_c_d"}
    assert [one.place.slit_name for one in read_slitlets(path, slits=["13", "11"])] == ["13", "11"]
    with pytest.raises(InvalidInputError, match=r"slits: \['14'\] are not there"):
        read_slitlets(path, slits=["14"])


def test_slits_of_two_exposures_and_missing_coordinates_are_errors(slits, tmp_path):
    other = replace(slits[1], exposure=replace(slits[1].exposure, exposure_id="other"))
    with pytest.raises(InvalidInputError, match="one file holds slits of one exposure"):
        write_slitlets([slits[0], other], tmp_path / "two.fits")
    path = tmp_path / "cut.fits"
    write_slitlets(slits[0], path)
    with fits.open(path, memmap=False) as hdus:
        del hdus["GEOM_Y"]
        hdus.writeto(path, overwrite=True)
    with pytest.raises(FormatError, match="extension GEOM_Y,1 with evaluated coordinates is missing"):
        read_slitlets(path)
