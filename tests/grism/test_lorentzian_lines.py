"""Lorentzian lines: drawn exactly, fitted with the right flux, and the same in everything that draws a fit."""

import numpy as np
import pytest

from skymere.grism import BeamParams, FitParams, as_model, fit_lines, fit_redshift, fit_templates
from skymere.spectra import TemplateSet

from .emitters import NOISE, WAVE, beams_of, spectrum, truth

CLEAN = BeamParams(fcontam=0.0, sys_err=0.0)
Z, FLUX = 1.6, 3e-16
FWHM = 1200.0
# Half of what there is of a line, in half widths: 50 sigma of the Gaussian as wide.
REACH = 100 / np.sqrt(8 * np.log(2))


def _sets(folder):
    path = folder / "grizli" / "templates"
    return [TemplateSet.load(path, line_complexes=False, lorentz=lorentz) for lorentz in (False, True)]


@pytest.fixture(scope="module")
def sets(folder):
    return _sets(folder)


def _lorentzian(wave, middle):
    """A line of flux 1, by the formula and summed on its own points [1 / Angstrom]."""
    half = 0.5 * middle * FWHM / 299792.458
    t = (wave - middle) / half
    shape = np.where(abs(t) < REACH, 1 / (1 + t**2), 0.0)
    return shape / (np.trapezoid(shape, wave) * 1e4)


@pytest.fixture(scope="module")
def source(sets):
    """A galaxy with one Lorentzian pair, on points of 0.2 Angstrom [erg/s/cm2/A]."""
    gaussian, _ = sets
    smooth = spectrum(gaussian, Z, truth(gaussian, Z, continuum=8e-15))
    (line,) = [one for one in gaussian.lines if one.name == "OIII"]
    parts = (p * _lorentzian(WAVE, w * (1 + Z)) for w, p in zip(line.wave, line.parts, strict=True))
    return smooth + FLUX * sum(parts)


def test_a_lorentzian_that_numpy_drew_is_fitted_with_its_flux(ers, sets, source):
    clean = beams_of(ers, WAVE, source, params=CLEAN)
    gaussian, lorentzian = (fit_templates(clean, Z, templates=one) for one in sets)
    i = gaussian.names.index("line OIII")
    print(
        f"flux over truth: Lorentzian {lorentzian.coefficients[i] / FLUX:.5f}, Gaussian {gaussian.coefficients[i] / FLUX:.3f}; "
        f"chi2 {lorentzian.chi2_plain:.4f}, {gaussian.chi2_plain:.1f}"
    )
    # Points of 0.2 Angstrom are straight lines between; some light goes to faint lines in the wings.
    assert lorentzian.coefficients[i] == pytest.approx(FLUX, rel=2e-3)
    assert lorentzian.chi2_plain < 0.02 * gaussian.chi2_plain
    assert abs(gaussian.coefficients[i] / FLUX - 1) > 0.05


def test_fluxes_of_lorentzians_have_errors_that_hold(ers, sets, source):
    rng, pulls = np.random.default_rng(81), []
    for _ in range(40):
        noisy = beams_of(ers, WAVE, source, rng=rng, noise=NOISE, params=CLEAN)
        fit = fit_templates(noisy, Z, templates=sets[1], params=FitParams(fitter="lstsq"))
        i = fit.names.index("line OIII")
        pulls.append((fit.coefficients[i] - FLUX) / np.sqrt(fit.covariance[i, i]))
    print(f"pull of Lorentzian fluxes {np.mean(pulls):.2f} +- {np.std(pulls):.2f}")
    # 40 draws: three times the scatter of a spread and of a mean.
    assert abs(np.std(pulls) - 1) < 3 / np.sqrt(80)
    assert abs(np.mean(pulls)) < 3 / np.sqrt(40)


def test_everything_that_draws_a_fit_draws_the_same_lorentzian(ers, sets, source):
    clean = beams_of(ers, WAVE, source, params=CLEAN)
    fit = fit_templates(clean, Z, templates=sets[1])
    own = fit.line("OIII", WAVE)
    i = fit.names.index("line OIII")
    # Light of a pair whose wings end within the points.
    assert np.trapezoid(own, WAVE) * 1e4 == pytest.approx(fit.coefficients[i], rel=1e-3)
    wave, shape = as_model(fit).line_shape("OIII")
    assert np.trapezoid(shape, wave) * 1e4 == pytest.approx(1.0, abs=1e-3)
    drawn = fit.coefficients[i] * np.interp(WAVE, wave, shape, left=0.0, right=0.0)
    np.testing.assert_allclose(drawn, own, atol=2e-3 * own.max())
    # The equivalent width has the same light over the same continuum.
    (row,) = fit_lines(clean, Z, templates=sets[1], n_draws=200).filter(line="OIII").iter_rows(named=True)
    level = float(fit.continuum([0.5008 * (1 + Z)])[0])
    assert row["ew50"] == pytest.approx(fit.coefficients[i] / level / (1 + Z), rel=0.05)
    found = fit_redshift(clean, templates=sets[1], z_range=(1.55, 1.65))
    assert abs(found.z_map - Z) < 2e-4 * (1 + Z)
