"""Slit files of the JWST pipeline: one slit, many slits, fixed slits, and files that are damaged.

The files are made of simulated numbers by ``tests/data/make_slit_fixtures.py``: SCI is ``100 * slit + row + column / 1000``.
"""

import gzip
import io
from pathlib import Path

import asdf
import numpy as np
import pytest
from astropy.io import fits

from skymere.datamodels import SlitGeometry
from skymere.errors import FormatError, InvalidInputError, NotFoundError
from skymere.io import read_slitlet, read_slitlets

DATA = Path(__file__).parents[1] / "data"
MULTI = DATA / "jw09999001001_02101_00002_nrs1_cal.fits.gz"
FIXED = DATA / "jw09999002001_02101_00001_nrs1_cal.fits.gz"
ROWS, COLUMNS = np.indices((20, 48))


@pytest.fixture
def change(tmp_path):
    """Return a function that writes a changed copy of a file."""

    def write(edit, source=MULTI, name="changed_cal.fits"):
        path = tmp_path / name
        with fits.open(source, memmap=False) as hdus:
            edit(hdus)
            hdus.writeto(path, overwrite=True)
        return path

    return write


def test_every_slit_of_a_multi_slit_file_is_read_with_its_own_coordinates():
    slitlets = read_slitlets(MULTI)
    assert [one.place.slit_name for one in slitlets] == ["11", "12", "13"]
    for number, one in enumerate(slitlets, start=1):
        np.testing.assert_array_equal(one.sci, (100 * number + ROWS + COLUMNS / 1000).astype(np.float32))
        np.testing.assert_allclose(one.geometry.wavelength, 0.7 + 0.1 * COLUMNS, rtol=1e-12)
        np.testing.assert_allclose(one.geometry.slit_y, 0.2 * (ROWS - 9 - number / 10), atol=1e-12)
        # Light moves by two columns of 0.1 um when the source moves by one slit width.
        np.testing.assert_allclose(one.geometry.wavelength_slope, 0.2, rtol=1e-9)
        assert one.geometry.pixel_scale_arcsec == pytest.approx(0.1)
        assert one.geometry.shutter_scale == pytest.approx(0.2)
        assert one.dq[3, 5] == one.dq_bits["msa_failed_open"]
        np.testing.assert_allclose(one.error, 3.0)
        assert (one.bar[5, 0], one.bar[6, 0], one.pathloss_ps[0, 0], one.pathloss_un[0, 0]) == (0.5, 1.0, 0.25, 0.5)


def test_source_shutter_and_exposure_are_those_of_the_file():
    one = read_slitlets(MULTI)[0]
    assert (one.source.source_id, one.source.name, one.source.kind) == (77, "9999_77", "POINT")
    assert (one.source.ra, one.source.x_position, one.source.y_position) == (150.0, 0.2, -0.1)
    assert (one.place.quadrant, one.place.column, one.place.row, one.place.shutter_state) == (3, 365, 40, "1x1")
    assert (one.place.x0, one.place.y0, one.place.y_min, one.place.y_max) == (400, 100, -2.2, 2.2)
    assert (one.exposure.exposure_id, one.exposure.grating) == ("jw09999001001_02101_00002_nrs1", "PRISM")
    assert (one.exposure.exptime, one.exposure.y_offset, one.exposure.position_number) == (500.0, 0.5, 2)
    assert one.pixel_area_sr == 5e-13
    assert len(one.sha256) == 64


def test_slits_of_sky_are_told_from_those_with_a_source():
    assert [one.is_background for one in read_slitlets(MULTI)] == [False, True, False]


