"""The light of a source behind the slits of a group of exposures, on the pixels of their files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter
from scipy.special import ndtr

from skymere.datamodels import Slitlet
from skymere.pipeline.injection.randoms import random_stream
from skymere.pipeline.slit_fits import Dispersion
from skymere.slit import SlitGroup, common_cutout, evaluate_profile
from skymere.spectra import LineComplex, RedshiftParams

__all__ = ["Emission", "add_to_slits", "light_on_files", "line_widths", "photon_factor", "spectrum_light"]

_Array = NDArray[np.float64]
# f_lambda [erg/s/cm2/Angstrom] of 1 uJy at 1 um, and the speed of light [km / s].
_FLAMBDA, _LIGHT = 2.99792458e-19, 299792.458
_FWHM = float(np.sqrt(8 * np.log(2)))
_FAR = 8.0
# Pixels of which the noise of photons is read off are this bright, in units of the read noise; columns on both sides
# that say it together.
_BRIGHT, _COLUMNS = 1.0, 10


@dataclass(frozen=True, kw_only=True, eq=False)
class Emission:
    """The spectrum of a source.

    Parameters
    ----------
    wave, continuum : ndarray, float64, shape (m,) [um, uJy]
        The continuum, straight between the points.
    lines : mapping of LineComplex to float
        Flux of each [erg/s/cm2].
    redshift : float
        Of the lines.
    """

    wave: _Array
    continuum: _Array
    lines: Mapping[LineComplex, float]
    redshift: float


def line_widths(wave: _Array, dispersion: Dispersion, params: RedshiftParams) -> _Array:
    """Return the widths that lines are fitted with, 1 sigma relative to the wavelength."""
    power = np.interp(wave, *dispersion) * params.scale_disp
    return np.asarray(np.hypot(params.vel_width / _LIGHT, 1.0 / (_FWHM * power)), np.float64)


def spectrum_light(
    wave: _Array, step: _Array, emission: Emission, *, dispersion: Dispersion, params: RedshiftParams
) -> _Array:
    """Return the mean flux density of a spectrum in pixels [uJy].

    Parameters
    ----------
    wave, step : ndarray, float64, any shape [um]
        Middles and widths of the pixels; NaN outside of the slit.
    emission : Emission
        The spectrum.
    dispersion : Dispersion
        Resolving power.
    params : RedshiftParams
        Width of lines.

    Notes
    -----
    Lines are the Gaussians of the fit, integrated over pixels.
    """
    light = np.interp(wave, emission.wave, emission.continuum)
    wide = np.abs(step)
    for line, flux in emission.lines.items():
        for rest, part in zip(line.wave, line.parts, strict=True):
            centre = rest * (1.0 + emission.redshift)
            sigma = centre * float(line_widths(np.array([centre]), dispersion, params)[0])
            near = np.abs(wave - centre) < _FAR * sigma + wide
            low, high = ((wave[near] + side * 0.5 * wide[near] - centre) / sigma for side in (-1.0, 1.0))
            density = flux * part * (ndtr(high) - ndtr(low)) / (1e4 * wide[near])
            light[near] += density * wave[near] ** 2 / _FLAMBDA
    return np.asarray(light, np.float64)


def light_on_files(
    group: SlitGroup,
    emission: Emission,
    *,
    size: float,
    offset: float,
    dispersion: Dispersion,
    params: RedshiftParams,
) -> list[_Array]:
    """Return the light of a source in the units and on the pixels of the files of a group.

    Parameters
    ----------
    group : SlitGroup
        With the fit of the traces.
    emission : Emission
        Its spectrum.
    size : float [pix]
        Its width, 1 sigma.
    offset : float [pix]
        How far it lies from the fitted trace.
    dispersion : Dispersion
        Resolving power.
    params : RedshiftParams
        Width of lines.

    Returns
    -------
    list of ndarray, float64, shape (ny, nx)
        For each of ``group.slits``; 0 where the pixel is not used.

    Notes
    -----
    Everything between a file and its fluxes (calibration, bars, path loss that the pipeline put in, normalisation) is a
    factor of each pixel, which is what the group made of the pixel over what the file says.
    """
    frames = group.frames()
    assert frames.trace_coeffs is not None
    moved = np.array(frames.trace_coeffs)
    moved[:, -1] += offset
    shape = frames.shape
    profile = evaluate_profile(replace(frames, trace_coeffs=moved), group.profile(), size=size)
    passed = group.path_loss({key: {"sigma": size} for key in group.unp}).reshape(shape)
    seen = spectrum_light(
        group.wave.reshape(shape), group.dwave_dx.reshape(shape), emission, dispersion=dispersion, params=params
    )
    light = np.asarray(seen * profile * passed, np.float64)
    cuts = common_cutout([(one.place.y0, one.place.x0) for one in group.slits], [one.shape for one in group.slits])
    found = []
    for k, (one, cut) in enumerate(zip(group.slits, cuts, strict=True)):
        whole = np.zeros(one.shape)
        with np.errstate(divide="ignore", invalid="ignore"):
            factor = group.sci[k].reshape(shape[1:]) / one.sci[cut].astype(np.float64)
            whole[cut] = light[k] / factor
        found.append(np.where(np.isfinite(whole), whole, 0.0))
    return found


def photon_factor(one: Slitlet) -> _Array:
    """Return k of the variance ``k data`` of photons on the pixels of a file, as its bright pixels have it.

    Parameters
    ----------
    one : Slitlet
        The file.

    Returns
    -------
    ndarray, float64, shape (ny, nx) [unit]
        0 when no pixel is brighter than its read noise.
    """
    bar = np.ones(one.shape) if one.bar is None else np.asarray(one.bar, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        bright = one.sci > _BRIGHT * np.sqrt(one.var_rnoise)
        ratio = np.where(bright & np.isfinite(bar), bar * one.var_poisson / one.sci, np.nan)
        known = np.isfinite(ratio).any(axis=0)
        if not known.any():
            return np.zeros(one.shape)
        columns = np.interp(np.arange(known.size), np.flatnonzero(known), np.nanmedian(ratio[:, known], axis=0))
        smooth = median_filter(columns, size=2 * _COLUMNS + 1, mode="nearest")
        return np.where(bar > 0, smooth / bar, 0.0)


def add_to_slits(slits: Sequence[Slitlet], light: Mapping[str, _Array], *, run: str, i_object: int) -> list[Slitlet]:
    """Return slits with the light of a fake source, and its noise.

    Parameters
    ----------
    slits : sequence of Slitlet
        Exposures.
    light : mapping of str to ndarray, float64, shape (ny, nx) [unit of the file]
        By exposure.
    run, i_object : str, int
        What the noise is for; see `random_stream`.
    """
    found: list[Slitlet] = []
    for one in slits:
        name = one.exposure.exposure_id
        own = photon_factor(one) * np.maximum(light[name], 0.0)
        grain = random_stream(run, i_object, f"noise/{name}").standard_normal(one.shape)
        planes: dict[str, Any] = {
            "sci": (one.sci + light[name] + np.sqrt(own) * grain).astype(np.float32),
            "var_poisson": (one.var_poisson + own).astype(np.float32),
        }
        found.append(replace(one, **planes))
    return found
