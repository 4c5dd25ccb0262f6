"""A gwcs after a linear map of the sky."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["corrected_gwcs"]


def corrected_gwcs(
    wcs: Any, ra: float, dec: float, matrix: NDArray[np.float64], offset_arcsec: NDArray[np.float64]
) -> Any:
    """Return a gwcs whose positions are moved in a tangent plane: ``p -> matrix p + offset``.

    Parameters
    ----------
    wcs : gwcs.WCS
        The coordinates, which are not changed.
    ra, dec : float
        Where the plane touches the sky; its axes point east and north [deg].
    matrix : ndarray, float64, shape (2, 2)
        Linear part.
    offset_arcsec : ndarray, float64, shape (2,)
        Shift to the east and north [arcsec].
    """
    import gwcs
    from astropy.modeling import models

    to_plane = models.RotateCelestial2Native(ra, dec, 180.0) | models.Sky2Pix_TAN()
    move = models.AffineTransformation2D(matrix=matrix, translation=offset_arcsec / 3600.0)
    to_sky = models.Pix2Sky_TAN() | models.RotateNative2Celestial(ra, dec, 180.0)
    steps = [(step.frame, step.transform) for step in wcs.pipeline]
    frame, transform = steps[-2]
    new = gwcs.WCS([*steps[:-2], (frame, transform | to_plane | move | to_sky), steps[-1]])
    new.bounding_box = wcs.bounding_box
    return new
