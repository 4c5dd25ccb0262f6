"""The sky of three real slitlets against msaexp 0.9.19 (``reference/msaexp``); ``-s`` prints the differences."""

import json

import numpy as np
import polars as pl
import pytest
from astropy.io import fits

from skymere.io import BackgroundSpectrum, add_pack, read_bar_shadow, read_dispersion
from skymere.slit import (
    BackgroundSkyParams,
    ShutterOffsetParams,
    SkyParams,
    estimate_sky,
    fit_shutter_offset,
    global_sky,
    set_background_spectra,
    shutter_coordinate,
)


@pytest.fixture(scope="module")
def folder(shared_data):
    return shared_data / "spectra"


@pytest.fixture(scope="module")
def bare(folder):
    with fits.open(folder / "reference/msaexp/slitgroup_bare.fits.gz") as hdus:
        return {hdu.name: hdu.data.copy() for hdu in hdus[1:]}


@pytest.fixture(scope="module")
def summary(folder):
    return json.loads((folder / "reference/msaexp/slitgroup_summary.json").read_text())["flagging"]


@pytest.fixture(scope="module")
def grid(folder):
    """Return the wavelengths of msaexp's sky: 0.5 to 5.6 um in pixels of the prism."""
    table = read_dispersion(folder / "nirspec/calib/jwst_nirspec_prism_disp.fits")
    waves = [0.5]
    while waves[-1] < 5.6:
        waves.append(waves[-1] + np.interp(waves[-1], table["wavelength"], table["step"]))
    return np.array(waves)


def fit(bare, grid, **changes):
    return estimate_sky(
        bare["SCI"],
        bare["VAR_RNOISE"],
        bare["VAR_RNOISE"] + bare["VAR_POISSON"],
        bare["WAVE"],
        bare["YSLIT"],
        bare["BAR"],
        grid=grid,
        valid=bare["MASK"].astype(bool),
        params=SkyParams(**changes),
    )


CALLS = [
    # The reference cuts functions of the table off at 1e-4 of the largest.
    ("estimate_sky()", {"spline_clip": 1e-4}),
    ("estimate_sky(var_percentiles=[1,99])", {"var_percentiles": (1, 99), "absolute_threshold": None}),
]


@pytest.mark.parametrize(("call", "changes"), CALLS, ids=[call for call, _ in CALLS])
def test_pixels_and_outliers_of_the_sky_are_those_of_the_reference(bare, grid, summary, folder, call, changes):
    found = fit(bare, grid, **changes)
    true = summary[call]
    assert found.n_pixels == found.mask.sum() == true["npix"]
    assert len(found.coefficients) == true["ncoef"]
    with fits.open(folder / "reference/msaexp/flag_masks.fits.gz") as hdus:
        removed = next(hdu.data.astype(bool) for hdu in hdus[1:] if hdu.header["METHOD"] == call)
    np.testing.assert_array_equal((found.flags != 0) & bare["MASK"].astype(bool), removed)
    assert removed.sum(axis=(1, 2)).tolist() == true["removed_per_exp"]
    for wave, sky in true["sky_model_at"].items():
        assert np.interp(float(wave), found.wavelength, found.model) == pytest.approx(sky, rel=3e-4)


def test_the_model_of_the_sky_is_that_of_the_reference(bare, grid, folder):
    true = pl.read_csv(folder / "reference/msaexp/sky_model_bare.csv")
    np.testing.assert_allclose(grid, true["wave_um"], rtol=0, atol=6e-9)
    model = true["sky_uJy"].cast(pl.Float64).to_numpy()
    clipped, found = fit(bare, grid, spline_clip=1e-4), fit(bare, grid)
    np.testing.assert_array_equal(np.isnan(found.model), np.isnan(model))
    print(
        f"sky: {np.nanmax(np.abs(clipped.model - model)):.1e} uJy, not cut off {np.nanmax(np.abs(found.model - model)):.1e}"
    )
    # The table has 9 digits. Functions that are not cut off move it by 2e-4 uJy, where there are few pixels.
    np.testing.assert_allclose(clipped.model, model, rtol=0, atol=6e-9)
    np.testing.assert_allclose(found.model, model, rtol=0, atol=3e-4)


