"""Fluxes that may not be negative are those of scipy's `nnls`, also where sources are nearly copies of each other."""

import numpy as np
import polars as pl
import pytest
from scipy.optimize import nnls

from skymere.photometry import PhotometryParams, forced_photometry
from skymere.psf import GaussianPsf
from skymere.segmentation import MeasureImage
from skymere.wcs import Grid


def crowd(n: int, side: int, seed: int, spread: float) -> tuple[MeasureImage, pl.DataFrame]:
    """Points in clumps, much closer to each other than the PSF is wide."""
    rng = np.random.default_rng(seed)
    grid = Grid.tangent(150.0, 2.0, shape=(side, side), scale_arcsec=0.6)
    clumps = rng.uniform(4, side - 5, (2, n // 10))
    x, y = np.repeat(clumps, 10, axis=1) + rng.normal(0, spread, (2, n))
    ra, dec = grid.sky(x, y)
    models = pl.DataFrame({"source_id": np.arange(n), "ra": ra, "dec": dec, "kind": ["point"] * n})
    return MeasureImage(data=rng.normal(size=(side, side)) + 0.3, error=1.0, grid=grid), models


@pytest.mark.parametrize(("n", "side", "spread"), [(100, 60, 2.0), (200, 40, 1.0), (300, 40, 0.6)])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_crowded_fields_end_at_the_solution(n: int, side: int, spread: float, seed: int) -> None:
    image, models = crowd(n, side, seed, spread)
    params = PhotometryParams(is_non_negative=True, background_degree=-1)
    found = forced_photometry(image, models=models, psf=GaussianPsf(fwhm_arcsec=1.8), params=params)
    table = found.table
    columns = np.zeros((side * side, n))
    for k in range(n):
        plane = np.zeros((side, side))
        stamp, y0, x0 = found.template(k)
        plane[y0 : y0 + stamp.shape[0], x0 : x0 + stamp.shape[1]] = stamp
        columns[:, k] = plane.ravel()
    data = image.data.astype(float).ravel()
    solved = (table["status"] == "ok").to_numpy()
    expected, norm = nnls(columns[:, solved], data, maxiter=100 * n)
    flux = table["flux"].to_numpy()[solved]
    chi2 = float(((data - columns[:, solved] @ flux) ** 2).sum())
    print(f"{n}: chi2 {chi2:.6f}, scipy {norm**2:.6f}; {int((expected > 0).sum())} above 0, {int(solved.sum())} solved")
    assert solved.sum() > 0.8 * n
    assert (flux >= 0).all()
    # What is least is the same; where two sources are nearly one, which of them has the flux may be left to rounding.
    assert chi2 == pytest.approx(norm**2, rel=1e-7)
    assert ((columns[:, solved].T @ (data - columns[:, solved] @ flux)) < 1e-3).all()
    assert table["at_bound"].to_numpy()[solved].tolist() == (flux == 0).tolist()
