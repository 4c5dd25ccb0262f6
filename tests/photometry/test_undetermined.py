"""What the pixels do not tell has no error, and that is said."""

import numpy as np
import polars as pl

from skymere.photometry import PhotometryParams, ShiftParams, forced_photometry
from skymere.psf import GaussianPsf
from skymere.segmentation import MeasureImage
from skymere.wcs import Grid

PSF = GaussianPsf(fwhm_arcsec=1.8)


def test_terms_of_a_shift_field_that_one_source_does_not_tell_have_no_error() -> None:
    grid = Grid.tangent(150.0, 2.0, shape=(60, 60), scale_arcsec=0.6)
    ra, dec = grid.sky(np.array([41.3]), np.array([22.8]))
    models = pl.DataFrame({"source_id": [1], "ra": ra, "dec": dec, "kind": ["point"]})
    stamp, y0, x0 = forced_photometry(
        MeasureImage(data=np.zeros((60, 60)), error=1.0, grid=grid), models=models, psf=PSF
    ).template(1)
    data = np.random.default_rng(1).normal(size=(60, 60))
    data[y0 : y0 + stamp.shape[0], x0 : x0 + stamp.shape[1]] += 500.0 * stamp
    params = PhotometryParams(shift=ShiftParams(method="joint", degree=1))
    found = forced_photometry(MeasureImage(data=data, error=1.0, grid=grid), models=models, psf=PSF, params=params)
    variance = np.diag(found.shift.covariance)
    # Of the three terms in each direction one is told: there is one place.
    assert np.isfinite(variance).sum() == 2
    assert (variance[np.isfinite(variance)] > 0).all()
    assert found.table["status"].to_list() == ["ok"]
    text = next(text for text in found.warnings if text.startswith("shift"))
    assert text.count("to the east") == text.count("to the north") == 2
    assert "x^1 y^0" in text


def test_a_sky_that_few_pixels_do_not_tell_has_no_error() -> None:
    """All good pixels in one row: the image says nothing about a slope along the other axis."""
    grid = Grid.tangent(150.0, 2.0, shape=(40, 40), scale_arcsec=0.6)
    ra, dec = grid.sky(np.array([20.0]), np.array([20.0]))
    models = pl.DataFrame({"source_id": [1], "ra": ra, "dec": dec, "kind": ["point"]})
    mask = np.ones((40, 40), bool)
    mask[20] = False
    image = MeasureImage(data=np.full((40, 40), 3.0), error=1.0, mask=mask, grid=grid)
    found = forced_photometry(image, models=models, psf=PSF, params=PhotometryParams(background_degree=1))
    variance = np.diag(found.background_covariance)
    assert np.isnan(variance).tolist() == [False, False, True]
    assert (variance[:2] > 0).all()
    assert found.table["status"].to_list() == ["ok"]
    assert [text for text in found.warnings if "x^0 y^1" in text and text.startswith("background")]
