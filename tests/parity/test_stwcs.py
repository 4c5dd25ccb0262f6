"""The distortion of ACS/WFC exposures as `stwcs.updatewcs` builds it, from the same headers and tables."""

import gzip
import warnings

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from skymere.errors import FormatError, InvalidInputError
from skymere.io import open_fits
from skymere.wcs import build_distortion

TABLES = {
    "IDCTAB": "acs_wfc_idc_qbu1641sj",
    "NPOLFILE": "acs_wfc_f606w_npl_qbu16424j",
    "D2IMFILE": "acs_wfc_d2i_02c1450oj",
}
SCALE_ARCSEC = 0.05
SHAPE = (2048, 4096)
# Newer tables hold the time-dependent skew in their primary header; these are of their form and size.
SKEWS = {
    "default": {},
    "polynomial": {"TDDORDER": 1, "TDD_DATE": 2004.5, "TDD_A0": 0.1, "TDD_A1": 0.04, "TDD_B0": -0.03, "TDD_B1": -0.01},
    "rates of one term": {"TDD_DATE": 2009.5, "TDD_CYB1": -1.2e-7, "TDD_CYB2": -1.3e-7},
    "values and rates": {"TDD_DATE": 2009.5}
    | {
        f"TDD_{key}{chip}": v
        for chip in (1, 2)
        for key, v in {"CYA": 2e-3, "CYB": -1e-7, "CXA": 0.0497, "CXB": 2e-7}.items()
    },
    "three terms": {"TDD_DATE": 2012.0}
    | {f"TDD_{key}{chip}": v for chip in (1, 2) for key, v in {"CTB": -1e-7, "CYB": 3e-8, "CXB": -2e-8}.items()},
}


@pytest.fixture(scope="module")
def tables(shared_data, tmp_path_factory):
    """The three tables of the data folder, under the names of the archive."""
    folder = tmp_path_factory.mktemp("tables")
    paths = {}
    for (key, name), kind in zip(TABLES.items(), ("idc", "npl", "d2i"), strict=True):
        paths[key] = folder / f"{name.rsplit('_', 1)[1]}_{kind}.fits"
        packed = (shared_data / "imaging" / "wcs" / f"{name}.fits.gz").read_bytes()
        paths[key].write_bytes(gzip.decompress(packed))
    return paths


def with_skew(path, kind):
    """A copy of the IDCTAB with another time-dependent skew in its header."""
    if not SKEWS[kind]:
        return path
    out = path.with_name(f"{kind.replace(' ', '')}_idc.fits")
    with fits.open(path) as hdus:
        hdus[0].header.update(SKEWS[kind])
        hdus.writeto(out, overwrite=True)
    return out


# stwcs leaves NPOLFILE out where an image is not larger than its tables.
SMALL = (100, 128)


def write_flc(
    path, tables, *, date, npol, filters=("F606W", "CLEAR2L"), first_chip=2, vafactor=1.00008, ltv=(0, 0), **cards
):
    """Write what of a fresh FLC file enters the distortion; two chips with all their extensions."""
    primary = fits.Header()
    primary.update(
        TELESCOP="HST", INSTRUME="ACS", DETECTOR="WFC", FILTER1=filters[0], FILTER2=filters[1], EXPTIME=600.0
    )
    primary["DATE-OBS"], primary["PA_V3"], primary["ROOTNAME"] = date, 71.3, path.stem
    primary["IDCTAB"], primary["D2IMFILE"] = (str(tables[key]) for key in ("IDCTAB", "D2IMFILE"))
    primary.update(cards)
    primary["NPOLFILE"] = str(tables["NPOLFILE"]) if npol else "N/A"
    hdus = [fits.PrimaryHDU(header=primary)]
    angle = np.deg2rad(68.0)
    for version, chip in enumerate((first_chip, 3 - first_chip), start=1):
        for name in ("SCI", "ERR", "DQ"):
            hdu = fits.ImageHDU(np.zeros(SMALL, np.int16 if name == "DQ" else np.float32), name=name, ver=version)
            header = hdu.header
            header["CCDCHIP"], header["BUNIT"], header["NGOODPIX"] = chip, "ELECTRONS", 12800
            header["CTYPE1"], header["CTYPE2"], header["CRPIX1"], header["CRPIX2"] = (
                "RA---TAN",
                "DEC--TAN",
                2048.0,
                1024.0,
            )
            header["CRPIX1"] += ltv[0]
            header["CRPIX2"] += ltv[1]
            header["LTV1"], header["LTV2"], header["LTM1_1"], header["LTM2_2"] = float(ltv[0]), float(ltv[1]), 1.0, 1.0
            header["CRVAL1"], header["CRVAL2"] = 359.99 + 0.011 * chip, -52.2 + 0.02 * chip
            cd = np.array([[np.cos(angle), -np.sin(angle)], [-np.sin(angle), -np.cos(angle)]]) * 0.0497 / 3600
            for i, j in np.ndindex(2, 2):
                header[f"CD{i + 1}_{j + 1}"] = cd[i, j]
            header["VAFACTOR"], header["RADESYS"], header["EXPNAME"] = vafactor, "FK5", path.stem
            hdus.append(hdu)
    fits.HDUList(hdus).writeto(path)
    return path