@pytest.mark.parametrize(
    ("cards", "is_background"),
    [
        ({"SRCRA": 0.0, "SRCDEC": 0.0}, True),
        ({"SRCRA": 0.0, "SRCDEC": 12.0}, False),
        ({"SRCNAME": "9999_BKG3"}, True),
        ({"SRCNAME": "background_3"}, True),
        ({"SRCNAME": "behind_BKG3x"}, False),
    ],
)
def test_a_slit_holds_sky_when_its_source_is_nowhere_or_is_called_so(change, cards, is_background):
    path = change(lambda hdus: hdus["SCI", 1].header.update(cards))
    assert read_slitlets(path)[0].is_background == is_background


def test_one_slit_is_named_by_slit_source_or_number():
    assert [read_slitlet(MULTI, slit=slit).place.slit_name for slit in ("13", "9999_78", 78)] == ["13"] * 3
    with pytest.raises(InvalidInputError, match=r"slit: None is needed.*'11', '12', '13'"):
        read_slitlet(MULTI)
    with pytest.raises(InvalidInputError, match="slit: '14' is not there"):
        read_slitlet(MULTI, slit="14")


def test_fixed_slits_have_no_bars_and_say_which_flats_were_used():
    slitlets = read_slitlets(FIXED)
    assert [one.place.slit_name for one in slitlets] == ["S200A1", "S400A1"]
    for one in slitlets:
        assert one.is_fixed_slit
        assert not one.is_background
        assert one.bar is None
        assert one.has_extended_calibration
        assert dict(one.exposure.flats) == {"fflat": "jwst_nirspec_fflat_0001_ext.fits"}
        assert one.exposure.aperture == "NRS_S200A1_SLIT"


def test_the_real_slitlets_are_read(shared_data):
    files = sorted((shared_data / "spectra/nirspec").glob("*_phot.*.fits"))
    slitlets = [read_slitlet(path) for path in files]
    assert [one.exposure.position_number for one in slitlets] == [1, 2, 3]
    assert [one.place.shutter_state for one in slitlets] == ["1x1", "x11", "11x"]
    assert {one.source.name for one in slitlets} == {"1345_933"}
    assert not any(one.is_background or one.is_fixed_slit or one.has_extended_calibration for one in slitlets)
    for one, path in zip(slitlets, files, strict=True):
        error = fits.getdata(path, "ERR")
        known = np.isfinite(error) & (error > 0) & np.isfinite(one.error)
        # ERR is the sum of all variances, which the pipeline rounded to float32 one by one.
        np.testing.assert_allclose(one.error[known], error[known], rtol=1e-5)


