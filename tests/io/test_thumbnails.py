"""``thumb.fits`` files there and back, and what ``full.fits`` files say of direct images."""

import numpy as np
import polars as pl
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from skymere.datamodels import EXPOSURE_COLUMNS, FLAM, BandThumbnail, Thumbnail
from skymere.errors import FormatError, InvalidInputError, NotFoundError
from skymere.instruments import FILTERS, find_filter, flam_of_zero_point
from skymere.io import read_thumbnail, thumbnail_inputs, write_thumbnail
from skymere.wcs import Grid, fits_cards

GRID = Grid.tangent(53.06575002554241, -27.720507755199364, shape=(21, 21), scale_arcsec=0.1, rotation_deg=12.0)


def made(**more):
    rng = np.random.default_rng(5)
    weight = rng.uniform(1, 2, GRID.shape).astype(np.float32)
    weight[:2] = 0
    bands = []
    for name, plam in (("f125w", 12486.0), ("f160w", 15369.0)):
        data = rng.normal(size=GRID.shape).astype(np.float32)
        data[:2] = np.nan
        variance = np.where(weight > 0, 0.5, np.nan).astype(np.float32)
        bands.append(
            BandThumbnail(
                band=name,
                data=data,
                weight=weight,
                variance=variance,
                psf=rng.uniform(size=GRID.shape).astype(np.float32) if name == "f160w" else None,
                zero_point_ab=26.0,
                photflam=flam_of_zero_point(26.0, plam),
                photplam=plam,
                photometry_from="header",
                noise_correlation=1.4,
                coverage=19 / 21,
                median=0.01,
            )
        )
    exposures = pl.DataFrame(
        [("a", "f125w", True, "", 100.0, 0.6), ("b", "f160w", False, "all pixels are bad", 50.0, None)],
        schema=dict(EXPOSURE_COLUMNS),
        orient="row",
    )
    values = {
        "bands": tuple(bands),
        "segmentation": np.full(GRID.shape, 12, np.int32),
        "exposures": exposures,
        "geometry_sha256": "e" * 64,
    }
    place = {"ra": 53.06575002554241, "dec": -27.720507755199364, "x": 10.0, "y": 10.0}
    return Thumbnail(
        grid=GRID,
        source_id=152,
        label=12,
        kernel="square",
        pixfrac=0.3,
        row=4,
        **place,
        **(values | more),
    )


def test_a_thumbnail_is_written_filter_by_filter_and_comes_back(tmp_path):
    path = tmp_path / "root_152.thumb.fits"
    one = made()
    write_thumbnail(one, path, inputs_sha256="f" * 64)
    with fits.open(path) as hdus:
        names = [(hdu.name, hdu.header.get("EXTVER")) for hdu in hdus[1:]]
        first = [("SCI", "F125W"), ("WHT", "F125W"), ("VAR", "F125W")]
        second = [("SCI", "F160W"), ("WHT", "F160W"), ("VAR", "F160W"), ("PSF", "F160W")]
        assert names[:-2] == first + second
        assert [name for name, _ in names[-2:]] == ["SEG", "EXPOSURES"]
        header = hdus["SCI", "F160W"].header
        expected = fits_cards(GRID.wcs)
        for hdu in hdus[1:-1]:
            for key, value in expected.items():
                # astropy writes floats in 20 characters, which is 13 digits of a long one.
                exact = isinstance(value, str | int)
                assert hdu.header[key] == (value if exact else pytest.approx(value, rel=1e-12, abs=1e-20))
            assert hdu.shape == GRID.shape
            assert np.isfinite(hdu.data).all()
        assert WCS(header).wcs.crval == pytest.approx(GRID.wcs.wcs.crval, abs=1e-12)
        assert header["PHOTPLAM"] == 15369.0
        assert (header["DRIZKRNL"], header["PIXFRAC"], header["PIXASEC"]) == ("square", 0.3, pytest.approx(0.1))
        assert hdus["WHT", "F160W"].header["WHTTYPE"] == "inverse_variance_with_sources"
        assert (hdus["SCI", "F160W"].data[:2] == 0).all()
    assert thumbnail_inputs(path) == "f" * 64
    back = read_thumbnail(path)
    assert (back.source_id, back.label, back.row, back.kernel, back.pixfrac) == (152, 12, 4, "square", 0.3)
    assert (back.ra, back.dec, back.geometry_sha256) == (one.ra, one.dec, "e" * 64)
    np.testing.assert_array_equal(back.segmentation, one.segmentation)
    assert back.exposures.fill_nan(None).equals(one.exposures)
    for mine, theirs in zip(one.bands, back.bands, strict=True):
        for plane in ("data", "weight", "variance", "psf"):
            np.testing.assert_array_equal(getattr(mine, plane), getattr(theirs, plane))
        for name in ("photflam", "photplam", "zero_point_ab", "median", "noise_correlation", "coverage", "weight_kind"):
            value = getattr(mine, name)
            assert getattr(theirs, name) == (value if isinstance(value, str) else pytest.approx(value, rel=1e-12))


