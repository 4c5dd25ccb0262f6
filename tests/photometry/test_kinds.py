"""Profiles that have no Sersic index of their own: Moffat's, with its exponent, and de Vaucouleurs'."""

import numpy as np
import polars as pl
import pytest

from skymere.photometry import PhotometryParams, ShiftParams, forced_photometry
from skymere.segmentation import MeasureImage

from . import scenes


@pytest.fixture(scope="module")
def field():
    """Four sources far from each other on rotated pixels."""
    grid = scenes.make_grid("rotated", 160)
    ra, dec = grid.sky(np.array([40.3, 118.6, 41.0, 119.2]), np.array([41.8, 40.1, 117.5, 119.0]))
    models = pl.DataFrame(
        {
            "source_id": [1, 2, 3, 4],
            "ra": ra,
            "dec": dec,
            "kind": ["moffat", "moffat", "de_vaucouleurs", "sersic"],
            "r_eff": [1.2, 0.5, 0.8, 0.9],
            "sersic_index": [None, None, None, 1.0],
            "moffat_beta": [2.5, 4.5, None, None],
            "ellipticity": [0.4, 0.1, 0.3, 0.5],
            "pa_sky": [20.0, 110.0, 65.0, 150.0],
        }
    )
    flux = np.array([900.0, 500.0, 700.0, 300.0])
    light = scenes.psf_of("rotated")
    truth = scenes.draw_truth(grid, models, flux, light, (0.0, 0.0))
    psf = light.drawImage(nx=81, ny=81, scale=1.0, method="no_pixel", dtype=float).array
    return MeasureImage(data=truth, error=1.0, grid=grid), models, psf, flux


def test_templates_are_what_galsim_draws(field) -> None:
    image, models, psf, flux = field
    params = PhotometryParams(shift=ShiftParams(method="joint"), light_in_stamp=0.998, max_stamp_pix=70)
    found = forced_photometry(image, models=models, psf=psf, params=params)
    ratio = found.table["flux"].to_numpy() / flux
    off = np.abs(found.residual).max() / image.data.max()
    print(f"flux over truth {ratio}, residual {off:.1e} of the peak, shift {found.shift.arcsec}")
    assert found.table["status"].to_list() == ["ok"] * 4
    # GalSim's settings fold 2e-3 of the light.
    np.testing.assert_allclose(ratio, 1.0, atol=3e-3)
    assert off < 2e-3
    assert np.abs(found.shift.arcsec).max() < 0.003 * 0.6


def test_an_exponent_may_be_named_as_fits_name_it_and_matters(field) -> None:
    image, models, psf, _ = field
    table = forced_photometry(image, models=models, psf=psf).table
    renamed = models.rename({"moffat_beta": "beta"})
    assert forced_photometry(image, models=renamed, psf=psf).table.equals(table)
    both = models.with_columns(beta=pl.lit(9.0))
    assert forced_photometry(image, models=both, psf=psf).table.equals(table)
    other = forced_photometry(image, models=models.with_columns(moffat_beta=pl.lit(9.0)), psf=psf).table
    change = other["flux"].to_numpy() / table["flux"].to_numpy() - 1
    # Only Moffat profiles have it; without wings they hold less light.
    assert change[0] < -0.02
    np.testing.assert_allclose(change[2:], 0.0, atol=5e-3)


def test_errors_of_an_exponent_are_those_of_other_exponents(field) -> None:
    image, models, psf, _ = field
    error = 0.2
    params = PhotometryParams(has_shape_errors=True)
    known = models.with_columns(moffat_beta_err=pl.Series([error, None, None, None]))
    found = forced_photometry(image, models=known, psf=psf, params=params).table
    sides = [
        forced_photometry(
            image, models=models.with_columns(moffat_beta=pl.Series([2.5 + step, 4.5, None, None])), psf=psf
        ).table["flux"][0]
        for step in (-error / 4, error / 4)
    ]
    # The slope of the flux by the exponent, which changes by a tenth within the error.
    assert found["err_shape"][0] == pytest.approx(2 * abs(sides[1] - sides[0]), rel=0.1)
    chain = {1: pl.DataFrame({"beta": [2.3, 2.5, 2.7]})}
    scatter = forced_photometry(image, models=models, psf=psf, alternatives=chain).table["err_shape"][0]
    assert scatter == pytest.approx(found["err_shape"][0], rel=0.2)


def test_exponents_that_cannot_be_drawn_are_rejected_rows(field) -> None:
    image, models, psf, _ = field
    wrong = models.with_columns(moffat_beta=pl.Series([1.0, 4.5, None, None]))
    table = forced_photometry(image, models=wrong, psf=psf).table
    assert table["status"].to_list() == ["rejected", "ok", "ok", "ok"]
    assert "moffat_beta: 1.0" in table["message"][0]
    without = forced_photometry(image, models=models.drop("moffat_beta"), psf=psf).table
    assert without["status"].to_list() == ["rejected", "rejected", "ok", "ok"]
    assert "moffat_beta: nan" in without["message"][1]
