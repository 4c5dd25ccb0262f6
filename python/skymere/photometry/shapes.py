"""Errors of fluxes that come from the errors of shapes."""

import numpy as np
from numpy.typing import NDArray

from skymere.photometry.band import Band
from skymere.photometry.models import Models, pixel_ellipses
from skymere.photometry.system import Scene, Solution, powers_of
from skymere.wcs import pixel_jacobian

__all__ = ["shape_errors"]

# Steps of r_eff (as a part of it), index, ellipticity and angle [deg] of the derivatives of ellipses on pixels.
_STEPS = (1e-4, 1e-4, 1e-4, 1e-2)


def shape_errors(
    scene: Scene, solution: Solution, shift: NDArray[np.float64], without: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the error of each flux [unit of the band] that the errors of all shapes give.

    Parameters
    ----------
    scene, solution
        The models with 1 sigma of their shapes, the band, and what was measured.
    shift : ndarray, float64, shape (n, 2) [arcsec]
        Of each model, to the east and north.
    without : ndarray, bool, shape (n,)
        Sources whose shapes do not count.
    """
    inverse = solution.inverse
    square = solution.noise_factor**2
    covariances = _pixel_covariances(scene.models, scene.band)
    covariances[without[scene.models.parts.owner]] = 0.0
    found = scene.drawer.shape_variances(
        solution.templates,
        scene.rows(shift),
        scene.owners,
        variance=inverse.variance / square,
        pairs=inverse.pairs / square,
        border=np.ascontiguousarray(inverse.border / square).ravel(),
        powers=powers_of(scene.params.background_degree),
        planes=solution.stacked,
        weight=scene.band.weight,
        fluxes=solution.flux,
        covariances=covariances.ravel(),
    )
    return np.sqrt(found)


def _pixel_covariances(models: Models, band: Band) -> NDArray[np.float64]:
    """Return ``(n_parts, 4, 4)`` covariances of radius, index, axis ratio and angle on the pixels, 0 if unknown."""
    parts = models.parts
    covariances = np.zeros((parts.owner.size, 4, 4))
    errors = np.nan_to_num(parts.shape_error)
    known = np.isfinite(parts.shape).all(axis=1) & (errors > 0).any(axis=1)
    rows = np.flatnonzero(known & models.is_drawn[parts.owner])
    if not rows.size:
        return covariances
    shape, local = parts.shape[rows], pixel_jacobian(band.grid, parts.ra[rows], parts.dec[rows])
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
