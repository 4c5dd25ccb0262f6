"""Fitted profiles on the sky."""

import numpy as np
import pytest

from skymere.photometry import forced_photometry
from skymere.profiles import FitParams, fit_sersic, profiles_on_sky, render_sersic
from skymere.segmentation import MeasureImage
from skymere.wcs import Grid

SHAPE = (61, 65)
y, x = np.mgrid[-12:13, -12:13]
PSF = np.exp(-(x**2 + y**2) / 4.5) / (4.5 * np.pi)


def test_angles_sizes_and_units_are_those_of_the_sky() -> None:
    grid = Grid.tangent(150.0, 60.0, shape=SHAPE, scale_arcsec=0.2, rotation_deg=40.0)
    image = render_sersic(SHAPE, x=32.3, y=30.1, flux=100.0, re=5.0, n=2.0, q=0.5, pa=25.0, psf=PSF)
    table = fit_sersic(image, 0.01, psf=PSF)
    sky = profiles_on_sky(table, grid, zero_point_ab=26.4, noise_factor=1.5).row(0, named=True)
    assert sky["r_eff"] == pytest.approx(1.0, rel=1e-3)
    # Counter-clockwise from +y, which points 40 degrees east of north.
    assert sky["pa_sky"] == pytest.approx(65.0, abs=0.05)
    assert sky["ellipticity"] == pytest.approx(0.5, abs=1e-3)
    assert sky["flux"] == pytest.approx(100.0 * 10 ** (-0.4 * (26.4 - 23.9)), rel=1e-3)
    before = table.row(0, named=True)
    assert sky["r_eff_err"] == pytest.approx(1.5 * 0.2 * before["r_eff_pix_err"], rel=1e-3)
    assert sky["pa_sky_err"] == pytest.approx(1.5 * before["pa_err"], rel=1e-3)
    assert sky["ellipticity_err"] == pytest.approx(1.5 * before["ellipticity_err"], rel=1e-3)
    assert sky["flux_err"] == pytest.approx(1.5 * before["flux_err"] * 0.1, rel=1e-6)
    assert sky["chi2"] == before["chi2"]
    ra, dec = (float(v[0]) for v in grid.sky(np.array([before["x"]]), np.array([before["y"]])))
    assert (sky["ra"], sky["dec"]) == pytest.approx((ra, dec), abs=1e-10)


def test_the_same_image_measured_with_them_gives_the_same_flux() -> None:
    grid = Grid.tangent(150.0, -30.0, shape=SHAPE, scale_arcsec=0.1, rotation_deg=-70.0)
    image = render_sersic(SHAPE, x=31.7, y=29.6, flux=50.0, re=4.0, n=1.2, q=0.4, pa=-60.0, psf=PSF)
    table = fit_sersic(image, 0.01, psf=PSF)
    models = profiles_on_sky(table, grid).with_row_index("source_id", offset=1)
    seen = MeasureImage(data=image, error=0.01, grid=grid)
    found = forced_photometry(seen, models=models, psf=PSF).table
    assert found["flux"][0] == pytest.approx(table["flux"][0], rel=2e-3)
    assert np.abs(forced_photometry(seen, models=models, psf=PSF).residual).max() < 0.02


def test_rows_without_a_place_stay_rows() -> None:
    grid = Grid.tangent(150.0, 60.0, shape=SHAPE, scale_arcsec=0.2)
    image = np.stack([np.full(SHAPE, np.nan), render_sersic(SHAPE, x=32, y=30, flux=100.0, re=5.0, n=2.0, psf=PSF)])
    found = profiles_on_sky(fit_sersic(image, 0.01, psf=PSF), grid)
    assert found["status"].to_list() == ["failed", "ok"]
    assert np.isnan(found["ra"][0])
    assert found["r_eff"][1] == pytest.approx(1.0, rel=1e-3)


def test_what_is_at_a_bound_has_no_error_on_the_sky() -> None:
    grid = Grid.tangent(10.0, 2.0, shape=(61, 61), scale_arcsec=0.1, rotation_deg=20.0)
    image = render_sersic((61, 61), x=30.0, y=30.0, flux=20.0, re=9.0, n=1.0, q=0.6, psf=PSF)
    image = image + np.random.default_rng(5).normal(0.0, 0.01, image.shape)
    found = profiles_on_sky(fit_sersic(image, 0.01, psf=PSF, params=FitParams(r_eff_pix=(0.5, 5.0))), grid)
    assert found["bounds_hit"].to_list() == [["r_eff_pix"]]
    assert np.isnan(found["r_eff_err"][0])
    assert found["ellipticity_err"][0] > 1e-4
