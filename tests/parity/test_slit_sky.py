"""The sky of three real slitlets against msaexp 0.9.19 (``reference/msaexp``); ``-s`` prints the differences."""

import json

import numpy as np
import polars as pl
import pytest
from astropy.io import fits

from skymere.io import add_pack, read_dispersion
from skymere.slit import SkyParams, estimate_sky, global_sky


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
