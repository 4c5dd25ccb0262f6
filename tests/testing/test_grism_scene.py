"""Simulated exposures of a grism: light, places and noise are what was asked for."""

import numpy as np
import polars as pl
import pytest

from skymere.datamodels import GrismConfig, GrismOrder
from skymere.errors import InvalidInputError
from skymere.testing import GrismSceneParams, simulate_grism

WAVE = np.linspace(1.0, 1.6, 6001)


@pytest.fixture(scope="module")
def config() -> GrismConfig:
    wave = np.linspace(10000.0, 16000.0, 7)
    order = GrismOrder(
        name="A",
        form="polynomial",
        terms={
            "reference": [0.0, 0.0],
            "x_offset": [0.0],
            "y_offset": [0.0],
            "dydx": [[2.25]],
            "dldp": [[10000.0], [50.0]],
            "degree": 0,
            "wheel": None,
        },
        first=0,
        end=121,
        wavelength=wave,
        sensitivity=np.full(7, 1e15),
    )
    return GrismConfig(name="straight", orders={"A": order})


@pytest.fixture(scope="module")
def star() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "id": [4],
            "x": [50.3],
            "y": [41.6],
            "flux": [30.0],
            "radius_pix": [0.0],
            "sersic_n": [1.0],
            "q": [1.0],
            "pa_deg": [0.0],
        }
    )


def test_a_narrow_line_falls_where_its_wavelength_says_and_has_its_light(config, star):
    line = np.where(np.abs(WAVE - 1.3) < 2e-4, 1.0, 0.0)
    flux = 1e-16 * line / np.trapezoid(line, WAVE * 1e4)
    scene = simulate_grism(star, {4: (WAVE, flux)}, config, params=GrismSceneParams(shape=(90, 240)))
    truth = scene.truth[4]
    y, x = np.indices(truth.shape)
    # 1e-16 erg/s/cm2 times 1e15; the PSF loses 1 % beyond 24 pixels at most.
    assert truth.sum() == pytest.approx(0.1, rel=0.01)
    assert (truth * x).sum() / truth.sum() == pytest.approx(50.3 + 60.0, abs=0.02)
    assert (truth * y).sum() / truth.sum() == pytest.approx(41.6 + 2.25, abs=0.02)
    direct = scene.direct.astype(float)
    assert direct.sum() == pytest.approx(30.0, rel=0.01)
    assert (direct * x).sum() / direct.sum() == pytest.approx(50.3, abs=0.02)


def test_noise_is_that_of_its_errors(config, star):
    flux = np.full(WAVE.size, 1e-17)
    scene = simulate_grism(star, {4: (WAVE, flux)}, config, params=GrismSceneParams(shape=(90, 240)), seed=7)
    pull = (scene.sci - scene.truth[4]) / scene.err
    # 21600 pixels: the scatter of the mean is 0.007, that of sigma 0.005.
    assert abs(pull.mean()) < 0.03
    assert pull.std() == pytest.approx(1.0, abs=0.02)


def test_bad_input_is_named(config, star):
    with pytest.raises(InvalidInputError, match="radius_pix"):
        simulate_grism(star.drop("radius_pix"), {}, config)
    with pytest.raises(InvalidInputError, match="spectra"):
        simulate_grism(star, {}, config)
    with pytest.raises(InvalidInputError, match="oversampling"):
        GrismSceneParams(oversampling=2)
    scene = simulate_grism(star, {4: (WAVE, 0 * WAVE)}, config, params=GrismSceneParams(shape=(90, 120)))
    with pytest.raises(InvalidInputError, match="source_id"):
        scene.beam(4)
    with pytest.raises(InvalidInputError, match="source_id"):
        scene.beam(5)
