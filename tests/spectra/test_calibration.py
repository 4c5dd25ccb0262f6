"""Whether p(z) means what it says, for bright and for faint lines, and errors of spectra whose pixels are correlated."""

from dataclasses import replace

import numpy as np
import pytest
from tests.spectra.prism import PARAMS, POWER, TEMPLATES, TRUTH, WAVE, distance, noise_of, spectrum_of

from skymere.datamodels import Spectrum1D
from skymere.errors import InvalidInputError
from skymere.spectra import LINES, SplineContinuum, fit_lines, fit_redshift

TYPICAL = 5.0
Z_RANGE = (2.5, 5.0)


def _ranks(n, level, seed, params):
    """Ranks of the truth in p(z): redshifts and fluxes are drawn from what the fit takes for known."""
    rng = np.random.default_rng(seed)
    noise, ranks = noise_of(level), []
    for z in rng.uniform(*Z_RANGE, n):
        fluxes = {name: TYPICAL * rng.normal() for name in TRUTH}
        flux = spectrum_of(z, fluxes)[0] + rng.normal(size=WAVE.size) * noise
        fit = fit_redshift((WAVE, flux, noise, POWER), templates=TEMPLATES, params=params, z_range=Z_RANGE)
        cumulative = np.r_[0, np.cumsum(0.5 * (fit.pdf[1:] + fit.pdf[:-1]) * np.diff(fit.z_grid))]
        ranks.append(np.interp(z, fit.z_grid, cumulative))
    return np.array(ranks)


@pytest.mark.parametrize(("level", "name"), [(0.025, "bright"), (0.1, "faint"), (0.2, "hardly seen")])
def test_p_of_z_is_calibrated_for_lines_of_any_strength_where_it_is_integrated_over_their_fluxes(level, name):
    n = 200
    ranks = _ranks(n, level, 21, replace(PARAMS, line_prior=TYPICAL * 1e-18))
    below = [round(float((ranks < q).mean()), 3) for q in (0.16, 0.5, 0.84)]
    print(f"{name}: {distance(ranks):.3f} of {1.63 / np.sqrt(n):.3f}, below 16, 50, 84 per cent {below}")
    # Exceeded by 1 of 100 sets of even ranks.
    assert distance(ranks) < 1.63 / np.sqrt(n)


def test_the_best_likelihood_of_faint_lines_is_no_probability_and_by_how_much():
    """It leaves out how well each redshift determines the lines, so it prefers those that do so poorly."""
    n = 200
    ranks = _ranks(n, 0.2, 21, PARAMS)
    print(f"best likelihood: {distance(ranks):.3f} of {1.63 / np.sqrt(n):.3f}")
    assert distance(ranks) > 1.63 / np.sqrt(n)


def test_both_kinds_of_p_differ_by_the_volume_of_the_lines():
    """-2 ln of their ratio is the sum of ln(1 + s^2 / sigma^2) plus what the prior takes off the fluxes."""
    rng = np.random.default_rng(1)
    noise = noise_of(0.2)
    flux = spectrum_of(3.0)[0] + rng.normal(size=WAVE.size) * noise
    typical = 1e3 * TYPICAL
    given = (WAVE, flux, noise, POWER)
    free = fit_redshift(given, templates=TEMPLATES, params=PARAMS, z_range=Z_RANGE)
    known = fit_redshift(
        given, templates=TEMPLATES, params=replace(PARAMS, line_prior=1e-18 * typical), z_range=Z_RANGE
    )
    at = [2.6, 4.9]
    ratio = np.diff([np.interp(z, known.z_grid, np.log(known.pdf)) for z in at])[0]
    ratio -= np.diff([np.interp(z, free.z_grid, np.log(free.pdf)) for z in at])[0]
    # The prior is so wide that 1 is nothing beside s / sigma: what is left is the determinant of the lines' covariance.
    lines = [fit_lines(given, z=z, templates=TEMPLATES, params=PARAMS).line_covariance for z in at]
    wanted = 0.5 * np.diff([np.linalg.slogdet(c * 1e36)[1] for c in lines])[0]
    assert abs(wanted) > 0.3
    # Between grid points ln p is taken as straight.
    assert ratio == pytest.approx(wanted, abs=0.1)


TAPS = np.array([0.25, 0.6, 0.9, 0.6, 0.25])


