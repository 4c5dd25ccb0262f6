"""The light of a simulated source that an aperture of a mosaic holds."""

import warnings
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from skymere.errors import InvalidInputError
from skymere.testing.exposures import SCALE_ARCSEC, CameraParams, source_profile

__all__ = ["true_aperture_fluxes"]

_STEP_ARCSEC = 0.04
_OVERSAMPLED = 5


def true_aperture_fluxes(
    scene: pl.DataFrame,
    band: str,
    *,
    diameter_arcsec: float,
    pixfrac: float = 0.8,
    scale_arcsec: float = 0.08,
    params: CameraParams | None = None,
) -> NDArray[np.float64]:
    """Return the noise-free flux of every source in a circular aperture on its centre, without its neighbours [uJy].

    Parameters
    ----------
    scene : polars.DataFrame
        As `draw_scene` gives it.
    band : str
        One of `skymere.testing.BANDS`.
    diameter_arcsec : float
        Diameter of the aperture.
    pixfrac, scale_arcsec : float, optional
        Of the mosaic: detector pixel, drop and mosaic pixel are boxes that each spread the light.
    params : CameraParams, optional
        The camera.

    Raises
    ------
    InvalidInputError
        When the diameter is not positive.
    """
    import galsim

    if not diameter_arcsec > 0:
        msg = f"diameter_arcsec: {diameter_arcsec} is not allowed, it must be positive"
        raise InvalidInputError(msg)
    params = params or CameraParams()
    sides = [side for side in (SCALE_ARCSEC, pixfrac * SCALE_ARCSEC, scale_arcsec) if side > 0]
    settings = galsim.GSParams(folding_threshold=5e-3, maxk_threshold=1e-3)
    boxes = [galsim.Pixel(side) for side in sides]
    coverage = _disc(0.5 * diameter_arcsec / _STEP_ARCSEC)
    n = coverage.shape[0]

    def fraction(source: dict[str, Any]) -> float:
        profile = galsim.Convolve([source_profile(source, band, params), *boxes], gsparams=settings)
        return float((profile.drawImage(nx=n, ny=n, scale=_STEP_ARCSEC, method="no_pixel").array * coverage).sum())

    with warnings.catch_warnings():
        # A truncated PSF and boxes have hard edges; their ringing is below 1e-3 of the light.
        warnings.simplefilter("ignore", galsim.GalSimWarning)
        fractions = np.array([fraction(source) for source in scene.iter_rows(named=True)])
    return np.asarray(scene[f"flux_{band}"].to_numpy() * fractions)


def _disc(radius: float) -> NDArray[np.float64]:
    """Return the part of each pixel that a disc covers, on an odd square around it."""
    half = int(np.ceil(radius))
    n = 2 * half + 1
    fine = (np.arange(n * _OVERSAMPLED) + 0.5) / _OVERSAMPLED - n / 2
    inside = np.hypot(fine[:, None], fine[None, :]) <= radius
    return np.asarray(inside.reshape(n, _OVERSAMPLED, n, _OVERSAMPLED).mean(axis=(1, 3)))
