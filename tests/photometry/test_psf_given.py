"""PSFs as they are given: off their middle, of even sides, sums of Gaussians."""

import numpy as np
import polars as pl
import pytest

from skymere.errors import InvalidInputError
from skymere.photometry import PhotometryParams, forced_photometry
from skymere.psf import GaussianMixturePsf, GaussianPsf, Psf
from skymere.segmentation import MeasureImage
from skymere.wcs import Grid

PARAMS = PhotometryParams(background_degree=-1)


def gaussian(side: int, x: float, y: float, sigma: float = 1.6) -> np.ndarray:
    yy, xx = np.indices((side, side))
    return np.exp(-((xx - x) ** 2 + (yy - y) ** 2) / 2 / sigma**2) / (2 * np.pi * sigma**2)


@pytest.fixture(scope="module")
def star():
    grid = Grid.tangent(150.0, 2.0, shape=(61, 61), scale_arcsec=0.6)
    ra, dec = grid.sky(np.array([30.3]), np.array([29.6]))
    models = pl.DataFrame({"source_id": [1], "ra": ra, "dec": dec, "kind": ["point"]})
    return MeasureImage(data=300 * gaussian(61, 30.3, 29.6), error=1.0, grid=grid), models


@pytest.mark.parametrize("off", [(0.0, 0.0), (0.1, -0.2), (0.35, 0.3)])
def test_a_psf_off_its_middle_is_moved_there_and_that_is_said(star, off: tuple[float, float]) -> None:
    image, models = star
    found = forced_photometry(image, models=models, psf=gaussian(41, 20 + off[0], 20 + off[1]), params=PARAMS)
    assert bool([text for text in found.warnings if "centroid" in text]) == (off != (0.0, 0.0))
    assert found.table["flux"][0] == pytest.approx(300.0, rel=2e-4)
    assert np.abs(found.residual).max() < 2e-3 * image.data.max()


def test_a_psf_beyond_repair_is_refused(star) -> None:
    image, models = star
    for psf in (gaussian(41, 20.7, 20.0), Psf(data=gaussian(41, 20.0, 20.0).astype(np.float32), x=20.0, y=19.3)):
        with pytest.raises(InvalidInputError, match="beyond repair"):
            forced_photometry(image, models=models, psf=psf, params=PARAMS)


@pytest.mark.parametrize("middle", [19.5, 20.0])
def test_both_middles_of_an_even_side_are_known(star, middle: float) -> None:
    image, models = star
    found = forced_photometry(image, models=models, psf=gaussian(40, middle, middle), params=PARAMS)
    assert found.warnings == ()
    assert found.table["flux"][0] == pytest.approx(300.0, rel=2e-4)
    assert np.abs(found.residual).max() < 2e-3 * image.data.max()


def test_a_sum_of_gaussians_is_its_parts(star) -> None:
    image, models = star
    parts = GaussianPsf(fwhm_arcsec=1.5), GaussianPsf(fwhm_arcsec=4.0, axis_ratio=0.7, pa_deg=30.0)
    mixture = GaussianMixturePsf(components=parts, fractions=(0.6, 0.4))

    def drawn(psf) -> np.ndarray:
        found = forced_photometry(image, models=models, psf=psf, params=PhotometryParams(light_in_stamp=0.999))
        stamp, y0, x0 = found.template(1)
        whole = np.zeros(image.data.shape)
        whole[y0 : y0 + stamp.shape[0], x0 : x0 + stamp.shape[1]] = stamp
        return whole

    expected = 0.6 * drawn(parts[0]) + 0.4 * drawn(parts[1])
    found = drawn(mixture)
    # Beyond the stamp of the narrow part there is less than a thousandth of its light.
    assert np.abs(found - expected).max() < 3e-4 * expected.max()
    assert found.sum() == pytest.approx(1.0, abs=2e-3)
