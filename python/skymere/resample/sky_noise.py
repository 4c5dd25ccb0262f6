"""The noise covariance of a mosaic as it is measured on blank sky."""

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_mask
from skymere._rust import resample as _resample
from skymere.background import BackgroundParams, estimate_background
from skymere.datamodels import Mosaic, NoiseCovariance
from skymere.errors import NoDataError
from skymere.resample.covariance import NoiseParams, symmetric
from skymere.resample.position import box_mean, cells_with, highest

__all__ = ["measure_noise"]

_BOX_PIX = 64
_LEAST_PIXELS = 100
# Sources are looked for in the mean over this box and grown by as much.
_SMOOTH_PIX = 5


def measure_noise(
    mosaic: Mosaic,
    noise: NoiseCovariance,
    *,
    mask: ArrayLike | None = None,
    params: NoiseParams | None = None,
) -> NoiseCovariance:
    """Return a noise covariance with what is measured on blank sky.

    Parameters
    ----------
    mosaic : Mosaic
        The image.
    noise : NoiseCovariance
        What was predicted for it.
    mask : array_like, bool, shape (ny, nx), optional
        True = no sky; without it sources are found by their mean over 5 x 5 pixels.
    params : NoiseParams, optional
        Limit of sources, mesh of the background.

    Returns
    -------
    NoiseCovariance
        The same with ``measured``.

    Raises
    ------
    InvalidInputError
        When a shape does not fit.

    Notes
    -----
    ``sum r_i r_j / sum s_i s_j`` over the pairs of sky pixels at each distance whose first one is of the class, with
    the data r less the background and the predicted sigma s.
    """
    params = NoiseParams() if params is None else params
    shape = mosaic.shape
    given = None if mask is None else as_mask(mask, "mask", shape=shape)
    residual, sigma = _blank_sky(mosaic, given, params)
    n = len(noise.classes)
    cells = [cells_with((noise.class_map == k) & (sigma > 0), _BOX_PIX) for k in range(n)]
    boxes = np.concatenate([found for found, _ in cells])
    classes = np.repeat(np.arange(n, dtype=np.uint8), [len(found) for found, _ in cells])
    above, below = (
        symmetric(
            _resample.lag_products(boxes, classes, np.ones(len(boxes)), noise.class_map, n, noise.reach_pix, image)
        )
        for image in (residual, sigma)
    )
    counts = np.array([number.sum() for _, number in cells])
    enough = (counts >= _LEAST_PIXELS)[:, np.newaxis, np.newaxis] & (below > 0)
    measured = np.full_like(noise.kernels, np.nan)
    np.divide(above, below, out=measured, where=enough)
    return replace(noise, measured=measured)


def _blank_sky(
    mosaic: Mosaic, mask: NDArray[np.bool_] | None, params: NoiseParams
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the data less their background, and the predicted sigma; both 0 where there is no blank sky."""
    bad = ~(mosaic.covered & np.isfinite(mosaic.data) & (mosaic.variance > 0))
    sigma = np.sqrt(np.where(bad, np.float32(0), mosaic.variance), dtype=np.float32)
    mesh = BackgroundParams(box_size=params.background_pix)
    if mask is None and not bad.all():
        bad |= _sources(_residual(mosaic, bad, mesh), sigma, params.sky_sigma)
    elif mask is not None:
        bad |= mask
    return _residual(mosaic, bad, mesh), np.where(bad, np.float32(0), sigma)


def _residual(mosaic: Mosaic, bad: NDArray[np.bool_], mesh: BackgroundParams) -> NDArray[np.float32]:
    """Return the data less their background, 0 for bad pixels."""
    try:
        level = estimate_background(mosaic.data, mask=bad, params=mesh).level
    except NoDataError:
        return np.zeros(mosaic.shape, np.float32)
    return np.where(bad, np.float32(0), mosaic.data - level)


def _sources(residual: NDArray[np.float32], sigma: NDArray[np.float32], n_sigma: float) -> NDArray[np.bool_]:
    """Return pixels near which the mean over a few pixels stands out."""
    known = sigma > 0
    scaled = np.divide(residual, sigma, out=np.zeros_like(residual), where=known)
    smooth = box_mean(scaled, _SMOOTH_PIX)
    width = 1.4826 * np.median(np.abs(smooth[known]))
    return np.asarray(highest(np.abs(smooth) > n_sigma * width, 2 * _SMOOTH_PIX + 1))
