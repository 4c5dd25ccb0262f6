"""Files of every instrument that skymere knows, and of one that it does not."""

import warnings

import asdf
import numpy as np
import pytest
from astropy.io import fits
from astropy.io.fits.verify import VerifyWarning
from astropy.wcs import WCS

from skymere.align import LinearMap, TangentPlane, corrected_wcs
from skymere.datamodels import Exposure
from skymere.errors import FormatError, InvalidInputError, NotFoundError
from skymere.instruments import Detector, read_detectors
from skymere.io import (
    ReadParams,
    distortion_files,
    read_exposure,
    read_exposures,
    read_gwcs,
    write_with_wcs,
)
from skymere.resample import drizzle
from skymere.wcs import Grid, wcs_cards

SHAPE = (40, 50)


def write(path, primary, *, unit, chips=(None,), planes=("SCI", "ERR", "DQ"), level=100.0, **cards):
    """Write a file with one SCI, ERR and DQ for every chip: data of ``level`` plus the number of the chip."""
    hdus = [fits.PrimaryHDU()]
    hdus[0].header.update(primary)
    for version, chip in enumerate(chips, start=1):
        for name in planes:
            values = {"SCI": level + (chip or 0), "ERR": level / 10, "DQ": 0}[name]
            hdu = fits.ImageHDU(
                np.full(SHAPE, values, np.int32 if name == "DQ" else np.float32), name=name, ver=version
            )
            if name == "DQ":
                hdu.data[3, 4] = 4
            hdu.header.update(wcs_cards(Grid.tangent(10.0, 5.0 + version / 3600, shape=SHAPE, scale_arcsec=0.05).wcs))
            hdu.header["BUNIT"] = unit
            hdu.header.update({"CCDCHIP": chip} if chip else {})
            hdu.header.update(cards)
            hdus.append(hdu)
    fits.HDUList(hdus).writeto(path)
    return path


HST = {"TELESCOP": "HST", "EXPTIME": 50.0, "READNSEA": 4.0, "READNSEB": 4.2, "READNSEC": 5.0, "READNSED": 5.4}
ACS = HST | {"INSTRUME": "ACS", "FILTER1": "CLEAR1L", "FILTER2": "F814W"}
JWST = {"TELESCOP": "JWST", "XPOSURE": 100.0, "EXPTIME": 1.0}


@pytest.mark.parametrize(
    ("words", "band"),
    [
        (ACS | {"DETECTOR": "WFC"}, "f814w"),
        (HST | {"INSTRUME": "WFC3", "DETECTOR": "UVIS", "FILTER": "F275W"}, "f275w"),
    ],
)
def test_the_chips_of_a_camera_are_exposures_of_one_group(tmp_path, words, band):
    path = write(tmp_path / "jbtm01alq_flc.fits", words, unit="ELECTRONS", chips=(2, 1))
    two, one = read_exposures(path)
    assert [e.exposure_id for e in (two, one)] == ["jbtm01alq_chip2", "jbtm01alq_chip1"]
    assert two.group == one.group == "jbtm01alq"
    assert two.band == band
    assert (two.detector, one.detector) == (words["DETECTOR"] + "2", words["DETECTOR"] + "1")
    assert two.data[0, 0] == pytest.approx(102.0 / 50)
    assert one.data[0, 0] == pytest.approx(101.0 / 50)
    assert (one.read_noise, two.read_noise) == pytest.approx((4.1, 5.2))
    assert one.dq_bits["charge_trap"] == 1024
    assert one.mask().sum() == 1
    assert read_exposure(path, chip=1).exposure_id == one.exposure_id
    with pytest.raises(InvalidInputError, match=r"holds chips \[1, 2\]"):
        read_exposure(path)
    with pytest.raises(InvalidInputError, match="chip 3"):
        read_exposure(path, chip=3)


