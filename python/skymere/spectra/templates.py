"""What a spectrum may be made of."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from skymere._arrays import as_array
from skymere._rust import spectra as _rust
from skymere.errors import InvalidInputError

__all__ = ["LineComplex", "SplineContinuum", "TabulatedTemplate", "Template"]

_FWHM_OVER_SIGMA = math.sqrt(8 * math.log(2))
Along = Literal["pixel", "wavelength", "log_wavelength"]
Profile = Literal["gaussian", "lorentzian"]


@dataclass(frozen=True, kw_only=True)
class LineComplex:
    """Emission lines with fixed ratios, fitted with one flux.

    Parameters
    ----------
    name : str
        What the table calls it.
    wave : tuple of float [um]
        Vacuum wavelengths at rest.
    ratio : tuple of float
        Fluxes relative to each other.
    z_range : tuple of float
        It counts at redshifts above the first and up to the second.
    fwhm_km_s : float, optional
        Width in velocity, full width at half maximum [km/s]; that of the fit's parameters (``vel_width``, 1 sigma) when
        not given.
    profile : str
        ``gaussian`` or ``lorentzian``; spectra of slits are fitted with Gaussians alone.

    Raises
    ------
    InvalidInputError
        When the lengths differ, a value is not positive, or the profile is another.

    Notes
    -----
    A Lorentzian of the half width ``g`` is ``1 / (1 + ((w - c) / g)^2)`` within 42.5 g, and zero outside: its light
    within is 1, as grizli has it.

    A complex counts at redshifts that put its strongest line (the first of equal ones) between the first and the last
    pixel that are used.
    """

    name: str
    wave: tuple[float, ...]
    ratio: tuple[float, ...] = (1.0,)
    z_range: tuple[float, float] = (-1.0, math.inf)
    fwhm_km_s: float | None = None
    profile: Profile = "gaussian"

    def __post_init__(self) -> None:
        if len(self.wave) != len(self.ratio) or not self.wave:
            msg = f"ratio: {len(self.ratio)} values of {self.name} are not allowed for {len(self.wave)} lines"
            raise InvalidInputError(msg)
        for name in ("wave", "ratio"):
            values = getattr(self, name)
            if not all(0 < value < math.inf for value in values):
                msg = f"{name}: {values} of {self.name} is not allowed, all must be positive"
                raise InvalidInputError(msg)
        if self.fwhm_km_s is not None and not 0 < self.fwhm_km_s < math.inf:
            msg = f"fwhm_km_s: {self.fwhm_km_s} of {self.name} is not allowed, it must be positive"
            raise InvalidInputError(msg)
        if self.profile not in get_args(Profile):
            allowed = ", ".join(get_args(Profile))
            msg = f"profile: {self.profile!r} of {self.name} is not allowed, it must be one of {allowed}"
            raise InvalidInputError(msg)
        if not self.z_range[0] < self.z_range[1]:
            msg = f"z_range: {self.z_range} of {self.name} is not allowed, it must rise"
            raise InvalidInputError(msg)

    @property
    def parts(self) -> tuple[float, ...]:
        """Part of each line in the flux of all."""
        return tuple(ratio / sum(self.ratio) for ratio in self.ratio)

    @property
    def velocity_sigma(self) -> float | None:
        """Width in velocity, 1 sigma [km/s], where it has one of its own."""
        return None if self.fwhm_km_s is None else self.fwhm_km_s / _FWHM_OVER_SIGMA

    @property
    def is_lorentzian(self) -> bool:
        """Whether its profile is a Lorentzian."""
        return self.profile == "lorentzian"

    @property
    def main(self) -> float:
        """Vacuum wavelength at rest of the strongest line [um]."""
        return self.wave[self.ratio.index(max(self.ratio))]


@dataclass(frozen=True, kw_only=True)
class SplineContinuum:
    """A smooth continuum: cubic B-splines of evenly spaced knots, in f_lambda.

    Parameters
    ----------
    n_functions : int
        Number of splines.
    along : str
        ``pixel``: knots evenly spaced in pixels, so that they follow the resolution where pixels do; ``wavelength`` or
        ``log_wavelength``.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    n_functions: int = 27
    along: Along = "pixel"

    def __post_init__(self) -> None:
        if self.n_functions < 4:
            msg = f"n_functions: {self.n_functions} is not allowed, it must be at least 4"
            raise InvalidInputError(msg)
        if self.along not in get_args(Along):
            msg = f"along: {self.along!r} is not allowed, it must be one of {', '.join(get_args(Along))}"
            raise InvalidInputError(msg)

    def draw(self, wave: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the splines at wavelengths.

        Parameters
        ----------
        wave : ndarray, float64, shape (n,) [um]
            All wavelengths of a spectrum, in rising order.

        Returns
        -------
        ndarray, float64, shape (n_functions, n)
            They are not negative and sum to 1.
        """
        pixel = np.arange(len(wave), dtype=np.float64)
        places = {"pixel": pixel, "wavelength": wave, "log_wavelength": np.log(wave)}[self.along]
        return _rust.bsplines(places, self.n_functions, 3, (float(places[0]), float(places[-1])))


@dataclass(frozen=True, kw_only=True, eq=False)
class TabulatedTemplate:
    """A spectrum at rest, as of a galaxy, that is shifted and smeared with the resolution.

    Parameters
    ----------
    name : str
        What the coefficients call it.
    wave : ndarray, float64, shape (n,) [um]
        Vacuum wavelengths at rest, in rising order.
    flux : ndarray, float64, shape (n,)
        f_lambda in any unit; straight between the points, 0 outside.

    Raises
    ------
    InvalidInputError
        When lengths differ, wavelengths do not rise, or a flux is not finite.
    """

    name: str
    wave: NDArray[np.float64]
    flux: NDArray[np.float64]

    def __post_init__(self) -> None:
        wave = np.asarray(as_array(self.wave, "wave", np.float64, shape=(None,)), np.float64)
        flux = as_array(self.flux, "flux", np.float64, shape=wave.shape)
        if wave.size < 2 or not (wave[0] > 0 and np.isfinite(wave[-1]) and np.all(np.diff(wave) > 0)):
            msg = f"wave: {wave.size} values of {self.name} are not allowed, they must be positive and rise"
            raise InvalidInputError(msg)
        if not np.all(np.isfinite(flux)):
            msg = f"flux: values of {self.name} that are not finite are not allowed"
            raise InvalidInputError(msg)
        object.__setattr__(self, "wave", wave)
        object.__setattr__(self, "flux", flux)


Template = SplineContinuum | LineComplex | TabulatedTemplate
