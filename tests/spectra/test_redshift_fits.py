"""Redshifts and lines of spectra that numpy made, with known truth."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import ndtr
from tests.spectra.prism import (
    LIGHT,
    PARAMS,
    POWER,
    SCALE,
    TEMPLATES,
    TRUTH,
    VELOCITY,
    WAVE,
    distance,
    noise_of,
    pixel_edges,
    spectrum_of,
)

from skymere.datamodels import Spectrum1D
from skymere.errors import InvalidInputError
from skymere.spectra import (
    LINES,
    LineComplex,
    RedshiftParams,
    SplineContinuum,
    TabulatedTemplate,
    fit_lines,
    fit_redshift,
    grating_templates,
)


def _redshifts(n, noise, seed):
    """Pulls, ranks of the truth in p(z), and whether the status is ok, of random redshifts."""
    rng = np.random.default_rng(seed)
    pulls, ranks, is_ok = [], [], []
    for z in rng.uniform(2.5, 5.0, n):
        flux = spectrum_of(z)[0] + rng.normal(size=WAVE.size) * noise
        fit = fit_redshift((WAVE, flux, noise, POWER), templates=TEMPLATES, params=PARAMS, z_range=(2.0, 6.0))
        is_ok.append(fit.status == "ok")
        pulls.append((fit.z - z) / fit.z_err)
        cumulative = np.r_[0, np.cumsum(0.5 * (fit.pdf[1:] + fit.pdf[:-1]) * np.diff(fit.z_grid))]
        assert cumulative[-1] == pytest.approx(1.0, abs=1e-12)
        ranks.append(np.interp(z, fit.z_grid, cumulative))
    return np.array(pulls), np.array(ranks), np.array(is_ok)


def test_redshifts_are_unbiased_their_errors_are_the_scatter_and_p_of_z_is_calibrated():
    n = 400
    pulls, ranks, is_ok = _redshifts(n, noise_of(0.025), 12)
    print(f"redshift: pull {pulls.mean():.3f} +- {pulls.std(ddof=1):.3f}, {is_ok.mean():.3f} ok")
    print(f"p(z): below 16, 50, 84 per cent {[round(float((ranks < q).mean()), 3) for q in (0.16, 0.5, 0.84)]}")
    assert is_ok.mean() > 0.99
    # 400 draws: the scatter of a pull of 1 has an error of 0.035, its mean one of 0.05.
    assert pulls.std(ddof=1) == pytest.approx(1.0, abs=0.1)
    assert abs(pulls.mean()) < 0.15
    # Exceeded by 1 of 100 sets of even ranks.
    assert distance(ranks) < 1.63 / np.sqrt(n)


def test_faint_lines_with_rival_redshifts_say_so_and_the_rest_is_right():
    pulls, _, is_ok = _redshifts(150, noise_of(0.06), 13)
    wrong = np.abs(pulls) > 5
    print(f"faint: {is_ok.mean():.3f} ok, of those {wrong[is_ok].mean():.3f} wrong")
    assert (~is_ok).any()
    # A tenth of p(z) may be elsewhere at most, and mostly far less is.
    assert wrong[is_ok].mean() < 0.03


@pytest.mark.parametrize("is_known", [False, True])
def test_fluxes_and_equivalent_widths_are_unbiased_and_their_errors_are_the_scatter(is_known):
    rng = np.random.default_rng(5)
    z, names = 4.2, list(TRUTH)
    model, continuum = spectrum_of(z)
    fluxes, widths, white, ratios = [], [], [], []
    for _ in range(500):
        err = noise_of()
        spectrum = Spectrum1D(wave=WAVE, flux=model + rng.normal(size=WAVE.size) * err, err=err, resolution=POWER)
        if is_known:
            fit = fit_lines(spectrum, z=z, templates=TEMPLATES, params=PARAMS)
        else:
            fit = fit_redshift(spectrum, templates=TEMPLATES, z_range=(4.1, 4.3), params=PARAMS)
        assert fit.lines["line"].to_list() == names
        assert fit.lines["status"].to_list() == ["ok"] * 4
        truth = 1e-18 * np.array([TRUTH[name] for name in names])
        away = fit.lines["flux"].to_numpy() - truth
        fluxes.append(away / fit.lines["flux_err"].to_numpy())
        white.append(away @ np.linalg.solve(fit.line_covariance, away))
        ratios.append(fit.lines["flux"].to_numpy() / truth)
        at = fit.lines["wave_rest"].to_numpy() * (1 + z)
        density = 1e-29 * LIGHT / at**2 * np.interp(at, WAVE, continuum)
        true_width = truth / density / (1 + z) * 1e4
        widths.append((fit.lines["ew"].to_numpy() - true_width) / fit.lines["ew_err"].to_numpy())
    fluxes, widths = np.array(fluxes), np.array(widths)
    print(f"flux: pulls {fluxes.mean(axis=0).round(3)} +- {fluxes.std(axis=0).round(3)}, all {fluxes.std():.3f}")
    print(f"flux over truth {np.mean(ratios, axis=0).round(4)}, chi2 of 4 with the covariance {np.mean(white):.3f}")
    print(f"width: pulls {np.median(widths, axis=0).round(3)} +- {widths.std(axis=0).round(3)}")
    assert fluxes.std() == pytest.approx(1.0, abs=0.05)
    np.testing.assert_allclose(fluxes.std(axis=0), 1.0, atol=0.1)
    np.testing.assert_allclose(fluxes.mean(axis=0), 0.0, atol=0.15)
    # The mean of chi2 of 4 has an error of 0.13; a covariance without its correlations would miss by more.
    assert np.mean(white) == pytest.approx(4.0, abs=0.4)
    # Ratios of noisy numbers are skew, so the median is what has to be right.
    np.testing.assert_allclose(np.median(widths, axis=0), 0.0, atol=0.2)
    np.testing.assert_allclose(widths.std(axis=0), 1.0, atol=0.15)


def test_bright_lines_are_unbiased_with_a_systematic_error_of_thespectrum_of():
    """With errors that follow the noisy data, pixels that came out low would weigh more."""
    rng = np.random.default_rng(8)
    z, strengths = 4.2, {name: 30 * flux for name, flux in TRUTH.items()}
    model = spectrum_of(z, strengths)[0]
    means = {}
    for of in ("model", "data"):
        params = RedshiftParams(sys_err=0.1, sys_err_of=of, scale_disp=SCALE, vel_width=VELOCITY)
        ratios, pulls = [], []
        for _ in range(300):
            err = np.full(WAVE.size, 0.02)
            flux = model + rng.normal(size=WAVE.size) * np.hypot(err, 0.1 * model)
            fit = fit_lines((WAVE, flux, err, POWER), z=z, templates=TEMPLATES, params=params)
            ratios.append(fit.lines["flux"].to_numpy() * 1e18 / np.array(list(strengths.values())))
            pulls.append((np.array(ratios[-1]) - 1) / (fit.lines["flux_err"] / fit.lines["flux"]).to_numpy())
        means[of] = np.mean(ratios)
        print(f"{of}: flux over truth {np.mean(ratios, axis=0).round(4)}, pull {np.std(pulls):.3f}")
    # 1200 fluxes with errors of 5 to 7 per cent.
    assert abs(means["model"] - 1) < 0.007
    assert means["data"] < means["model"] - 0.005


def test_the_units_of_the_table_say_the_same():
    z = 4.2
    flux, continuum = spectrum_of(z)
    fit = fit_lines((WAVE, flux, noise_of(), POWER), z=z, templates=TEMPLATES, params=PARAMS)
    row = fit.lines.filter(line="OIII").row(0, named=True)
    # Fifteen splines follow the continuum below the line, nine are off by a part of a per cent.
    finer = (replace(TEMPLATES[0], n_functions=15), *TEMPLATES[1:])
    same = fit_lines((WAVE, flux, noise_of(), POWER), z=z, templates=finer, params=PARAMS).lines
    assert same.filter(line="OIII")["flux"][0] == pytest.approx(8e-18, rel=2e-3, abs=0)
    assert row["wave"] == pytest.approx(0.500824 * 5.2)
    # The integral of the line over wavelength [uJy um], summed over the pixels of the truth.
    only = spectrum_of(z, {"OIII": 8.0})
    true = np.sum((only[0] - only[1]) * np.diff(pixel_edges()))
    assert row["flux_uJy_um"] == pytest.approx(true, rel=0.01)
    assert row["continuum"] == pytest.approx(np.interp(row["wave"], WAVE, continuum), rel=1e-2)
    # Nine splines follow the square root of the wavelength to a per cent.
    np.testing.assert_allclose(fit.model, flux, rtol=2e-2)
    np.testing.assert_allclose(fit.continuum, continuum, rtol=2e-2)


def _smeared(rest, table, z):
    """A table at a redshift, smeared and integrated over the pixels cell by cell."""
    fine = np.linspace(0.5, 7.0, 13001)
    flux = np.interp(fine / (1 + z), rest, table)
    edges = pixel_edges()
    out = np.empty(WAVE.size)
    for k, at in enumerate(WAVE):
        sigma = at * np.hypot(100 / 299792.458, 1 / (np.sqrt(8 * np.log(2)) * SCALE * POWER[k]))
        low, high = np.searchsorted(fine, [edges[k] - 7 * sigma, edges[k + 1] + 7 * sigma])
        near = fine[low:high]
        kernel = ndtr((edges[k + 1] - near) / sigma) - ndtr((edges[k] - near) / sigma)
        out[k] = np.sum(flux[low:high] * kernel) * (fine[1] - fine[0]) / (edges[k + 1] - edges[k])
    return out


def test_a_galaxy_of_tabulated_templates_is_found_by_its_break():
    rng = np.random.default_rng(2)
    rest = np.linspace(0.05, 3.0, 4001)
    old, young = np.where(rest > 0.4, 1.0, 0.2) * rest**-0.5, rest**-2.0
    templates = [
        TabulatedTemplate(name="old", wave=rest, flux=old),
        TabulatedTemplate(name="young", wave=rest, flux=young),
    ]
    params = RedshiftParams(
        non_negative="all",
        sys_err=0.0,
        coarse_step=0.01,
        fine_step=0.001,
        fine_half_width=0.01,
        n_peaks=1,
        n_per_sigma=2,
    )
    pulls = []
    for z in rng.uniform(2.0, 4.0, 6):
        flux = 0.1 * _smeared(rest, old + 0.02 * young, z) * WAVE**2
        err = 0.01 * WAVE**2
        for _ in range(15):
            noisy = flux + rng.normal(size=WAVE.size) * err
            fit = fit_redshift(
                (WAVE, noisy, err, POWER), templates=templates, z_range=(z - 0.2, z + 0.25), params=params
            )
            pulls.append((fit.z - z) / fit.z_err)
            assert (fit.coefficients["coefficient"] >= 0).all()
    print(f"break: pull {np.mean(pulls):.3f} +- {np.std(pulls, ddof=1):.3f}")
    # 90 draws: the scatter has an error of 0.075, the mean one of 0.105.
    assert abs(np.mean(pulls)) < 0.3
    assert np.std(pulls, ddof=1) == pytest.approx(1.0, abs=0.22)


def test_a_single_line_is_ambiguous_and_a_redshift_beyond_the_range_is_at_its_edge():
    rng = np.random.default_rng(3)
    z = 1.5
    flux = spectrum_of(z, {"OIII": 8.0})[0] + rng.normal(size=WAVE.size) * noise_of()
    fit = fit_redshift(
        (WAVE, flux, noise_of(), POWER),
        templates=[TEMPLATES[0], LINES["OII"], LINES["Ha+NII"]],
        z_range=(0.5, 4.0),
        params=PARAMS,
    )
    assert fit.status == "ambiguous"
    flux = spectrum_of(3.0)[0]
    fit = fit_redshift((WAVE, flux, noise_of(), POWER), templates=TEMPLATES, z_range=(3.003, 3.2), params=PARAMS)
    assert fit.status == "at_edge"


def test_absorption_is_at_the_bound_where_lines_may_not_be_negative():
    flux = spectrum_of(4.2, {"OIII": 8.0, "Hb": -2.0})[0]
    params = RedshiftParams(sys_err=0.0, scale_disp=SCALE, vel_width=VELOCITY, non_negative="lines")
    fit = fit_lines((WAVE, flux, noise_of(), POWER), z=4.2, templates=TEMPLATES, params=params)
    row = fit.lines.filter(line="Hb").row(0, named=True)
    assert (row["status"], row["flux"]) == ("at_bound", 0.0)
    assert row["flux_err"] > 0
    free = fit_lines((WAVE, flux, noise_of(), POWER), z=4.2, templates=TEMPLATES, params=PARAMS)
    assert free.lines.filter(line="Hb")["flux"][0] == pytest.approx(-2e-18, rel=2e-2, abs=0)


def test_lines_that_nothing_tells_apart_are_undetermined():
    twin = LineComplex(name="twin", wave=LINES["Hb"].wave)
    fit = fit_lines((WAVE, spectrum_of(4.2)[0], noise_of(), POWER), z=4.2, templates=[*TEMPLATES, twin], params=PARAMS)
    assert sorted(fit.lines.filter(status="undetermined")["line"]) == ["twin"]
    assert fit.n_parameters == 13


def test_masked_and_bad_pixels_change_nothing():
    rng = np.random.default_rng(7)
    flux = spectrum_of(4.2)[0] + rng.normal(size=WAVE.size) * noise_of()
    err = noise_of()
    mask = rng.random(WAVE.size) < 0.1
    first = fit_redshift(
        Spectrum1D(wave=WAVE, flux=flux, err=err, resolution=POWER, mask=mask), templates=TEMPLATES, z_range=(4.0, 4.4)
    )
    spoilt, bad_err = flux.copy(), err.copy()
    where = np.flatnonzero(mask)
    spoilt[where[::2]] = np.nan
    bad_err[where[1::4]], bad_err[where[3::4]] = 0.0, np.inf
    second = fit_redshift((WAVE, spoilt, bad_err, POWER), templates=TEMPLATES, z_range=(4.0, 4.4))
    assert first.z == second.z
    assert first.lines.equals(second.lines)


def test_fits_are_the_same_for_any_number_of_threads_and_say_what_they_did():
    from skymere._rust import threads

    flux = spectrum_of(4.2)[0]
    fits = []
    before = threads.get_num_threads()
    try:
        for n in (1, 2):
            threads.set_num_threads(n)
            fits.append(fit_redshift((WAVE, flux, noise_of(), POWER), templates=TEMPLATES))
    finally:
        threads.set_num_threads(before)
    np.testing.assert_array_equal(fits[0].chi2_grid, fits[1].chi2_grid)
    text = fits[0].describe()
    assert "systematic error: 0.02 of the model's flux" in text
    assert "scale_disp 1.3" in text
    assert "lines: OII, Hb, OIII, Ha+NII" in text


def test_a_spectrum_without_enough_pixels_is_a_status():
    nothing = fit_redshift((WAVE, np.full(WAVE.size, np.nan), noise_of(), POWER), templates=TEMPLATES)
    assert nothing.status == "no_data"
    assert np.isnan(nothing.z)
    assert nothing.lines.is_empty()
    few = fit_lines(
        (WAVE, np.ones(WAVE.size), np.where(np.arange(WAVE.size) < 9, 1.0, 0.0), POWER), z=1.0, templates=TEMPLATES
    )
    assert (few.status, few.n_pixels) == ("no_data", 9)
    assert "no_data" in few.describe()


def test_input_that_is_not_allowed_is_named():
    ok = (WAVE, np.ones(WAVE.size), np.ones(WAVE.size), POWER)
    for words, call in {
        "templates: an empty list": lambda: fit_redshift(ok, templates=[]),
        "templates: 'prism'": lambda: fit_redshift(ok, templates="prism"),
        "templates: 3 is not": lambda: fit_redshift(ok, templates=[3]),
        "line 'Hb' twice": lambda: fit_redshift(ok, templates=[*TEMPLATES, LINES["Hb"]]),
        "z_range: ": lambda: fit_redshift(ok, z_range=(3.0, 2.0)),
        "z: -2": lambda: fit_lines(ok, z=-2.0),
        "spectrum: 2 arrays": lambda: fit_redshift(ok[:2]),
        "spectrum: int": lambda: fit_redshift(3),
        "flux: shape": lambda: fit_redshift((WAVE, np.ones(3), np.ones(WAVE.size))),
        "wave: ": lambda: fit_redshift((WAVE[::-1], *ok[1:])),
        "resolution: .* positive": lambda: fit_redshift((*ok[:3], -POWER)),
        "resolution: None": lambda: fit_redshift(ok[:3], params=RedshiftParams(vel_width=0.0)),
        "scale_disp: 0": lambda: RedshiftParams(scale_disp=0.0),
        "line_prior: -1": lambda: RedshiftParams(line_prior=-1.0),
        "line_prior: 1.0 is not allowed with non_negative": lambda: RedshiftParams(line_prior=1.0, non_negative="all"),
        "igm: 3 is": lambda: fit_redshift(ok, igm=3),
        "sys_err: -1": lambda: RedshiftParams(sys_err=-1.0),
        "sys_err_of: 'x'": lambda: RedshiftParams(sys_err_of="x"),
        "fine_step: 1": lambda: RedshiftParams(fine_step=1.0),
        "n_peaks": lambda: RedshiftParams(n_peaks=0),
        "min_peak_probability": lambda: RedshiftParams(min_peak_probability=2.0),
    }.items():
        with pytest.raises(InvalidInputError, match=words):
            call()


@pytest.mark.parametrize(("power", "step"), [(1000, 0.00179), (2700, 0.00066)], ids=["medium", "high"])
def test_lines_of_gratings_are_not_stepped_over(power, step):
    wave = np.arange(2.9, 5.2, step)
    resolution = power * wave / 4.0
    random = np.random.default_rng(4)
    lines = {"OIII-5007": 1.0, "OIII-4959": 1 / 2.98, "Hb": 0.2, "Ha": 0.5}
    for z in random.uniform(5.0, 6.5, 6):
        flux = np.full(wave.size, 0.05)
        for name, part in lines.items():
            (rest,) = LINES[name].wave
            sigma = rest * (1 + z) * np.hypot(100 / 299792.458, 1 / (2.3548 * 1.3 * power * rest * (1 + z) / 4.0))
            shape = np.exp(-0.5 * ((wave - rest * (1 + z)) / sigma) ** 2)
            # The strongest has a signal to noise of 15.
            flux += 15 * part * shape / np.sqrt((shape**2).sum()) if shape.any() else 0.0
        spectrum = Spectrum1D(
            wave=wave, flux=flux + random.normal(size=wave.size), err=np.ones(wave.size), resolution=resolution
        )
        fit = fit_redshift(spectrum, templates=grating_templates())
        assert abs(fit.z - z) < 0.003 * (1 + z), z


def test_a_narrow_range_is_not_left():
    wave = np.linspace(1.0, 2.0, 201)
    flux = 1 + np.exp(-0.5 * ((wave - 0.500824 * 3) / 0.01) ** 2)
    spectrum = Spectrum1D(wave=wave, flux=flux, err=np.full(201, 0.01), resolution=np.full(201, 100.0))
    fit = fit_redshift(spectrum, templates=[SplineContinuum(n_functions=6), LINES["OIII-5007"]], z_range=(1.999, 2.002))
    assert fit.z_grid[0] == pytest.approx(1.999, rel=1e-12)
    assert fit.z_grid[-1] == pytest.approx(2.002, rel=1e-12)
    assert fit.z == pytest.approx(2.0, abs=2e-4)
