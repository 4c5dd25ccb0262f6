"""The sky of a slit from the spectrum of the background of its whole exposure, rescaled where that is asked for."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_array
from skymere.errors import InvalidInputError
from skymere.io import BackgroundSpectrum
from skymere.slit.bsplines import bspline_basis
from skymere.slit.sky_noise import SkyNoise

__all__ = ["BackgroundSky", "BackgroundSkyParams", "set_background_spectra"]

_Array = NDArray[np.float64]
_MIN_PIXELS = 10
_N_STEPS = 17  # percentiles of the wavelengths along which the scale varies


@dataclass(frozen=True, kw_only=True)
class BackgroundSkyParams:
    """Parameters of `set_background_spectra`; the defaults are msaexp's.

    Parameters
    ----------
    skip_h_gratings : bool
        Do nothing for high-resolution gratings, whose spectra of the background have gaps.
    df : int
        Functions of the rescaling (the degree with ``poly``); below 0 for none.
    by_wavelength : bool
        The scale varies evenly with wavelength; else evenly along ``wsteps``.
    wsteps : tuple of float or None
        Wavelengths between which the scale varies evenly [um]; 17 percentiles of the pixels' when not given.
    poly : bool
        Chebyshev polynomials instead of a cubic spline.
    mask_yslit : tuple of (float, float)
        Distances from the trace that do not count for the scale [pix].
    resid_limits : tuple of float
        Only pixels whose residuals are between these do [sigma].
    apply_to_background : bool
        Scale the sky; else its inverse is a factor for the data.
    relative_error : float
        Error of the background in units of it.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    skip_h_gratings: bool = True
    df: int = -1
    by_wavelength: bool = False
    wsteps: tuple[float, ...] | None = None
    poly: bool = False
    mask_yslit: tuple[tuple[float, float], ...] = ((-4.0, 4.0),)
    resid_limits: tuple[float, float] = (-3.0, 5.0)
    apply_to_background: bool = True
    relative_error: float = 0.03

    def __post_init__(self) -> None:
        if 0 <= self.df < 4 and not self.poly:
            msg = f"df: {self.df} is not allowed for a spline, it must be at least 4 or below 0"
            raise InvalidInputError(msg)
        if self.wsteps is not None and (len(self.wsteps) < 2 or not (np.diff(self.wsteps) > 0).all()):
            msg = f"wsteps: {self.wsteps} are not allowed, they must rise"
            raise InvalidInputError(msg)
        if not self.resid_limits[0] < self.resid_limits[1]:
            msg = f"resid_limits: {self.resid_limits} are not allowed, they must rise"
            raise InvalidInputError(msg)
        if not self.relative_error >= 0:
            msg = f"relative_error: {self.relative_error} is not allowed, it must be 0 or positive"
            raise InvalidInputError(msg)


@dataclass(frozen=True, kw_only=True, eq=False)
class BackgroundSky:
    """The sky of a slit out of spectra of the background.

    Parameters
    ----------
    status : str
        ``ok``; ``skipped`` for a high-resolution grating; ``no_spectra``; ``too_few_pixels`` when fewer than 10 were
        left for the scale, which is 1 then.
    sky2d, var_sky : ndarray, float64, shape (n, ny, nx) [uJy, uJy^2]
        Sky and variance; NaN where the spectra do not reach, and everywhere without spectra.
    scale : ndarray, float64, shape (n, ny, nx)
        The scale that was fitted, 1 without.
    data_factor : ndarray, float64, shape (n, ny, nx)
        What data are to be multiplied by (variances by its square).
    coefficients, covariance : ndarray, float64, shape (m,), (m, m)
        Of the scale.
    n_pixels : int
        Pixels of the fit.
    noise : SkyNoise or None
        What `sky_covariance` needs to follow its errors; the relative error is one number for all exposures.
    """

    status: str
    sky2d: _Array
    var_sky: _Array
    scale: _Array
    data_factor: _Array
    coefficients: _Array
    covariance: _Array
    n_pixels: int
    noise: SkyNoise | None = None


