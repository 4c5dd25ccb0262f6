"""Beams scaled to photometry before they are fitted."""

from dataclasses import replace

import numpy as np
import pytest

from skymere.errors import InvalidInputError
from skymere.grism import (
    BeamModel,
    BeamParams,
    FitParams,
    MultiBeam,
    PhotometryInput,
    fit_photometry_scale,
    fit_redshift,
    fit_templates,
    scale_beams_to_photometry,
)
from skymere.spectra import Filter, TemplateSet, milky_way_extinction

from .emitters import NOISE, WAVE, beams_of, spectrum, truth

CLEAN = BeamParams(fcontam=0.0, sys_err=0.0)
Z = 1.6


@pytest.fixture(scope="module")
def t1(folder):
    return TemplateSet.load(folder / "grizli" / "templates", line_complexes=False)


def _box(low, high):
    return Filter(
        name=f"{low:g}", wave=np.array([low, 1.001 * low, 0.999 * high, high]), throughput=np.array([0.0, 1, 1, 0])
    )


# G102 and G141 together reach from 0.8 to 1.7 um; the last is covered by a half.
INSIDE = [_box(0.9, 1.05), _box(1.2, 1.35), _box(1.4, 1.6)]
OUTSIDE = [_box(0.5, 0.6), _box(1.5, 1.9)]


@pytest.fixture(scope="module")
def source(t1):
    """A galaxy with lines, its observed spectrum [erg/s/cm2/A]."""
    return spectrum(t1, Z, truth(t1, Z, continuum=8e-15, lines={"OIII": 3e-16, "OII": 3e-16}))


def _photometry(flux, filters=INSIDE, *, err=0.002, rng=None):
    """Fluxes of a spectrum, by trapezoids on its points and not by the code that is tested."""
    values = []
    for one in filters:
        through = np.interp(WAVE, one.wave, one.throughput, left=0.0, right=0.0)
        f_nu = flux * WAVE**2 * 1e29 * 1e8 / 2.99792458e18
        values.append(np.trapezoid(f_nu * through / WAVE, WAVE) / np.trapezoid(through / WAVE, WAVE))
    values = np.array(values)
    noise = 0.0 if rng is None else rng.standard_normal(values.size)
    return PhotometryInput(filters=filters, flux=values * (1 + err * noise), err=err * np.abs(values), sys_err=0.0)


def test_beams_that_are_1_3_times_too_bright_have_that_scale(ers, source):
    rng = np.random.default_rng(51)
    bright = beams_of(ers, WAVE, 1.3 * source, rng=rng, params=CLEAN)
    found = fit_photometry_scale(bright, _photometry(source))
    print(f"scale {found.coefficients[0]:.4f} +- {np.sqrt(found.covariance[0, 0]):.4f}")
    assert found.status == "ok"
    assert found.scale([1.0, 1.5]) == pytest.approx([1.3, 1.3], abs=0.01)
    scaled = scale_beams_to_photometry(bright, found)
    for one, other in zip(bright.beams, scaled.beams, strict=True):
        np.testing.assert_array_equal(one.fit_mask, other.fit_mask)
        np.testing.assert_allclose(other.flat, found.coefficients[0] * one.flat, rtol=1e-6, atol=1e-9 * one.flat.max())


@pytest.mark.parametrize("order", [0, 1])
def test_scales_of_beams_have_errors_that_hold(ers, source, order):
    n, rng = 60, np.random.default_rng(52)
    true = np.array([1.3, 0.03])[: order + 1]
    scale = np.polynomial.polynomial.polyval((WAVE - 1) / 0.1, true)
    model = beams_of(ers, WAVE, scale * source, params=CLEAN)
    pulls = []
    for _ in range(n):
        noisy = _noisy(model, rng)
        found = fit_photometry_scale(noisy, _photometry(source, err=0.01, rng=rng), order=order)
        assert found.status == "ok"
        pulls.append((found.coefficients - true) / np.sqrt(np.diagonal(found.covariance)))
    spread, mean = np.std(pulls, axis=0), np.mean(pulls, axis=0)
    print(f"order {order}: pulls {np.round(mean, 2)} +- {np.round(spread, 2)} of {n}")
    # Three times the scatter of a spread and of a mean of so many.
    assert np.all(np.abs(spread - 1) < 3 / np.sqrt(2 * n))
    assert np.all(np.abs(mean) < 3 / np.sqrt(n))


def _noisy(multibeam, rng):
    beams = []
    for one in multibeam.beams:
        light = one.sci + rng.normal(0.0, NOISE, one.shape)
        beams.append(BeamModel(replace(one.beam, sci=light.astype(np.float32)), one.order, params=one.params))
    return MultiBeam(beams)