class TestBadFiles:
    """Every failure names the file and what is wrong."""

    @pytest.mark.parametrize("name", ["SCI", "DQ", "WAVELENGTH", "VAR_RNOISE", "VAR_POISSON", "ASDF"])
    def test_a_missing_extension_is_an_error(self, change, name):
        def edit(hdus):
            for hdu in [hdu for hdu in hdus if hdu.name == name]:
                hdus.remove(hdu)

        with pytest.raises(FormatError, match=rf"changed_cal.fits.*{name}.*missing"):
            read_slitlets(change(edit))

    def test_a_missing_bar_shadow_means_that_none_was_corrected(self, change):
        def edit(hdus):
            for hdu in [hdu for hdu in hdus if hdu.name == "BARSHADOW"]:
                hdus.remove(hdu)

        assert [one.bar for one in read_slitlets(change(edit))] == [None] * 3

    def test_a_missing_bar_shadow_of_a_finished_step_is_an_error(self, shared_data, tmp_path):
        path = next((shared_data / "spectra/nirspec").glob("*_phot.*.fits"))
        with fits.open(path, memmap=False) as hdus:
            del hdus["BARSHADOW"]
            hdus.writeto(tmp_path / "a_phot.fits")
            hdus[0].header["S_BARSHA"] = "COMPLETE"
            hdus.writeto(tmp_path / "b_phot.fits")
        assert read_slitlet(tmp_path / "a_phot.fits").bar is None
        with pytest.raises(FormatError, match="BARSHADOW is missing"):
            read_slitlet(tmp_path / "b_phot.fits")

    @pytest.mark.parametrize("key", ["INSTRUME", "TELESCOP"])
    def test_another_instrument_is_an_error(self, change, key):
        with pytest.raises(InvalidInputError, match="must be JWST NIRSPEC"):
            read_slitlets(change(lambda hdus: hdus[0].header.update({key: "MIRI"})))

    def test_no_exposure_time_and_no_pixel_area_are_errors(self, change):
        with pytest.raises(InvalidInputError, match="exptime: nan"):
            read_slitlets(change(lambda hdus: [hdus[0].header.remove(k, ignore_missing=True) for k in ("EFFEXPTM",)]))
        with pytest.raises(InvalidInputError, match="pixel_area_sr: nan"):
            read_slitlets(change(lambda hdus: hdus["SCI", 1].header.remove("PIXAR_SR")))

    def test_arrays_of_other_shapes_are_an_error(self, change):
        def edit(hdus):
            hdus["DQ", 2].data = hdus["DQ", 2].data[:, :-1]

        with pytest.raises(FormatError, match=r"DQ,2 has shape \(20, 47\)"):
            read_slitlets(change(edit))

    def test_wavelengths_without_a_number_are_an_error(self, change):
        def edit(hdus):
            hdus["WAVELENGTH", 3].data[:] = np.nan

        with pytest.raises(FormatError, match="slit 13: WAVELENGTH holds no number"):
            read_slitlets(change(edit))

    @pytest.mark.parametrize("kept", [0.1, 0.5, 0.97])
    def test_a_truncated_file_is_an_error(self, tmp_path, kept):
        content = gzip.decompress(MULTI.read_bytes())
        path = tmp_path / "cut_cal.fits"
        path.write_bytes(content[: int(len(content) * kept)])
        with pytest.raises(FormatError, match=r"cut_cal.fits"):
            read_slitlets(path)

    def test_a_missing_file_is_an_error(self, tmp_path):
        with pytest.raises(NotFoundError, match=r"none.fits: no such file"):
            read_slitlets(tmp_path / "none.fits")

    @pytest.mark.parametrize(
        ("tree", "word"),
        [
            ({"meta": {"wcs": {"a": 1}}}, "no gwcs"),
            ({"meta": {}}, "NoneType, no gwcs"),
            ({}, "no gwcs"),
            ({"slits": []}, "it holds 0 slits"),
            ({"slits": [3]}, r"slits\[0\] is int"),
        ],
    )
    def test_an_object_that_is_no_wcs_is_an_error(self, change, tree, word):
        content = io.BytesIO()
        asdf.AsdfFile(tree).write_to(content)

        def edit(hdus):
            data = np.frombuffer(content.getvalue(), np.uint8)[None]
            column = fits.Column("ASDF_METADATA", format=f"{data.size}B", array=data)
            hdus["ASDF"] = fits.BinTableHDU.from_columns([column], name="ASDF")

        with pytest.raises(FormatError, match=word):
            read_slitlets(change(edit))

    def test_a_spoiled_asdf_extension_is_an_error(self, change):
        def edit(hdus):
            hdus["ASDF"].data["ASDF_METADATA"][0][:200] = 7

        with pytest.raises(FormatError, match="extension ASDF: not a readable ASDF file"):
            read_slitlets(change(edit))


def test_geometry_of_other_shapes_and_scales_is_an_error():
    plane = np.ones((3, 4))
    values = {"wavelength": plane, "slit_y": plane, "wavelength_slope": np.ones(4)}
    scales = {"pixel_scale_arcsec": 0.1, "shutter_scale": 0.2}
    SlitGeometry(**values, **scales)
    for wrong in ({"slit_y": plane[:2]}, {"wavelength_slope": np.ones(3)}, {"shutter_scale": 0.0}):
        with pytest.raises(InvalidInputError, match=next(iter(wrong))):
            SlitGeometry(**(values | scales | wrong))