def _correlated(rng, level):
    """Noise that neighbours share, as of resampled pixels, and its banded covariance."""
    scale = noise_of(level) / np.sqrt(np.sum(TAPS**2))
    noise = scale * np.convolve(rng.normal(size=WAVE.size + TAPS.size - 1), TAPS, mode="valid")
    shared = [float(np.sum(TAPS[k:] * TAPS[: TAPS.size - k])) for k in range(TAPS.size)]
    band = np.zeros((WAVE.size, TAPS.size))
    for k, value in enumerate(shared):
        band[: WAVE.size - k, k] = value * scale[: WAVE.size - k] * scale[k:]
    return noise, band


def test_errors_of_correlated_pixels_are_the_scatter_where_those_of_independent_ones_miss():
    rng = np.random.default_rng(31)
    z, n = 4.2, 300
    truth = spectrum_of(z)[0]
    strengths = 1e-18 * np.array(list(TRUTH.values()))
    pulls = {"covariance": [], "diagonal": []}
    redshifts = {"covariance": [], "diagonal": []}
    chi2, white = [], []
    for _ in range(n):
        noise, band = _correlated(rng, 0.03)
        for kind, covariance in (("covariance", band), ("diagonal", None)):
            spectrum = Spectrum1D(
                wave=WAVE, flux=truth + noise, err=np.sqrt(band[:, 0]), resolution=POWER, covariance=covariance
            )
            fit = fit_redshift(
                spectrum, templates=TEMPLATES, z_range=(4.1, 4.3), params=replace(PARAMS, n_peaks=1, fine_step=0.0002)
            )
            away = fit.lines["flux"].to_numpy() - strengths
            pulls[kind].append(away / fit.lines["flux_err"].to_numpy())
            redshifts[kind].append((fit.z - z) / fit.z_err)
            if kind == "covariance":
                chi2.append(fit.chi2 / (fit.n_pixels - fit.n_parameters - 1))
                white.append(away @ np.linalg.solve(fit.line_covariance, away))
    for kind, found in pulls.items():
        print(f"{kind}: flux pulls {np.std(found):.3f}, z {np.std(redshifts[kind]):.3f}")
    print(f"chi2 over degrees of freedom {np.mean(chi2):.4f}, chi2 of 4 fluxes {np.mean(white):.3f}")
    # 1200 pulls have an error of 0.02, 300 of 0.04.
    assert np.std(pulls["covariance"]) == pytest.approx(1.0, abs=0.1)
    assert abs(np.mean(pulls["covariance"])) < 0.1
    assert np.std(redshifts["covariance"]) == pytest.approx(1.0, abs=0.1)
    assert np.mean(chi2) == pytest.approx(1.0, abs=0.02)
    assert np.mean(white) == pytest.approx(4.0, abs=0.5)
    # Noise that neighbours share is slow: lines feel more of it, their places less.
    assert np.std(pulls["diagonal"]) > 1.2
    assert np.std(redshifts["diagonal"]) < 0.8


def test_a_fit_with_a_covariance_is_the_generalised_least_squares_of_numpy():
    rng = np.random.default_rng(32)
    z = 4.2
    noise, band = _correlated(rng, 0.03)
    mask = rng.random(WAVE.size) < 0.1
    flux = spectrum_of(z)[0] + noise
    spectrum = Spectrum1D(wave=WAVE, flux=flux, err=np.sqrt(band[:, 0]), resolution=POWER, mask=mask, covariance=band)
    params = replace(PARAMS, sys_err=0.02)
    fit = fit_lines(spectrum, z=z, templates=TEMPLATES, params=params)
    assert "correlated over 4 neighbours" in fit.describe()
    whole = np.zeros((WAVE.size, WAVE.size))
    for k in range(band.shape[1]):
        whole += np.diag(band[: WAVE.size - k, k], k) + (np.diag(band[: WAVE.size - k, k], -k) if k else 0)
    use = ~mask
    whole[np.diag_indices(WAVE.size)] = np.where(use, fit.err, 0.0) ** 2
    inverse = np.linalg.inv(whole[np.ix_(use, use)])
    # The templates: splines of the spectrum, and lines of unit flux by differences of its own truth.
    lines = [spectrum_of(z, {name: 1.0}, level=0.0)[0] for name in TRUTH]
    splines = TEMPLATES[0].draw(WAVE) / (2.99792458e14 * 1e-29 / 1e-18 / WAVE**2)
    design = np.array([*splines, *lines])[:, use]
    normal = design @ inverse @ design.T
    best = np.linalg.solve(normal, design @ inverse @ flux[use])
    rest = flux[use] - best @ design
    assert fit.chi2 == pytest.approx(rest @ inverse @ rest, rel=1e-8)
    np.testing.assert_allclose(fit.lines["flux"] * 1e18, best[-4:], rtol=1e-7)
    errors = np.sqrt(np.diagonal(np.linalg.inv(normal)))[-4:]
    np.testing.assert_allclose(fit.lines["flux_err"] * 1e18, errors, rtol=1e-6)


