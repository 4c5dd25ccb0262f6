"""Headers of mosaics: what becomes of the keywords of the exposures."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits

from skymere.datamodels import Mosaic
from skymere.errors import InvalidInputError, NotFoundError
from skymere.io import BlendRule, InputHeader, blend_headers, read_blend_rules, read_mosaic, write_mosaic
from skymere.wcs import Grid


def one(name, chip, **keywords):
    return InputHeader(
        exposure_id=f"{name}_chip{chip}",
        file=f"{name}_flc.fits",
        extension=f"SCI,{3 - chip}",
        exptime=keywords.get("EXPTIME", 600.0),
        scale_arcsec=0.05,
        primary={"TELESCOP": "HST", "PROPOSID": 11, "SIMPLE": True, "CRVAL1": 5.0, **keywords},
        header={"PHOTMODE": "ACS WFC1 F606W", "PHOTPLAM": 5921.1, "PHOTFLAM": 7.8e-20, "WCSNAME": "TWEAK"},
        sky=0.08,
    )


FIRST = {
    "DATE-OBS": "2004-11-12",
    "TIME-OBS": "23:10:00",
    "EXPSTART": 53321.9652,
    "EXPEND": 53321.9722,
    "EXPTIME": 600.0,
}
LAST = {
    "DATE-OBS": "2004-11-13",
    "TIME-OBS": "01:00:00",
    "EXPSTART": 53322.0417,
    "EXPEND": 53322.0475,
    "EXPTIME": 500.0,
}
INPUTS = [
    one("b", 2, TARGNAME="M 31", PA_V3=70.0, ORBIT=2, **LAST),
    one("b", 1, TARGNAME="M 31", PA_V3=70.0, ORBIT=2, **LAST),
    one("a", 2, TARGNAME="M 32", PA_V3=72.0, ORBIT=1, CAL_VER="3", **FIRST),
]


def test_keywords_are_kept_blended_or_left_out():
    out = blend_headers(INPUTS)
    assert (out["TELESCOP"], out["PROPOSID"], out["TARGNAME"]) == ("HST", 11, "MULTIPLE")
    # Chips of a file share its time.
    assert out["EXPTIME"] == out["TEXPTIME"] == 1100.0
    assert (out["DATE-OBS"], out["TIME-OBS"]) == ("2004-11-12", "23:10:00")
    assert (out["EXPSTART"], out["EXPEND"]) == (53321.9652, 53322.0475)
    assert out["DATE-BEG"].startswith("2004-11-12T23:09:53")
    assert (out["MJD-BEG"], out["MJD-END"]) == (out["EXPSTART"], out["EXPEND"])
    assert out["PA_V3"] == 71.0
    assert not {"SIMPLE", "CRVAL1", "ORBIT", "CAL_VER"} & set(out)


def test_rules_of_a_file_come_first(tmp_path):
    path = tmp_path / "my.rules"
    path.write_text(
        "!VERSION = 1.1\n# rules\n<delete> PROPOSID TEXPTIME\nORBIT LASTORB max\nPA_V3 PA_V3 first # note\nTARGNAME\nRA_TARG RA_TARG\n"
    )
    out = blend_headers(INPUTS, read_blend_rules(path))
    assert (out["LASTORB"], out["PA_V3"], out["TARGNAME"]) == (2, 70.0, "MULTIPLE")
    assert not {"PROPOSID", "TEXPTIME", "ORBIT"} & set(out)
    path.write_text("EXPTIME EXPTIME sum\nORBIT ORBIT median\n")
    with pytest.raises(InvalidInputError, match=r"my\.rules, line 2: function: 'median' is not allowed for ORBIT"):
        read_blend_rules(path)
    path.write_text("A B C D\n")
    with pytest.raises(InvalidInputError, match="line 1: 'A B C D' is not allowed"):
        read_blend_rules(path)
    with pytest.raises(NotFoundError, match="no such file"):
        read_blend_rules(tmp_path / "none")
    with pytest.raises(InvalidInputError, match="sum of TARGNAME is not allowed"):
        blend_headers(INPUTS, [BlendRule(keyword="TARGNAME", function="sum")])


def mosaic(exposure_ids, fillval=None):
    shape = (6, 7)
    return Mosaic(
        band="f606w",
        grid=Grid.tangent(10.0, 5.0, shape=shape, scale_arcsec=0.04),
        data=np.zeros(shape, np.float32),
        weight=np.ones(shape, np.float32),
        variance=np.ones(shape, np.float32),
        context=np.ones((1, *shape), np.int32),
        exposure_ids=exposure_ids,
        zero_point_ab=26.49,
        params={"kernel": "square", "pixfrac": 0.8, "fillval": fillval},
    )


def test_a_mosaic_has_a_row_and_keywords_for_every_input(tmp_path):
    path = tmp_path / "x_drz.fits"
    names = tuple(each.exposure_id for each in INPUTS)
    write_mosaic(mosaic(names), path, inputs=INPUTS)
    with fits.open(path) as hdus:
        header = hdus[0].header
        assert [header[f"D{i:03d}DATA"] for i in (1, 2, 3)] == [
            "b_flc.fits[SCI,1]",
            "b_flc.fits[SCI,2]",
            "a_flc.fits[SCI,1]",
        ]
        assert [header[f"D003{key}"] for key in ("DEXP", "KERN", "PIXF", "OUUN", "FVAL", "WTSC", "WKEY", "ISCL")] == [
            600.0, "square", 0.8, "cps", "INDEF", 600.0, "TWEAK", 0.05,
        ]  # fmt: skip
        assert header["D001SCAL"] == pytest.approx(0.04, rel=1e-9)
        assert (header["NDRIZIM"], header["EXPTIME"], header["NEXTEND"]) == (3, 1100.0, len(hdus) - 1)
        table = hdus["HDRTAB"].data
        assert list(table["EXPOSURE"]) == list(names)
        assert list(table["ORBIT"]) == [2, 2, 1]
        assert list(table["CAL_VER"]) == ["", "", "3"]
        assert list(table["SKY"]) == [0.08] * 3
        sci = hdus["SCI"].header
        assert sci["PHOTMODE"] == "ACS WFC1 F606W"
        # AB magnitude from PHOTFLAM and PHOTPLAM, and from PHOTFNU.
        assert -2.5 * np.log10(sci["PHOTFLAM"]) - 5 * np.log10(sci["PHOTPLAM"]) - 2.408 == pytest.approx(26.49)
        assert -2.5 * np.log10(sci["PHOTFNU"]) + 8.9 == pytest.approx(26.49)
    assert read_mosaic(path).exposure_ids == names
    with pytest.raises(InvalidInputError, match="inputs: "):
        write_mosaic(mosaic(names), path, inputs=INPUTS[::-1])


@pytest.mark.parametrize(("fillval", "expected"), [("nan", "INDEF"), ("NaN", "INDEF"), (0.0, 0.0), ("0.5", 0.5)])
def test_the_fill_value_is_also_that_of_a_mosaic_of_the_lake(tmp_path, fillval, expected):
    """Whose parameters are JSON, in which NaN is a text."""
    write_mosaic(mosaic(("a",), fillval), tmp_path / "x_drz.fits")
    assert fits.getval(tmp_path / "x_drz.fits", "D001FVAL") == expected


def test_a_thousand_inputs_have_their_keywords(tmp_path):
    names = tuple(f"e{i}" for i in range(1001))
    write_mosaic(replace(mosaic(names), zero_point_ab=float("nan")), tmp_path / "x_drz.fits")
    assert read_mosaic(tmp_path / "x_drz.fits").exposure_ids == names
