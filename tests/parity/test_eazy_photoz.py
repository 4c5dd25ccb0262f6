"""Photometric redshifts against eazy 0.8.7 on the same files, in one run; ``pytest -s`` prints the figures.

``SKYMERE_BENCH_PYTHON_MSAEXP`` names a Python with eazy (msaexp needs it too); the tests are skipped where there is none.
"""

import numpy as np
import pytest
from tests.spectra.photoz_scene import eazy_files, run_eazy

from skymere._rust import spectra as _rust
from skymere.spectra import MagnitudePrior, PhotozParams, fit_photoz, read_filters, read_translate, template_fluxes
from skymere.spectra.photoz_results import Objects

SETTINGS = {"z_min": 0.05, "z_max": 7.0, "z_step": 0.03, "sys_err": 0.02, "mw_ebv": 0.0}
PARAMS = PhotozParams(z_min=0.05, z_max=7.0, z_step=0.03, sys_err=0.02, sys_err_of="data", min_rest_wave=None)


@pytest.fixture(scope="module")
def scene(shared_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("eazy")
    made = eazy_files(folder, shared_data / "spectra" / "grizli" / "templates" / "fsps", n=50, settings=SETTINGS)
    results = {}
    for mode in ("plain", "igm"):
        run_eazy(folder, mode)
        results[mode] = dict(np.load(folder / f"eazy_{mode}.npz"))
    results["table"] = dict(np.load(folder / "igm.npz"))
    return folder, made, results


def _igm(table):
    """The transmission that eazy used, read off its own table."""

    def igm(wave, z):
        row = int(np.argmin(np.abs(table["z"] - z)))
        return np.interp(wave / (1 + z), table["rest_um"], table["transmission"][row], right=1.0)

    return igm


@pytest.mark.parametrize("mode", ["plain", "igm"])
def test_chi_square_and_best_redshifts_are_those_of_eazy(scene, mode):
    folder, (templates, catalogue), results = scene
    curves = read_filters(folder / "filters.res")
    bands = read_translate(folder / "zphot.translate", filters=curves, ab_zeropoint=23.9)
    igm = _igm(results["table"]) if mode == "igm" else None
    theirs = results[mode]
    fit = fit_photoz(catalogue, filters=bands, templates=templates, igm=igm, params=PARAMS)
    grid = fit.z_grid[: theirs["z"].size]
    np.testing.assert_allclose(grid, theirs["z"], rtol=1e-12)
    ours = template_fluxes(templates, filters=[band.filter for band in bands], z_grid=grid, igm=igm)
    # eazy leaves f_nu at rest, in the units of the template.
    ratio = ours / (1 + grid[:, None, None]) ** 2 / np.where(theirs["fluxes"] > 0, theirs["fluxes"], np.nan)
    ratio /= np.nanmedian(ratio)
    chi2 = fit.chi2_grid
    best = theirs["chi2"].argmin(axis=1)
    away = np.abs(chi2 - theirs["chi2"])
    at_best = away[np.arange(len(best)), best]
    print(
        f"{mode}: fluxes of templates differ by {np.nanmedian(np.abs(ratio - 1)):.1e} in the median, chi2 at the best "
        f"redshift by {np.median(at_best):.1e} in the median, {at_best.max():.1e} at most"
    )
    assert np.array_equal(chi2.argmin(axis=1), best)
    assert np.nanmedian(np.abs(ratio - 1)) < 1e-6
    # eazy sums over the points of a filter, 1 Angstrom apart: too few at the Lyman limit, not for smooth spectra.
    assert np.median(at_best) < 1e-4
    assert at_best.max() < 5e-3


@pytest.mark.parametrize("mode", ["plain", "igm"])
def test_chi_square_of_the_same_fluxes_of_templates_is_that_of_eazy(scene, mode):
    folder, (_, catalogue), results = scene
    theirs = results[mode]
    bands = read_translate(folder / "zphot.translate", filters=read_filters(folder / "filters.res"), ab_zeropoint=23.9)
    flux, err = (np.stack(part, axis=1) for part in zip(*(band.read(catalogue) for band in bands), strict=True))
    objects = Objects.of(
        flux,
        err,
        level=flux,
        sys_err=SETTINGS["sys_err"],
        grid=np.ascontiguousarray(theirs["fluxes"][None]),
        nodes=np.ones((len(flux), 1)),
        template_error=np.zeros((0, len(bands))),
    )
    chi2, _ = _rust.photoz_scan(objects)
    print(f"{mode}: with the fluxes of eazy chi2 differs by {np.abs(chi2 - theirs['chi2']).max():.1e}")
    assert np.abs(chi2 - theirs["chi2"]).max() < 1e-3


def test_magnitude_priors_are_those_of_eazy(scene):
    folder, (_, catalogue), results = scene
    prior = MagnitudePrior.read(folder / "prior.dat", filter="f160w")
    with np.errstate(invalid="ignore"):
        mag = 23.9 - 2.5 * np.log10(catalogue["f160w_flux"])
    z, theirs = results["plain"]["z"], results["plain"]["prior"]
    # Where there is no magnitude, eazy has 1 at each redshift: flat, but not of integral 1.
    theirs = theirs / np.trapezoid(theirs, z, axis=1)[:, None]
    ours = prior.on_grid(mag, z)
    np.testing.assert_allclose(ours / np.trapezoid(ours, z, axis=1)[:, None], theirs, rtol=1e-9)
