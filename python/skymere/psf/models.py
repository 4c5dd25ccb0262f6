"""Point-spread functions as formulas on the sky."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere.errors import InvalidInputError

__all__ = ["GaussianPsf", "MoffatPsf", "SkyProfile"]


@dataclass(frozen=True, kw_only=True)
class SkyProfile:
    """What the formulas have in common: an ellipse on the sky, without the pixel's response.

    Parameters
    ----------
    fwhm_arcsec : float
        Full width at half maximum, the geometric mean of both axes [arcsec].
    axis_ratio : float
        Minor over major axis.
    pa_deg : float
        Position angle of the major axis, from north through east [deg].

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    fwhm_arcsec: float
    axis_ratio: float = 1.0
    pa_deg: float = 0.0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.fwhm_arcsec) and self.fwhm_arcsec > 0):
            msg = f"fwhm_arcsec: {self.fwhm_arcsec} is not allowed, it must be positive"
            raise InvalidInputError(msg)
        if not 0 < self.axis_ratio <= 1:
            msg = f"axis_ratio: {self.axis_ratio} is not allowed, it must be above 0 and at most 1"
            raise InvalidInputError(msg)

    def _radius2(self, east: ArrayLike, north: ArrayLike) -> NDArray[np.float64]:
        """Squared elliptical radius in units of the FWHM."""
        angle = np.deg2rad(self.pa_deg)
        e, n = np.asarray(east, np.float64), np.asarray(north, np.float64)
        along, across = e * np.sin(angle) + n * np.cos(angle), e * np.cos(angle) - n * np.sin(angle)
        q = self.axis_ratio
        return np.asarray((along**2 * q + across**2 / q) / self.fwhm_arcsec**2)


@dataclass(frozen=True, kw_only=True)
class GaussianPsf(SkyProfile):
    """A Gaussian.

    Parameters
    ----------
    fwhm_arcsec, axis_ratio, pa_deg
        Width, axis ratio and position angle; see `SkyProfile`.
    """

    def sky_density(self, east: ArrayLike, north: ArrayLike) -> NDArray[np.float64]:
        """Return the light per arcsec^2 of a source of flux 1 at offsets [arcsec]."""
        peak = 4 * np.log(2) / (np.pi * self.fwhm_arcsec**2)
        return np.asarray(peak * np.exp(-4 * np.log(2) * self._radius2(east, north)))


@dataclass(frozen=True, kw_only=True)
class MoffatPsf(SkyProfile):
    """A Moffat profile.

    Parameters
    ----------
    fwhm_arcsec, axis_ratio, pa_deg
        Width, axis ratio and position angle; see `SkyProfile`.
    beta : float
        Exponent, above 1.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.

    References
    ----------
    Moffat 1969, A&A 3, 455.
    """

    beta: float = 3.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.beta > 1:
            msg = f"beta: {self.beta} is not allowed, it must be above 1"
            raise InvalidInputError(msg)

    def sky_density(self, east: ArrayLike, north: ArrayLike) -> NDArray[np.float64]:
        """Return the light per arcsec^2 of a source of flux 1 at offsets [arcsec]."""
        # (fwhm / alpha)^2 with alpha the scale radius.
        steep = 4 * (2 ** (1 / self.beta) - 1)
        peak = (self.beta - 1) * steep / (np.pi * self.fwhm_arcsec**2)
        return np.asarray(peak * (1 + steep * self._radius2(east, north)) ** -self.beta)
