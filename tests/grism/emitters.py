"""Sources with known spectra on the places of real beams, drawn with the operator that fits them."""

import dataclasses

import numpy as np

from skymere.grism import BeamModel, MultiBeam, fit_templates
from skymere.spectra import TemplateSet

WAVE = np.arange(0.75, 1.8, 2e-5)
NOISE = 0.02


def beams_of(multibeam: MultiBeam, wave, flux, *, rng=None, noise=NOISE, background=0.0, params=None, copies=1):
    """The beams of a multibeam with another spectrum: no contamination, even noise."""
    out = []
    for one in multibeam.beams:
        for _ in range(copies):
            model = BeamModel(one.beam, one.order, params=params).compute_model(wave, flux) + background
            if rng is not None:
                model = model + rng.normal(0.0, noise, model.shape)
            beam = dataclasses.replace(
                one.beam,
                sci=model.astype(np.float32) + np.float32(1e-12),
                err=np.full(model.shape, noise, np.float32),
                dq=np.zeros(model.shape, one.beam.dq.dtype),
                contam=np.zeros(model.shape, np.float32),
            )
            out.append(BeamModel(beam, one.order, params=params))
    return MultiBeam(out)


def truth(templates: TemplateSet, z: float, *, continuum=2e-15, lines=None, i_continuum=6):
    """A template fit whose spectrum is known: one continuum and fluxes of lines."""
    names = [one.name for one in templates.lines]
    n = len(templates.continua)
    factors = np.zeros(n + len(names))
    factors[i_continuum] = continuum
    for name, flux in (lines or {}).items():
        factors[n + names.index(name)] = flux
    return factors


def spectrum(templates: TemplateSet, z: float, factors) -> np.ndarray:
    """Observed spectrum of factors on `WAVE` [erg/s/cm2/A]."""
    n = len(templates.continua)
    total = np.zeros(WAVE.size)
    for one, factor in zip(templates.continua, factors, strict=False):
        if factor:
            total += factor * np.interp(WAVE / (1 + z), one.wave, one.flux) / (1 + z)
    for one, factor in zip(templates.lines, factors[n:], strict=True):
        for rest, part in zip(one.wave, one.parts, strict=True):
            centre = rest * (1 + z)
            sigma = centre * one.velocity_sigma / 299792.458
            if factor:
                total += (
                    factor * part * np.exp(-0.5 * ((WAVE - centre) / sigma) ** 2) / (np.sqrt(2 * np.pi) * sigma * 1e4)
                )
    return total


def line_errors(multibeam: MultiBeam, templates: TemplateSet, z: float, params) -> dict[str, float]:
    """Errors of lines of a fit at the true redshift."""
    fit = fit_templates(multibeam, z, templates=templates, params=params)
    n = fit.n_continua
    return {name[5:]: float(np.sqrt(fit.covariance[n + i, n + i])) for i, name in enumerate(fit.names[n:])}
