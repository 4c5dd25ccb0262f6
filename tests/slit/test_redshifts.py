"""Redshifts out of simulated slitlets, from exposures to errors."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from skymere.datamodels import Spectrum1D
from skymere.io import build_pack, read_dispersion, read_spectrum
from skymere.slit import extract_spectra, pixel_table_to_1d, read_slit_spectrum, write_slit_spectrum
from skymere.spectra import LINES, RedshiftParams, fit_lines, fit_redshift
from skymere.testing import SlitFilesParams, scene_slitlets, simulate_slitlets, write_slit_pack

N_SOURCES = 30
CONTINUUM = 0.3
RATIOS = {"OIII": 1 + 1 / 2.98, "Hb": 0.25, "Ha+NII": 1.0}


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    folder = write_slit_pack(tmp_path_factory.mktemp("packs"))
    return build_pack(folder, name="nirspec", version="simulated")


def combined(pack, z, seed):
    """Return the spectrum of a source with lines of ten times its continuum."""
    scene_params = replace(SlitFilesParams().scene, n_hot=0, outlier_fraction=0.0)
    lines = [
        (wave * (1 + z), 8 * CONTINUUM * ratio * part)
        for name, ratio in RATIOS.items()
        for wave, part in zip(LINES[name].wave, LINES[name].parts, strict=True)
    ]
    first, last = scene_params.wavelengths
    seen = [(wave, flux) for wave, flux in lines if first < wave < last]
    scene = simulate_slitlets(
        seed=seed,
        continuum=CONTINUUM,
        line_centres=tuple(wave for wave, _ in seen),
        line_fluxes=tuple(flux for _, flux in seen),
        params=scene_params,
    )
    found = extract_spectra(scene_slitlets(scene, params=scene_params), pack=pack)
    (spectrum,) = found.spectra.values()
    return spectrum


def test_redshifts_have_the_errors_that_are_quoted_at_the_mean_wavelengths_of_bins(pack):
    table = read_dispersion(pack.path("jwst_nirspec_prism_disp.fits"))
    # No systematic part: the simulation has none.
    params = RedshiftParams(sys_err=0.0)
    pulls = {"mean": [], "middle": []}
    for seed, z in enumerate(np.random.default_rng(8).uniform(1.5, 6.0, N_SOURCES)):
        made = combined(pack, z, seed)
        for where, wave in (("mean", made.wave_mean), ("middle", made.wave)):
            power = np.interp(wave, table["wavelength"].to_numpy(), table["resolution"].to_numpy())
            spectrum = Spectrum1D(wave=wave, flux=made.flux, err=made.err, resolution=power)
            fit = fit_redshift(spectrum, z_range=(z - 0.05, z + 0.05), params=params)
            _, low, _, high, _ = fit.percentiles
            pulls[where].append((fit.z - z) / ((high - low) / 2))
    mean, middle = (np.std(pulls[where]) for where in ("mean", "middle"))
    print(f"{N_SOURCES} redshifts: pull {np.mean(pulls['mean']):+.2f} +- {mean:.2f}, from middles of bins {middle:.2f}")
    spread = 1 / np.sqrt(2 * N_SOURCES)
    assert abs(mean - 1) < 3 * spread
    assert abs(np.mean(pulls["mean"])) < 3 / np.sqrt(N_SOURCES)
    assert middle > mean + 3 * spread


def test_mean_wavelengths_are_those_of_the_pixels_and_are_kept_in_files(pack, tmp_path):
    made = combined(pack, 3.0, 1)
    mean = made.wave_mean
    edges = np.concatenate([[0.0], (made.wave[1:] + made.wave[:-1]) / 2, [np.inf]])
    assert np.all((mean >= edges[:-1]) & (mean <= edges[1:]))
    assert np.std((mean - made.wave)[np.isfinite(made.flux)]) > 0.05 * np.median(np.diff(made.wave))
    # A spectrum that is linear in wavelength has the flux of that line there, not in the middle of the bin.
    straight = made.pixels.with_columns(sci=(1 + pl.col("wave")) * pl.col("profile") * pl.col("pathloss"))
    table = pixel_table_to_1d(straight, made.wave)
    known = np.isfinite(table["flux"].to_numpy())
    np.testing.assert_allclose(table["flux"].to_numpy()[known], 1 + table["wave_mean"].to_numpy()[known], rtol=1e-12)
    write_slit_spectrum(made, tmp_path / "made.spec.fits")
    np.testing.assert_array_equal(read_slit_spectrum(tmp_path / "made.spec.fits").wave_mean, mean)
    np.testing.assert_array_equal(read_spectrum(tmp_path / "made.spec.fits").wave, mean)
    np.testing.assert_array_equal(read_spectrum(tmp_path / "made.spec.fits").spread, made.wave_spread)


def test_the_spread_of_wavelengths_in_bins_is_that_of_their_pixels(pack):
    made = combined(pack, 3.0, 1)
    table = pixel_table_to_1d(made.pixels, made.wave)
    w = made.pixels["profile"].to_numpy() ** 2 / made.pixels["var_rnoise"].to_numpy()
    inside = np.abs(made.pixels["yslit"].to_numpy()) <= 3
    wave = made.pixels["wave"].to_numpy()
    edges = (made.wave[1:] + made.wave[:-1]) / 2
    for i in (100, 150, 200):
        here = inside & (wave >= edges[i - 1]) & (wave < edges[i])
        mean = np.average(wave[here], weights=w[here])
        spread = np.sqrt(np.average((wave[here] - mean) ** 2, weights=w[here]))
        assert table["wave_spread"][i] == pytest.approx(spread, rel=1e-5)
    # Pixels of three nods on tilted lines are all over a bin.
    step = np.median(np.diff(made.wave))
    assert 0.1 * step < np.median(made.wave_spread) < step / np.sqrt(12)


def test_fluxes_of_lines_count_the_spread_of_wavelengths_in_bins(pack):
    table = read_dispersion(pack.path("jwst_nirspec_prism_disp.fits"))
    params = RedshiftParams(sys_err=0.0, vel_width=0.0)
    first, last = SlitFilesParams().scene.wavelengths
    step = (last - first) / (SlitFilesParams().scene.shape[1] - 1)
    off = {"with": [], "without": []}
    for seed, z in enumerate(np.random.default_rng(9).uniform(2.0, 6.0, 12)):
        made = combined(pack, z, 50 + seed)
        power = np.interp(made.wave_mean, table["wavelength"].to_numpy(), table["resolution"].to_numpy())
        # The simulated slits cut nothing off.
        flux, err = made.flux / made.path_corr, made.err / made.path_corr
        for how, spread in (("with", made.wave_spread), ("without", None)):
            spectrum = Spectrum1D(wave=made.wave_mean, flux=flux, err=err, resolution=power, spread=spread)
            fit = fit_lines(spectrum, z=z, params=params)
            found = fit.lines.filter(pl.col("line") == "OIII")["flux"][0]
            # From uJy of a pixel, as if all were at the wavelength of each line.
            true = sum(
                8 * CONTINUUM * RATIOS["OIII"] * part * step * 1e4 * 2.99792458e-19 / (wave * (1 + z)) ** 2
                for wave, part in zip(LINES["OIII"].wave, LINES["OIII"].parts, strict=True)
            )
            off[how].append(found / true - 1)
    mean, error = np.mean(off["with"]), np.std(off["with"]) / np.sqrt(12)
    print(
        f"fluxes of [OIII]: {100 * mean:+.2f} +- {100 * error:.2f} %, without the spread {100 * np.mean(off['without']):+.2f} %"
    )
    assert abs(mean) < 0.01 + error
    assert np.mean(off["without"]) < mean - 0.01