def ours(path):
    """The chips of a file, in the order of its extensions."""
    with open_fits(path) as hdus:
        primary = hdus[0].header
        named = [primary[key] for key in ("IDCTAB", "NPOLFILE", "D2IMFILE")]
        chips = [hdus["SCI", version].header for version in (1, 2)]
        with open_fits(named[0]) as idctab, open_fits(named[2]) as d2im:
            if named[1] == "N/A":
                return build_distortion(primary, chips, idctab=idctab, d2im=d2im)
            with open_fits(named[1]) as npol:
                return build_distortion(primary, chips, idctab=idctab, npol=npol, d2im=d2im)


def theirs(path, copy):
    """The same by stwcs, on a copy of the file that it changes."""
    copy.write_bytes(path.read_bytes())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from stwcs.updatewcs import updatewcs

        updatewcs(str(copy), use_db=False)
        with fits.open(copy) as hdus:
            return [WCS(hdus["SCI", version].header, hdus) for version in (1, 2)]


def apart(first, second):
    """Largest distance of two WCS over a chip [pix]."""
    x, y = np.meshgrid(np.linspace(0, SHAPE[1] - 1, 65), np.linspace(0, SHAPE[0] - 1, 33))
    (ra1, dec1), (ra2, dec2) = first.all_pix2world(x, y, 0), second.all_pix2world(x, y, 0)
    east = ((ra1 - ra2 + 180) % 360 - 180) * np.cos(np.deg2rad(dec1))
    return float(np.hypot(east, dec1 - dec2).max() * 3600 / SCALE_ARCSEC)


@pytest.mark.parametrize("npol", [True, False])
@pytest.mark.parametrize("date", ["2003-02-28", "2006-12-31"])
def test_both_chips_are_those_of_updatewcs(tables, tmp_path, date, npol):
    path = write_flc(tmp_path / "fresh_flc.fits", tables, date=date, npol=npol)
    before = path.read_bytes()
    mine, peer = ours(path), theirs(path, tmp_path / "peer_flc.fits")
    assert path.read_bytes() == before
    for chip, (a, b) in enumerate(zip(mine, peer, strict=True)):
        assert (a.cpdis1 is not None) == (b.cpdis1 is not None) == npol
        assert a.det2im1 is not None
        print(f"{date} npol={npol} extension {chip + 1}: {apart(a, b):.1e} pix")
        assert apart(a, b) < 1e-6
    # The reference chip, the date and the tables matter by more than the tolerance.
    assert apart(mine[0], mine[1]) > 100


@pytest.mark.parametrize("kind", sorted(set(SKEWS) - {"default"}))
def test_every_form_of_the_time_dependent_skew_is_that_of_updatewcs(tables, tmp_path, kind):
    changed = tables | {"IDCTAB": with_skew(tables["IDCTAB"], kind)}
    path = write_flc(tmp_path / "fresh_flc.fits", changed, date="2014-07-04", npol=True)
    plain = write_flc(tmp_path / "plain_flc.fits", tables, date="2014-07-04", npol=True)
    mine = ours(path)
    for a, b, other in zip(mine, theirs(path, tmp_path / "peer_flc.fits"), ours(plain), strict=True):
        assert apart(a, b) < 1e-6
        assert apart(a, other) > 1e-3


