"""Photometric redshifts of catalogues that numpy made, with known truth."""

import numpy as np
import polars as pl
import pytest

from skymere import get_num_threads, set_num_threads
from skymere.errors import InvalidInputError, NotFoundError
from skymere.spectra import (
    MagnitudePrior,
    PhotozParams,
    TemplateError,
    fit_photoz,
    iter_photoz,
    match_photometry,
    milky_way_extinction,
    template_fluxes,
)

from .photoz_scene import bands, catalogue, curve, filters, galaxies, seen_through, table_of

CURVES, TEMPLATES = filters(), galaxies()
Z_GRID = np.exp(np.arange(np.log1p(0.1), np.log1p(6.0), 0.004)) - 1
PARAMS = PhotozParams(z_min=0.05, z_max=7.0, z_step=0.004, sys_err=0.0)
PERCENTILES = ("z_025", "z_160", "z_500", "z_840", "z_975")


@pytest.fixture(scope="module")
def scene():
    fluxes = template_fluxes(TEMPLATES, filters=CURVES, z_grid=Z_GRID)
    z, truth, flux, err, snr = catalogue(TEMPLATES, fluxes, Z_GRID, n=1500, seed=1)
    # What the redshifts were drawn from: even in ln(1 + z).
    grid = PARAMS.z_grid
    prior = (grid, ((grid > 0.1) & (grid < 6.0)) / (1 + grid))
    fit = fit_photoz(table_of(CURVES, flux, err), filters=bands(), templates=TEMPLATES, prior=prior, params=PARAMS)
    return {"z": z, "truth": truth, "flux": flux, "err": err, "snr": snr, "fit": fit, "prior": prior}


def _first(scene, n, **more):
    table = table_of(CURVES, scene["flux"][:n], scene["err"][:n])
    given = {"filters": bands(), "templates": TEMPLATES, "params": PARAMS} | more
    return fit_photoz(table, **given)


def test_fluxes_of_redshifted_templates_are_the_integrals_of_their_spectra():
    for i, z in ((0, 0.0), (2, 1.7), (3, 5.3)):
        found = template_fluxes(TEMPLATES, filters=CURVES, z_grid=np.array([z]))[0, i]
        wave, flux = TEMPLATES[i].wave * (1 + z), TEMPLATES[i].flux
        wanted = [seen_through(one, lambda w, x=wave, y=flux: np.interp(w, x, y)) for one in CURVES]
        # The sums of the reference have steps of 2.5e-6 um; lines of 0.002 um at rest set its error.
        np.testing.assert_allclose(found, wanted, rtol=1e-7)


def test_what_absorbs_between_galaxies_cuts_fluxes_at_its_sharp_edge():
    def igm(wave, z):
        return np.where(wave < 0.121567 * (1 + z), 0.3, 1.0)

    z = 5.5
    found = template_fluxes(TEMPLATES, filters=CURVES, z_grid=np.array([z]), igm=igm)[0]
    for i, one in enumerate(TEMPLATES):
        wave = one.wave * (1 + z)
        wanted = [seen_through(band, lambda w, x=wave, y=one.flux: np.interp(w, x, y) * igm(w, z)) for band in CURVES]
        np.testing.assert_allclose(found[i], wanted, rtol=2e-5, atol=1e-6 * max(wanted))


def test_percentiles_of_redshifts_hold_the_truth_as_often_as_they_say(scene):
    fit, z, snr = scene["fit"], scene["z"], scene["snr"]
    low95, low68, _, high68, high95 = (fit.table[name].to_numpy() for name in PERCENTILES)
    away = np.abs(fit.table["z_map"].to_numpy() - z) / (1 + z)
    print("\nS/N      n  within 68  within 95  outliers  sigma of the rest")
    for low, high, most in ((5, 10, 0.85), (10, 20, 0.65), (20, 50, 0.35)):
        chosen = (snr >= low) & (snr < high)
        in68 = np.mean((low68 <= z)[chosen] & (z <= high68)[chosen])
        in95 = np.mean((low95 <= z)[chosen] & (z <= high95)[chosen])
        is_out = away[chosen] > 0.15
        print(
            f"{low:2d}-{high:2d} {chosen.sum():5d} {in68:10.3f} {in95:10.3f} {is_out.mean():9.3f}"
            f" {1.4826 * np.median(away[chosen][~is_out]):10.4f}"
        )
        # p(z) is that of the best mixture at each z and not of all of them: a little too narrow at low S/N. 500 objects
        # have a standard error of 0.02.
        assert 0.58 < in68 < 0.76
        assert 0.90 < in95 < 0.99
        assert is_out.mean() < most
    assert fit.table["status"].is_in(["ok", "at_edge", "unresolved"]).all()
    assert np.all(low95 <= low68)
    assert np.all(high68 <= high95)
    np.testing.assert_allclose(np.trapezoid(fit.pdf, fit.z_grid, axis=1), 1.0, rtol=1e-12)


