"""Fake sources behind slits."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from tests.pipeline.test_injection import digests

from skymere.errors import NoDataError, NotFoundError
from skymere.io import build_pack
from skymere.lake import Lake
from skymere.pipeline import InjectionResult, InjectParams, inject, read_plan, run_plan
from skymere.pipeline.injection.slit_light import (
    Emission,
    add_to_slits,
    light_on_files,
    line_widths,
    photon_factor,
    spectrum_light,
)
from skymere.pipeline.injection.slits import LINE_RATIOS, RIGHT
from skymere.slit import SlitGroup
from skymere.spectra import LINES, RedshiftParams, prism_templates
from skymere.testing import (
    SlitFilesParams,
    SlitSceneParams,
    scene_slitlets,
    scene_tables,
    simulate_slit_files,
    simulate_slitlets,
    write_slit_pack,
)

FILES = SlitFilesParams(scene=SlitSceneParams(shape=(25, 240), n_hot=2, outlier_fraction=0.001))
PLAN = """
[survey]
exposures = []

[tile]
kind = "healpix"

[slits]
files = ["slits"]
pack = "packs/nirspec-simulated"

[redshifts]
pack = "packs/nirspec-simulated"
z_range = [1.0, 7.0]
params.coarse_step = 0.004
"""
# Bright lines against the noise, on a size that fits are prepared for.
PARAMS = InjectParams(
    through="slits",
    n=4,
    mag=(23.5, 24.5),
    size_arcsec=(0.06, 0.09),
    redshift=(2.0, 5.0),
    line_flux=(10.0, 30.0),
    n_mag_bins=1,
    n_size_bins=1,
)


def survey_of(folder: Path, n_sources: int, seed: int) -> Path:
    """A plan with so many sources behind slits, that was run."""
    number = np.arange(n_sources)
    sources = pl.DataFrame(
        {
            "name": [f"9998_{k + 1}" for k in number],
            "ra": 150.0 + 0.002 * number,
            "dec": np.full(n_sources, 2.0),
            "redshift": 1.3 + (0.9 * number) % 5,
            "continuum": 0.05 + 0.05 * (number % 4),
            "line_flux": 1.0 + number % 3,
        }
    )
    write_slit_pack(folder / "packs", params=FILES)
    simulate_slit_files(sources, folder / "slits", seed=seed, params=FILES)
    (folder / "plan.toml").write_text(PLAN)
    run_plan(read_plan(folder / "plan.toml"))
    return folder


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return survey_of(tmp_path_factory.mktemp("injected") / "survey", 3, 5)


@pytest.fixture(scope="module")
def injected(survey: Path) -> InjectionResult:
    return inject(read_plan(survey / "plan.toml"), PARAMS)


@pytest.fixture(scope="module")
def scene() -> tuple[list, SlitSceneParams, tuple]:
    """Slits with sky alone, how they were made, and a dispersion."""
    slitlets = scene_slitlets(simulate_slitlets(seed=2, continuum=0.0, params=FILES.scene), params=FILES.scene)
    wave = np.linspace(0.5, 6.0, 100)
    dispersion = (wave, np.full(wave.shape, 60.0) * wave)
    return slitlets, FILES.scene, dispersion


def test_redshifts_and_lines_of_fake_sources_are_right(injected: InjectionResult) -> None:
    table = injected.injected
    assert table.height == PARAMS.n
    assert (table["status"] == "found").all()
    off = ((table["redshift"] - table["true_redshift"]) / (1 + table["true_redshift"])).abs()
    assert off.max() < RIGHT
    for name in ("Ha+NII", "OIII"):
        known = table.filter(pl.col(f"flux_{name}").is_not_null())
        assert known.height >= 3
        pulls = (known[f"flux_{name}"] - known[f"true_flux_{name}"]) / known[f"flux_err_{name}"]
        # The systematic error of 2 % of the fit is in the errors; four pulls stay below 4.
        assert pulls.abs().max() < 4.0
    # Widths of bright sources are fitted to a few hundredths of a pixel of 0.1 arcsec.
    assert np.median((table["r_eff"] / table["true_r_eff"]).to_numpy()) == pytest.approx(1.0, abs=0.05)
    assert np.median((table["flux_continuum"] / table["true_flux_continuum"]).to_numpy()) == pytest.approx(
        1.0, abs=0.05
    )


def test_lines_that_a_grating_does_not_tell_apart_are_compared_as_one(injected: InjectionResult) -> None:
    names = set(injected.summary["quantity"])
    assert {"completeness", "redshift", "flux_Ha+NII", "flux_OIII", "flux_continuum", "r_eff"} <= names
    assert not {"flux_Ha", "flux_NII"} & names
    assert LINE_RATIOS["Ha+NII"] == LINE_RATIOS["Ha"] + LINE_RATIOS["NII"]


def test_continua_and_sizes_have_a_bias_and_no_pulls(injected: InjectionResult) -> None:
    rows = injected.summary.filter(pl.col("quantity").is_in(["flux_continuum", "r_eff"]), pl.col("n_used") > 1)
    assert rows.height > 0
    assert rows["bias"].is_not_null().all()
    assert rows["pull_sigma"].is_null().all()


def test_the_lake_with_the_slits_is_left_as_it_was(survey: Path) -> None:
    before = digests(survey)
    inject(read_plan(survey / "plan.toml"), replace(PARAMS, n=1))
    assert digests(survey) == before


def test_two_processes_give_what_one_gives(survey: Path, injected: InjectionResult) -> None:
    other = inject(read_plan(survey / "plan.toml"), replace(PARAMS, n_workers=2))
    assert_frame_equal(other.injected, injected.injected)
    assert_frame_equal(other.summary, injected.summary)
    assert_frame_equal(other.by_line_flux, injected.by_line_flux)


def test_files_of_fake_spectra_have_figures_by_magnitude_and_by_line_flux(
    injected: InjectionResult, tmp_path: Path
) -> None:
    files = {path.name for path in injected.write(tmp_path)}
    assert {"injected.parquet", "summary.parquet", "summary_line_flux.parquet"} <= files
    assert {"completeness.png", "redshift.png", "flux_OIII.png", "flux_continuum.png"} <= files
    assert {"line_flux_completeness.png", "line_flux_redshift.png", "line_flux_flux_OIII.png"} <= files
    assert_frame_equal(pl.read_parquet(tmp_path / "summary_line_flux.parquet"), injected.by_line_flux)


def test_sources_that_are_wider_than_fits_allow_are_told(survey: Path, injected: InjectionResult) -> None:
    assert injected.warnings == ()
    wide = inject(read_plan(survey / "plan.toml"), replace(PARAMS, n=1, size_arcsec=(0.05, 0.5)))
    assert "0.2 arcsec" in wide.warnings[0]


def test_a_plan_without_slits_and_a_lake_without_redshifts_are_refused(survey: Path, tmp_path: Path) -> None:
    plan = read_plan(survey / "plan.toml")
    with pytest.raises(NotFoundError, match="no files in the section slits"):
        inject(replace(plan, slits=replace(plan.slits, files=())), PARAMS)
    (tmp_path / "plan.toml").write_text((survey / "plan.toml").read_text())
    Lake.create(tmp_path / "lake", tiles="healpix", scale_arcsec=0.08)
    with pytest.raises(NoDataError, match="no source has a redshift from slits"):
        inject(read_plan(tmp_path / "plan.toml"), PARAMS)


def test_light_on_files_is_all_light_of_a_column_at_the_trace(scene, tmp_path: Path) -> None:
    slitlets, params, dispersion = scene
    pack = build_pack(write_slit_pack(tmp_path, params=FILES))
    group = SlitGroup(slitlets, "sky", tables=scene_tables(params), pack=pack, sky_file=None)
    group.fit_all_traces(degree=0, evaluate=True, initial_sigma=6.0)
    flat = Emission(wave=np.array([0.1, 10.0]), continuum=np.array([1.0, 1.0]), lines={}, redshift=1.0)
    light = light_on_files(group, flat, size=0.6, offset=0.0, dispersion=dispersion, params=RedshiftParams())
    passed = group.path_loss({key: {"sigma": 0.6} for key in group.unp}).reshape(group.N, *group.sh)
    for k, (one, stamp) in enumerate(zip(group.slits, light, strict=True)):
        assert stamp.shape == one.shape
        # Pixels of 0.1 arcsec and 1e-12 sr: the unit of the files is that of the light.
        used = np.isfinite(group.sci[k].reshape(group.sh)) & (np.abs(group.yslit[k].reshape(group.sh)) < 2.5)
        whole = (used.sum(axis=0) >= 5) & (np.arange(one.shape[1]) > 40) & (np.arange(one.shape[1]) < 200)
        assert whole.sum() > 50
        column = (stamp / passed[k]).sum(axis=0)[whole]
        assert np.median(column) == pytest.approx(1.0, abs=0.02)
        off = (stamp * group.yslit[k].reshape(group.sh)).sum(axis=0)[whole] / stamp.sum(axis=0)[whole]
        assert np.median(off) == pytest.approx(0.0, abs=0.03)


def test_a_line_has_its_flux_whatever_the_pixels() -> None:
    wave = np.linspace(1.0, 3.0, 400)
    step = np.gradient(wave)
    line = LINES["OIII"]
    source = Emission(wave=np.array([0.1, 9.0]), continuum=np.zeros(2), lines={line: 3e-17}, redshift=2.5)
    dispersion = (np.array([0.5, 6.0]), np.array([60.0, 60.0]))
    light = spectrum_light(wave, step, source, dispersion=dispersion, params=RedshiftParams())
    # From uJy to erg/s/cm2: f_lambda = f_nu c / wave^2.
    total = (light * 2.99792458e-19 / wave**2 * 1e4 * step).sum()
    assert total == pytest.approx(3e-17, rel=1e-4)
    middle = (light * wave).sum() / light.sum()
    expected = sum(rest * part for rest, part in zip(line.wave, line.parts, strict=True)) * 3.5
    assert middle == pytest.approx(expected, rel=1e-3)
    width = line_widths(np.array([1.75]), dispersion, RedshiftParams())[0]
    assert width == pytest.approx(1 / (2.3548 * 60 * 1.3), rel=0.01)


def test_the_noise_of_photons_is_read_off_the_files(scene) -> None:
    slitlets, params, _ = scene
    bright = scene_slitlets(simulate_slitlets(seed=4, continuum=1.0, params=params), params=params)
    for one in bright:
        with np.errstate(invalid="ignore"):
            ratio = photon_factor(one) * one.bar / params.photon_noise
        inside = np.isfinite(one.wavelength)
        assert np.median(ratio[inside]) == pytest.approx(1.0, rel=1e-3)
    dark = [replace(one, sci=np.zeros_like(one.sci)) for one in slitlets]
    assert not photon_factor(dark[0]).any()


def test_noise_of_fake_light_is_that_of_its_variance(scene) -> None:
    slitlets, _, _ = scene
    light = {one.exposure.exposure_id: np.where(np.isfinite(one.sci), 0.5, 0.0) for one in slitlets}
    made = add_to_slits(slitlets, light, run="test", i_object=1)
    again = add_to_slits(slitlets[::-1], light, run="test", i_object=1)[::-1]
    for before, after, same in zip(slitlets, made, again, strict=True):
        np.testing.assert_array_equal(after.sci, same.sci)
        more = (after.var_poisson - before.var_poisson)[np.isfinite(before.sci)]
        noise = (after.sci - before.sci)[np.isfinite(before.sci)] - 0.5
        assert (more > 0).all()
        assert np.std(noise / np.sqrt(more)) == pytest.approx(1.0, abs=0.03)


@pytest.mark.validate
def test_pulls_of_lines_and_redshifts_behind_many_slits_are_one(tmp_path: Path) -> None:
    folder = survey_of(tmp_path / "survey", 36, 7)
    params = InjectParams(
        through="slits",
        n=300,
        mag=(23.0, 26.0),
        size_arcsec=(0.04, 0.12),
        redshift=(1.5, 6.0),
        line_flux=(3.0, 30.0),
        n_mag_bins=1,
        n_size_bins=1,
        n_workers=2,
    )
    plan = read_plan(folder / "plan.toml")
    # The simulation has no systematic error.
    fits = replace(plan.redshifts, params=replace(plan.redshifts.params, sys_err=0.0))
    summary = inject(replace(plan, redshifts=fits), params).summary
    rows = summary.filter(pl.col("population") == "alone", pl.col("n_used") > 100, pl.col("true_r_eff_low").is_null())
    for row in rows.iter_rows(named=True):
        print(f"{row['quantity']}: bias {row['bias']:.4f}, pull {row['pull_median']} +- {row['pull_sigma']}")
    found = {row["quantity"]: row for row in rows.iter_rows(named=True)}
    for name in ("redshift", "flux_OIII", "flux_OII", "flux_Hb"):
        assert abs(found[name]["pull_sigma"] - 1.0) < 0.1 + 2 * found[name]["pull_sigma_err"], name
        assert abs(found[name]["pull_median"]) < 0.1 + 3 * found[name]["pull_median_err"], name


def test_the_templates_have_the_lines_that_are_injected() -> None:
    names = {one.name for one in prism_templates()[1:]}
    assert {"Ha+NII", "OIII", "OII", "Hb"} <= names & set(LINE_RATIOS)
