"""Errors of a sky that was subtracted, followed into what is measured on the pixels."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from skymere.io import BackgroundSpectrum

__all__ = ["SkyNoise", "sky_covariance"]

_Array = NDArray[np.float64]
_CHUNK = 16  # points of a spectrum of the background that are followed at once


@dataclass(frozen=True, kw_only=True, eq=False)
class SkyNoise:
    """What the errors of a subtracted sky come from: pixels it was fitted to, and spectra of the background.

    Parameters
    ----------
    basis : ndarray, float64, shape of the data and (m,) [uJy]
        Change of what is subtracted from each pixel with each of the m fitted numbers.
    design : ndarray, float64, shape of the data and (m,) [uJy]
        The functions that were fitted; `basis` where the data were not scaled since.
    weight : ndarray, float64, shape of the data [1/uJy2]
        Weights of the fit; 0 for pixels that were not fitted.
    variance : ndarray, float64, shape of the data [uJy2]
        Variances of the pixels when they were fitted.
    spectra : tuple of BackgroundSpectrum
        Those of all exposures; none for a sky that was fitted alone.
    gain, fit_gain : ndarray, float64, shape of the data
        Sky of a pixel over the spectrum at its wavelength, in units of the data, and in those of the fit.
    relative_error : float
        An error of all spectra in units of them, the same for all exposures of the slit.
    """

    basis: _Array
    design: _Array
    weight: _Array
    variance: _Array
    spectra: tuple[BackgroundSpectrum, ...] = ()
    gain: _Array | None = None
    fit_gain: _Array | None = None
    relative_error: float = 0.0

    def flat(self, n_exposures: int) -> Self:
        """Return the same with pixels along one axis, shape (n_exposures, n_pixels).

        Parameters
        ----------
        n_exposures : int
            Number of exposures.
        """
        m = self.basis.shape[-1]
        planes = {
            name: getattr(self, name).reshape(n_exposures, -1)
            for name in ("weight", "variance", "gain", "fit_gain")
            if getattr(self, name) is not None
        }
        n_pixels = self.weight.size // n_exposures
        functions = {name: getattr(self, name).reshape(n_exposures, n_pixels, m) for name in ("basis", "design")}
        return replace(self, **planes, **functions)

    def scaled(self, factor: _Array) -> Self:
        """Return the same for data that were multiplied by a factor after the sky was subtracted.

        Parameters
        ----------
        factor : ndarray, float64, shape of the data
            The factor.
        """
        gain = None if self.gain is None else self.gain * factor
        return replace(self, basis=self.basis * factor[..., None], gain=gain)


def sky_covariance(
    sky: SkyNoise, wavelength: _Array, variance: _Array, project: Callable[[_Array], _Array], n: int
) -> _Array:
    """Return what the errors of a sky add to the covariance of linear sums of pixels.

    Parameters
    ----------
    sky : SkyNoise
        The sky.
    wavelength, variance : ndarray, float64, shape (n_exposures, n_pixels) [um, uJy2]
        Wavelengths and variances of the pixels that are summed, without those of the sky.
    project : callable
        The sums ``(k, n)`` of planes ``(k, n_exposures, n_pixels)``.
    n : int
        Number of sums.

    Returns
    -------
    ndarray, float64, shape (n, n) [uJy2]
        To be added to ``L V L^T``; not positive by itself where pixels were fitted and are summed.

    Notes
    -----
    Sums ``L y`` of ``y = d - A c - E b``, with the fitted numbers ``c = H (d - F b)``, ``H = (D^T W D)^-1 D^T W``, and
    the background's points b (c is fitted to what they leave, E and F their shares in a pixel), have to first order

        ``cov = L P (V + E U E^T) P^T L^T``, ``P = 1 - A H``,

    so with ``T = L A``, ``X = L V H^T`` and ``C = H V H^T`` the fit adds ``T C T^T - X T^T - T X^T``. X is of the
    pixels that both fit the sky and are summed; pixels that were scaled since have the covariance ``sqrt(V V')`` with
    what they were. U is diagonal but for the relative error, which is one number. A choice of pixels that follows
    their values, and weights that do, are not in it.
    """
    n_exposures, n_pixels = wavelength.shape
    m = sky.basis.shape[-1]
    flat = (n_exposures * n_pixels, m)
    basis, design = (np.nan_to_num(one).reshape(flat) for one in (sky.basis, sky.design))
    is_fitted = (sky.weight > 0).ravel()
    weight, at_fit = np.where(is_fitted, sky.weight.ravel(), 0.0), np.where(is_fitted, sky.variance.ravel(), 0.0)
    response = np.zeros(flat)
    fitted = design[is_fitted] * weight[is_fitted, None]
    response[is_fitted] = fitted @ np.linalg.pinv(design[is_fitted].T @ fitted, hermitian=True)

    def sums(planes: _Array) -> _Array:
        return project(np.ascontiguousarray(planes).reshape(-1, n_exposures, n_pixels))

    total = np.zeros((n, n))
    moved = np.zeros((m, n))
    if m:
        moved = sums(basis.T)
        shared = sums((response * np.sqrt(at_fit * np.nan_to_num(variance.ravel()))[:, None]).T)
        covariance = response.T @ (response * at_fit[:, None])
        cross = shared.T @ moved
        total += moved.T @ covariance @ moved - cross - cross.T
    if not sky.spectra or sky.gain is None or sky.fit_gain is None:
        return total
    gain, fit_gain = (np.nan_to_num(one).reshape(wavelength.shape) for one in (sky.gain, sky.fit_gain))
    response = response.reshape(n_exposures, n_pixels, m)
    common = np.zeros(n)
    for k, spectrum in enumerate(sky.spectra):
        error, flux = np.nan_to_num(spectrum.error), np.nan_to_num(spectrum.flux)
        for first in range(0, error.size, _CHUNK):
            chosen = slice(first, min(first + _CHUNK, error.size))
            hats = _hats(spectrum.wavelength, wavelength[k], chosen)
            planes = np.zeros((len(hats), n_exposures, n_pixels))
            planes[:, k] = hats * gain[k]
            shares = project(planes) - (hats * fit_gain[k]) @ response[k] @ moved
            total += (shares.T * error[chosen] ** 2) @ shares
            common += flux[chosen] @ shares
    return total + sky.relative_error**2 * np.outer(common, common)


def _hats(points: _Array, wavelength: _Array, chosen: slice) -> _Array:
    """Return the shares of some points of a spectrum in its linear interpolation, shape (k, n_pixels)."""
    at = np.clip(np.searchsorted(points, wavelength, side="right") - 1, 0, points.size - 2)
    inside = (wavelength >= points[0]) & (wavelength <= points[-1])
    part = np.where(inside, (wavelength - points[at]) / (points[at + 1] - points[at]), 0.0)
    numbers = np.arange(chosen.start, chosen.stop)[:, None]
    lower, upper = (at == numbers) & inside, (at + 1 == numbers) & inside
    return np.asarray(lower * (1 - part) + upper * part)
