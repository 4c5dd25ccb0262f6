"""Exposures of a slit with known spectrum, profile, trace, sky, bar shadow, noise and bad pixels."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf as _erf

from skymere.errors import InvalidInputError

__all__ = ["SlitScene", "SlitSceneParams", "emission_lines", "simulate_slitlets"]

_Array = NDArray[np.float64]
_Mask = NDArray[np.bool_]
_ROWS_PER_SHUTTER = 5.0
_FWHM = 2 * math.sqrt(2 * math.log(2))


@dataclass(frozen=True, kw_only=True)
class SlitSceneParams:
    """What `simulate_slitlets` makes.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of a cutout.
    nods : tuple of float
        Where the source is in each exposure, from the middle of the slit [pix].
    wavelengths : tuple of float
        First and last wavelength [um].
    tilt : float
        Columns by which a wavelength moves from one row to the next.
    trace : tuple of float
        Coefficients of the trace, highest power first, of ``(x - nx / 2) / nx`` [pix].
    psf_fwhm : tuple of float
        Width of the PSF at the first and at the last wavelength [pix].
    source_sigma : float
        Width of the source [pix].
    sky : float
        Sky of a pixel at 3 um [uJy]; it rises to both ends. 0 for none.
    read_noise : float
        Sigma of the read-out [uJy].
    photon_noise : float
        Variance of the photons of 1 uJy [uJy].
    bar_depth : float
        Light lost in the middle of a bar between two shutters.
    n_shutters : int
        Open shutters; beyond them are no data.
    stuck : tuple of int
        Shutters without light; 0 is that in the middle.
    n_hot : int
        Pixels that are hot in all exposures.
    hot_flux : float
        Their flux [uJy].
    outlier_fraction : float
        Part of the valid pixels of each exposure that are outliers in that one.
    outlier_sigma : float
        By how many sigmas, which include ``outlier_model_error`` of the model.
    outlier_model_error : float
        See there.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.
    """

    shape: tuple[int, int] = (25, 340)
    nods: tuple[float, ...] = (0.0, 5.0976, -5.0980)
    wavelengths: tuple[float, float] = (0.6, 5.3)
    tilt: float = 0.05
    trace: tuple[float, ...] = (0.42, 2.37, 0.0)
    psf_fwhm: tuple[float, float] = (1.24, 2.0)
    source_sigma: float = 0.6
    sky: float = 0.1
    read_noise: float = 0.01
    photon_noise: float = 0.002
    bar_depth: float = 0.3
    n_shutters: int = 3
    stuck: tuple[int, ...] = ()
    n_hot: int = 0
    hot_flux: float = 2.0
    outlier_fraction: float = 0.0
    outlier_sigma: float = 8.0
    outlier_model_error: float = 0.03

    def __post_init__(self) -> None:
        if min(self.shape) < 3 or not self.nods or self.n_shutters < 1:
            msg = f"shape: {self.shape}, nods: {self.nods}, n_shutters: {self.n_shutters} are not allowed"
            raise InvalidInputError(msg)
        if not self.wavelengths[0] < self.wavelengths[1]:
            msg = f"wavelengths: {self.wavelengths} are not allowed, they must rise"
            raise InvalidInputError(msg)
        if not (self.read_noise > 0 and self.photon_noise >= 0):
            msg = f"read_noise: {self.read_noise} is not allowed, it must be positive"
            raise InvalidInputError(msg)
        for name in ("bar_depth", "outlier_fraction"):
            if not 0 <= getattr(self, name) < 1:
                msg = f"{name}: {getattr(self, name)} is not allowed, it must be in [0, 1)"
                raise InvalidInputError(msg)


@dataclass(frozen=True, kw_only=True, eq=False)
class SlitScene:
    """Exposures of a slit and the truth behind them.

    Parameters
    ----------
    sci : ndarray, float64, shape (n, ny, nx) [uJy]
        Source, sky, noise and bad pixels, divided by the throughput of the bars.
    var_rnoise, var_poisson : ndarray, float64, shape (n, ny, nx) [uJy^2]
        Variances, of the model.
    valid : ndarray, bool, shape (n, ny, nx)
        True = within the open shutters.
    bar : ndarray, float64, shape (n, ny, nx)
        Throughput of the bars.
    wavelength, dwave_dx : ndarray, float64, shape (n, ny, nx) [um, um / pix]
        Wavelength and dispersion.
    yslit : ndarray, float64, shape (n, ny, nx) [pix]
        Distance from the trace.
    shutter_y : ndarray, float64, shape (n, ny, nx)
        Place in shutters.
    source, sky : ndarray, float64, shape (n, ny, nx) [uJy]
        What they are without noise.
    profile : ndarray, float64, shape (n, ny, nx)
        Part of the source's flux of a column in each pixel.
    lines : ndarray, bool, shape (n, ny, nx)
        Pixels whose light is mostly that of lines, more than 3 sigmas of it.
    outliers, hot : ndarray, bool, shape (n, ny, nx)
        Outliers of single exposures; hot pixels.
    """

    sci: _Array
    var_rnoise: _Array
    var_poisson: _Array
    valid: _Mask
    bar: _Array
    wavelength: _Array
    dwave_dx: _Array
    yslit: _Array
    shutter_y: _Array
    source: _Array
    sky: _Array
    profile: _Array
    lines: _Mask
    outliers: _Mask
    hot: _Mask

    @property
    def variance(self) -> _Array:
        """Both variances, shape (n, ny, nx) [uJy^2]."""
        return self.var_rnoise + self.var_poisson


def emission_lines(
    wavelength: _Array, dispersion: _Array, *, centres: tuple[float, ...], fluxes: tuple[float, ...], fwhm: float = 2.2
) -> _Array:
    """Return the lines of a spectrum, Gaussians in f_lambda, integrated over pixels.

    Parameters
    ----------
    wavelength, dispersion : ndarray, float64, any shape [um, um / pix]
        Wavelength and width of each pixel.
    centres : tuple of float
        Wavelengths of the lines [um].
    fluxes : tuple of float
        Sum over the pixels along each line, as if all were at its wavelength [uJy].
    fwhm : float, optional
        Width of unresolved lines [pix].
    """
    total = np.zeros(wavelength.shape)
    scale = math.sqrt(2) * fwhm / _FWHM
    for centre, flux in zip(centres, fluxes, strict=True):
        x = (wavelength - centre) / dispersion
        near = np.abs(x) < 6 * fwhm
        seen = 0.5 * flux * (_erf((x[near] + 0.5) / scale) - _erf((x[near] - 0.5) / scale))
        total[near] += seen * (wavelength[near] / centre) ** 2
    return total


def simulate_slitlets(
    *,
    seed: int,
    continuum: Callable[[_Array], _Array] | float = 1.0,
    line_centres: tuple[float, ...] = (),
    line_fluxes: tuple[float, ...] = (),
    params: SlitSceneParams | None = None,
) -> SlitScene:
    """Make the exposures of a slit.

    Parameters
    ----------
    seed : int
        Of the random numbers.
    continuum : callable or float, optional
        Flux of a column as a function of wavelength [um] [uJy].
    line_centres, line_fluxes : tuple of float, optional
        See `emission_lines`.
    params : SlitSceneParams, optional
        Everything else.

    Raises
    ------
    InvalidInputError
        When the lines have different numbers.

    Examples
    --------
    >>> from skymere.testing import simulate_slitlets
    >>> scene = simulate_slitlets(seed=1, line_centres=(3.0,), line_fluxes=(40.0,))
    >>> scene.sci.shape
    (3, 25, 340)
    """
    params = params or SlitSceneParams()
    if len(line_centres) != len(line_fluxes):
        msg = f"line_fluxes: {len(line_fluxes)} are not allowed, there are {len(line_centres)} lines"
        raise InvalidInputError(msg)
    random = np.random.default_rng(seed)
    ny, nx = params.shape
    rows, columns = np.indices(params.shape, dtype=np.float64)
    nods = np.asarray(params.nods)[:, None, None]
    middle = (ny - 1) / 2 + np.polyval(params.trace, (columns - nx / 2) / nx)
    first, last = params.wavelengths
    step = (last - first) / (nx - 1)
    shape = (len(params.nods), ny, nx)
    wavelength = np.broadcast_to(first + step * (columns + params.tilt * (rows - ny / 2)), shape).copy()
    dwave_dx = np.full(shape, step)
    shutter_y = np.broadcast_to((rows - middle) / _ROWS_PER_SHUTTER, shape).copy()
    yslit = rows - middle - nods
    valid = np.abs(shutter_y) < params.n_shutters / 2

    place = (wavelength - first) / (last - first)
    fwhm = params.psf_fwhm[0] + (params.psf_fwhm[1] - params.psf_fwhm[0]) * place
    scale = math.sqrt(2) * np.hypot(fwhm / _FWHM, params.source_sigma)
    profile = 0.5 * (_erf((yslit + 0.5) / scale) - _erf((yslit - 0.5) / scale))
    # Bars of the edges of shutters.
    bar = 1 - params.bar_depth * np.abs(np.sin(np.pi * shutter_y)) ** 8
    lit = ~np.isin(np.round(shutter_y), params.stuck)

    level = continuum(wavelength) if callable(continuum) else np.full(shape, float(continuum))
    lines = emission_lines(wavelength, dwave_dx, centres=line_centres, fluxes=line_fluxes)
    source = (level + lines) * profile * lit
    sky = params.sky * (0.6 + 0.1 * (wavelength - 3) ** 2 + 0.4 * np.exp(wavelength - 4.5)) * lit
    var_rnoise = (params.read_noise / bar) ** 2
    var_poisson = params.photon_noise * (source + sky) / bar
    sigma = np.sqrt(var_rnoise + var_poisson)
    sci = source + sky + random.normal(size=shape) * sigma

    hot = np.zeros(shape, np.bool_)
    ripe = np.flatnonzero(valid.all(axis=0))
    chosen = random.choice(ripe, min(params.n_hot, len(ripe)), replace=False)
    hot.reshape(len(sci), -1)[:, chosen] = True
    sci[hot] += params.hot_flux
    outliers = (random.random(shape) < params.outlier_fraction) & valid & ~hot
    sci[outliers] += params.outlier_sigma * np.hypot(sigma, params.outlier_model_error * (source + sky))[outliers]
    mostly_lines = (lines > level) & (lines * profile > 3 * sigma) & valid
    return SlitScene(
        sci=sci,
        var_rnoise=var_rnoise,
        var_poisson=var_poisson,
        valid=valid,
        bar=bar,
        wavelength=wavelength,
        dwave_dx=dwave_dx,
        yslit=yslit,
        shutter_y=shutter_y,
        source=source,
        sky=sky,
        profile=profile,
        lines=mostly_lines,
        outliers=outliers,
        hot=hot,
    )