def test_the_global_sky_of_the_visit_is_that_of_the_reference(bare, summary, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("SKYMERE_PACKS", str(tmp_path))
    add_pack(folder / "nirspec/calib", into=tmp_path, name="nirspec", version="1")
    sky = global_sky("jw01345062001_03101_00001_nrs2_phot.138.1345_933.fits")
    true = summary["get_global_sky"]
    assert sky.file == true["sky_file"]
    assert sky.digest
    values = sky.at(bare["WAVE"])
    assert np.isnan(values).sum() == true["nan"]
    assert np.nanmedian(values[bare["MASK"].astype(bool)]) == pytest.approx(true["median"], rel=1e-12)


def test_the_offset_of_the_shutters_is_that_of_msaexp(bare, grid, folder):
    sky = fit(bare, grid, spline_clip=1e-4)
    table = read_bar_shadow(folder / "nirspec/calib/prism_3_bar_coeffs_wave.yaml")
    summary = json.loads((folder / "reference/msaexp/slitgroup_summary.json").read_text())
    found = fit_shutter_offset(
        bare["SCI"],
        bare["VAR_RNOISE"] + bare["VAR_POISSON"],
        sky.sky2d,
        bare["BAR"],
        shutter_coordinate(bare["SLIT_FRAME_Y"], shutter_scale=summary["geometry"]["slit_shutter_scale"]),
        bare["WAVE"],
        table=table,
        valid=sky.mask,
        params=ShutterOffsetParams(scale_variance=False),
    )
    print(f"offset {found.offset:.6f} +- {found.offset_err:.4f} pixel, chi2 {found.chi2:.2f}")
    # fit_shutter_offset(max_sn=1e9) of msaexp 0.9.19 after estimate_sky(): its minimiser stops at gradients of 1e-5 per
    # hundredth of a pixel, and its functions of the bars are cut off at 1e-4 of the largest.
    assert found.offset == pytest.approx(-0.1014947, abs=1e-4)
    assert found.chi2 == pytest.approx(6783.8332, abs=0.1)


# What set_background_spectra(resid_limits=(-50, 50), ...) of msaexp 0.9.19 makes of the spectra below: scale and sky of
# three pixels of row 12 of the first exposure.
BACKGROUNDS = [
    ({"df": 7}, [0.6569375579893681, 0.6640588665846742, 1.54406355017101], [0.0555933602, 0.0682417452, 0.2585891485]),
    (
        {"df": 7, "by_wavelength": True},
        [0.6614094398024977, 0.6624215351101737, 1.5472911510547986],
        [0.0559717938, 0.0680734813, 0.2591296732],
    ),
    (
        {"df": 3, "poly": True},
        [0.6472308136898991, 0.7034785197255231, 1.4801217232365986],
        [0.0547719263, 0.0722926855, 0.2478806078],
    ),
]


@pytest.mark.parametrize(("changes", "scale", "sky"), BACKGROUNDS)
def test_the_sky_out_of_spectra_of_the_background_is_that_of_msaexp(bare, changes, scale, sky):
    wave = np.linspace(0.5, 5.6, 800)
    flux = (0.6 + 0.1 * (wave - 3) ** 2 + 0.4 * np.exp(wave - 4.5)) * 0.25
    spectrum = BackgroundSpectrum(wavelength=wave, flux=flux, error=0.02 * flux, pixel_area_sr=5e-13, file="made")
    found = set_background_spectra(
        [spectrum] * 3,
        bare["SCI"],
        bare["VAR_RNOISE"] + bare["VAR_POISSON"],
        bare["WAVE"],
        bare["YSLIT"],
        flux_factor=bare["PHOT_CORR"] / bare["PATHLOSS_CORR"],
        pixel_area_sr=[4.84956823e-13, 4.85041976e-13, 4.84871670e-13],
        grating="PRISM",
        valid=bare["MASK"].astype(bool),
        params=BackgroundSkyParams(resid_limits=(-50, 50), **changes),
    )
    assert found.n_pixels == 7379
    # The arrays of the reference are float32.
    np.testing.assert_allclose(found.scale[0, 12, [80, 150, 250]], scale, rtol=3e-7)
    np.testing.assert_allclose(found.sky2d[0, 12, [80, 150, 250]], sky, rtol=5e-7)
