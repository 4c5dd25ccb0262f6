"""Fitted profiles on the sky: from pixels and units of an image to degrees, arcsec and uJy."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.profiles.table import PARAMETERS
from skymere.wcs import Grid, map_ellipses, pixel_jacobian

__all__ = ["profiles_on_sky"]

_ELLIPSE = [PARAMETERS.index(name) for name in ("r_eff_pix", "ellipticity", "pa")]
# Parts of a size, and of a turn, by which the ellipse is changed for its derivatives.
_STEP = 1e-4


def profiles_on_sky(
    table: pl.DataFrame, grid: Grid, *, zero_point_ab: float = float("nan"), noise_factor: float = 1.0
) -> pl.DataFrame:
    """Return fitted profiles with their places and shapes on the sky, as `skymere.photometry` takes them.

    Parameters
    ----------
    table : polars.DataFrame
        From `fit_sersic` or `fit_scene`, with ``x`` and ``y`` on the grid.
    grid : Grid
        Pixels of the image that was fitted.
    zero_point_ab : float, optional
        AB magnitude of one unit of the image; when it is given, fluxes, surface brightnesses, the sky and its slopes
        are in uJy.
    noise_factor : float, optional
        Noise of large areas over that of independent pixels, such as `skymere.datamodels.Mosaic.noise_correlation`:
        multiplies errors. ``chi2`` is of single pixels, and stays.

    Returns
    -------
    polars.DataFrame
        The columns of the table and ``ra, dec`` [deg], ``r_eff`` (major axis [arcsec]), ``ellipticity``, ``pa_sky``
        (from north through east [deg]) and their errors ``r_eff_err, ellipticity_err, pa_sky_err``; ``pa`` stays that
        of the image, and ``covariance`` in its pixels and unit.

    Notes
    -----
    An ellipse goes through the Jacobian of the coordinates at its place, and its covariance through the derivatives of
    that map.
    """
    x, y = table["x"].to_numpy(), table["y"].to_numpy()
    placed = np.isfinite(x) & np.isfinite(y)
    ra, dec = (np.where(placed, values, np.nan) for values in grid.sky(np.where(placed, x, 0), np.where(placed, y, 0)))
    maps = np.full((len(x), 2, 2), np.nan)
    maps[placed] = np.linalg.inv(pixel_jacobian(grid, ra[placed], dec[placed]))
    pixels = np.column_stack([table[PARAMETERS[i]].to_numpy() for i in _ELLIPSE])
    shape = _on_sky(maps, pixels)
    covariance = table["covariance"].to_numpy().reshape(-1, len(PARAMETERS), len(PARAMETERS))
    error = noise_factor * _errors(maps, pixels, shape, covariance[:, _ELLIPSE][:, :, _ELLIPSE])
    known = np.isfinite(zero_point_ab)
    unit = float(10.0 ** (-0.4 * (zero_point_ab - 23.9))) if known else 1.0
    light = ("flux", "flux_err", "source_flux", "source_flux_err", "intensity")
    names = (*light, "sky", "sky_err", "sky_slope_x", "sky_slope_y")
    in_units = [name for name in names if name in table.columns]
    widened = [n for n in table.columns if n.endswith("_err")]
    return (
        table.with_columns(pl.col(in_units) * unit)
        .with_columns(pl.col(widened) * noise_factor)
        .with_columns(
            ra=ra,
            dec=dec,
            r_eff=shape[:, 0],
            r_eff_err=error[:, 0],
            ellipticity=shape[:, 1],
            ellipticity_err=error[:, 1],
            pa_sky=shape[:, 2],
            pa_sky_err=error[:, 2],
        )
    )


def _on_sky(maps: NDArray[np.float64], pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``(r_eff [arcsec], ellipticity, pa_sky [deg])`` of rows ``(r_eff_pix, ellipticity, pa [deg])``."""
    major, ratio, angle = map_ellipses(maps, pixels[:, 0], 1 - pixels[:, 1], np.deg2rad(pixels[:, 2] + 90.0))
    # Angles on the sky run from north through east.
    turned = (90.0 - np.rad2deg(angle) + 90.0) % 180.0 - 90.0
    return np.column_stack([major, 1 - ratio, turned])


def _errors(
    maps: NDArray[np.float64],
    pixels: NDArray[np.float64],
    shape: NDArray[np.float64],
    covariance: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return errors of shapes on the sky; NaN where the fit has none, as for what is fixed or at a bound."""
    derivatives = np.zeros((len(pixels), 3, 3))
    for k, step in enumerate((_STEP * pixels[:, 0], np.full(len(pixels), _STEP), np.full(len(pixels), 90 * _STEP))):
        moved = pixels.copy()
        moved[:, k] += step
        change = _on_sky(maps, moved) - shape
        change[:, 2] = (change[:, 2] + 90.0) % 180.0 - 90.0
        derivatives[:, :, k] = change / np.where(step != 0, step, np.nan)[:, None]
    with np.errstate(invalid="ignore"):
        known = np.nan_to_num(derivatives)
        found = np.einsum("nij,njk,nlk->nil", known, covariance, known)
        variance = np.diagonal(found, axis1=1, axis2=2)
        # The derivatives of the map mix the parameters a little, which would pass for an error.
        is_fitted = np.diagonal(covariance, axis1=1, axis2=2) > 0
        return np.sqrt(np.where(is_fitted & (variance > 0), variance, np.nan))
