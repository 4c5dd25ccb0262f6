"""Fits to beams: exactness, bounds, masks of outliers, and truth that is known."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from skymere import get_num_threads, set_num_threads
from skymere.errors import InvalidInputError, NoDataError
from skymere.grism import (
    BeamModel,
    BeamParams,
    FitParams,
    MultiBeam,
    PhotometryInput,
    drop_bad_angles,
    fit_break,
    fit_lines,
    fit_redshift,
    fit_templates,
    line_deviations,
)
from skymere.grism.problem import BeamProblem
from skymere.grism.template_bank import TemplateBank
from skymere.spectra import Filter, LineComplex, TabulatedTemplate, TemplateSet

from .emitters import NOISE, WAVE, beams_of, line_errors, spectrum, truth

CLEAN = BeamParams(operator="grizli", fcontam=0.0, sys_err=0.0)
CHI2 = FitParams(huber_delta=-1.0, background_bounds=(-0.04, np.inf))


@pytest.fixture(scope="module")
def t0(folder):
    return TemplateSet.load(folder / "grizli" / "templates")


@pytest.fixture(scope="module")
def t1(folder):
    return TemplateSet.load(folder / "grizli" / "templates", line_complexes=False)


@pytest.mark.parametrize("operator", ["grizli", "spline"])
def test_the_compressed_fit_is_that_of_all_pixels(ers, t0, operator):
    # The continua of the fits are drawn from their own points, those of the beams' models too.
    z, continua = 1.5, t0.continua
    for scale in (1.0, 1e4):
        blocks, data = [], []
        beams = [
            BeamModel(replace(one.beam, err=one.beam.err / np.float32(scale)), one.order, params=BeamParams(operator=operator, mask_resid=False))
            for one in ers.beams
        ]  # fmt: skip
        multibeam = MultiBeam(beams)
        for i, one in enumerate(multibeam.beams):
            mask = one.fit_mask
            root = np.sqrt(one.ivar * one.weight)[mask]
            rows = np.zeros((mask.sum(), 2 + len(continua)))
            rows[:, i] = root
            for k, t in enumerate(continua):
                rows[:, 2 + k] = root * one.compute_model(t.wave * (1 + z), t.flux / (1 + z))[mask]
            blocks.append(rows)
            data.append(root * one.cleaned[mask])
        design, values = np.concatenate(blocks), np.concatenate(data)
        size = np.linalg.norm(design, axis=0)
        bank = TemplateBank.of(TemplateSet(continua=continua), "exact", None)
        scan = BeamProblem(multibeam).scan(bank, z, params=CHI2, fitter="nnls")
        # Householder QR of all pixels, with the columns that are not at a bound.
        free = scan.is_free[0]
        solution = np.linalg.lstsq(design[:, free] / size[free], values, rcond=None)[0]
        rest = values - design[:, free] / size[free] @ solution
        wanted = rest @ rest
        # Those at a bound would only rise.
        assert np.all(solution[2:] > 0)
        assert np.all(design[:, ~free].T @ rest / size[~free] < 1e-6 * np.linalg.norm(values))
        # The light of spline columns is exact for spectra that are straight within a quarter of a pixel.
        limit = 1e-11 if operator == "grizli" else 1e-8
        assert scan.chi2[0] == pytest.approx(wanted, rel=limit)
        # The sum over pixels, through A once, is that of the triangles.
        again = BeamProblem(multibeam).scan(bank, z, params=replace(CHI2, huber_delta=1e9), fitter="nnls")
        assert again.loss[0] == pytest.approx(scan.chi2[0], rel=1e-11)
        assert scan.violation[0] < 1e-10


@pytest.mark.parametrize("operator", ["grizli", "spline"])
def test_the_compressed_fit_is_that_of_all_pixels_where_wavelengths_rise_and_fall(ers, t0, operator):
    # As zeroth orders may: 1.70 um at the 100th column, 1.27 and 1.15 um at the ends.
    one, params = ers.beams[1], BeamParams(operator=operator, mask_resid=False, min_sens=0.0)
    terms = {**one.bare_order.terms, "dldp": [[17000.0 - 0.6 * 100.3**2], [1.2 * 100.3], [-0.6]]}
    bent = BeamModel(one.beam, replace(one.bare_order, terms=terms), params=params)
    wave = bent.wave
    assert wave[0] < wave[wave.size // 2] > wave[-1]
    z, continua, mask = 1.5, t0.continua[5:8], bent.fit_mask
    root = np.sqrt(bent.ivar * bent.weight)[mask]
    columns = [bent.compute_model(t.wave * (1 + z), t.flux / (1 + z))[mask] for t in continua]
    design = np.stack([np.ones_like(root), *columns], axis=1) * root[:, None]
    size = np.linalg.norm(design, axis=0)
    values = root * bent.cleaned[mask]
    rest = values - design / size @ np.linalg.lstsq(design / size, values, rcond=None)[0]
    bank = TemplateBank.of(TemplateSet(continua=continua), "exact", None)
    scan = BeamProblem(MultiBeam([bent])).scan(bank, z, params=CHI2, fitter="lstsq", is_loose=True)
    # As of straight traces.
    assert scan.chi2[0] == pytest.approx(rest @ rest, rel=1e-10 if operator == "grizli" else 1e-8)


def test_pixels_beyond_all_columns_have_no_light(ers, t0):
    one = ers.beams[1].with_beam(ers.beams[1].beam)
    far = np.zeros(one.shape, bool)
    far[:, -2:] = one.ivar[:, -2:] > 0
    assert far.any()
    vars(one)["fit_mask"] = far
    bank = TemplateBank.of(TemplateSet(continua=t0.continua), "exact", None)
    scan = BeamProblem(MultiBeam([one])).scan(bank, 1.5, params=CHI2, fitter="nnls", is_loose=True)
    assert not scan.coefficients[0, 1:].any()
    root = np.sqrt(one.ivar * one.weight)[far]
    rest = root * (one.cleaned[far] - np.average(one.cleaned[far], weights=root**2))
    assert scan.chi2[0] == pytest.approx(rest @ rest, rel=1e-9)


def test_fits_have_the_same_bits_for_any_number_of_threads(ers, t0):
    before = get_num_threads()
    found = []
    for n in (1, 2):
        set_num_threads(n)
        found.append(fit_redshift(ers, templates=t0, z_range=(1.5, 2.0)))
    set_num_threads(before)
    for name in ("zgrid", "chi2", "pdf", "coefficients", "covariance"):
        np.testing.assert_array_equal(getattr(found[0], name), getattr(found[1], name))


def test_beams_with_the_same_columns_are_added_and_give_the_same(ers, t0):
    flux = spectrum(t0, 1.6, truth(t0, 1.6, lines={"OIII+Hb+Hg+Hd": 3e-16}))
    multibeam = beams_of(ers, WAVE, flux, rng=np.random.default_rng(1), params=CLEAN, copies=2)
    assert BeamProblem(multibeam).kernel.n_groups == 2
    fit = fit_redshift(multibeam, templates=t0, z_range=(1.5, 1.7))
    assert fit.z_map == pytest.approx(1.6, abs=0.003)
    # Backgrounds are still those of each beam: a shift of one is found.
    beams = list(multibeam.beams)
    beams[1] = BeamModel(replace(beams[1].beam, sci=beams[1].beam.sci - np.float32(0.02)), beams[1].order, params=CLEAN)
    moved = fit_redshift(MultiBeam(beams), templates=t0, z_range=(1.5, 1.7))
    best, other = (f.backgrounds[np.argmin(f.chi2)] for f in (fit, moved))
    np.testing.assert_allclose(other - best, [0, -0.02, 0, 0], atol=1e-5)


def test_a_background_is_recovered_and_fluxes_stay(ers, t1):
    flux = spectrum(t1, 1.6, truth(t1, 1.6, lines={"OIII": 2e-16, "OII": 1e-16}))
    fits = [
        fit_templates(beams_of(ers, WAVE, flux, params=CLEAN, background=b), 1.6, templates=t1) for b in (0.0, -0.02)
    ]
    np.testing.assert_allclose(fits[1].backgrounds - fits[0].backgrounds, -0.02, atol=1e-6)
    names = [one.name for one in t1.lines]
    for name, wanted in (("OIII", 2e-16), ("OII", 1e-16)):
        for fit in fits:
            # Free ratios from a noiseless spectrum (1e-3: data are stored in single precision).
            assert fit.coefficients[12 + names.index(name)] == pytest.approx(wanted, rel=1e-3, abs=0)


def test_absorption_is_negative_only_where_bounds_let_it(ers, t1):
    flux = spectrum(t1, 1.6, truth(t1, 1.6, lines={"Hb": -3e-17, "OIII": 1e-16}))
    multibeam = beams_of(ers, WAVE, flux, params=CLEAN)
    for fitter, sign in (("bounded", -1), ("nnls", 0)):
        table = fit_lines(multibeam, 1.6, templates=t1, params=FitParams(fitter=fitter))
        row = table.row(by_predicate=pl.col("line") == "Hb", named=True)
        assert np.sign(row["flux"]) == sign
        assert row["status"] == ("ok" if sign else "at_bound")
        assert 0 < row["flux_err"] < 1e-15


def test_an_outlier_counts_linearly(ers, t0):
    flux = spectrum(t0, 1.6, truth(t0, 1.6))
    multibeam = beams_of(ers, WAVE, flux, rng=np.random.default_rng(2), params=CLEAN)
    one = multibeam.beams[0]
    y, x = np.argwhere(one.fit_mask)[600]
    sci = one.beam.sci.copy()
    sci[y, x] += np.float32(50 * NOISE)
    hit = MultiBeam([BeamModel(replace(one.beam, sci=sci), one.order, params=CLEAN), multibeam.beams[1]])
    rises = []
    for delta in (4.0, -1.0):
        params = FitParams(huber_delta=delta)
        fits = [fit_redshift(m, templates=t0, z_range=(1.6,), params=params).chi2[0] for m in (multibeam, hit)]
        rises.append(fits[1] - fits[0])
    # 2 * 4 * 50 against 50^2, less what the fit follows.
    assert rises[0] < 400
    assert 1500 < rises[1] < 2600


def test_equivalent_widths_of_a_bright_line_are_those_that_were_put_in(ers, t1):
    z, ew = 1.6, 100.0
    factors = truth(t1, z)
    level = np.interp(0.500824, t1.continua[6].wave, t1.continua[6].flux)
    names = [one.name for one in t1.lines]
    factors[12 + names.index("OIII")] = ew * factors[6] * level
    multibeam = beams_of(ers, WAVE, spectrum(t1, z, factors), rng=np.random.default_rng(3), noise=2e-3, params=CLEAN)
    tables = [fit_lines(multibeam, z, templates=t1) for _ in range(2)]
    row = tables[0].row(by_predicate=pl.col("line") == "OIII", named=True)
    print(f"EW {row['ew50']:.1f} +- {row['ewhw']:.1f}, S/N {row['snr']:.0f}")
    assert row["snr"] > 20
    # The continuum below the doublet is not flat: 2 %.
    assert abs(row["ew50"] - ew) < 3 * row["ewhw"] + 0.02 * ew
    assert tables[0].equals(tables[1])


def test_a_bad_orientation_is_dropped(ers, t0):
    flux = spectrum(t0, 1.6, truth(t0, 1.6))
    good = beams_of(ers, WAVE, flux, rng=np.random.default_rng(4), params=CLEAN)
    kept, table = drop_bad_angles(good)
    assert kept.N == good.N
    assert table["is_kept"].all()
    one = good.beams[1]
    bump = one.beam.sci + np.where(np.arange(one.shape[1]) % 40 < 20, 8 * NOISE, 0.0).astype(np.float32)
    turned = [good.beams[1], BeamModel(replace(one.beam, sci=bump), one.order, params=CLEAN)]

    class Turned(MultiBeam):
        @property
        def PA(self):  # noqa: N802
            return {"G141": {0.0: [0], 90.0: [1]}} if self.N == 2 else super().PA

    kept, table = drop_bad_angles(Turned(turned))
    assert kept.N == 1
    assert kept.beams[0] is turned[0]
    assert table["is_kept"].to_list() == [True, False]


def test_an_orientation_of_few_pixels_judges_no_other(ers, t0):
    flux = spectrum(t0, 1.6, truth(t0, 1.6))
    good = beams_of(ers, WAVE, flux, rng=np.random.default_rng(4), params=CLEAN).beams[1]
    few = good.beam.err.copy()
    few[good.fit_mask.reshape(good.shape).cumsum().reshape(good.shape) > 5] = 0
    almost = BeamModel(replace(good.beam, err=few), good.order, params=CLEAN)

    class Turned(MultiBeam):
        @property
        def PA(self):  # noqa: N802
            return {"G141": {0.0: [0], 90.0: [1]}} if self.N == 2 else super().PA

    kept, table = drop_bad_angles(Turned([good, almost]))
    assert kept.N == 2
    assert table["ratio"].to_list() == [1.0, None]


def test_lines_of_orientations_are_compared(ers, t1):
    flux = spectrum(t1, 1.15, truth(t1, 1.15, lines={"OIII": 3e-16}))
    multibeam = beams_of(ers, WAVE, flux, rng=np.random.default_rng(5), params=CLEAN)
    more = spectrum(t1, 1.15, truth(t1, 1.15, lines={"OIII": 9e-16}))
    other = beams_of(ers, WAVE, more, rng=np.random.default_rng(6), params=CLEAN)
    same = line_deviations(multibeam, 1.15, templates=t1)
    odd = line_deviations(MultiBeam([multibeam.beams[0], other.beams[1]]), 1.15, templates=t1)
    assert abs(same["deviation"][0]) < 4
    assert odd["line"][0] == "OIII"
    assert abs(odd["deviation"][0]) > 6


@pytest.mark.parametrize("kind", ["D4000", "Dn4000"])
def test_breaks_are_measured(ers, kind):
    z, ratio = 1.7, 1.5
    # Flat f_lambda on both sides, a step at 4000 Angstrom.
    flux = 1e-17 * np.where(WAVE / (1 + z) < 0.4, 1.0, ratio)
    ratio *= (4150 / 3850) ** 2 if kind == "D4000" else (4050 / 3900) ** 2
    multibeam = beams_of(ers, WAVE, flux, rng=np.random.default_rng(7), noise=0.01, params=CLEAN)
    found = fit_break(multibeam, z, kind=kind)
    print(f"{kind}: {found.value:.3f} +- {found.err:.3f}")
    assert found.status == "ok"
    # The bin between has a mean, not a step, and the source is 10 pixels wide: 1 %.
    assert abs(found.value / ratio - 1) < 3 * found.err / ratio + 0.01
    assert fit_break(multibeam, 0.2, kind=kind).status == "not_covered"


def test_dust_of_the_milky_way_is_taken_off(ers, t1):
    from skymere.spectra import milky_way_extinction

    z, ebv = 1.6, 0.3
    flux = spectrum(t1, z, truth(t1, z, lines={"OIII": 2e-16, "OII": 1e-16}))
    red = flux * 10 ** (-0.4 * ebv * milky_way_extinction(WAVE))
    dimmed = beams_of(ers, WAVE, red, params=CLEAN)
    behind = replace(CLEAN, mw_ebv=ebv)
    beams = [BeamModel(one.beam, real.order, params=behind) for one, real in zip(dimmed.beams, ers.beams, strict=True)]
    table = fit_lines(MultiBeam(beams), z, templates=t1)
    for name, wanted in (("OIII", 2e-16), ("OII", 1e-16)):
        row = table.row(by_predicate=pl.col("line") == name, named=True)
        assert row["flux"] == pytest.approx(wanted, rel=0.01, abs=0)


def test_photometry_and_priors_move_the_redshift(ers, t0):
    # A single line: without photometry two redshifts are nearly as good.
    z = 1.6
    flux = spectrum(t0, z, truth(t0, z, continuum=8e-15, lines={"OIII+Hb+Hg+Hd": 1e-16}))
    multibeam = beams_of(ers, WAVE, flux, rng=np.random.default_rng(8), params=CLEAN)
    one = Filter(name="j", wave=np.array([1.1, 1.15, 1.35, 1.4]), throughput=np.array([0.0, 1, 1, 0]))
    f_nu = one.flux(WAVE, flux)
    free = fit_redshift(multibeam, templates=t0, z_range=(1.2, 2.0))
    given = PhotometryInput(filters=[one], flux=[f_nu], err=[0.02 * f_nu])
    both = fit_redshift(multibeam, templates=t0, z_range=(1.2, 2.0), photometry=given)
    assert both.is_photometry_used
    assert abs(both.z_map - z) < 0.01
    # A flux that fits the beams costs nothing, another does.
    assert abs(both.chi2.min() - free.chi2.min()) < 4
    wrong = PhotometryInput(filters=[one], flux=[3 * f_nu], err=[0.02 * f_nu], sys_err=0.0)
    assert fit_redshift(multibeam, templates=t0, z_range=(z,), photometry=wrong).chi2[0] > free.chi2.min() + 30
    grid = np.linspace(1.2, 2.0, 401)
    prior = grid, np.where(abs(grid - 1.9) < 0.01, 1.0, 0.0)
    assert abs(fit_redshift(multibeam, templates=t0, z_range=(1.2, 2.0), prior=prior).z_map - 1.9) < 0.02


def test_p_of_z_is_a_density_and_scaled_by_the_reduced_chi_square(ers, t0):
    fit = fit_redshift(ers, templates=t0, z_range=(0.05, 3.4))
    for pdf in (fit.pdf, fit.pdf_scaled):
        assert np.trapezoid(pdf, fit.zgrid) == pytest.approx(1.0, abs=1e-9)
    ratio = (fit.chi2.min() - fit.chi2) / 2
    near = ratio > -20
    for pdf, scale in ((fit.pdf, 1.0), (fit.pdf_scaled, fit.chi2.min() / fit.dof)):
        np.testing.assert_allclose(np.log(pdf[near] / pdf.max()), ratio[near] / scale, atol=1e-9)
    assert abs(fit.z_risk - fit.z_map) < 0.005
    assert abs(fit.z_percentiles[2] - fit.z_map) < 0.002
    assert fit.bic_template < fit.bic_poly
    assert fit.kkt < 1e-10


def test_stars_are_fitted_at_redshift_0(ers, folder):
    stars = TemplateSet.load(folder / "grizli" / "templates", stars=True)
    wave, flux = stars.continua[2].wave, stars.continua[2].flux
    unit = 1e-18 * np.interp(WAVE, wave, flux) / np.interp(1.3, wave, flux)
    fit = fit_redshift(beams_of(ers, WAVE, unit, params=CLEAN), templates=stars, z_range=(0.0, 1.0))
    assert fit.zgrid.tolist() == [0.0]
    assert int(np.argmax(fit.coefficients[0] * [np.interp(1.3, s.wave, s.flux) for s in stars.continua])) == 2


def test_bad_input_is_named_and_bad_sources_are_a_status(ers, t0, t1):
    for words, name in (
        ({"z_range": (2.0, 1.0)}, "z_range"),
        ({"z_range": (1.0, 2.0), "dz": (0.0, 1.0)}, "dz"),
        ({"z_range": (1.0, 2.0), "prior": (np.ones(2), np.ones(3))}, "prior"),
    ):
        with pytest.raises(InvalidInputError, match=name):
            fit_redshift(ers, templates=t0, **words)
    with pytest.raises(InvalidInputError, match="templates"):
        fit_redshift(ers, templates=3)
    for words in ({"fitter": "x"}, {"profiles": "x"}, {"errors": "x"}, {"background_bounds": (1.0, 2.0)}):
        with pytest.raises(InvalidInputError, match=next(iter(words))):
            FitParams(**words)
    with pytest.raises(InvalidInputError, match="huber_delta: nan"):
        FitParams(huber_delta=float("nan"))
    with pytest.raises(InvalidInputError, match="seed: -1"):
        fit_lines(ers, 1.743, templates=t1, seed=-1)
    with pytest.raises(InvalidInputError, match="problem"):
        fit_templates(ers, 1.743, templates=t1, params=FitParams(scale="per_grism"), problem=BeamProblem(ers))
    with pytest.raises(InvalidInputError, match="z: -2"):
        fit_lines(ers, -2.0, templates=t1)
    bare = TemplateSet(continua=(), lines=(LineComplex(name="Ha", wave=(0.6565,)),))
    with pytest.raises(InvalidInputError, match="fwhm_km_s"):
        fit_lines(ers, 1.0, templates=bare)
    empty = MultiBeam([BeamModel(replace(ers.beams[0].beam, dq=ers.beams[0].beam.dq * 0 + 1), ers.beams[0].order)])
    assert fit_redshift(empty, templates=t0, z_range=(1.0, 2.0)).status == "no_data"
    assert fit_lines(empty, 1.0, templates=t1).is_empty()
    with pytest.raises(NoDataError):
        drop_bad_angles(empty)
    far = TemplateSet(continua=(TabulatedTemplate(name="far", wave=np.array([10.0, 11.0]), flux=np.ones(2)),))
    assert fit_redshift(ers, templates=far, z_range=(1.0, 2.0)).status == "no_template"


def test_negative_data_have_no_light_and_no_redshift(ers, t0):
    negative = beams_of(ers, WAVE, np.full(WAVE.size, -3e-18), params=CLEAN)
    continua = TemplateSet(continua=t0.continua)
    fit = fit_redshift(negative, templates=continua, z_range=(1.0, 1.1))
    assert fit.status == "no_light"
    assert np.isnan(fit.z_map)
    assert fit_redshift(negative, templates=continua, z_range=(1.0,)).z_map == 1.0


def test_photometry_without_a_flux_is_not_used(ers, t0):
    one = Filter(name="j", wave=np.array([1.1, 1.15, 1.35, 1.4]), throughput=np.array([0.0, 1, 1, 0]))
    nothing = PhotometryInput(filters=[one], flux=[np.nan], err=[1.0])
    assert not fit_redshift(ers, templates=t0, z_range=(1.74,), photometry=nothing).is_photometry_used


def test_the_spline_reaches_as_far_as_the_beams(ers, t0):
    # G141 with all wavelengths times 2.5, as long as those of NIRCam: the same pixels are fitted as well.
    one = ers.beams[1]
    order = one.bare_order
    terms = {**order.terms, "dldp": [[2.5 * value for value in row] for row in order.terms["dldp"]]}
    red = replace(order, terms=terms, wavelength=2.5 * order.wavelength)
    chi2 = {}
    for name, some in (("near", order), ("far", red)):
        model = BeamModel(one.beam, some, params=CLEAN)
        noise = np.random.default_rng(3).normal(0.0, NOISE, model.shape)
        flux = 1e-17 * 100 * NOISE / (1e-17 * model.flat.max())
        sci = (flux * model.flat + noise).astype(np.float32)
        beam = replace(
            one.beam,
            sci=sci,
            err=np.full_like(sci, NOISE),
            contam=np.zeros_like(sci),
            dq=np.zeros(sci.shape, np.uint32),
        )
        fit = fit_redshift(MultiBeam([model.with_beam(beam)]), templates=t0, z_range=(1.0,))
        chi2[name] = fit.chi2_spline / fit.dof
    print(chi2)
    # Of 1000 pixels and more: 4 %, three times of it.
    assert all(abs(value - 1) < 0.13 for value in chi2.values())


def test_a_folder_of_templates_is_that_of_the_place_where_we_are(ers, folder, tmp_path, monkeypatch):
    source, n = folder / "grizli", {}
    for name, n_lost in (("whole", 0), ("shorter", 5)):
        place = tmp_path / name / "templates" / "fsps"
        place.mkdir(parents=True)
        (tmp_path / name / "lines.json").write_text((source / "lines.json").read_text())
        for file in (source / "templates" / "fsps").glob("*.dat"):
            lines = file.read_text().splitlines()
            (place / file.name).write_text("\n".join(lines[: len(lines) - n_lost]))
        monkeypatch.chdir(tmp_path / name)
        fit = fit_redshift(ers, templates="templates", z_range=(1.74,))
        n[name] = fit.templates.continua[0].wave.size
    assert n["shorter"] == n["whole"] - 5


def test_errors_beside_contamination_are_those_of_the_weighted_estimator(ers, t1):
    rng, z = np.random.default_rng(9), 1.6
    params = BeamParams(operator="grizli", sys_err=0.0, fcontam=0.2, contam_sn_mask=(1e9, 3.0))
    flux = spectrum(t1, z, truth(t1, z, lines={"OIII": 3e-16}))
    pulls: dict[str, list[float]] = {"sandwich": [], "weights": []}
    for _ in range(60):
        clean = beams_of(ers, WAVE, flux, rng=rng, params=params)
        beams = []
        for one in clean.beams:
            contam = np.full(one.shape, 10 * NOISE, np.float32)
            beam = replace(one.beam, sci=one.beam.sci + contam, contam=contam)
            beams.append(BeamModel(beam, one.order, params=params))
        multibeam = MultiBeam(beams)
        for errors, values in pulls.items():
            fit = fit_templates(multibeam, z, templates=t1, params=FitParams(errors=errors))
            i = fit.names.index("line OIII")
            values.append((fit.coefficients[i] - 3e-16) / np.sqrt(fit.covariance[i, i]))
    widths = {name: float(np.std(values)) for name, values in pulls.items()}
    print(f"pulls beside contamination: {widths}")
    # 60 draws: 9 %. Weights are all exp(-2), so their errors are e times too large.
    assert 0.75 < widths["sandwich"] < 1.25
    assert widths["weights"] == pytest.approx(widths["sandwich"] / np.e, rel=0.05)


@pytest.mark.parametrize("n", [40, pytest.param(500, marks=[pytest.mark.validate, pytest.mark.timeout(3600)])])
def test_redshifts_and_fluxes_have_pulls_of_one(ers, t0, t1, n):
    rng = np.random.default_rng(11)
    params = FitParams(profiles="exact")
    t0_lines = {one.name: one for one in t0.lines}
    oiii = t0_lines["OIII+Hb+Hg+Hd"]
    share = sum(
        p for w, p in zip(oiii.wave, oiii.parts, strict=True) if abs(w - 0.500824) < 1e-5 or abs(w - 0.4960295) < 1e-5
    )
    z_pull, f_pull, n_wrong = [], [], 0
    for _ in range(n):
        z = float(rng.uniform(1.3, 2.1))
        sn = float(np.exp(rng.uniform(np.log(5), np.log(60))))
        empty = beams_of(ers, WAVE, spectrum(t0, z, truth(t0, z)), params=CLEAN)
        sigma = line_errors(empty, t0, z, FitParams(fitter="lstsq"))["OIII+Hb+Hg+Hd"]
        factors = truth(t0, z, lines={"OIII+Hb+Hg+Hd": sn * sigma, "OII+Ne": 0.4 * sn * sigma})
        multibeam = beams_of(ers, WAVE, spectrum(t0, z, factors), rng=rng, params=CLEAN)
        fit = fit_redshift(multibeam, templates=t0, z_range=(z - 0.15, z + 0.15), params=params)
        if abs(fit.z_map - z) > 0.005 * (1 + z):
            n_wrong += 1
            continue
        z_pull.append((fit.z_map - z) / (0.5 * (fit.z_percentiles[3] - fit.z_percentiles[1])))
        table = fit_lines(multibeam, z, templates=t1, params=params, n_draws=10)
        row = table.row(by_predicate=pl.col("line") == "OIII", named=True)
        if row["snr"] > 5:
            f_pull.append((row["flux"] - share * sn * sigma) / row["flux_err"])
    z_pull, f_pull = np.array(z_pull), np.array(f_pull)
    print(
        f"{n} objects, {n_wrong} beyond 0.005 (1+z); pull of z {z_pull.mean():.2f} +- {z_pull.std():.2f}; "
        f"of fluxes {f_pull.mean():.2f} +- {f_pull.std():.2f} ({f_pull.size})"
    )
    # Widths of n draws scatter by 1 / sqrt(2 n), means by 1 / sqrt(n): three of these beside the figures of 500.
    width, mean = 0.1 + 3 / np.sqrt(2 * len(z_pull)), 0.2 + 3 / np.sqrt(len(z_pull))
    if n >= 500:
        width, mean = 0.1, 0.2
    for pull in (z_pull, f_pull):
        assert abs(pull.std() - 1) < width
        assert abs(pull.mean()) < mean
