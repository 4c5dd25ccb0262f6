"""The simulated image of low resolution."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from skymere.errors import InvalidInputError
from skymere.io import read_image
from skymere.psf import read_psf
from skymere.testing import (
    BANDS,
    LowResolutionParams,
    SceneParams,
    draw_scene,
    low_resolution_fluxes,
    simulate_low_resolution,
)

SCENE = draw_scene(10.0, 2.0, params=SceneParams(n_galaxies=6, n_stars=2, radius_arcsec=12.0), seed=4)
PARAMS = LowResolutionParams(size_pix=120, rms=1e-6, sky=0.0)


def test_all_light_is_on_the_image_where_its_shift_says(tmp_path: Path) -> None:
    image, _ = simulate_low_resolution(SCENE, tmp_path, ra=10.0, dec=2.0, params=PARAMS)
    data, grid = read_image(image)
    flux = low_resolution_fluxes(SCENE, PARAMS)
    assert data.sum(dtype=float) == pytest.approx(flux.sum(), rel=0.02)
    y, x = np.indices(data.shape)
    middle = [float((data * axis).sum(dtype=float) / data.sum(dtype=float)) for axis in (x, y)]
    ra, dec = (float((flux * SCENE[name].to_numpy()).sum() / flux.sum()) for name in ("ra", "dec"))
    found = [float(v[0]) for v in grid.sky(*(np.array([v]) for v in middle))]
    assert (found[0] - ra) * 3600 * np.cos(np.deg2rad(dec)) == pytest.approx(PARAMS.shift_arcsec[0], abs=0.02)
    assert (found[1] - dec) * 3600 == pytest.approx(PARAMS.shift_arcsec[1], abs=0.02)


def test_colours_are_power_laws() -> None:
    band = LowResolutionParams(wavelength_um=BANDS["f160w"][1])
    assert low_resolution_fluxes(SCENE, band) == pytest.approx(SCENE["flux_f160w"].to_numpy())
    band = LowResolutionParams(wavelength_um=BANDS["f105w"][1])
    assert low_resolution_fluxes(SCENE, band) == pytest.approx(SCENE["flux_f105w"].to_numpy())


def test_the_psf_is_that_of_the_image(tmp_path: Path) -> None:
    _, path = simulate_low_resolution(SCENE, tmp_path, ra=10.0, dec=2.0, params=PARAMS)
    psf = read_psf(path)
    assert psf.oversampling == PARAMS.psf_oversampling
    assert psf.data.sum(dtype=float) == pytest.approx(1.0, abs=0.01)
    # The pixel widens a Moffat profile a little.
    assert PARAMS.fwhm_arcsec < psf.measure().fwhm * PARAMS.scale_arcsec / psf.oversampling < 1.1 * PARAMS.fwhm_arcsec


def test_files_that_are_there_stay(tmp_path: Path) -> None:
    first = simulate_low_resolution(SCENE, tmp_path, ra=10.0, dec=2.0, params=PARAMS)
    with fits.open(first[0], mode="update") as hdus:
        hdus[0].header["MINE"] = 1
    simulate_low_resolution(SCENE, tmp_path, ra=10.0, dec=2.0, params=PARAMS)
    assert fits.getheader(first[0])["MINE"] == 1


def test_wrong_parameters_are_named() -> None:
    with pytest.raises(InvalidInputError, match="rms: 0 is not allowed, it must be positive"):
        LowResolutionParams(rms=0)
