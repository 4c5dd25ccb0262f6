"""Fields of stars and galaxies with known positions, rendered by scipy's error function or by GalSim."""

import numpy as np
import pytest
from astropy.wcs import WCS
from scipy.special import erf

from skymere.datamodels import Exposure

SCALE_ARCSEC = 0.1
SKY, READ_NOISE = 50.0, 5.0


def gaussian_star(shape, x, y, flux, fwhm):
    """A Gaussian integrated over each pixel: rows and columns of a window and its place."""
    sigma = fwhm / 2.3548
    half = int(np.ceil(5 * sigma)) + 1
    i0, j0 = round(x) - half, round(y) - half
    i, j = (np.arange(k, k + 2 * half + 2) - 0.5 for k in (i0, j0))
    across, up = (0.5 * np.diff(erf((e - c) / (sigma * np.sqrt(2)))) for e, c in ((i, x), (j, y)))
    stamp = flux * np.outer(up, across)
    ny, nx = shape
    rows, columns = np.arange(j0, j0 + len(up)), np.arange(i0, i0 + len(across))
    inside = (rows >= 0) & (rows < ny), (columns >= 0) & (columns < nx)
    return np.ix_(rows[inside[0]], columns[inside[1]]), stamp[np.ix_(*inside)]


def star_image(shape, x, y, flux, fwhm, rng):
    """Electrons of a star field, and 1 sigma of each pixel."""
    image = np.zeros(shape)
    for a, b, f in zip(x, y, flux, strict=True):
        place, stamp = gaussian_star(shape, a, b, f, fwhm)
        image[place] += stamp
    noisy = rng.poisson(image + SKY) + rng.normal(0, READ_NOISE, shape)
    return noisy.astype(np.float32), np.sqrt(np.maximum(noisy, SKY) + READ_NOISE**2).astype(np.float32)


def pointing(shape, *, dx=0.0, dy=0.0, rotation_deg=0.0, scale=1.0, ra=150.0, dec=2.2):
    """A TAN WCS whose true pointing is off by (dx, dy) pixel, turned and scaled."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.crpix = [(shape[1] + 1) / 2 + dx, (shape[0] + 1) / 2 + dy]
    angle = np.deg2rad(rotation_deg)
    turn = np.array([[-np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    wcs.wcs.cd = turn * SCALE_ARCSEC * scale / 3600
    wcs.wcs.set()
    return wcs


def exposure(name, data, error, wcs):
    return Exposure(
        exposure_id=name,
        data=data,
        error=error,
        dq=np.zeros(data.shape, np.uint32),
        wcs=wcs,
        exptime=1.0,
        band="f606w",
        unit="electron / s",
    )


@pytest.fixture(scope="session")
def star_field():
    """Four exposures of 200 stars with 20 % strangers each; the header says that none of them is off."""

    def make(fwhm, seed, *, n_stars=200, shape=(700, 700), shifts=8.0):
        rng = np.random.default_rng(seed)
        header = pointing(shape)
        xy = rng.uniform(30, shape[0] - 30, (n_stars, 2))
        flux = 10 ** rng.uniform(3.7, 5.0, n_stars)
        ra, dec = header.all_pix2world(xy, 0).T
        truth, exposures = [], []
        for k in range(4):
            error = {}
            if k:
                error = {"dx": rng.uniform(-shifts, shifts), "dy": rng.uniform(-shifts, shifts)}
                error |= {"rotation_deg": rng.choice([-0.02, 0.02]), "scale": 1 + rng.choice([-1e-5, 1e-5])}
            true_wcs = pointing(shape, **error)
            x, y = true_wcs.all_world2pix(np.column_stack([ra, dec]), 0).T
            strangers = rng.uniform(10, shape[0] - 10, (n_stars // 5, 2))
            x, y = np.append(x, strangers[:, 0]), np.append(y, strangers[:, 1])
            fluxes = np.append(flux, 10 ** rng.uniform(3.7, 5.0, n_stars // 5))
            truth.append(true_wcs)
            exposures.append(exposure(f"e{k}", *star_image(shape, x, y, fluxes, fwhm, rng), header))
        return exposures, truth

    return make
