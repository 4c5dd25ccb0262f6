"""A spectrum in one dimension."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skymere._arrays import as_array
from skymere.errors import InvalidInputError

__all__ = ["Spectrum1D"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Spectrum1D:
    """Flux densities along wavelength.

    Parameters
    ----------
    wave : ndarray, float64, shape (n,) [um]
        Vacuum wavelengths of the middles of the pixels, in rising order.
    flux : ndarray, float64, shape (n,) [uJy]
        Mean flux density f_nu in each pixel; not finite where there is none.
    err : ndarray, float64, shape (n,) [uJy]
        1 sigma; pixels where it is not positive or not finite are not used.
    resolution : ndarray, float64, shape (n,), optional
        Wavelength over the full width at half maximum of an unresolved line.
    mask : ndarray, bool, shape (n,), optional
        True = do not use.
    covariance : ndarray, float64, shape (n, k), optional [uJy2]
        Covariance of the flux of every pixel with itself (``err^2``) and the ``k - 1`` after it, as that of
        `skymere.slit.SlitSpectrum`; pixels are independent when not given.
    spread : ndarray, float64, shape (n,), optional [um]
        Scatter of the wavelengths of the light that each pixel was made of, 1 sigma, which makes lines broader than
        ``resolution`` says, such as `skymere.slit.SlitSpectrum` has it as ``wave_spread``; 0 when not given.
    source_id : str
        What it is of.
    grating : str
        What it was taken with.

    Raises
    ------
    InvalidInputError
        When lengths differ, wavelengths do not rise, a resolution is not positive, a spread is negative, or
        ``covariance`` is not that of ``err``.
    """

    wave: NDArray[np.float64]
    flux: NDArray[np.float64]
    err: NDArray[np.float64]
    resolution: NDArray[np.float64] | None = None
    mask: NDArray[np.bool_] | None = None
    covariance: NDArray[np.float64] | None = None
    spread: NDArray[np.float64] | None = None
    source_id: str = ""
    grating: str = ""

    def __post_init__(self) -> None:
        wave = np.asarray(as_array(self.wave, "wave", np.float64, shape=(None,)), np.float64)
        if wave.size < 2 or not (wave[0] > 0 and np.isfinite(wave[-1]) and np.all(np.diff(wave) > 0)):
            msg = f"wave: {wave.size} values are not allowed, they must be two or more that are positive and rise"
            raise InvalidInputError(msg)
        object.__setattr__(self, "wave", wave)
        for name in ("flux", "err"):
            object.__setattr__(self, name, as_array(getattr(self, name), name, np.float64, shape=wave.shape))
        self._check_widths()
        if self.mask is not None:
            object.__setattr__(self, "mask", as_array(self.mask, "mask", np.bool_, shape=wave.shape))
        if self.covariance is not None:
            covariance = np.asarray(
                as_array(self.covariance, "covariance", np.float64, shape=(wave.size, None)), np.float64
            )
            if covariance.shape[1] < 1:
                msg = f"covariance: shape {covariance.shape} is not allowed, it must have a column of variances"
                raise InvalidInputError(msg)
            good = self.is_valid
            if not np.allclose(covariance[good, 0], self.err[good] ** 2, rtol=1e-4, atol=0.0):
                msg = "covariance: its first column is not allowed, it must be the square of err"
                raise InvalidInputError(msg)
            object.__setattr__(self, "covariance", covariance)

    def _check_widths(self) -> None:
        if self.resolution is not None:
            given = as_array(self.resolution, "resolution", np.float64, shape=self.wave.shape)
            resolution = np.asarray(given, np.float64)
            if not (np.all(resolution > 0) and np.all(np.isfinite(resolution))):
                msg = f"resolution: {resolution.min()} to {resolution.max()} are not allowed, they must be positive"
                raise InvalidInputError(msg)
            object.__setattr__(self, "resolution", resolution)
        if self.spread is not None:
            spread = np.asarray(as_array(self.spread, "spread", np.float64, shape=self.wave.shape), np.float64)
            if not (np.all(spread >= 0) and np.all(np.isfinite(spread))):
                msg = f"spread: {spread.min()} to {spread.max()} are not allowed, they must be finite and not negative"
                raise InvalidInputError(msg)
            object.__setattr__(self, "spread", spread)

    @property
    def is_valid(self) -> NDArray[np.bool_]:
        """Pixels that can be used, bool, shape (n,)."""
        good = np.isfinite(self.flux) & np.isfinite(self.err) & (self.err > 0)
        return good if self.mask is None else good & ~self.mask

    @property
    def edges(self) -> NDArray[np.float64]:
        """Borders of the pixels, half way between their middles, float64, shape (n + 1,) [um]."""
        between = 0.5 * (self.wave[1:] + self.wave[:-1])
        first, last = 2 * self.wave[0] - between[0], 2 * self.wave[-1] - between[-1]
        return np.concatenate([[first], between, [last]])