def test_one_chip_of_two_is_alone(tmp_path):
    path = write(tmp_path / "sub_flt.fits", ACS | {"DETECTOR": "WFC"}, unit="ELECTRONS", chips=(1,))
    exposure = read_exposure(path)
    assert (exposure.exposure_id, exposure.group, exposure.read_noise) == ("sub", "", pytest.approx(4.1))


def test_the_real_hrc_exposure_has_its_own_noise(shared_data):
    path = shared_data / "imaging" / "acs_hrc" / "j8bt06nyq_flt.fits"
    with pytest.raises(FormatError, match="no ERR extension"):
        read_exposure(path)
    exposure = read_exposure(path, params=ReadParams(error="model"))
    assert (exposure.instrument, exposure.detector, exposure.band) == ("ACS", "HRC", "f606w")
    assert (exposure.exptime, exposure.read_noise) == (60.0, pytest.approx(4.71))
    counts = np.maximum(exposure.data * 60.0, 0.0)
    np.testing.assert_allclose(exposure.error * 60.0, np.sqrt(counts + 4.71**2), rtol=1e-5)
    assert exposure.zero_point_ab == pytest.approx(25.976, abs=0.01)
    assert 0.001 < exposure.mask().mean() < 0.2


@pytest.mark.parametrize(
    ("words", "band", "gain"),
    [
        ({"INSTRUME": "NIRCAM", "DETECTOR": "NRCB1", "FILTER": "F150W", "PUPIL": "CLEAR"}, "f150w", 2.05),
        ({"INSTRUME": "NIRCAM", "DETECTOR": "NRCALONG", "FILTER": "F444W", "PUPIL": "F405N"}, "f405n", 1.82),
        ({"INSTRUME": "NIRISS", "DETECTOR": "NIS", "FILTER": "CLEAR", "PUPIL": "F150W"}, "f150w", 1.61),
        ({"INSTRUME": "NIRISS", "DETECTOR": "NIS", "FILTER": "F444W", "PUPIL": "CLEARP"}, "f444w", 1.61),
        ({"INSTRUME": "MIRI", "DETECTOR": "MIRIMAGE", "FILTER": "F770W"}, "f770w", 4.0),
    ],
)
def test_cal_and_rate_files_of_jwst_give_the_same_electrons_and_fluxes(tmp_path, words, band, gain):
    sky = {"PHOTMJSR": 0.5, "PIXAR_SR": 2.3e-14, "PIXAR_A2": 9.8e-4}
    cal = read_exposure(write(tmp_path / "jw_cal.fits", JWST | words, unit="MJy/sr", level=10.0, **sky))
    rate = read_exposure(write(tmp_path / "jw_rate.fits", JWST | words, unit="DN/s", level=20.0))
    assert cal.band == rate.band == band
    assert cal.exptime == 100.0
    assert cal.exposure_id == rate.exposure_id == "jw"
    np.testing.assert_allclose(cal.data, rate.data, rtol=1e-6)
    assert cal.data[0, 0] == pytest.approx(20.0 * gain)
    # 10 MJy/sr over 2.3e-14 sr.
    flux_jy = 10.0 ** (0.4 * (8.9 - cal.zero_point_ab)) * cal.data[0, 0]
    assert flux_jy == pytest.approx(10.0 * 1e6 * 2.3e-14, rel=1e-5)
    assert cal.native_scale_arcsec == pytest.approx(np.sqrt(9.8e-4))
    # JUMP_DET alone does not make a pixel bad.
    assert cal.dq[3, 4] == 4
    assert cal.mask().sum() == 0


def test_gains_noise_and_times_can_be_given(tmp_path):
    path = write(
        tmp_path / "jw_rate.fits", JWST | {"INSTRUME": "MIRI", "DETECTOR": "MIRIMAGE", "FILTER": "F770W"}, unit="DN/s"
    )
    exposure = read_exposure(path, params=ReadParams(gain=4.0, read_noise=20.0, exptime=30.0))
    assert exposure.data[0, 0] == pytest.approx(400.0)
    assert (exposure.read_noise, exposure.exptime) == (20.0, 30.0)
    for wrong in ({"gain": 0.0}, {"read_noise": -1.0}, {"exptime": float("nan")}, {"error": "guess"}):
        with pytest.raises(InvalidInputError, match=next(iter(wrong))):
            ReadParams(**wrong)


