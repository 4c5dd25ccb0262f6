"""A factor of each grism in fits, absorption between galaxies, and photometric redshifts as priors."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from skymere.errors import InvalidInputError
from skymere.grism import (
    BeamModel,
    BeamParams,
    FitParams,
    MultiBeam,
    fit_grism_scales,
    fit_redshift,
    fit_templates,
    scale_beams,
)
from skymere.grism.model_spectra import as_model
from skymere.spectra import Band, Filter, IgmTransmission, PhotozParams, TemplateSet, fit_photoz

from .emitters import NOISE, WAVE, beams_of, spectrum, truth

CLEAN = BeamParams(fcontam=0.0, sys_err=0.0)


@pytest.fixture(scope="module")
def t0(folder):
    return TemplateSet.load(folder / "grizli" / "templates")


@pytest.fixture(scope="module")
def t1(folder):
    return TemplateSet.load(folder / "grizli" / "templates", line_complexes=False)


def _brighter(multibeam, grism, factor, rng=None):
    """Beams of which one grism saw more light than the others."""
    beams = []
    for one in multibeam.beams:
        noise = 0.0 if rng is None else rng.normal(0.0, NOISE, one.shape)
        light = one.sci * (factor if one.grism_name == grism else 1.0)
        beams.append(BeamModel(replace(one.beam, sci=(light + noise).astype(np.float32)), one.order, params=one.params))
    return MultiBeam(beams)


def test_the_scale_of_a_grism_is_found_without_noise(ers, t0):
    z = 1.6
    lines = {"OIII+Hb+Hg+Hd": 3e-16, "OII+Ne": 2e-16}
    multibeam = beams_of(ers, WAVE, spectrum(t0, z, truth(t0, z, lines=lines)), params=CLEAN)
    bright = _brighter(multibeam, "G102", 1.15)
    found = fit_grism_scales(bright, z, templates=t0, prior=10.0, reference="G141")
    print(f"scale {found.scales}, errors {found.errors}, chi2 {found.chi2_before:.1f} to {found.chi2:.3f}")
    assert found.status == "ok"
    assert (found.reference, found.scales["G141"]) == ("G141", 1.0)
    # A tenth of its error: chi square is flat there.
    assert found.scales["G102"] == pytest.approx(1.15, abs=0.1 * found.errors["G102"])
    assert found.chi2 < 0.01 * found.chi2_before
    scaled = scale_beams(bright, found.scales)
    for one, other in zip(bright.beams, scaled.beams, strict=True):
        np.testing.assert_array_equal(one.fit_mask, other.fit_mask)
        np.testing.assert_allclose(
            other.flat, one.flat * found.scales[one.grism_name], rtol=1e-6, atol=1e-9 * one.flat.max()
        )
    fit = fit_redshift(bright, templates=t0, z_range=(1.5, 1.7), params=FitParams(scale="per_grism"))
    assert fit.scales.keys() == {"G102", "G141"}
    assert fit.chi2.min() < 0.01 * fit_redshift(bright, templates=t0, z_range=(1.5, 1.7)).chi2.min()
    # A step of the grid: nothing but the scale was wrong.
    assert fit.z_map == pytest.approx(z, abs=2e-4 * (1 + z))


def test_scales_and_fluxes_with_scales_have_errors_that_hold(ers, t1):
    z, n = 1.6, 40
    lines = {"OIII": 3e-16, "OII": 3e-16}
    bright = _brighter(beams_of(ers, WAVE, spectrum(t1, z, truth(t1, z, lines=lines)), params=CLEAN), "G102", 0.9)
    rng = np.random.default_rng(31)
    scale_pull, flux_pull, conditional = [], [], []
    for _ in range(n):
        multibeam = _brighter(bright, "G102", 1.0, rng)
        fit = fit_templates(multibeam, z, templates=t1, params=FitParams(scale="per_grism"))
        (name,) = [key for key, value in fit.scale_errors.items() if value > 0]
        true = {"G102": 0.9, "G141": 1.0}
        reference = next(key for key in fit.scales if key != name)
        scale_pull.append((fit.scales[name] - true[name] / true[reference]) / fit.scale_errors[name])
        fixed = fit_templates(scale_beams(multibeam, fit.scales), z, templates=t1)
        for line, flux in lines.items():
            i = fit.names.index(f"line {line}")
            error = np.sqrt(fit.covariance[i, i])
            flux_pull.append((fit.coefficients[i] - flux * true[reference]) / error)
            conditional.append(error / np.sqrt(fixed.covariance[i, i]))
    print(
        f"pull of scales {np.mean(scale_pull):.2f} +- {np.std(scale_pull):.2f}, of fluxes {np.mean(flux_pull):.2f} +- "
        f"{np.std(flux_pull):.2f}; errors with scales {np.max(conditional):.2f} times those without"
    )
    # 40 and 80 draws: three times their scatter.
    assert abs(np.std(scale_pull) - 1) < 3 / np.sqrt(2 * n)
    assert abs(np.std(flux_pull) - 1) < 3 / np.sqrt(4 * n)
    assert abs(np.mean(flux_pull)) < 3 / np.sqrt(2 * n)
    assert np.min(conditional) >= 1 - 1e-9


def test_one_grism_has_no_scale_and_bad_input_is_named(ers, t1):
    part = ers.split()["G141"]
    found = fit_grism_scales(part, 1.6, templates=t1)
    assert (found.status, found.scales) == ("one_grism", {"G141": 1.0})
    assert fit_templates(part, 1.6, templates=t1, params=FitParams(scale="per_grism")).scales == {"G141": 1.0}
    for words, name in (({"prior": 0.0}, "prior"), ({"reference": "G800L"}, "reference")):
        with pytest.raises(InvalidInputError, match=name):
            fit_grism_scales(ers, 1.6, templates=t1, **words)
    for scales in ({"G141": 0.0}, {"G800L": 1.0}):
        with pytest.raises(InvalidInputError, match="scales"):
            scale_beams(ers, scales)
    with pytest.raises(InvalidInputError, match="scale"):
        FitParams(scale="all")
    beam = ers.beams[0]
    dark = BeamModel(replace(beam.beam, dq=beam.beam.dq * 0 + 1), beam.order)
    assert fit_grism_scales(MultiBeam([dark]), 1.6, templates=t1).status == "no_data"


def test_absorption_between_galaxies_moves_with_the_redshift_of_beams(ers, t0, folder):
    igm = IgmTransmission.load(folder / "igm")
    z, factor = 6.9, 2e-14
    factors = truth(t0, z, continuum=factor, i_continuum=0)
    emitted = spectrum(t0, z, factors)
    # As bright as is well seen.
    factor *= 4e-18 / float(np.interp(1.2, WAVE, emitted))
    factors = truth(t0, z, continuum=factor, i_continuum=0)
    arriving = spectrum(t0, z, factors) * igm.transmission(WAVE, z)
    clean = beams_of(ers, WAVE, arriving, params=CLEAN)
    fit = fit_templates(clean, z, templates=t0, igm=igm)
    blind = fit_templates(clean, z, templates=t0)
    # The drop at Lyman alpha, 0.96 um, is on points 0.2 Angstrom apart.
    assert fit.coefficients[0] == pytest.approx(factor, rel=2e-3, abs=0)
    assert fit.chi2_plain < 1e-3 * blind.chi2_plain
    wave = np.linspace(0.8, 1.1, 50)
    np.testing.assert_allclose(fit.continuum(wave)[:20], np.interp(wave, WAVE, arriving)[:20], rtol=0.01, atol=1e-20)
    noisy = beams_of(ers, WAVE, arriving, rng=np.random.default_rng(41), params=CLEAN)
    found = fit_redshift(noisy, templates=t0, z_range=(6.0, 7.8), igm=igm)
    half = 0.5 * (found.z_percentiles[3] - found.z_percentiles[1])
    print(
        f"z {found.z_map:.4f} +- {half:.4f} of the drop; chi2 {fit.chi2_plain:.3f}, without absorption {blind.chi2_plain:.0f}"
    )
    assert abs(found.z_map - z) < max(4 * half, 0.01)
    assert fit_redshift(noisy, templates=t0, z_range=(6.0, 7.8)).chi2.min() > found.chi2.min() + 25


def test_the_edge_of_the_forest_is_a_step_for_the_fit_and_for_its_model(ers, t0, folder):
    # Points of this template are 10 Angstrom apart, 1215 and 1225 the nearest to Lyman alpha.
    one = t0.continua[6]
    igm, z = IgmTransmission.load(folder / "igm"), 6.8
    wave = np.linspace(0.6, 2.0, 200001)
    emitted = np.interp(wave / (1 + z), one.wave, one.flux, 0, 0) / (1 + z)
    factor = 3e-18 / float(np.interp(1.2, wave, emitted))
    arriving = factor * emitted * igm.transmission(wave, z)
    clean = beams_of(ers, wave, arriving, params=CLEAN)
    alone = TemplateSet(continua=(one,))
    fit = fit_templates(clean, z, templates=alone, igm=igm)
    near = fit_redshift(clean, templates=alone, z_range=(z, 2e-4, 20), igm=igm)
    print(f"chi2 {fit.chi2_plain:.4f}, z off by {(near.z_map - z) / (1 + z):+.1e} (1 + z)")
    # Drawn as a ramp between the two points, chi2 is 40 and z off by 1.7e-3.
    assert fit.chi2_plain < 0.1
    assert abs(near.z_map - z) < 1e-5 * (1 + z)
    model = as_model(fit)
    drawn = np.interp(wave, *model.continuum_spectrum())
    # Steps of the interpolation are 5e-4 of the wavelength.
    at = (wave > 0.9) & (wave < 1.1) & (np.abs(wave / 0.121567 / (1 + z) - 1) > 1e-4)
    np.testing.assert_allclose(drawn[at], arriving[at], rtol=0, atol=1e-3 * arriving.max())


def test_the_density_of_a_photometric_redshift_is_the_prior_of_beams(ers, t0):
    z = 1.6
    flux = spectrum(t0, z, truth(t0, z, continuum=4e-15, lines={"OIII+Hb+Hg+Hd": 6e-17}))
    edges = np.geomspace(0.76, 1.78, 7)
    curves = [
        Filter(name=f"b{i}", wave=np.array([a, 1.001 * a, 0.999 * b, b]), throughput=np.array([0.0, 1, 1, 0]))
        for i, (a, b) in enumerate(pairwise(edges))
    ]
    table = {one.name: [one.flux(WAVE, flux)] for one in curves}
    table |= {f"{one.name}_err": [0.02 * table[one.name][0]] for one in curves}
    bands = [Band(filter=one, flux=one.name, flux_err=f"{one.name}_err") for one in curves]
    photoz = fit_photoz(table, filters=bands, templates=t0.continua, params=PhotozParams(z_max=3.0))
    prior = photoz.prior(0)
    part = MultiBeam(beams_of(ers, WAVE, flux, rng=np.random.default_rng(43), params=CLEAN).beams[1:])
    grid = (1.5, 0.002, 200)
    free, both = (fit_redshift(part, templates=t0, z_range=grid, prior=one) for one in (None, prior))
    print(f"photometry {photoz.table['z_map'][0]:.3f}, beams {free.z_map:.3f}, both {both.z_map:.3f}, truth {z}")
    np.testing.assert_array_equal(both.zgrid, free.zgrid)
    product = free.pdf * np.interp(free.zgrid, *prior, left=0.0, right=0.0)
    product /= np.trapezoid(product, free.zgrid)
    # Of their peak: the rest underflows.
    np.testing.assert_allclose(both.pdf, product, rtol=1e-6, atol=1e-9 * product.max())
    assert abs(both.z_map - z) < 0.01 * (1 + z)
