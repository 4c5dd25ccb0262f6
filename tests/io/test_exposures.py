"""Reading exposures: what comes in, and what a damaged file says."""

import gzip
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from skymere.errors import FormatError, InvalidInputError, NotFoundError, StorageError
from skymere.io import exposure_id, file_digest, read_exposure
from skymere.testing import CameraParams, Pointing, SceneParams, draw_scene, render_exposure
from skymere.testing.exposures import write_exposure

CAMERA = CameraParams(shape=(96, 100), n_bad_pixels=50, n_dead_pixels=5, n_cosmic_rays=5)
POINTING = Pointing(name="sim00000q", band="f125w", ra=10.0, dec=-5.0, pa_deg=20.0)


@pytest.fixture
def flt(tmp_path: Path) -> Path:
    scene = draw_scene(10.0, -5.0, params=SceneParams(n_galaxies=5, n_stars=2, radius_arcsec=5.0))
    path = tmp_path / "sim00000q_f125w_flt.fits"
    write_exposure(render_exposure(scene, POINTING, params=CAMERA), POINTING, path, params=CAMERA)
    return path


def edit(path: Path, change) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with fits.open(path, memmap=False) as hdus:
            change(hdus)
            hdus.writeto(path, overwrite=True)


def test_an_exposure_has_its_pixels_bits_units_time_and_wcs(flt: Path) -> None:
    before = flt.read_bytes()
    exposure = read_exposure(flt)
    assert exposure.exposure_id == "sim00000q_f125w"
    assert (exposure.band, exposure.unit, exposure.exptime) == ("f125w", "electron / s", 800.0)
    assert exposure.data.dtype == np.float32
    assert exposure.dq_bits["hot"] == 16
    assert exposure.mask().sum() == 50
    assert exposure.mask(ignore=("hot", "dead", "unstable")).sum() == 0
    assert exposure.zero_point_ab == pytest.approx(26.230, abs=1e-3)
    assert exposure.wcs.sip is not None
    assert exposure.sha256 == file_digest(flt)
    assert flt.read_bytes() == before


def test_counts_become_rates(flt: Path) -> None:
    rates = read_exposure(flt)

    def to_counts(hdus: fits.HDUList) -> None:
        hdus["SCI"].data = hdus["SCI"].data * 800.0
        hdus["ERR"].data = hdus["ERR"].data * 800.0
        hdus["SCI"].header["BUNIT"] = "ELECTRONS"

    edit(flt, to_counts)
    np.testing.assert_allclose(read_exposure(flt).data, rates.data, rtol=1e-6)


def test_plain_and_gzipped_files_are_read(flt: Path, tmp_path: Path) -> None:
    expected = read_exposure(flt)
    plain = tmp_path / "plain_flt.fits"
    with fits.open(flt) as hdus:
        images = [fits.ImageHDU(h.data, name=h.name) for h in hdus[1:]]
        for image, hdu in zip(images, hdus[1:], strict=True):
            image.header.extend(hdu.header, unique=True, strip=True)
        fits.HDUList([fits.PrimaryHDU(header=hdus[0].header), *images]).writeto(plain)
    zipped = tmp_path / "plain2_flt.fits.gz"
    zipped.write_bytes(gzip.compress(plain.read_bytes()))
    for path in (plain, zipped):
        np.testing.assert_array_equal(read_exposure(path).data, expected.data)
    assert exposure_id(zipped) == "plain2"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"none_flt\.fits: no such file"):
        read_exposure(tmp_path / "none_flt.fits")


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.95])
def test_a_truncated_file_is_a_format_error(flt: Path, keep: float) -> None:
    content = flt.read_bytes()
    flt.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(FormatError, match=str(flt)):
        read_exposure(flt)


def test_a_file_that_is_not_fits_is_a_format_error(tmp_path: Path) -> None:
    path = tmp_path / "text_flt.fits"
    path.write_text("not an image")
    with pytest.raises(FormatError, match=str(path)):
        read_exposure(path)


@pytest.mark.parametrize("name", ["SCI", "ERR", "DQ"])
def test_a_missing_extension_is_named_with_those_present(flt: Path, name: str) -> None:
    edit(flt, lambda hdus: hdus.pop(hdus.index_of(name)))
    with pytest.raises(FormatError, match=f"no {name} extension; it has"):
        read_exposure(flt)


def test_an_exposure_without_wcs_is_refused(flt: Path) -> None:
    def strip(hdus: fits.HDUList) -> None:
        for key in list(hdus["SCI"].header):
            if key.startswith(("CTYPE", "CRVAL", "CRPIX", "CD", "A_", "B_", "WCSAXES", "LONPOLE", "LATPOLE", "CUNIT")):
                del hdus["SCI"].header[key]

    edit(flt, strip)
    with pytest.raises(InvalidInputError, match="no celestial WCS"):
        read_exposure(flt)


@pytest.mark.parametrize(
    ("hdu", "key", "value", "message"),
    [
        (0, "EXPTIME", 0.0, "EXPTIME 0.0 is not allowed"),
        (0, "DETECTOR", "XYZ", "HST WFC3 XYZ is not known"),
        ("SCI", "BUNIT", "JY", "BUNIT 'JY' is not allowed"),
        ("SCI", "CD1_1", 0.0, None),
    ],
)
def test_a_wrong_keyword_is_named_with_its_value(
    flt: Path, hdu: int | str, key: str, value: object, message: str | None
) -> None:
    def change(hdus: fits.HDUList) -> None:
        hdus[hdu].header[key] = value
        if message is None:
            hdus[hdu].header["CD2_1"] = 0.0

    edit(flt, change)
    with pytest.raises(InvalidInputError, match=message or "singular|WCS"):
        read_exposure(flt)


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises((NotFoundError, StorageError)):
        file_digest(tmp_path)


def test_real_exposures_are_read_with_their_units(shared_data: Path) -> None:
    folder = shared_data / "imaging" / "wfc3ir_ers" / "semireal"
    exposures = [read_exposure(path) for path in sorted(folder.glob("*_flt.fits"))]
    assert len(exposures) == 10
    assert {e.band for e in exposures} == {"f140w", "f125w"}
    f140w = next(e for e in exposures if e.band == "f140w")
    assert f140w.exptime == pytest.approx(202.932922)
    assert f140w.read_noise == 20.0
    assert f140w.zero_point_ab == pytest.approx(26.4507, abs=1e-3)
