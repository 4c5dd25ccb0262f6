"""What a small piece of sky looks like on pixels: derivatives of the coordinates, and ellipses through them."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere.wcs.grid import Grid

__all__ = ["map_ellipses", "pixel_jacobian"]

# Length of the steps on the sky whose pixels give the derivatives [arcsec].
_STEP_ARCSEC = 0.5


def pixel_jacobian(grid: Grid, ra: ArrayLike, dec: ArrayLike) -> NDArray[np.float64]:
    """Return the derivatives of pixels by offsets on the sky.

    Parameters
    ----------
    grid : Grid
        Pixels on the sky.
    ra, dec : array_like, float64, shape (n,) [deg]
        Places.

    Returns
    -------
    ndarray, float64, shape (n, 2, 2) [pix / arcsec]
        Rows are x and y, columns east and north.
    """
    ra, dec = np.asarray(ra, np.float64), np.asarray(dec, np.float64)
    step = _STEP_ARCSEC / 3600.0
    east = step / np.cos(np.deg2rad(dec))
    columns = []
    for d_ra, d_dec in ((east, 0.0), (0.0, step)):
        ahead, behind = grid.pixels(ra + d_ra, dec + d_dec), grid.pixels(ra - d_ra, dec - d_dec)
        columns.append(np.stack([a - b for a, b in zip(ahead, behind, strict=True)], axis=-1) / (2 * _STEP_ARCSEC))
    return np.stack(columns, axis=-1)


def map_ellipses(
    matrices: NDArray[np.float64],
    major: NDArray[np.float64],
    axis_ratio: NDArray[np.float64],
    angle: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return ellipses after a linear map.

    Parameters
    ----------
    matrices : ndarray, float64, shape (n, 2, 2)
        The map of each.
    major, axis_ratio : ndarray, float64, shape (n,)
        Semi-major axis, and minor over major axis.
    angle : ndarray, float64, shape (n,) [rad]
        Of the major axis, from the first coordinate towards the second.

    Returns
    -------
    tuple of ndarray, float64, shape (n,)
        Semi-major axis, axis ratio and angle [rad], in the coordinates after the map.

    Notes
    -----
    With the map J and the axes ``a u`` and ``b v``, the ellipse has the matrix ``M = J (a^2 u u^T + b^2 v v^T) J^T``,
    whose eigenvalues are the squares of its axes.
    """
    # What is not known stays unknown.
    with np.errstate(invalid="ignore", divide="ignore"):
        cos, sin = np.cos(angle), np.sin(angle)
        minor = major * axis_ratio
        axes = np.stack(
            [np.stack([major * cos, -minor * sin], axis=-1), np.stack([major * sin, minor * cos], axis=-1)], -2
        )
        mapped = matrices @ axes
        m = mapped @ np.swapaxes(mapped, -1, -2)
        half_sum, half_difference = (m[:, 0, 0] + m[:, 1, 1]) / 2, (m[:, 0, 0] - m[:, 1, 1]) / 2
        spread = np.hypot(half_difference, m[:, 0, 1])
        longest = np.sqrt(half_sum + spread)
        shortest = np.abs(np.linalg.det(mapped)) / longest
        turned = 0.5 * np.arctan2(2 * m[:, 0, 1], 2 * half_difference)
        return longest, np.minimum(shortest / longest, 1.0), turned