def test_with_a_prior_of_one_redshift_it_is_the_fit(scene):
    grid = PARAMS.z_grid
    i = int(np.argmin(np.abs(grid - scene["z"][0])))
    p = np.zeros((3, grid.size))
    p[0, i] = p[1, 40] = 1.0
    fit = _first(scene, 3, prior=(grid, p))
    assert fit.table["z_map"][0] == pytest.approx(grid[i], abs=1e-12)
    assert fit.table["z_map"][1] == pytest.approx(grid[40], abs=1e-12)
    assert fit.table["status"].to_list() == ["unresolved", "unresolved", "no_prior"]
    assert fit.table["z_500"][2] is None
    assert abs(fit.table["z_500"][0] - grid[i]) < 0.004 * (1 + grid[i])


def test_a_magnitude_prior_moves_faint_and_bright_objects_apart(scene):
    z = np.linspace(0, 8, 200)
    p = np.stack([np.exp(-0.5 * ((z - centre) / 0.3) ** 2) for centre in (0.5, 4.0)], axis=1)
    prior = MagnitudePrior(filter="f160w", z=z, mag=np.array([20.0, 26.0]), probability=p, floor=0.0)
    on = prior.on_grid([19.0, 23.0, 26.0, np.nan], z)
    assert z[on[0].argmax()] == pytest.approx(0.5, abs=0.05)
    assert z[on[2].argmax()] == pytest.approx(4.0, abs=0.05)
    np.testing.assert_allclose(on[1], 0.5 * (on[0] + on[2]))
    np.testing.assert_allclose(on[3], 1 / 8)
    # Ten per cent errors: the prior decides between redshifts.
    flux, err = np.ones((2, len(CURVES))), np.full((2, len(CURVES)), 10.0)
    flux[0] *= 10 ** (0.4 * (23.9 - 20.0))
    flux[1] *= 10 ** (0.4 * (23.9 - 26.0))
    fit = fit_photoz(
        table_of(CURVES, flux, 1e4 * err), filters=bands(), templates=TEMPLATES, prior=prior, params=PARAMS
    )
    assert fit.table["z_map"][0] == pytest.approx(0.5, abs=0.1)
    assert fit.table["z_map"][1] == pytest.approx(4.0, abs=0.1)


def test_dust_of_the_milky_way_is_taken_off_with_the_right_excess(scene):
    n = 15
    ebv = np.random.default_rng(4).uniform(0.1, 0.3, n)
    curve_of = milky_way_extinction(np.array([0.4400, 0.5500, 0.2175, 3.0]))
    # Fitzpatrick 1999 for R_V = 3.1, from dust_extinction 1.7.
    np.testing.assert_allclose(curve_of, [4.059, 3.0315, 9.5352, 0.2271], atol=1e-4)
    z, fluxes = scene["z"][:n], np.zeros((n, len(CURVES)))
    for i in range(n):
        wave, template = TEMPLATES[i % 5].wave * (1 + z[i]), TEMPLATES[i % 5].flux
        for j, one in enumerate(CURVES):

            def seen(w, x=wave, y=template, e=ebv[i]):
                return np.interp(w, x, y) * 10 ** (-0.4 * e * milky_way_extinction(w))

            fluxes[i, j] = seen_through(one, seen, n_fine=8)
    err = np.full(fluxes.shape, 0.002) * fluxes.max(axis=1)[:, None]
    fit = fit_photoz(table_of(CURVES, fluxes, err), filters=bands(), templates=TEMPLATES, mw_ebv=ebv, params=PARAMS)
    away = np.abs(fit.table["z_map"].to_numpy() - z) / (1 + z)
    assert np.median(away) < 1e-3
    good = away < 0.01
    assert good.mean() > 0.85
    # Fluxes without the dust, against the templates that were put in.
    wanted = np.stack(
        [template_fluxes([TEMPLATES[i % 5]], filters=CURVES, z_grid=z[i : i + 1])[0, 0] for i in range(n)]
    )
    found = fit.synthetic_fluxes(CURVES, is_dereddened=True)["flux"].to_numpy().reshape(n, -1)
    bright = wanted > 0.1 * wanted.max(axis=1)[:, None]
    ratio = (found / wanted)[good[:, None] & bright]
    assert np.median(np.abs(ratio - 1)) < 2e-3
    assert np.mean(np.abs(ratio - 1) < 0.01) > 0.98
    plain = fit_photoz(table_of(CURVES, fluxes, err), filters=bands(), templates=TEMPLATES, params=PARAMS)
    assert np.median(plain.table["chi2"].to_numpy()) > 100 * np.median(fit.table["chi2"].to_numpy())