def test_lines_of_scaled_beams_have_errors_with_those_of_the_scale(ers, t1, source):
    n, rng, err = 40, np.random.default_rng(53), 0.05
    bright = beams_of(ers, WAVE, 1.3 * source, params=CLEAN, noise=NOISE)
    pulls, without = [], []
    for _ in range(n):
        noisy = _noisy(bright, rng)
        # One filter: the error of the scale is that of its flux.
        photometry = _photometry(source, INSIDE[1:2], err=err, rng=rng)
        fit = fit_templates(noisy, Z, templates=t1, params=FitParams(scale_photometry=1), photometry=photometry)
        i = fit.names.index("line OIII")
        sigma = float(np.sqrt(fit.covariance[i, i]))
        pulls.append((fit.coefficients[i] - 3e-16) / sigma)
        plain = fit_templates(
            scale_beams_to_photometry(noisy, fit.photometry_scale), Z, templates=t1, photometry=photometry
        )
        without.append((plain.coefficients[i] - 3e-16) / float(np.sqrt(plain.covariance[i, i])))
    print(
        f"[OIII] of scaled beams: pull {np.mean(pulls):.2f} +- {np.std(pulls):.2f}, without that of the scale {np.std(without):.2f}"
    )
    assert abs(np.std(pulls) - 1) < 3 / np.sqrt(2 * n)
    assert abs(np.mean(pulls)) < 3 / np.sqrt(n)
    # The error of the scale is not small beside that of the line.
    assert np.std(without) > 1.1 * np.std(pulls)


def test_a_redshift_is_found_with_the_scale(ers, t1, source):
    noisy = beams_of(ers, WAVE, 1.3 * source, rng=np.random.default_rng(54), params=CLEAN)
    photometry = _photometry(source, err=0.01)
    words = {"templates": t1, "z_range": (1.55, 1.65), "photometry": photometry}
    plain = fit_redshift(noisy, **words)
    scaled = fit_redshift(noisy, **words, params=FitParams(scale_photometry=1))
    print(f"chi2 of beams as they are {plain.chi2.min():.1f}, scaled {scaled.chi2.min():.1f}; z {scaled.z_map:.4f}")
    assert scaled.photometry_scale.is_scaled
    assert plain.photometry_scale is None
    # Three filters that are 30 % off their errors of 1 %.
    assert scaled.chi2.min() < plain.chi2.min() - 100
    assert abs(scaled.z_map - Z) < 0.002 * (1 + Z)


def test_without_a_covered_filter_nothing_is_scaled_and_the_status_says_so(ers, t1, source):
    noisy = beams_of(ers, WAVE, 1.3 * source, rng=np.random.default_rng(55), params=CLEAN)
    photometry = PhotometryInput(filters=OUTSIDE, flux=[1.0, 1.0], err=[0.01, 0.01])
    found = fit_photometry_scale(noisy, photometry)
    print(found.table)
    assert found.status == "not_covered"
    assert 0.3 < found.table["coverage"][1] < 0.98
    assert scale_beams_to_photometry(noisy, found) is noisy
    fit = fit_templates(noisy, Z, templates=t1, params=FitParams(scale_photometry=1), photometry=photometry)
    assert fit.photometry_scale.status == "not_covered"
    np.testing.assert_array_equal(
        fit.coefficients, fit_templates(noisy, Z, templates=t1, photometry=photometry).coefficients
    )
    assert fit_templates(noisy, Z, templates=t1, params=FitParams(scale_photometry=1)).photometry_scale.status == (
        "no_photometry"
    )
    few = fit_photometry_scale(noisy, _photometry(source, INSIDE[:1]), order=1)
    assert few.status == "too_few_filters"
    one = noisy.beams[1]
    dark = MultiBeam([BeamModel(replace(one.beam, dq=one.beam.dq * 0 + 1), one.order, params=CLEAN)])
    assert fit_photometry_scale(dark, _photometry(source)).status == "not_covered"


def test_a_filter_between_two_grisms_is_not_covered(ers, source):
    # Without what lies between 1.0 and 1.3 um.
    noisy = beams_of(ers, WAVE, source, rng=np.random.default_rng(56), params=CLEAN)
    beams = []
    for one in noisy.beams:
        bad = np.where((one.wave > 1.0) & (one.wave < 1.3), 1, 0).astype(one.beam.dq.dtype) * np.ones_like(one.beam.dq)
        beams.append(BeamModel(replace(one.beam, dq=bad), one.order, params=CLEAN))
    photometry = _photometry(source, [_box(1.1, 1.2), *INSIDE[2:]])
    found = fit_photometry_scale(MultiBeam(beams), photometry)
    assert found.table["is_used"].to_list() == [False, True]
    assert found.table["coverage"][0] == 0.0
    assert found.scale([1.4])[0] == pytest.approx(1.0, abs=0.02)


def test_dust_that_photometry_still_has_is_taken_into_account(ers, source):
    noisy = beams_of(ers, WAVE, 1.3 * source, rng=np.random.default_rng(57), params=CLEAN)
    dimmed = source * 10 ** (-0.4 * 0.5 * milky_way_extinction(WAVE))
    seen = _photometry(dimmed)
    found = fit_photometry_scale(noisy, replace(seen, mw_ebv=0.5))
    assert found.scale([1.2])[0] == pytest.approx(1.3, abs=0.01)
    assert fit_photometry_scale(noisy, seen).scale([1.2])[0] > 1.5


def test_bad_input_is_named(ers, source):
    photometry = _photometry(source)
    with pytest.raises(InvalidInputError, match="order: 3"):
        fit_photometry_scale(ers, photometry, order=3)
    with pytest.raises(InvalidInputError, match="resolution: 0"):
        fit_photometry_scale(ers, photometry, resolution=0.0)
    with pytest.raises(InvalidInputError, match="scale_photometry: 4"):
        FitParams(scale_photometry=4)