def set_background_spectra(
    spectra: Sequence[BackgroundSpectrum] | None,
    sci: ArrayLike,
    variance: ArrayLike,
    wavelength: ArrayLike,
    yslit: ArrayLike,
    *,
    flux_factor: ArrayLike,
    pixel_area_sr: ArrayLike,
    grating: str,
    valid: ArrayLike | None = None,
    params: BackgroundSkyParams | None = None,
) -> BackgroundSky:
    """Make the sky of a slit out of the spectra of the background of its exposures.

    Parameters
    ----------
    spectra : sequence of BackgroundSpectrum or None
        One of each exposure, `skymere.io.find_background_spectra`.
    sci, variance : array_like, float64, shape (n, ny, nx) [uJy, uJy^2]
        Exposures with sky, and their variances without that of the sky.
    wavelength, yslit : array_like, float64, shape (n, ny, nx) [um, pix]
        Wavelength, and distance from the trace.
    flux_factor : array_like, float64, shape (n, ny, nx) [uJy sr / MJy]
        From surface brightness to flux without path loss: ``phot_corr / pathloss_corr``.
    pixel_area_sr : array_like, float64, shape (n,) [sr]
        Area of the pixels of each exposure.
    grating : str
        Its name.
    valid : array_like, bool, shape (n, ny, nx), optional
        True = good.
    params : BackgroundSkyParams, optional
        Whether and how it is rescaled.

    Raises
    ------
    InvalidInputError
        When shapes or numbers do not fit.

    Notes
    -----
    ``s = b(w) f A_0 / A`` with the background b of pixels of area A_0 and the flux factor f; its variance is that of
    the background and ``(0.03 s)^2``. The scale is ``sum_j c_j B_j(w)`` by least squares of ``sci`` against ``s B_j``;
    its variance is added where it scales the sky.
    """
    params = params or BackgroundSkyParams()
    data = np.asarray(as_array(sci, "sci", np.float64, shape=(None, None, None)), np.float64)
    noise, wave, distance, factor = (
        np.asarray(as_array(value, name, np.float64, shape=data.shape), np.float64)
        for value, name in (
            (variance, "variance"),
            (wavelength, "wavelength"),
            (yslit, "yslit"),
            (flux_factor, "flux_factor"),
        )
    )
    areas = np.asarray(as_array(pixel_area_sr, "pixel_area_sr", np.float64, shape=(len(data),)), np.float64)
    ones, unknown = np.ones(data.shape), np.full(data.shape, np.nan)
    result: dict[str, Any] = {
        "sky2d": unknown,
        "var_sky": unknown,
        "scale": ones,
        "data_factor": ones,
        "coefficients": np.empty(0),
        "covariance": np.empty((0, 0)),
    }
    if params.skip_h_gratings and grating.upper().endswith("H"):
        return BackgroundSky(status="skipped", n_pixels=0, **result)
    if spectra is None:
        return BackgroundSky(status="no_spectra", n_pixels=0, **result)
    if len(spectra) != len(data):
        msg = f"spectra: {len(spectra)} are not allowed, there are {len(data)} exposures"
        raise InvalidInputError(msg)
    sky, error, gain = np.empty_like(data), np.empty_like(data), np.empty_like(data)
    for k, one in enumerate(spectra):
        gain[k] = factor[k] * one.pixel_area_sr / areas[k]
        for out, values in ((sky, one.flux), (error, one.error)):
            out[k] = np.interp(wave[k], one.wavelength, values, left=np.nan, right=np.nan) * gain[k]
    var_sky = error**2 + (params.relative_error * sky) ** 2
    nothing = np.empty((*data.shape, 0))
    given = SkyNoise(
        basis=nothing,
        design=nothing,
        weight=np.zeros(data.shape),
        variance=noise,
        spectra=tuple(spectra),
        gain=gain,
        fit_gain=gain,
        relative_error=params.relative_error,
    )
    result |= {"sky2d": sky, "var_sky": var_sky, "noise": given}
    if params.df < 0:
        return BackgroundSky(status="ok", n_pixels=0, **result)
    with np.errstate(invalid="ignore"):
        total = noise + var_sky
        good = np.isfinite(data) & np.isfinite(sky) & np.isfinite(wave) & (total > 0)
        if valid is not None:
            good &= np.asarray(as_array(valid, "valid", np.bool_, shape=data.shape), np.bool_)
        residual = (data - sky) / np.sqrt(total)
        use = good & (residual > params.resid_limits[0]) & (residual < params.resid_limits[1])
        for low, high in params.mask_yslit:
            use &= ~((distance > low) & (distance < high))
    if use.sum() < max(_MIN_PIXELS, params.df + 1):
        return BackgroundSky(status="too_few_pixels", n_pixels=int(use.sum()), **result)
    rescaled = _rescale(data, sky, var_sky, total, wave, use, good, given, params)
    return BackgroundSky(status="ok", n_pixels=int(use.sum()), **(result | rescaled))