def test_a_filter_that_was_not_measured_is_filled_with_an_error_that_holds(scene):
    j, n = 6, 500
    rest = [one for i, one in enumerate(CURVES) if i != j]
    table = table_of(CURVES, scene["flux"][:n], scene["err"][:n])
    fit = fit_photoz(table, filters=bands(rest), templates=TEMPLATES, prior=scene["prior"], params=PARAMS)
    found = fit.synthetic_fluxes([CURVES[j]])
    assert found["is_synthetic"].all()
    assert found["filter"].unique().to_list() == [CURVES[j].name]
    pull = (found["flux"].to_numpy() - scene["truth"][:n, j]) / found["flux_err"].to_numpy()
    print(f"\npull of a filled filter: {pull.std():.3f}, mean {pull.mean():.3f}")
    # Factors that are held at zero have no error, and the mixture is not marginalised: 15 % either way.
    assert pull.std() == pytest.approx(1.0, abs=0.15)
    assert abs(pull.mean()) < 0.2
    # A fit that knows the filter has it with a smaller error.
    known = scene["fit"].synthetic_fluxes([CURVES[j]])["flux_err"].to_numpy()[:n]
    assert np.median(known) < 0.9 * np.median(found["flux_err"].to_numpy())


def test_results_are_the_same_bits_for_any_number_of_threads_and_blocks(scene):
    before = get_num_threads()
    table = table_of(CURVES, scene["flux"][:300], scene["err"][:300])
    ebv = np.linspace(0, 0.2, 300)
    given = {"filters": bands(), "templates": TEMPLATES, "mw_ebv": ebv}
    set_num_threads(1)
    one = fit_photoz(table, params=PARAMS, **given)
    set_num_threads(2)
    small = PhotozParams(z_min=0.05, z_max=7.0, z_step=0.004, sys_err=0.0, block_rows=70, has_pdf=False)
    parts = list(iter_photoz(table, params=small, **given))
    set_num_threads(before)
    assert len(parts) == 5
    assert all(part.pdf.shape == (0, one.z_grid.size) for part in parts)
    assert pl.concat([part.table for part in parts]).equals(one.table)
    assert np.array_equal(np.concatenate([part.coefficients for part in parts]), one.coefficients)


def test_units_zeropoints_and_systematic_errors_are_what_they_say(scene):
    n = 5
    flux, err = scene["flux"][:n], scene["err"][:n]
    plain = _first(scene, n)
    pivot = np.array([one.pivot for one in CURVES])
    per_flambda = 1e29 * (pivot * 1e4) ** 2 / 2.99792458e18
    for unit, factor in (("nJy", 1e3), ("flambda", 1 / per_flambda), ("ab_zeropoint", 10 ** (0.4 * (25 - 23.9)))):
        more = {"ab_zeropoint": 25.0} if unit == "ab_zeropoint" else {}
        fit = fit_photoz(
            table_of(CURVES, flux * factor, err * factor),
            filters=bands(unit=unit, **more),
            templates=TEMPLATES,
            params=PARAMS,
        )
        np.testing.assert_allclose(fit.flux, plain.flux, rtol=1e-12)
        np.testing.assert_allclose(fit.chi2_grid, plain.chi2_grid, rtol=1e-8, atol=1e-8)
    factors = {"f435w": 0.8, "f444w": 1.25}
    scale = np.array([factors.get(one.name, 1.0) for one in CURVES])
    moved = fit_photoz(
        table_of(CURVES, flux / scale, err / scale),
        filters=bands(),
        templates=TEMPLATES,
        zeropoints=factors,
        params=PARAMS,
    )
    np.testing.assert_allclose(moved.chi2_grid, plain.chi2_grid, rtol=1e-8, atol=1e-8)
    # An error of 10 % of the model where noise is small: chi square falls as that of the larger errors.
    with_sys = PhotozParams(z_min=0.05, z_max=7.0, z_step=0.004, sys_err=0.1)
    fit = _first(scene, n, params=with_sys)
    best = fit.table["i_z"].to_numpy()
    rest = (flux - fit.model) ** 2 / (err**2 + (0.1 * np.maximum(fit.level, 0)) ** 2)
    np.testing.assert_allclose(fit.chi2_grid[np.arange(n), best], rest.sum(axis=1), rtol=1e-9)
    wrong = TemplateError(wave=np.array([0.05, 6.0]), error=np.array([0.1, 0.1]))
    same = _first(scene, n, template_error=wrong)
    np.testing.assert_allclose(same.level, _first(scene, n, template_error=wrong).level)
    assert np.all(same.table["chi2"].to_numpy() < plain.table["chi2"].to_numpy() + 1e-9)