def test_a_table_changes_what_is_known_of_a_detector_and_adds_others(tmp_path):
    words = JWST | {"INSTRUME": "MIRI", "DETECTOR": "MIRIMAGE", "FILTER": "F770W"}
    path = write(tmp_path / "jw_rate.fits", words, unit="DN/s")
    table = tmp_path / "detectors.toml"
    table.write_text(
        '[[detector]]\ntelescope = "JWST"\ninstrument = "MIRI"\nname = "MIRIMAGE"\ngain = 3.5\nharmless_dq = []\n'
        '[[detector]]\ntelescope = "CTIO"\ninstrument = "DECAM"\nname = ""\nunit = "DN"\n'
    )
    changed, added = read_detectors(table)
    assert (changed.gain, changed.read_noise, changed.harmless_dq) == (3.5, 24.0, ())
    assert changed.dq_bits["jump_det"] == 4
    assert (added.instrument, added.gain) == ("DECAM", 1.0)
    exposure = read_exposure(path, params=ReadParams(detectors=(changed, added)))
    assert exposure.data[0, 0] == pytest.approx(350.0)
    # Without its harmless bits a jump makes a pixel bad.
    assert exposure.mask().sum() == 1
    for text, message in (
        ("[[detector]]\nname = 'a'\n", "missing"),
        ("[[detector]]\ntelescope = 'JWST'\ninstrument = 'MIRI'\nname = 'MIRIMAGE'\ngian = 1\n", "gian"),
        ("[[detector]]\ntelescope = 'JWST'\ninstrument = 'MIRI'\nname = 'MIRIMAGE'\ngain = -1\n", "gain: -1"),
        ("gain = 1\n", "nothing else"),
        ("[[", "not TOML"),
    ):
        table.write_text(text)
        with pytest.raises(InvalidInputError, match=message):
            read_detectors(table)
    with pytest.raises(NotFoundError, match="no such file"):
        read_detectors(tmp_path / "none.toml")


def test_read_noise_is_given_or_of_the_variances_or_nominal(tmp_path):
    words = JWST | {"INSTRUME": "MIRI", "DETECTOR": "MIRIMAGE", "FILTER": "F770W"}
    path = write(tmp_path / "jw_rate.fits", words, unit="DN/s")
    assert read_exposure(path).read_noise == 24.0
    with fits.open(path, memmap=False) as hdus:
        variance = np.full(SHAPE, 0.04, np.float32)
        variance[0] = np.nan
        hdus.append(fits.ImageHDU(variance, name="VAR_RNOISE"))
        hdus.writeto(path, overwrite=True)
    # 0.2 DN / s in 100 s at 4 electron / DN.
    assert read_exposure(path).read_noise == pytest.approx(80.0)
    assert read_exposure(path, params=ReadParams(read_noise=7.0)).read_noise == 7.0


def test_distortion_of_the_files_that_a_header_names(tmp_path):
    path = write(
        tmp_path / "a_flc.fits", ACS | {"DETECTOR": "WFC", "IDCTAB": "jref$x_idc.fits"}, unit="ELECTRONS", chips=(2, 1)
    )
    with pytest.raises(NotFoundError, match=r"x_idc\.fits: no such file, which the header names as IDCTAB"):
        read_exposures(path, params=ReadParams(distortion=tmp_path))
    (tmp_path / "x_idc.fits.gz").write_bytes(b"")
    assert distortion_files(path, tmp_path).idctab == tmp_path / "x_idc.fits.gz"
    plain = write(tmp_path / "b_flc.fits", ACS | {"DETECTOR": "WFC", "IDCTAB": "N/A"}, unit="ELECTRONS", chips=(2, 1))
    with pytest.raises(InvalidInputError, match=r"b_flc\.fits: IDCTAB: is missing"):
        distortion_files(plain, tmp_path)


