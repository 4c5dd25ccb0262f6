"""Combined spectra from files of skymere and of msaexp."""

import numpy as np
import polars as pl
import pytest
from astropy.io import fits

from skymere.errors import FormatError, InvalidInputError, NotFoundError
from skymere.io import read_dispersion, read_spectrum, write_extensions


def _write(path, *, n=50, units=None, covariance=None, name="SPEC1D", **columns):
    wave = np.linspace(1.0, 2.0, n)
    table = {"wave": wave, "flux": np.full(n, 2.0), "err": np.full(n, 0.5)} | columns
    extensions = {name: pl.DataFrame(table)}
    if covariance is not None:
        extensions["COVAR"] = covariance
    cards = (("SRCNAME", "77_8", ""), ("GRATING", "PRISM", ""))
    write_extensions(extensions, path, cards=cards, units=units or {"wave": "um", "flux": "uJy", "err": "uJy"})
    return path


def test_a_spectrum_comes_back_with_its_covariance_names_and_holes(tmp_path):
    flux = np.full(50, 2.0)
    flux[7] = np.nan
    covariance = np.zeros((50, 3))
    covariance[:, 0], covariance[:, 1] = 0.3, 0.1
    resolution = pl.DataFrame({"wavelength": [0.5, 2.5], "resolution": [100.0, 300.0]})
    found = read_spectrum(_write(tmp_path / "a.spec.fits", flux=flux, covariance=covariance), resolution=resolution)
    np.testing.assert_array_equal(found.covariance, covariance)
    np.testing.assert_allclose(found.err, np.sqrt(0.3))
    np.testing.assert_allclose(found.resolution, 100 + 100 * (found.wave - 0.5))
    assert (found.source_id, found.grating) == ("77_8", "PRISM")
    assert found.is_valid.sum() == 49


def test_other_units_are_converted(tmp_path):
    path = _write(tmp_path / "a.fits", units={"wave": "Angstrom", "flux": "mJy", "err": "nJy"})
    found = read_spectrum(path)
    np.testing.assert_allclose(found.wave, np.linspace(1.0, 2.0, 50) * 1e-4)
    assert found.flux[0] == pytest.approx(2000.0)
    assert found.err[0] == pytest.approx(0.5e-3)


def test_what_is_no_spectrum_is_named(tmp_path):
    good = _write(tmp_path / "good.fits")
    for error, words, call in (
        (NotFoundError, "none", lambda: read_spectrum(tmp_path / "none.fits")),
        (FormatError, "no table SPEC1D", lambda: read_spectrum(_write(tmp_path / "b.fits", name="OTHER"))),
        (FormatError, "unit 's' of flux", lambda: read_spectrum(_write(tmp_path / "c.fits", units={"flux": "s"}))),
        (
            FormatError,
            "COVAR of shape",
            lambda: read_spectrum(_write(tmp_path / "d.fits", covariance=np.ones((3, 2)))),
        ),
        (FormatError, "wave: ", lambda: read_spectrum(_write(tmp_path / "e.fits", wave=np.ones(50)))),
        (
            InvalidInputError,
            "resolution: columns",
            lambda: read_spectrum(good, resolution=pl.DataFrame({"wavelength": [1.0]})),
        ),
    ):
        with pytest.raises(error, match=words):
            call()
    path = tmp_path / "f.fits"
    table = fits.BinTableHDU.from_columns([fits.Column("wave", "D", array=np.arange(3.0))], name="SPEC1D")
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(path)
    with pytest.raises(FormatError, match="SPEC1D has no flux, err"):
        read_spectrum(path)


def test_a_spectrum_of_msaexp_is_read(shared_data):
    folder = shared_data / "spectra" / "nirspec"
    if not folder.is_dir():
        pytest.skip(f"spectra are not in {folder}")
    dispersion = read_dispersion(folder / "calib" / "jwst_nirspec_prism_disp.fits")
    path = folder / "static-test-driz-center-bkg_933.spec.fits"
    found = read_spectrum(path, resolution=dispersion)
    table = fits.getdata(path, "SPEC1D")
    np.testing.assert_array_equal(found.flux, table["flux"])
    assert (found.source_id, found.grating, found.covariance) == ("1345_933", "PRISM", None)
    assert found.is_valid.sum() == (table["err"] > 0).sum() == 330
    assert 30 < found.resolution.min() < found.resolution.max() < 400