def test_objects_that_cannot_be_fitted_are_a_status_and_the_rest_goes_on(scene):
    flux, err = scene["flux"][:4].copy(), scene["err"][:4].copy()
    err[0, 2:] = -1.0
    flux[1, :3] = np.nan
    err[2] = 0.0
    fit = fit_photoz(table_of(CURVES, flux, err), filters=bands(), templates=TEMPLATES, params=PARAMS)
    assert fit.table["status"][0] == fit.table["status"][2] == "few_filters"
    assert fit.table["n_filters"].to_list() == [2, 9, 0, 12]
    assert fit.table["z_map"].is_null().to_list() == [True, False, True, False]
    assert np.isnan(fit.pdf[0]).all()
    assert fit.table["z_map"][3] == _first(scene, 4).table["z_map"][3]
    assert fit.synthetic_fluxes(CURVES[:1])["flux"].is_null().to_list() == [True, False, True, False]
    # One filter far beyond the templates, and nothing else.
    far = curve("far", 200.0, 40.0, step=0.1)
    alone = fit_photoz(
        {"far_flux": [1.0], "far_err": [0.1]},
        filters=bands([far]),
        templates=TEMPLATES,
        params=PhotozParams(min_filters=1, z_max=2.0),
    )
    assert alone.table["status"].to_list() == ["no_template"]
    empty = fit_photoz(table_of(CURVES, flux[:0], err[:0]), filters=bands(), templates=TEMPLATES, params=PARAMS)
    assert empty.table.height == 0


def test_positions_match_within_half_an_arcsecond():
    table = pl.DataFrame({"ra": [150.0, 150.01, 359.99999], "dec": [2.0, 2.0, -60.0]})
    step = 1 / 3600
    ra = [150.0, 150.0 + 0.4 * step / np.cos(np.radians(2)), 150.0, 0.00001]
    dec = [2.0 + 0.6 * step, 2.0, 2.0 - 0.4 * step, -60.0]
    row, separation = match_photometry(ra, dec, catalog=table)
    assert row.tolist() == [-1, 0, 0, 2]
    np.testing.assert_allclose(separation, [np.inf, 0.4, 0.4, 0.036], rtol=1e-4)


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"filters": bands([curve("f999w", 1.0, 0.1)])}, NotFoundError, "f999w_flux"),
        ({"filters": []}, InvalidInputError, "filters: 0"),
        ({"zeropoints": {"f140w": 1.0}}, NotFoundError, "f140w"),
        ({"zeropoints": {"f160w": 0.0}}, InvalidInputError, "zeropoints: 0.0"),
        ({"mw_ebv": -1.0}, InvalidInputError, "mw_ebv: -1.0"),
        ({"mw_ebv": [0.1, 0.2]}, InvalidInputError, "mw_ebv"),
        ({"templates": []}, InvalidInputError, "templates, filters: 0"),
        ({"prior": (np.array([0.0, 1.0]), np.ones((7, 2)))}, InvalidInputError, "prior: 2 redshifts"),
        ({"igm": lambda _wave, _z: 1.0}, InvalidInputError, "igm: shape"),
    ],
)
def test_bad_input_is_named(scene, change, error, text):
    with pytest.raises(error, match=text):
        _first(scene, 3, **change)


def test_parameters_out_of_range_are_named():
    for name, value in (("z_step", 0.0), ("z_max", 0.0), ("sys_err", -1.0), ("sys_err_of", "flux"), ("min_filters", 0)):
        with pytest.raises(InvalidInputError, match=name):
            PhotozParams(**{name: value})
