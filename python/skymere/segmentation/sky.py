"""Positions of sources on the sky and their errors."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skymere.wcs import Grid

__all__ = ["sky_positions"]

_HALF_STEP_PIX = 0.5
_ARCSEC_PER_DEG = 3600.0


def sky_positions(grid: Grid, found: Mapping[str, Any]) -> dict[str, NDArray[np.float64]]:
    """Return ``ra, ra_err, dec, dec_err, ra_dec_cov`` [deg, arcsec, deg, arcsec, arcsec^2] of positions in pixels.

    Notes
    -----
    ``ra_err`` is along the parallel, cos(dec) included: the covariance on the sky is ``J C J^T`` with the covariance
    ``C`` in pixels and the derivatives ``J`` of east and north [arcsec] over one pixel.
    """
    x, y = found["x"], found["y"]
    ra, dec = grid.sky(x, y)
    j = np.stack([_slope(grid, x, y, dec, *step) for step in ((_HALF_STEP_PIX, 0.0), (0.0, _HALF_STEP_PIX))], axis=-1)
    xx, yy, xy = found["x_err"] ** 2, found["y_err"] ** 2, found["xy_cov"]

    def covariance(p: int, q: int) -> NDArray[np.float64]:
        mixed = j[:, p, 0] * j[:, q, 1] + j[:, p, 1] * j[:, q, 0]
        return np.asarray(j[:, p, 0] * j[:, q, 0] * xx + j[:, p, 1] * j[:, q, 1] * yy + mixed * xy)

    return {
        "ra": ra,
        "ra_err": np.sqrt(covariance(0, 0)),
        "dec": dec,
        "dec_err": np.sqrt(covariance(1, 1)),
        "ra_dec_cov": covariance(0, 1),
    }


def _slope(
    grid: Grid, x: NDArray[np.float64], y: NDArray[np.float64], dec: NDArray[np.float64], dx: float, dy: float
) -> NDArray[np.float64]:
    """Return the step east and north [arcsec] for one pixel along a direction, shape (n, 2)."""
    (ra1, dec1), (ra0, dec0) = grid.sky(x + dx, y + dy), grid.sky(x - dx, y - dy)
    east = ((ra1 - ra0 + 180.0) % 360.0 - 180.0) * np.cos(np.deg2rad(dec))
    return np.asarray(_ARCSEC_PER_DEG * np.stack([east, dec1 - dec0], axis=-1))
