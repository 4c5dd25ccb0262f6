"""The sky of simulated slits against what was put in; ``-s`` prints the figures."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from astropy.io import fits

from skymere.datamodels import BarShadowTable
from skymere.errors import FormatError, InvalidInputError, NotFoundError
from skymere.io import BackgroundSpectrum, add_pack, find_background_spectra, read_background_spectrum
from skymere.slit import (
    SLIT_FLAG_BITS,
    BackgroundSkyParams,
    ShutterOffsetParams,
    SkyParams,
    SkySpectrum,
    bar_throughput,
    estimate_sky,
    fit_shutter_offset,
    global_sky,
    set_background_spectra,
)
from skymere.testing import SlitSceneParams, simulate_slitlets

GRID = np.linspace(0.5, 5.5, 400)
FREE = SkyParams(df=25, high_clip=50.0)


def scene_of(seed=1, **changes):
    settings = {"sky": 0.3, "read_noise": 0.02} | changes
    return simulate_slitlets(seed=seed, continuum=5.0, params=SlitSceneParams(**settings))


def fit(scene, params=FREE, **changes):
    arrays = (scene.sci, scene.var_rnoise, scene.variance, scene.wavelength, scene.yslit, scene.bar)
    return estimate_sky(*arrays, grid=GRID, **({"valid": scene.valid, "params": params} | changes))


def test_a_sky_of_known_shape_is_recovered_to_two_percent_whatever_the_source():
    scene = scene_of()
    found = fit(scene)
    known = np.isfinite(found.sky2d)
    ratio = found.sky2d[known] / scene.sky[known]
    print(f"sky: {np.mean(ratio) - 1:.2e} +- {np.std(ratio):.2e}, {found.n_pixels} pixels")
    # 2400 pixels of S/N 10 for 25 functions: each is known to 1 %, with more at the ends.
    assert abs(np.mean(ratio) - 1) < 0.003
    assert np.std(ratio) < 0.02
    middle = np.abs(scene.wavelength - 3) < 2
    assert np.abs(found.sky2d / scene.sky - 1)[middle & known].max() < 0.05
    assert known[scene.valid].mean() > 0.97
    # With the source within the pixels it leaks: the mask is what keeps it out.
    leaking = fit(scene, replace(FREE, mask_yslit=()))
    assert np.nanmean(leaking.sky2d[middle] / scene.sky[middle]) > 1.2


def test_errors_of_the_sky_are_its_scatter_where_photons_make_most_of_the_noise():
    places = np.searchsorted(GRID, np.linspace(1.2, 4.8, 12))
    at = GRID[places]
    truth = 0.3 * (0.6 + 0.1 * (at - 3) ** 2 + 0.4 * np.exp(at - 4.5))
    pulls = []
    for seed in range(40):
        found = fit(scene_of(seed, photon_noise=0.01))
        pulls.append((found.model[places] - truth) / found.model_err[places])
    print(f"pull of the sky {np.std(pulls):.3f}, mean {np.mean(pulls):.3f}")
    # 480 numbers that are hardly correlated: 1 +- 0.03, 0 +- 0.05.
    assert np.std(pulls) == pytest.approx(1, abs=0.1)
    assert abs(np.mean(pulls)) < 0.12


def test_a_known_sky_is_scaled_by_a_number_a_spline_or_not_at_all():
    scene = scene_of()
    order = np.argsort(scene.wavelength[0].ravel())
    waves, unique = np.unique(scene.wavelength[0].ravel()[order], return_index=True)
    known = SkySpectrum(wavelength=waves, flux=scene.sky[0].ravel()[order][unique] / 1.25)
    number = fit(scene, replace(FREE, df=0), known_sky=known)
    assert number.coefficients == pytest.approx([1.25], abs=5 * np.sqrt(number.covariance[0, 0]))
    assert number.covariance[0, 0] < 1e-5
    spline = fit(scene, replace(FREE, df=7), known_sky=known)
    assert spline.coefficients == pytest.approx(1.25, abs=0.05)
    as_it_is = fit(scene, replace(FREE, df=-1), known_sky=known)
    inside = np.isfinite(as_it_is.sky2d)
    np.testing.assert_allclose(as_it_is.sky2d[inside], scene.sky[inside] / 1.25, rtol=1e-9)
    assert (as_it_is.var_sky[inside] == 0).all()
    with pytest.raises(InvalidInputError, match="df: -1"):
        fit(scene, replace(FREE, df=-1))


def test_pixels_far_from_the_sky_are_flagged_and_do_not_move_it():
    scene = scene_of()
    good = fit(scene, replace(FREE, var_percentiles=None))
    sci = scene.sci.copy()
    spots = (0, 18, [100, 150, 240])
    assert good.mask[spots].all()
    sci[spots] += 5
    found = fit(replace(scene, sci=sci), replace(FREE, var_percentiles=None))
    outliers = found.flags == SLIT_FLAG_BITS["sky_outlier"]
    assert outliers[spots].all()
    assert found.n_outliers == outliers.sum() <= 6
    assert np.nanmax(np.abs(found.model - good.model)) < 0.02


def test_without_pixels_of_sky_that_is_a_status_and_the_sky_is_unknown():
    scene = scene_of()
    found = fit(scene, valid=np.zeros(scene.sci.shape, bool))
    assert found.status == "too_few_pixels"
    assert np.isnan(found.sky2d).all()
    assert not found.flags.any()
    assert fit(scene, replace(FREE, mask_yslit=((-100.0, 100.0),))).status == "too_few_pixels"


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"df": 3}, "df"),
        ({"mask_yslit": ((4.0, -4.0),)}, "mask_yslit"),
        ({"outlier_threshold": 0.0}, "outlier_threshold"),
        ({"var_percentiles": (1.0, 101.0)}, "var_percentiles"),
    ],
)
def test_parameters_of_the_sky_that_are_not_allowed_are_named(changes, match):
    with pytest.raises(InvalidInputError, match=match):
        SkyParams(**changes)


def test_a_visit_without_a_sky_is_named_with_the_folders_that_were_looked_in(tmp_path, monkeypatch):
    monkeypatch.setenv("SKYMERE_PACKS", str(tmp_path / "packs"))
    (tmp_path / "sky").mkdir()
    pl.DataFrame({"wave": [1.0, 2.0, 3.0], "flux": [0.1, 0.2, 0.4]}).write_csv(tmp_path / "sky/jw1_sky.csv")
    add_pack(tmp_path / "sky", name="skies", version="1", into=tmp_path / "packs")
    sky = global_sky("jw1_03101_00001_nrs1")
    np.testing.assert_allclose(sky.at([0.5, 1.5, 2.5]), [np.nan, 0.15, 0.3])
    assert (sky.file, sky.pack) == ("jw1_sky.csv", "skies-1")
    with pytest.raises(NotFoundError, match=r"jw2_sky.csv.*packs"):
        global_sky("jw2")


# Spectra of the background of whole exposures.


def backgrounds(scene, factor=1.0):
    """Return the sky of a scene as spectra, 0.5 of the area of its pixels, in MJy/sr."""
    waves = np.linspace(0.4, 5.6, 2000)
    sky = 0.3 * (0.6 + 0.1 * (waves - 3) ** 2 + 0.4 * np.exp(waves - 4.5)) / 4.0
    one = BackgroundSpectrum(
        wavelength=waves, flux=sky * 2 * factor, error=0.01 * sky, pixel_area_sr=0.5e-12, file="made"
    )
    return [one] * len(scene.sci)


def background(scene, spectra, **changes):
    return set_background_spectra(
        spectra,
        scene.sci,
        scene.variance,
        scene.wavelength,
        scene.yslit,
        flux_factor=np.full(scene.sci.shape, 4.0),
        pixel_area_sr=np.full(len(scene.sci), 1e-12),
        grating=changes.pop("grating", "PRISM"),
        valid=scene.valid,
        params=BackgroundSkyParams(**changes),
    )


def test_spectra_of_the_background_become_the_sky_of_each_pixel():
    scene = scene_of()
    found = background(scene, backgrounds(scene))
    known = np.isfinite(found.sky2d)
    assert known.mean() > 0.99
    np.testing.assert_allclose(found.sky2d[known], scene.sky[known], rtol=1e-5)
    # 1 % of the spectrum (0.5 % after the areas) and 3 % of the sky.
    np.testing.assert_allclose(np.sqrt(found.var_sky[known]) / scene.sky[known], np.hypot(0.005, 0.03), rtol=1e-4)
    assert (found.scale == 1).all()


@pytest.mark.parametrize("changes", [{"df": 5}, {"df": 3, "poly": True}, {"df": 5, "by_wavelength": True}])
@pytest.mark.parametrize("on_sky", [True, False])
def test_a_scale_of_the_background_is_found_and_applied_to_sky_or_data(changes, on_sky):
    scene = scene_of()
    # Spectra 10 % too faint: the residuals stay within the limits.
    found = background(
        scene, backgrounds(scene, 1 / 1.1), apply_to_background=on_sky, resid_limits=(-5.0, 5.0), **changes
    )
    middle = (np.abs(scene.wavelength - 3) < 2) & scene.valid
    assert np.median(found.scale[middle]) == pytest.approx(1.1, abs=0.01)
    assert found.n_pixels > 1000
    if on_sky:
        assert np.median(found.sky2d[middle] / scene.sky[middle]) == pytest.approx(1.0, abs=0.01)
        assert (found.data_factor == 1).all()
    else:
        np.testing.assert_allclose(found.data_factor[middle] * found.scale[middle], 1, rtol=1e-12)
        assert np.median(found.sky2d[middle] / scene.sky[middle]) == pytest.approx(1 / 1.1, abs=1e-4)


def test_high_gratings_and_missing_spectra_are_a_status_and_no_sky_of_zero():
    scene = scene_of()
    skipped = background(scene, backgrounds(scene), grating="G395H")
    assert skipped.status == "skipped"
    missing = background(scene, None)
    assert missing.status == "no_spectra"
    assert np.isnan(missing.sky2d).all()
    assert background(scene, backgrounds(scene), grating="G395H", skip_h_gratings=False).status == "ok"
    nothing = background(scene, backgrounds(scene), df=5, mask_yslit=((-100.0, 100.0),))
    assert nothing.status == "too_few_pixels"
    assert np.isfinite(nothing.sky2d).mean() > 0.99
    with pytest.raises(InvalidInputError, match="spectra: 2"):
        background(scene, backgrounds(scene)[:2])


def write_background(path, factor=1.0, area=True):
    table = fits.BinTableHDU.from_columns(
        [fits.Column(name, "D", array=np.array([1.0, 2.0, 3.0]) * factor) for name in ("wave", "p50", "perr")]
    )
    if area:
        table.header["REFPAREA"] = 5e-13
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(path)


def test_files_of_the_background_are_opened_where_they_were_found(tmp_path, monkeypatch):
    folder, elsewhere = tmp_path / "there", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    # The current directory has a file of the same name with other numbers.
    for place, factor in ((folder, 1.0), (elsewhere, 2.0)):
        write_background(place / "jw1_02_00003_nrs1_gbkg.fits", factor)
    monkeypatch.chdir(elsewhere)
    (found,) = find_background_spectra(["jw1_02_00003_nrs1_phot.138.fits"], folder)
    assert found.flux.tolist() == [1.0, 2.0, 3.0]
    assert found.pixel_area_sr == 5e-13
    assert find_background_spectra(["jw1_02_00003_nrs1", "jw1_02_00004_nrs1"], folder) is None
    write_background(folder / "plain.fits", area=False)
    assert read_background_spectrum(folder / "plain.fits").pixel_area_sr == 4.88e-13
    fits.HDUList([fits.PrimaryHDU()]).writeto(folder / "jw1_02_00005_nrs1_gbkg.fits")
    with pytest.raises(FormatError, match=r"00005.*wave, p50, perr"):
        find_background_spectra(["jw1_02_00005_nrs1"], folder)


# The offset of the shutters.


@pytest.fixture(scope="module")
def table():
    places = np.linspace(-1.6, 1.6, 61)
    return BarShadowTable(limits=(-1.6, 1.6), coefficients=1 - 0.8 * np.abs(np.sin(np.pi * places)) ** 8)


def offset_of(table, seed=0, offset=0.03, **changes):
    """Fit shutters that lie off by some pixels from where the shadow was corrected for."""
    scene = simulate_slitlets(seed=seed, continuum=0.0, params=SlitSceneParams(sky=0.3, read_noise=0.02))
    shadow = {"coefficients": table.coefficients, "limits": table.limits, "wrap": "no"}
    believed = bar_throughput(scene.shutter_y, **shadow).bar
    true = bar_throughput(scene.shutter_y + offset / 5, **shadow).bar
    random = np.random.default_rng([seed, 1])
    sigma = np.sqrt(0.02**2 + 0.002 * scene.sky * true)
    seen = scene.sky * true + random.normal(size=true.shape) * sigma
    return fit_shutter_offset(
        seen / believed,
        (sigma / believed) ** 2,
        scene.sky,
        believed,
        scene.shutter_y,
        scene.wavelength,
        **({"table": table, "valid": scene.valid} | changes),
    )


def test_an_offset_of_the_shutters_is_found_with_its_error(table):
    fits_ = [offset_of(table, seed) for seed in range(40)]
    pulls = np.array([(one.offset - 0.03) / one.offset_err for one in fits_])
    print(f"offset {np.mean([one.offset for one in fits_]):.4f} +- {fits_[0].offset_err:.4f}, pull {pulls.std():.2f}")
    assert all(one.status == "ok" for one in fits_)
    # 40 draws: the scatter is known to 11 %, the mean to 0.16 of it.
    assert np.std(pulls) == pytest.approx(1, abs=0.35)
    assert abs(pulls.mean()) < 0.5
    assert fits_[0].offset_err < 0.01


def test_the_prior_pulls_to_its_mean_and_bright_sources_are_left_alone(table):
    free = offset_of(table)
    tight = offset_of(table, params=ShutterOffsetParams(prior=(0.0, 0.001), width=60))
    assert abs(tight.offset) < 0.3 * abs(free.offset)
    assert offset_of(table, source_sn=60.0).status == "bright_source"
    assert np.isnan(offset_of(table, source_sn=60.0).offset)
    assert offset_of(table, offset=0.9).status == "at_limit"
    nothing = offset_of(table, valid=np.zeros((3, 25, 340), bool))
    assert (nothing.status, nothing.n_pixels) == ("too_few_pixels", 0)
    with pytest.raises(InvalidInputError, match="prior"):
        ShutterOffsetParams(prior=(0.0, 0.0))