def embed(path, content):
    """Put an ASDF file into the extension in which the JWST pipeline keeps it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VerifyWarning)
        with fits.open(path, memmap=False) as hdus:
            column = fits.Column("ASDF_METADATA", f"{len(content)}B", array=np.frombuffer(content, np.uint8)[None])
            hdus.append(fits.BinTableHDU.from_columns([column], name="ASDF"))
            hdus.writeto(path, overwrite=True)


NIRCAM = JWST | {"INSTRUME": "NIRCAM", "DETECTOR": "NRCB1", "FILTER": "F150W", "PUPIL": "CLEAR"}


def test_a_cal_file_is_read_with_its_gwcs_and_drizzled(tmp_path, shared_data):
    source = shared_data / "imaging" / "wcs" / "jwst_nrcb1_gwcs.asdf"
    path = write(tmp_path / "jw_cal.fits", NIRCAM, unit="MJy/sr", PHOTMJSR=0.5, PIXAR_SR=2.3e-14, PIXAR_A2=9.6e-4)
    linear = read_exposure(path)
    embed(path, source.read_bytes())
    exposure = read_exposure(path)
    expected = read_gwcs(source)
    x, y = np.array([3.0, 47.0]), np.array([2.0, 35.0])
    np.testing.assert_allclose(exposure.wcs(x, y), expected(x, y), rtol=0, atol=1e-12)
    assert abs(float(linear.wcs.pixel_to_world_values(3, 2)[0]) - expected(3, 2)[0]) > 1
    given = read_exposure(path, params=ReadParams(wcs=source))
    np.testing.assert_allclose(given.wcs(x, y), expected(x, y), rtol=0, atol=1e-12)
    grid = Grid.covering([(exposure.wcs, exposure.shape)], scale_arcsec=0.031, rotation_deg="mean")
    mosaic = drizzle([exposure], grid)
    middle = mosaic.data[mosaic.weight > 0.9 * mosaic.weight.max()]
    assert len(middle) > 1000
    assert np.median(middle) == pytest.approx(100.0 / 0.5 * 2.05, rel=0.01)


def test_a_copy_of_a_cal_file_has_another_gwcs_and_headers_that_agree_with_it(tmp_path, shared_data):
    gwcs_file = shared_data / "imaging" / "wcs" / "jwst_nrcb1_gwcs.asdf"
    path = write(tmp_path / "jw_cal.fits", NIRCAM, unit="MJy/sr", PHOTMJSR=0.5, PIXAR_SR=2.3e-14, PIXAR_A2=9.6e-4)
    with fits.open(path, mode="update") as hdus:
        header = hdus["SCI"].header
        for i in (1, 2):
            header[f"CDELT{i}"] = 1.0
            for j in (1, 2):
                header[f"PC{i}_{j}"] = header.pop(f"CD{i}_{j}")
    embed(path, gwcs_file.read_bytes())
    exposure, content = read_exposure(path), path.read_bytes()
    x, y = np.array([3.0, 20.0, 47.0]), np.array([2.0, 30.0, 35.0])
    ra, dec = exposure.wcs(20, 30)
    plane = TangentPlane(ra=float(ra), dec=float(dec))
    turn = np.deg2rad(0.01)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    linear = LinearMap(matrix=matrix, centre=np.array([0.1, 0.2]), shift=np.array([0.03, -0.02]))
    new = corrected_wcs(exposure.wcs, plane, linear)
    copy = tmp_path / "aligned_cal.fits"
    write_with_wcs(path, copy, [new], name="SKYMERE")
    assert path.read_bytes() == content
    again = read_exposure(copy)
    wanted = linear.apply(plane.of_pixels(exposure.wcs, x, y))
    assert np.abs(plane.of_pixels(again.wcs, x, y) - wanted).max() < 1e-6
    assert np.array_equal(again.wcs(x, y), new(x, y))
    np.testing.assert_array_equal(again.data, exposure.data)
    with fits.open(copy) as hdus:
        header = hdus["SCI"].header
        assert (header["WCSNAME"], header["CDELT1A"]) == ("SKYMERE", 1.0)
        fitted = WCS(header)
        at = np.array(header["CRPIX1"]) - 1.0, np.array(header["CRPIX2"]) - 1.0
        near = np.add(at[0], [-1.0, 0.0, 1.0]), np.add(at[1], [1.0, 0.0, 1.0])
        away = plane.of_pixels(fitted, *near) - plane.of_pixels(again.wcs, *near)
        assert np.abs(away).max() < 1e-5


def test_asdf_files_without_a_gwcs_are_named(tmp_path):
    path = tmp_path / "other.asdf"
    asdf.AsdfFile({"something": 1}).write_to(path)
    with pytest.raises(FormatError, match="holds no gwcs"):
        read_gwcs(path)
    path.write_bytes(b"not asdf")
    with pytest.raises(FormatError, match="not a readable ASDF file"):
        read_gwcs(path)
    with pytest.raises(NotFoundError, match="no such file"):
        read_gwcs(tmp_path / "none.asdf")


def test_a_small_table_reads_an_unknown_instrument(tmp_path):
    table = {"telescope": "CTIO", "instrument": "DECAM", "name": "N12", "gain": 4.0, "read_noise": 7.0}
    table |= {"planes": {"data": "IMAGE"}, "scale_arcsec": 0.262, "zero_point_keyword": "MAGZERO", "unit": "ADU"}
    detector = Detector.from_table(table)
    path = tmp_path / "decam.fits"
    hdu = fits.ImageHDU(np.full(SHAPE, 25.0, np.float32), name="IMAGE")
    hdu.header.update(wcs_cards(Grid.tangent(10.0, 5.0, shape=SHAPE, scale_arcsec=0.262).wcs))
    hdu.header["MAGZERO"] = 25.0
    primary = fits.PrimaryHDU()
    primary.header.update(FILTER="r", EXPTIME=10.0)
    fits.HDUList([primary, hdu]).writeto(path)
    with pytest.raises(InvalidInputError, match="none is not known"):
        read_exposure(path)
    with pytest.raises(FormatError, match="error='model'"):
        read_exposure(path, params=ReadParams(detector=detector))
    exposure = read_exposure(path, params=ReadParams(detector=detector, error="model"))
    assert isinstance(exposure, Exposure)
    assert exposure.data[0, 0] == pytest.approx(10.0)
    assert exposure.error[0, 0] == pytest.approx(np.sqrt(100.0 + 49.0) / 10.0)
    assert exposure.band == "r"
    assert exposure.native_scale_arcsec == 0.262
    # 25 ADU are 25 mag at one ADU less 2.5 log 25; the exposure says the same in electron / s.
    assert exposure.zero_point_ab - 2.5 * np.log10(10.0) == pytest.approx(25.0 - 2.5 * np.log10(25.0 / 10.0), abs=1e-6)


def test_coordinates_beside_a_file_of_two_chips_and_a_missing_time_are_named(tmp_path):
    path = write(tmp_path / "a_flc.fits", ACS | {"DETECTOR": "WFC"}, unit="ELECTRONS", chips=(2, 1))
    grid = Grid.tangent(0.0, 0.0, shape=SHAPE, scale_arcsec=1.0)
    with pytest.raises(InvalidInputError, match="2 chips"):
        read_exposures(path, params=ReadParams(wcs=grid.wcs))
    words = {key: value for key, value in (ACS | {"DETECTOR": "HRC"}).items() if key != "EXPTIME"}
    with pytest.raises(InvalidInputError, match="no exposure time"):
        read_exposure(write(tmp_path / "b_flt.fits", words, unit="ELECTRONS"))
    both = ACS | {"DETECTOR": "HRC", "FILTER1": "F606W"}
    with pytest.raises(InvalidInputError, match="no single filter"):
        read_exposure(write(tmp_path / "c_flt.fits", both, unit="ELECTRONS"))
