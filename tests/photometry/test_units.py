"""Images of any unit, and errors that the user gives."""

import numpy as np
import pytest

from skymere.datamodels import Mosaic
from skymere.errors import InvalidInputError
from skymere.photometry import NoiseParams, PhotometryParams, ShiftParams, forced_photometry
from skymere.segmentation import MeasureImage

from . import scenes

PARAMS = PhotometryParams(
    shift=ShiftParams(method="joint"), noise=NoiseParams(n_positions=12), has_shape_errors=True, unmodelled_sigma=8.0
)


@pytest.fixture(scope="module")
def scene():
    return scenes.make_scene("plain", n=20, side=140, seed=8, faint=20.0)


@pytest.mark.parametrize("unit", [1e-20, 3e-19, 1e15])
def test_numbers_in_other_units_are_the_same(scene, unit: float) -> None:
    data = scene.truth + 2.0 + np.random.default_rng(1).normal(size=scene.truth.shape)
    plain, other = (
        forced_photometry(
            MeasureImage(data=data * factor, error=factor, grid=scene.grid),
            models=scene.models.with_columns(r_eff_err=0.05),
            psf=scene.psf,
            params=PARAMS,
        )
        for factor in (1.0, unit)
    )
    assert other.table["status"].equals(plain.table["status"])
    # Data are float32: rounding differs by 6e-8 of a pixel, 1000 at most.
    for name in ("flux", "flux_err", "err_formal", "err_sim", "err_shape", "background"):
        values = other.table[name].cast(float).to_numpy() / unit
        np.testing.assert_allclose(values, plain.table[name].cast(float), rtol=2e-4, atol=1e-3)
    for name in ("chi2", "dipole", "x", "light_seen"):
        np.testing.assert_allclose(other.table[name], plain.table[name], rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(other.residual / unit, plain.residual, atol=2e-3)
    np.testing.assert_allclose(other.background / unit, plain.background, rtol=1e-4)
    np.testing.assert_allclose(other.background_covariance / unit**2, plain.background_covariance, rtol=1e-4)
    np.testing.assert_allclose(other.covariance.covariance / unit**2, plain.covariance.covariance, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(other.flux_mc / unit, plain.flux_mc, atol=2e-2)
    assert other.shift.arcsec == pytest.approx(plain.shift.arcsec, abs=1e-5)
    source_id = int(scene.models["source_id"][2])
    alone = [one.without_others(source_id)[0] for one in (plain, other)]
    np.testing.assert_allclose(alone[1] / unit, alone[0], atol=2e-3)
    difference = np.random.default_rng(2).normal(size=plain.table.height)
    assert other.chi2_of(difference * unit) == pytest.approx(plain.chi2_of(difference), rel=1e-3)


def test_a_mosaic_of_small_numbers_is_the_image_that_it_holds(scene) -> None:
    data = scene.truth + np.random.default_rng(1).normal(size=scene.truth.shape)
    shape = scene.truth.shape
    found = [
        forced_photometry(
            Mosaic(
                band="r",
                grid=scene.grid,
                data=(data * unit).astype(np.float32),
                weight=np.ones(shape, np.float32),
                variance=np.full(shape, unit**2, np.float32),
                context=np.ones((1, *shape), np.int32),
                exposure_ids=("a",),
            ),
            models=scene.models,
            psf=scene.psf,
        ).table
        for unit in (1.0, 1e-18)
    ]
    np.testing.assert_allclose(found[1]["flux"] * 1e18, found[0]["flux"], rtol=1e-4)
    np.testing.assert_allclose(found[1]["flux_err"] * 1e18, found[0]["flux_err"], rtol=1e-4)


def test_an_rms_of_the_user_stands_for_the_errors(scene) -> None:
    data = scene.truth + np.random.default_rng(1).normal(size=scene.truth.shape)
    params = PhotometryParams(noise_rms=2.5)
    varied = np.random.default_rng(2).uniform(0.5, 2.0, scene.truth.shape)
    given = MeasureImage(data=data, error=varied, grid=scene.grid)
    without = MeasureImage(data=data, grid=scene.grid)
    expected = forced_photometry(
        MeasureImage(data=data, error=2.5, grid=scene.grid), models=scene.models, psf=scene.psf
    ).table
    for image in (given, without):
        found = forced_photometry(image, models=scene.models, psf=scene.psf, params=params).table
        np.testing.assert_allclose(found["flux"], expected["flux"], rtol=1e-6)
        np.testing.assert_allclose(found["flux_err"], expected["flux_err"], rtol=1e-6)
    with pytest.raises(InvalidInputError, match="noise_rms: 0"):
        PhotometryParams(noise_rms=0.0)
