"""From fluxes to colours."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from skymere.errors import InvalidInputError

__all__ = ["rgb_image", "sky_noise", "to_grey"]


def sky_noise(data: NDArray[np.float32]) -> float:
    """Return 1.4826 MAD of the finite pixels; 1 when there is none or they are all equal."""
    good = data[np.isfinite(data)]
    if good.size == 0:
        return 1.0
    return float(1.4826 * np.median(np.abs(good - np.median(good)))) or 1.0


def to_grey(
    data: NDArray[np.float32], *, softening: float = 3.0, top: float = 300.0, noise: float | None = None
) -> NDArray[np.float32]:
    """Return an image in [0, 1]: asinh of the S/N, linear below ``softening`` sigma and white at ``top`` sigma.

    Parameters
    ----------
    data : ndarray, float32, shape (ny, nx)
        Image with the sky at zero.
    softening, top : float, optional
        Where the stretch bends, and where it ends [sigma].
    noise : float, optional
        Sigma; that of the image when not given.
    """
    sigma = sky_noise(data) if noise is None else noise
    scaled = np.arcsinh(np.nan_to_num(data) / (softening * sigma)) / np.arcsinh(top / softening)
    return np.asarray(np.clip(0.1 + 0.9 * scaled, 0.0, 1.0), np.float32)


def rgb_image(
    images: Sequence[NDArray[np.float32]], *, softening: float = 3.0, top: float = 300.0
) -> NDArray[np.float32]:
    """Return an asinh colour picture of three images, red first.

    Parameters
    ----------
    images : sequence of three ndarray, float32, shape (ny, nx)
        Red, green and blue, sky at zero; each is divided by its noise. Where one or two of them are NaN the picture is
        grey, for a missing band is not a colour.
    softening, top : float, optional
        As in `to_grey`.

    Returns
    -------
    ndarray, float32, shape (ny, nx, 3)
        In [0, 1]. The stretch is that of the mean of the three, so colours keep their hue when bright.

    Raises
    ------
    InvalidInputError
        When there are not three images of one shape.

    References
    ----------
    Lupton et al. 2004, PASP 116, 133, eq. 2.
    """
    if len(images) != 3 or len({image.shape for image in images}) != 1:
        msg = f"images: shapes {[image.shape for image in images]} are not allowed, three of one shape are needed"
        raise InvalidInputError(msg)
    snr = np.stack([image / sky_noise(image) for image in images], axis=-1)
    known = np.isfinite(snr)
    n_known = known.sum(axis=-1, keepdims=True)
    snr = np.where(known, snr, 0.0)
    snr = np.where(n_known == 3, snr, snr.sum(axis=-1, keepdims=True) / np.maximum(n_known, 1))
    mean = snr.mean(axis=-1, keepdims=True)
    stretched = np.arcsinh(mean / softening) / np.arcsinh(top / softening)
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.where(np.abs(mean) > 1e-6, stretched / mean, 1.0 / (softening * np.arcsinh(top / softening)))
    colour = 0.08 + 0.92 * snr * factor
    return np.asarray(np.clip(colour / np.maximum(colour.max(axis=-1, keepdims=True), 1.0), 0.0, 1.0), np.float32)