def test_a_covariance_of_one_column_changes_nothing_and_bad_ones_are_named():
    noise = noise_of()
    flux = spectrum_of(4.2)[0]
    plain = fit_lines((WAVE, flux, noise, POWER), z=4.2, templates=TEMPLATES, params=PARAMS)
    one = Spectrum1D(wave=WAVE, flux=flux, err=noise, resolution=POWER, covariance=noise[:, None] ** 2)
    same = fit_lines(one, z=4.2, templates=TEMPLATES, params=PARAMS)
    assert plain.lines.equals(same.lines)
    with pytest.raises(InvalidInputError, match="covariance: its first column is not allowed"):
        Spectrum1D(wave=WAVE, flux=flux, err=noise, covariance=noise[:, None])
    with pytest.raises(InvalidInputError, match="covariance: shape"):
        Spectrum1D(wave=WAVE, flux=flux, err=noise, covariance=np.ones((3, 1)))
    odd = np.stack([noise**2, 1.5 * noise**2], axis=1)
    with pytest.raises(InvalidInputError, match="covariance: it is not positive definite at pixel 1"):
        fit_lines(Spectrum1D(wave=WAVE, flux=flux, err=noise, resolution=POWER, covariance=odd), z=4.2)


def test_lines_of_gratings_are_found_with_their_redshift_and_fluxes():
    """A G395M spectrum of a galaxy whose H alpha and [NII] are apart."""
    from scipy.special import ndtr

    from skymere.spectra import grating_templates

    rng = np.random.default_rng(41)
    z, n = 5.1, 60
    wave = np.arange(2.87, 5.1, 0.00179)
    power = np.interp(wave, [2.87, 5.1], [700.0, 1300.0])
    edges = np.r_[wave - 0.000895, wave[-1] + 0.000895]
    fluxes = {"Hb": 2.0, "OIII": 9.0, "Ha": 6.0, "NII": 1.5, "SII-6717": 0.8, "SII-6731": 0.6}
    truth = 0.2 + 0.05 * (wave - 4.0)
    for name, strength in fluxes.items():
        line = LINES[name]
        for rest, part in zip(line.wave, line.parts, strict=True):
            at = rest * (1 + z)
            instrument = 1 / (np.sqrt(8 * np.log(2)) * 1.3 * np.interp(at, wave, power))
            sigma = at * np.hypot(100 / 299792.458, instrument)
            density = np.diff(ndtr((edges - at) / sigma)) / np.diff(edges)
            truth = truth + 1e-18 * strength * part * density * wave**2 / 2.99792458e14 / 1e-29
    pulls, redshifts = [], []
    for _ in range(n):
        err = np.full(wave.size, 0.08)
        fit = fit_redshift(
            (wave, truth + rng.normal(size=wave.size) * err, err, power),
            templates=[SplineContinuum(n_functions=8), *grating_templates()[1:]],
            z_range=(5.0, 5.2),
            params=replace(PARAMS, vel_width=100.0, n_peaks=1, coarse_step=0.001),
        )
        assert fit.status == "ok"
        table = {row["line"]: row for row in fit.lines.iter_rows(named=True)}
        pulls.append([(table[k]["flux"] - 1e-18 * v) / table[k]["flux_err"] for k, v in fluxes.items()])
        redshifts.append((fit.z - z) / fit.z_err)
    assert table["Ha"]["blend"] == []
    print(f"grating: flux pulls {np.std(pulls):.3f}, mean {np.mean(pulls):.3f}, z {np.std(redshifts):.3f}")
    # 360 pulls of fluxes have an error of 0.04, 60 of redshifts one of 0.09.
    assert np.std(pulls) == pytest.approx(1.0, abs=0.12)
    assert abs(np.mean(pulls)) < 0.2
    assert np.std(redshifts) == pytest.approx(1.0, abs=0.25)
