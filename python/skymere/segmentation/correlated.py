"""How the noise of an image is correlated, as the kernels take it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skymere.datamodels import Mosaic

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


def noise_parts(image: object) -> NoiseParts | None:
    """Return the noise of a mosaic that has its covariance, else None."""
    if not isinstance(image, Mosaic) or image.noise is None:
        return None
    return NoiseParts(kernels=image.noise.kernels, class_map=image.noise.class_map, weight=image.weight)