def test_f_lambda_stays_f_lambda_in_a_file(tmp_path):
    one = made()
    in_flam = Thumbnail(**{**vars(one), "bands": tuple(band.in_flam() for band in one.bands)})
    write_thumbnail(in_flam, tmp_path / "x.thumb.fits")
    assert fits.getval(tmp_path / "x.thumb.fits", "BUNIT", 1) == "10**-20 erg/(s cm2 Angstrom)"
    back = read_thumbnail(tmp_path / "x.thumb.fits")
    assert back["f125w"].unit == FLAM
    np.testing.assert_array_equal(back["f125w"].data, one["f125w"].in_flam().data)
    assert thumbnail_inputs(tmp_path / "x.thumb.fits") == ""
    assert thumbnail_inputs(tmp_path / "none.thumb.fits") == ""


def test_a_real_full_file_gives_its_direct_images_and_its_coverage_is_called_coverage(shared_data):
    path = shared_data / "spectra" / "reference" / "grizli" / "ers_line_maps.fits.gz"
    one = read_thumbnail(path)
    assert [band.band for band in one.bands] == ["f098m", "f140w"]
    assert (one.source_id, one.kernel, one.pixfrac) == (152, "point", 0.2)
    assert (one.x, one.y) == pytest.approx((39.5, 39.5), abs=1e-6)
    with fits.open(path) as hdus:
        for band in one.bands:
            weight = hdus["DWHT", band.band.upper()].data
            np.testing.assert_array_equal(band.weight, weight)
            used = weight > 0
            np.testing.assert_array_equal(band.data[used], hdus["DSCI", band.band.upper()].data[used])
            # Its weight is 0 or one number, so it is no inverse variance.
            assert band.weight_kind == "coverage"
            assert band.photometry_from == "table"
            assert band.photflam == FILTERS["WFC3/IR", band.band].photflam
        np.testing.assert_array_equal(one.segmentation, hdus["SEG"].data)


def test_a_filter_that_nobody_knows_is_named_with_its_extension(tmp_path):
    with fits.open(_written(tmp_path)) as hdus:
        for key in ("PHOTFLAM", "PHOTPLAM", "ZPAB"):
            del hdus["SCI", "F125W"].header[key]
        hdus["SCI", "F125W"].header["FILTER"] = "F999X"
        hdus.writeto(tmp_path / "strange.fits", output_verify="ignore")
    with pytest.raises(InvalidInputError, match=r"strange\.fits: extension SCI,F125W: the filter 'f999x'"):
        read_thumbnail(tmp_path / "strange.fits")


def test_weights_of_files_that_do_not_say_what_they_are_are_unknown(tmp_path):
    with fits.open(_written(tmp_path)) as hdus:
        del hdus["WHT", "F125W"].header["WHTTYPE"]
        hdus.writeto(tmp_path / "silent.fits", output_verify="ignore")
    assert read_thumbnail(tmp_path / "silent.fits")["f125w"].weight_kind == "unknown"


def test_other_files_are_refused(tmp_path):
    fits.PrimaryHDU(np.zeros((3, 3))).writeto(tmp_path / "other.fits")
    with pytest.raises(FormatError, match="is a direct image"):
        read_thumbnail(tmp_path / "other.fits")
    with pytest.raises(NotFoundError, match="nowhere"):
        read_thumbnail(tmp_path / "nowhere.fits")


def test_planes_of_another_shape_are_refused():
    plane = np.zeros((5, 5), np.float32)
    with pytest.raises(InvalidInputError, match="weight: "):
        BandThumbnail(band="a", data=plane, weight=np.zeros((4, 5), np.float32))
    with pytest.raises(InvalidInputError, match=r"bands: a has shape \(5, 5\)"):
        made(bands=(BandThumbnail(band="a", data=plane, weight=plane),))


@pytest.mark.parametrize(("name", "camera"), [("F140W", "WFC3/IR"), ("f606w", "ACS/WFC2"), ("F200W", "NIRCAM/NRCB1")])
def test_a_filter_is_found_by_its_name_and_camera(name, camera):
    found = find_filter(name, camera=camera)
    assert found.name == name.lower()
    assert camera.startswith(found.camera)


def test_the_flux_of_a_filter_agrees_with_its_zero_point():
    # AB zero points of WFC3/IR (README of the data): F140W 26.4524, F125W 26.2303, F098M 25.6674.
    for name, zero in (("f140w", 26.4524), ("f125w", 26.2303), ("f098m", 25.6674)):
        known = find_filter(name)
        assert flam_of_zero_point(zero, known.photplam) == pytest.approx(known.photflam, rel=0.005)
    with pytest.raises(InvalidInputError, match="where: the filter 'f140w' of MIRI"):
        find_filter("f140w", camera="MIRI", where="where")


def _written(folder):
    write_thumbnail(made(), folder / "plain.fits")
    return folder / "plain.fits"