def test_the_order_of_the_chips_a_second_filter_and_no_aberration_are_those_of_updatewcs(tables, tmp_path):
    path = write_flc(
        tmp_path / "f814w_flc.fits",
        tables,
        date="2004-06-15",
        npol=False,
        filters=("CLEAR1L", "F814W"),
        first_chip=1,
        vafactor=1.0,
    )
    for a, b in zip(ours(path), theirs(path, tmp_path / "peer_flc.fits"), strict=True):
        assert apart(a, b) < 1e-6


def test_the_skew_can_be_left_out_by_the_header(tables, tmp_path):
    path = write_flc(tmp_path / "fresh_flc.fits", tables, date="2004-06-15", npol=True, TDDCORR="OMIT")
    for a, b in zip(ours(path), theirs(path, tmp_path / "peer_flc.fits"), strict=True):
        assert apart(a, b) < 1e-6


def test_the_pixels_of_a_subarray_are_where_they_are_on_the_full_chip(tables, tmp_path):
    ltv = (-1200, -300)
    whole = ours(write_flc(tmp_path / "whole_flc.fits", tables, date="2004-06-15", npol=True))
    part = ours(write_flc(tmp_path / "part_flc.fits", tables, date="2004-06-15", npol=True, ltv=ltv))
    x, y = np.meshgrid(np.linspace(0, 999, 21), np.linspace(0, 799, 17))
    for a, b in zip(whole, part, strict=True):
        there = np.array(a.all_pix2world(x - ltv[0], y - ltv[1], 0))
        assert np.abs(there - b.all_pix2world(x, y, 0)).max() * 3600 / SCALE_ARCSEC < 1e-6


def test_called_twice_it_gives_the_same_and_the_tables_stay(tables, tmp_path):
    path = write_flc(tmp_path / "fresh_flc.fits", tables, date="2004-06-15", npol=True)
    digests = {key: p.read_bytes() for key, p in tables.items()}
    first, second = ours(path), ours(path)
    assert [apart(a, b) for a, b in zip(first, second, strict=True)] == [0.0, 0.0]
    assert {key: p.read_bytes() for key, p in tables.items()} == digests


def test_what_is_missing_is_named(tables, tmp_path):
    path = write_flc(tmp_path / "fresh_flc.fits", tables, date="2004-06-15", npol=True)
    with open_fits(path) as hdus, open_fits(tables["IDCTAB"]) as idctab, open_fits(tables["NPOLFILE"]) as npol:
        primary, chips = hdus[0].header, [hdus["SCI", 1].header]
        for key in ("PA_V3", "DATE-OBS", "INSTRUME"):
            less = primary.copy()
            del less[key]
            with pytest.raises(InvalidInputError, match=key):
                build_distortion(less, chips, idctab=idctab)
        without = chips[0].copy()
        del without["CD1_1"]
        with pytest.raises(InvalidInputError, match="CD1_1"):
            build_distortion(primary, [without], idctab=idctab)
        with pytest.raises(InvalidInputError, match="chips"):
            build_distortion(primary, [], idctab=idctab)
        primary["FILTER1"] = "F999W"
        with pytest.raises(FormatError, match="F999W"):
            build_distortion(primary, chips, idctab=idctab)
        with pytest.raises(FormatError, match="SCALE"):
            build_distortion(primary, chips, idctab=fits.HDUList([idctab[0], fits.BinTableHDU.from_columns([])]))
        primary["FILTER1"], chips[0]["CCDCHIP"] = "F606W", 2
        with pytest.raises(FormatError, match="no extension DX"):
            build_distortion(primary, chips, idctab=idctab, npol=npol[:1])
        primary["DATE-OBS"] = "yesterday"
        with pytest.raises(InvalidInputError, match="yesterday"):
            build_distortion(primary, chips, idctab=idctab)
