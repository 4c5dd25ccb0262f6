"""A spectrum as of a prism, that numpy made."""

import numpy as np
from scipy.special import ndtr

from skymere.spectra import LINES, RedshiftParams, SplineContinuum

WAVE = np.cumsum(np.r_[0.7, np.interp(np.linspace(0, 1, 329), [0, 0.3, 1], [0.010, 0.022, 0.008])])
POWER = np.interp(WAVE, [0.6, 1.2, 5.4], [60.0, 31.0, 330.0])
LIGHT = 2.99792458e14
SCALE, VELOCITY = 1.3, 150.0
# Rest wavelength [um] and flux [1e-18 erg/s/cm2].
TRUTH = {"OII": 3.0, "Hb": 2.0, "OIII": 8.0, "Ha+NII": 6.0}
TEMPLATES = [SplineContinuum(n_functions=9), *(LINES[name] for name in TRUTH)]
PARAMS = RedshiftParams(sys_err=0.0, scale_disp=SCALE, vel_width=VELOCITY)


def pixel_edges():
    between = 0.5 * (WAVE[1:] + WAVE[:-1])
    return np.r_[2 * WAVE[0] - between[0], between, 2 * WAVE[-1] - between[-1]]


def spectrum_of(z, fluxes=TRUTH, level=0.3):
    """Flux density [uJy] of a sloping continuum and lines, and the continuum."""
    continuum = level * (WAVE / 2.0) ** 0.5
    flux, edges = continuum.copy(), pixel_edges()
    for name, strength in fluxes.items():
        line = LINES[name]
        for rest, ratio in zip(line.wave, line.ratio, strict=True):
            at = rest * (1 + z)
            sigma = at * np.hypot(
                VELOCITY / 299792.458, 1 / (np.sqrt(8 * np.log(2)) * SCALE * np.interp(at, WAVE, POWER))
            )
            density = np.diff(ndtr((edges - at) / sigma)) / np.diff(edges)
            share = ratio / sum(line.ratio)
            flux += 1e-18 * strength * share * density * WAVE**2 / LIGHT / 1e-29
    return flux, continuum


def noise_of(level=0.05):
    return level * (1 + 0.5 * np.sin(WAVE * 3) ** 2)


def distance(ranks):
    """Return the largest distance of ranks from an even distribution (Kolmogorov)."""
    n = len(ranks)
    return np.abs(np.sort(ranks) - (np.arange(n) + 0.5) / n).max()
