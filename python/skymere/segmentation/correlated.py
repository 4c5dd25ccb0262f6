"""How the noise of an image is correlated, as the kernels take it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere.datamodels import NoiseCovariance

__all__ = ["NoiseParts", "noise_parts"]


@dataclass(frozen=True, kw_only=True, eq=False)
class NoiseParts:
    """Kernels of correlation by class of position, the class of every pixel, and the weights of the image.

    Parameters
    ----------
    kernels : ndarray, float64, shape (n_classes, 2 n + 1, 2 n + 1)
        Of `skymere.datamodels.NoiseCovariance`.
    class_map : ndarray, uint8, shape (ny, nx)
        Index into ``kernels``.
    weight : ndarray, float32, shape (ny, nx), or None
        The variance of the background is a multiple of its inverse.
    """

    kernels: NDArray[np.float64]
    class_map: NDArray[np.uint8]
    weight: NDArray[np.float32] | None


def noise_parts(noise: NoiseCovariance | None, weight: ArrayLike | None) -> NoiseParts | None:
    """Return the noise of an image whose covariance is known, else None."""
    if noise is None:
        return None
    weights = None if weight is None else np.asarray(weight, np.float32)
    return NoiseParts(kernels=noise.kernels, class_map=noise.class_map, weight=weights)
