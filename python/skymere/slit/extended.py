"""Profiles of extended sources behind a slit."""

from math import gamma as gamma_function

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skymere._arrays import as_floats
from skymere._rust import slit as _rust
from skymere.errors import InvalidInputError
from skymere.slit.profile import GaussianProfile, TableProfile, check_growing

__all__ = ["sersic_profile"]

_N_RINGS = 400
_N_ANGLES = 8
_X_NODES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)


def sersic_profile(
    psf: GaussianProfile,
    *,
    sersic_index: float = 1.0,
    r_eff_pix: ArrayLike,
    half_height_pix: float = 12.0,
    step_pix: float = 1 / 16,
    slit_width_pix: float | None = None,
    x: ArrayLike = _X_NODES,
) -> TableProfile:
    """Return the profiles of round Sersic sources behind a Gaussian PSF, and the light that passes a slit.

    Parameters
    ----------
    psf : GaussianProfile
        The PSF; its nodes are those of the table.
    sersic_index : float
        Index n of the source.
    r_eff_pix : array_like, float64, shape (n_size,) [pix]
        Half-light radii of the table, from 0 on; the size that a fit finds is one of these radii.
    half_height_pix : float
        Largest distance from the trace [pix].
    step_pix : float
        Step of the distance [pix].
    slit_width_pix : float, optional [pix]
        Width of the slit: the profile is that of the light which passes it, and the table has a transmission. When not
        given all light is taken that falls onto a row, and there is no transmission.
    x : array_like, float64, shape (n_x,) [slit width]
        Places of the source in the slit, from 0 on, that the transmission is given for.

    Raises
    ------
    InvalidInputError
        When a value is not allowed.

    Notes
    -----
    The light of a thin ring of radius r lies at ``(r cos(angle), r sin(angle))``: profile and transmission are means
    over angles and over equal parts of the light, of a pixel-integrated Gaussian along the slit and of one integrated
    over its width,

    ``p(y) = sum g(y - y_i) t(x_i) / sum t(x_i)``, ``T(x) = mean t(x_i + x)``,

    so the outer light of a source that is wider than the slit counts less. The profile is that of a source in the
    middle. What a wing of the PSF adds counts, too.

    References
    ----------
    Sersic 1963, BAAA 6, 41; b_n of Ciotti & Bertin 1999, A&A 352, 447, eq. 18.
    """
    radii = as_floats(r_eff_pix, "r_eff_pix", shape=(None,))
    places = as_floats(x, "x", shape=(None,))
    check_growing(radii, "r_eff_pix")
    check_growing(places, "x")
    if not 0.3 <= sersic_index <= 8:
        msg = f"sersic_index: {sersic_index} is not allowed, it must be from 0.3 to 8"
        raise InvalidInputError(msg)
    if radii[0] < 0 or places[0] < 0 or not 0 < step_pix < half_height_pix:
        msg = f"r_eff_pix, x, step_pix: {float(radii[0])}, {float(places[0])}, {step_pix} are not allowed, "
        msg += "they must not be negative, and the step smaller than half_height_pix"
        raise InvalidInputError(msg)
    if slit_width_pix is not None and not slit_width_pix > 0:
        msg = f"slit_width_pix: {slit_width_pix} is not allowed, it must be positive"
        raise InvalidInputError(msg)
    along, across = _places_of_light(sersic_index)
    n = int(np.ceil(half_height_pix / step_pix))
    y = np.asarray(step_pix * np.arange(-n, n + 1), dtype=np.float64)
    values = np.empty((y.size, psf.wave.size, radii.size))
    passed = np.ones((psf.wave.size, radii.size, places.size))
    in_slits = psf.scaled(1.0 if slit_width_pix is None else slit_width_pix)
    for k, radius in enumerate(radii):
        for j, wave in enumerate(psf.wave):
            weight = np.ones(along.size)
            if slit_width_pix is not None:
                beside = radius / slit_width_pix * across
                shifted = places[:, None] + np.concatenate([-beside, beside])
                passed[j, k] = _integrated(in_slits, wave, shifted).mean(axis=1)
                weight = _integrated(in_slits, wave, beside)
            # The light of places at about the same height is taken together.
            part = weight.reshape(-1, _N_ANGLES).sum(axis=1)
            height = (radius * along * weight).reshape(-1, _N_ANGLES).sum(axis=1)
            height = np.divide(height, part, out=np.zeros_like(height), where=part > 0)
            light = _integrated(psf, wave, np.concatenate([-height, height])[:, None] - y)
            values[:, j, k] = np.concatenate([part, part]) @ light / (2 * part.sum())
    if slit_width_pix is None:
        return TableProfile(values=values, y=y, wave=psf.wave, size=radii)
    return TableProfile(values=values, y=y, wave=psf.wave, size=radii, transmission=passed, x=places)


def _integrated(psf: GaussianProfile, wave: float, distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the light of a point in a unit of length at a distance; each is a frame of one pixel, at row 0."""
    trace = np.ascontiguousarray(distance, dtype=np.float64).reshape(-1, 1)
    wavelength = np.full((trace.size, 1, 1), wave)
    return _rust.evaluate_profile(psf.words(), wavelength, trace, np.zeros(trace.size)).reshape(distance.shape)


def _places_of_light(n: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Places of equal parts of a round Sersic profile's light in one quarter, sorted along the slit [r_eff]."""
    b = 2 * n - 1 / 3 + 4 / (405 * n) + 46 / (25515 * n**2)
    # Light within u = b r^(1/n) is the incomplete gamma function of 2 n, here by the trapezium rule.
    u = np.linspace(0.0, (2 * n + 10 * np.sqrt(2 * n) + 20), 20001)
    density = u ** (2 * n - 1) * np.exp(-u) / gamma_function(2 * n)
    within = np.concatenate([[0.0], np.cumsum(0.5 * (density[1:] + density[:-1]) * np.diff(u))])
    parts = (np.arange(_N_RINGS) + 0.5) / _N_RINGS
    radius = (np.interp(parts, within / within[-1], u) / b) ** n
    # The same number of angles in a quarter turn, shifted from ring to ring so that the places do not line up.
    shift = (np.arange(_N_RINGS) * 0.6180339887498949) % 1.0
    angles = 0.5 * np.pi * (np.arange(_N_ANGLES)[:, None] + shift) / _N_ANGLES
    along, across = (radius * np.cos(angles)).ravel(), (radius * np.sin(angles)).ravel()
    order = np.argsort(along)
    return along[order], across[order]
