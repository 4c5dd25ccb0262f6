"""Errors of fluxes where the covariance of the noise is known."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skymere.datamodels import Mosaic
from skymere.segmentation.planes import MeasureImage

__all__ = ["noise_ratio", "with_covariance"]

# R hardly changes between radii so close.
_STEPS_PER_OCTAVE = 8


def noise_ratio(
    image: Mosaic | MeasureImage, radius_pix: NDArray[np.float64], *, y: NDArray[np.float64], x: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return R of apertures of these radii and places over the constant R of the image; 1 where only that is known."""
    ones = np.ones(np.broadcast_shapes(radius_pix.shape, x.shape))
    if not isinstance(image, Mosaic) or image.noise is None:
        return ones
    steps = _STEPS_PER_OCTAVE * np.log2(np.maximum(radius_pix, 0.5))
    rounded = 2.0 ** (np.rint(steps) / _STEPS_PER_OCTAVE)
    factor = image.noise.aperture_factor(rounded, y=y, x=x)
    return np.where(np.isfinite(factor), factor / image.noise_correlation, ones)


def with_covariance(
    measured: Mapping[str, Any],
    image: Mosaic | MeasureImage,
    shapes: Mapping[str, Any],
    aperture_diameters_pix: tuple[float, ...],
) -> dict[str, Any]:
    """Return the fluxes of a band with errors for the size and the place of each aperture.

    Isophotal and Kron apertures count as circles of their area.
    """
    if not isinstance(image, Mosaic) or image.noise is None:
        return dict(measured)
    x, y = shapes["x"], shapes["y"]
    radii = {
        "flux_iso_err": np.sqrt(shapes["area"] / np.pi),
        "flux_auto_err": shapes["kron_radius"] * np.sqrt(shapes["a"] * shapes["b"]),
    } | {f"flux_aper{k}_err": np.full(x.shape, 0.5 * d) for k, d in enumerate(aperture_diameters_pix, start=1)}
    changed = {name: measured[name] * noise_ratio(image, radius, y=y, x=x) for name, radius in radii.items()}
    return {name: changed.get(name, column) for name, column in measured.items()}