def _rescale(
    data: _Array,
    sky: _Array,
    var_sky: _Array,
    total: _Array,
    wave: _Array,
    use: NDArray[np.bool_],
    good: NDArray[np.bool_],
    given: SkyNoise,
    params: BackgroundSkyParams,
) -> dict[str, Any]:
    """Return the scale, and the sky or the factor of the data that follow from it."""
    basis = _basis(wave, good, params)
    weighted = basis[use.ravel()] * (sky[use] / np.sqrt(total[use]))[:, None]
    coefficients = np.linalg.lstsq(weighted, data[use] / np.sqrt(total[use]), rcond=None)[0]
    covariance = np.linalg.pinv(weighted.T @ weighted, hermitian=True)
    scale = (basis @ coefficients).reshape(data.shape)
    design = sky[..., None] * basis.reshape(*data.shape, -1)
    assert given.gain is not None
    fitted = replace(
        given,
        basis=design,
        design=design,
        weight=np.where(use, 1.0 / total, 0.0),
        gain=given.gain * scale,
        fit_gain=given.gain * scale,
    )
    result = {"scale": scale, "coefficients": coefficients, "covariance": covariance, "noise": fitted}
    if params.apply_to_background:
        var_scale = np.maximum(np.einsum("ij,ij->i", basis @ covariance, basis), 0.0).reshape(data.shape)
        return result | {"sky2d": sky * scale, "var_sky": var_sky * scale**2 + var_scale * sky**2}
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = np.where(scale > 0, 1 / scale, np.nan)
        # A change of the scale by dc moves d / c by -d / c^2 dc; the background stays as it was given.
        moved = (data * inverse**2)[..., None] * basis.reshape(*data.shape, -1)
    return result | {"data_factor": inverse, "noise": replace(fitted, basis=moved, gain=given.gain)}


def _basis(wave: _Array, good: NDArray[np.bool_], params: BackgroundSkyParams) -> _Array:
    """Return the functions of the scale at the wavelengths of the pixels, constant beyond those that count."""
    if params.by_wavelength and params.wsteps is None:
        steps = np.array([wave[good].min(), wave[good].max()])
    elif params.wsteps is not None:
        steps = np.asarray(params.wsteps, np.float64)
    else:
        steps = np.nanpercentile(wave, np.linspace(0, 100, _N_STEPS))
    at = np.interp(wave.ravel(), steps, np.linspace(0, 1, len(steps)))
    if params.poly:
        return np.asarray(np.polynomial.chebyshev.chebvander(at * 2 - 1, params.df))
    return bspline_basis(at, n_functions=params.df, limits=(0.0, 1.0))
