"""Errors of fluxes that come from the errors of shapes."""

import numpy as np
from numpy.typing import NDArray

from skymere.photometry.band import Band, jacobian
from skymere.photometry.effective import EffectivePsf
from skymere.photometry.models import Models, pixel_ellipses, pixel_rows
from skymere.photometry.params import PhotometryParams
from skymere.photometry.system import Solution, powers_of

__all__ = ["shape_errors"]

# Steps of r_eff (as a part of it), index, ellipticity and angle [deg] of the derivatives of ellipses on pixels.
_STEPS = (1e-4, 1e-4, 1e-4, 1e-2)


def shape_errors(
    models: Models,
    band: Band,
    psf: EffectivePsf,
    solution: Solution,
    shift: NDArray[np.float64],
    params: PhotometryParams,
) -> NDArray[np.float64]:
    """Return the error of each flux [unit of the image] that the errors of all shapes give.

    Parameters
    ----------
    models : Models
        With 1 sigma of their shapes.
    band, psf, solution, params
        The band, and what was measured.
    shift : ndarray, float64, shape (n, 2) [arcsec]
        Of each model, to the east and north.
    """
    inverse, powers = solution.inverse, powers_of(params.background_degree)
    square = solution.noise_factor**2
    found = solution.templates.shape_variances(
        np.ascontiguousarray(pixel_rows(models, band.grid, shift)),
        psf.images,
        psf.x,
        psf.y,
        oversampling=psf.oversampling,
        enclosed=params.light_in_stamp,
        max_half=params.max_stamp_pix,
        variance=inverse.variance / square,
        pairs=inverse.pairs / square,
        border=np.ascontiguousarray(inverse.border[:, : len(powers)] / square).ravel(),
        powers=powers,
        weight=band.weight,
        fluxes=solution.flux,
        covariances=_pixel_covariances(models, band).ravel(),
    )
    return np.sqrt(found)


def _pixel_covariances(models: Models, band: Band) -> NDArray[np.float64]:
    """Return ``(n, 4, 4)`` covariances of radius, index, axis ratio and angle on the pixels; 0 for unknown errors."""
    covariances = np.zeros((len(models), 4, 4))
    errors = np.nan_to_num(models.shape_error)
    rows = np.flatnonzero(np.isfinite(models.shape).all(axis=1) & (errors > 0).any(axis=1))
    rows = rows[[not models.message[i] for i in rows]]
    if not rows.size:
        return covariances
    shape, local = models.shape[rows], jacobian(band.grid, models.ra[rows], models.dec[rows])
    slopes = np.zeros((rows.size, 4, 4))
    for k, size in enumerate(_STEPS):
        step = np.zeros_like(shape)
        step[:, k] = size * shape[:, 0] if k == 0 else size
        # Below an ellipticity of 0 the axes would change their roles.
        back = np.where(shape[:, k] < size, 0.0, 1.0)[:, None] if k == 2 else 1.0
        change = pixel_ellipses(shape + step, local) - pixel_ellipses(shape - back * step, local)
        change[:, 3] = (change[:, 3] + np.pi / 2) % np.pi - np.pi / 2
        slopes[:, :, k] = change / (step[:, k] * (1 + np.ravel(back)))[:, None]
    scaled = slopes * errors[rows][:, None, :]
    covariances[rows] = scaled @ np.swapaxes(scaled, 1, 2)
    return covariances
