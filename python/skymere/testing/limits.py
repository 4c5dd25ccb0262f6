"""How well anything can be measured on a simulated exposure: Cramer-Rao limits from noise-free renderings."""

import numpy as np
import polars as pl
from astropy.wcs import WCS, Sip
from numpy.typing import NDArray

from skymere.testing.exposures import CameraParams, Pointing, camera_wcs, noise_free_image

__all__ = ["shift_limit"]

_STEP_PIX = 0.1


def shift_limit(
    scene: pl.DataFrame, pointing: Pointing, *, params: CameraParams, good: NDArray[np.bool_]
) -> tuple[float, float]:
    """Return the least 1 sigma of a shift of one exposure along x and y, whatever the method [pix].

    Parameters
    ----------
    scene : polars.DataFrame
        As `draw_scene` gives it.
    pointing : Pointing
        Where the camera looks.
    params : CameraParams
        The camera.
    good : ndarray, bool, shape (ny, nx)
        Pixels that count.

    Notes
    -----
    The information is I = sum of (dT/dx)^2 / (T + sky + read noise^2) over the good pixels, T the noise-free electrons;
    the derivative is that of renderings at +-0.1 pixel.
    """
    wcs = camera_wcs(pointing, params.shape)
    variance = (noise_free_image(scene, pointing, wcs, params) + params.sky) * params.exptime + params.read_noise**2
    limits = []
    for direction in ((1.0, 0.0), (0.0, 1.0)):
        there, back = (
            noise_free_image(scene, pointing, _moved(wcs, sign * _STEP_PIX * np.array(direction)), params)
            for sign in (1.0, -1.0)
        )
        slope = (there - back) * params.exptime / (2 * _STEP_PIX)
        limits.append(float(1 / np.sqrt((slope**2 / variance)[good].sum())))
    return limits[0], limits[1]


def _moved(wcs: WCS, step: NDArray[np.float64]) -> WCS:
    out = wcs.deepcopy()
    out.wcs.crpix = out.wcs.crpix + step
    out.sip = Sip(wcs.sip.a, wcs.sip.b, None, None, wcs.sip.crpix + step)
    out.wcs.set()
    return out
