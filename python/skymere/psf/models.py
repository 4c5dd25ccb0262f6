"""Point-spread functions as formulas on the sky."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere.errors import InvalidInputError

__all__ = ["GaussianMixturePsf", "GaussianPsf", "MoffatPsf", "PsfFormula", "SkyProfile"]


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


@dataclass(frozen=True, kw_only=True)
class GaussianMixturePsf:
    """A sum of Gaussians with one centre.

    Parameters
    ----------
    components : tuple of GaussianPsf
        The Gaussians, each with its own width, axis ratio and position angle.
    fractions : tuple of float
        Part of the light in each, with the sum 1; a negative one takes light away.

    Raises
    ------
    InvalidInputError
        When there is no component, lengths differ, or the fractions do not add up to 1.

    Notes
    -----
    ``P(e, n) = sum_i f_i G_i(e, n)`` with ``sum_i f_i = 1`` [1]_.

    References
    ----------
    .. [1] Hogg & Lang 2013, PASP 125, 719, section 2.

    Examples
    --------
    >>> from skymere.psf import GaussianMixturePsf, GaussianPsf
    >>> core, wings = GaussianPsf(fwhm_arcsec=0.1), GaussianPsf(fwhm_arcsec=0.3)
    >>> psf = GaussianMixturePsf(components=(core, wings), fractions=(0.8, 0.2))
    >>> float(psf.sky_density(0.0, 0.0).round(3))
    72.565
    """

    components: tuple[GaussianPsf, ...]
    fractions: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "components", tuple(self.components))
        object.__setattr__(self, "fractions", tuple(float(f) for f in self.fractions))
        if not self.components or len(self.components) != len(self.fractions):
            msg = (
                f"components, fractions: {len(self.components)} and {len(self.fractions)} are not allowed, there must "
                "be at least one and as many of both"
            )
            raise InvalidInputError(msg)
        if not abs(sum(self.fractions) - 1.0) < 1e-6:
            msg = f"fractions: {self.fractions} are not allowed, their sum must be 1"
            raise InvalidInputError(msg)

    def sky_density(self, east: ArrayLike, north: ArrayLike) -> NDArray[np.float64]:
        """Return the light per arcsec^2 of a source of flux 1 at offsets [arcsec]."""
        parts = zip(self.fractions, self.components, strict=True)
        return np.asarray(sum(f * one.sky_density(east, north) for f, one in parts))


PsfFormula = GaussianPsf | MoffatPsf | GaussianMixturePsf
"""PSFs as formulas on the sky."""
