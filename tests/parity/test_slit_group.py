"""`SlitGroup` on the three real slitlets, from the files, against msaexp 0.9.19; ``-s`` prints the differences."""

import json
from dataclasses import fields as fields_of
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits

from skymere.io import build_pack, read_slitlet
from skymere.slit import (
    SLIT_FLAG_BITS,
    SlitGroup,
    SlitGroupParams,
    combine_grating_group,
    compat_group,
    extract_spectra,
    read_slit_spectrum,
    write_slit_spectrum,
)
from skymere.spectra import fit_redshift, msaexp_prism_templates, prism_templates

BARE = {
    "flag_trace_kwargs": None,
    "flag_percentile_kwargs": None,
    "flag_profile_kwargs": None,
    "hot_cold_kwargs": None,
    "estimate_sky_kwargs": None,
    "sky_file": None,
    "set_background_spectra_kwargs": None,
    "slit_hotpix_kwargs": None,
    "do_multiple_mask": False,
    "bad_shutter_names": [],
}
FIT = {"niter": 4, "degree": 0, "ref_exp": 2, "force_positive": False, "initial_sigma": 7, "with_bounds": False}


@pytest.fixture(scope="module")
def folder(shared_data):
    folder = shared_data / "spectra"
    if not (folder / "reference/msaexp").is_dir():
        pytest.skip(f"reference spectra are not in {folder}")
    return folder


@pytest.fixture(scope="module")
def pack(folder):
    return build_pack(folder / "nirspec/calib", name="nirspec", version="0.9.19")


@pytest.fixture(scope="module")
def files(folder):
    return sorted((folder / "nirspec").glob("*_phot.*.fits"))


@pytest.fixture(scope="module")
def slitlets(files):
    return [read_slitlet(path) for path in files]


@pytest.fixture(scope="module")
def summary(folder):
    return json.loads((folder / "reference/msaexp/slitgroup_summary.json").read_text())


@pytest.fixture
def bare(slitlets, pack):
    return SlitGroup(slitlets, "g", compat="msaexp", pack=pack, **BARE)


def test_the_bare_group_from_files_is_msaexps(files, pack, folder, summary):
    group = SlitGroup(files, "g", compat="msaexp", pack=pack, **BARE)
    with fits.open(folder / "reference/msaexp/slitgroup_bare.fits.gz") as hdus:
        for name in (
            "sci",
            "var_rnoise",
            "var_poisson",
            "wave",
            "dwave_dx",
            "phot_corr",
            "pathloss_corr",
            "dq",
            "mask",
        ):
            np.testing.assert_array_equal(getattr(group, name), hdus[name.upper()].data.reshape(3, -1), err_msg=name)
        for name in ("bar", "yslit"):
            true = hdus[name.upper()].data.reshape(3, -1)
            np.testing.assert_allclose(getattr(group, name), true, rtol=0, atol=1e-11)
    state, true = summary["bare"]["state"], summary["geometry"]
    assert group.mask.sum(axis=1).tolist() == state["mask_per_exp"]
    assert group.data[group.mask].sum() == pytest.approx(state["data"]["sum_masked"], rel=1e-9)
    assert group.unp.values == true["unp"]
    assert group.info["y_index"].to_list() == true["y_index"]
    assert group.calc_reference_exposure == true["calc_reference_exposure"]
    assert group.exptime.tolist() == true["exptime"]
    np.testing.assert_allclose(group.relative_nod_offset, true["relative_nod_offset"], rtol=0, atol=1e-11)
    assert group.source_ypixel_position == pytest.approx(true["source_ypixel_position"], rel=1e-12)
    assert (group.N, group.sh, group.grating, group.filter) == (3, (25, 341), "PRISM", "CLEAR")


def test_nod_differences_of_the_class_are_msaexps_to_the_last_bit(bare, folder):
    with fits.open(folder / "reference/msaexp/diff_images_bare.fits.gz") as hdus:
        for k in (1, 2, 3):
            _, _, diff, bdiff, vdiff, wdiff = bare.make_diff_image(exp=k)
            assert not np.nan_to_num(bdiff).any()
            for name, ours in (("DIFF", diff), ("VDIFF", vdiff), ("WDIFF", wdiff)):
                np.testing.assert_array_equal(ours, hdus[name, k].data.ravel(), err_msg=f"{name} {k}")


def test_the_default_constructor_leaves_as_many_pixels_as_msaexp(slitlets, pack):
    group = SlitGroup(slitlets, "g", compat="msaexp", pack=pack)
    assert group.mask.sum(axis=1).tolist() == [4611, 4583, 4610]
    assert group.meta["sky_file"] == "jw01345062001_sky.csv"
    ours = SlitGroup(slitlets, "g", pack=pack)
    print("default:", ours.mask.sum(axis=1).tolist(), "msaexp: [4611, 4583, 4610]")
    # Single pixels are judged by the other exposures, so that a few more go, and none of the two lines.
    assert 0 < group.mask.sum() - ours.mask.sum() < 60
    on_line = (np.abs(ours.yslit) < 2) & (np.abs(ours.wave - 2.62) < 0.02) | (np.abs(ours.wave - 3.435) < 0.02)
    assert (group.mask & ~ours.mask & on_line).sum() <= 2


def test_every_flagger_of_the_class_leaves_msaexps_pixels(bare, summary, slitlets, pack):
    calls = {
        "flag_percentile_outliers(scale=1)": lambda g: g.flag_percentile_outliers(scale=1),
        "flag_from_profile(grow=1,require_multiple=False)": lambda g: g.flag_from_profile(
            grow=1, require_multiple=False
        ),
        "flag_trace_outliers()": lambda g: g.flag_trace_outliers(),
        "flag_2d_outliers(threshold=[-3,3],with_mask=True)": lambda g: g.flag_2d_outliers(
            threshold=(-3, 3), with_mask=True
        ),
        "mask_stuck_closed_shutters(0.98)": lambda g: g.mask_stuck_closed_shutters(0.98),
        "estimate_sky()": lambda g: g.estimate_sky(),
    }
    before = bare.mask.sum(axis=1)
    for key, call in calls.items():
        group = SlitGroup(slitlets, "g", compat="msaexp", pack=pack, **BARE)
        call(group)
        assert (before - group.mask.sum(axis=1)).tolist() == summary["flagging"][key]["removed_per_exp"], key
        assert ((group.flags == 0) == group.mask).all()
    cold, hot, _ = bare.flag_hot_cold_pixels(cold_percentile=-0.02, hot_percentile=0.2)
    true = summary["flagging"]["flag_hot_cold_pixels(cold=-0.02,hot=0.2)"]
    assert (cold, hot) == (true["ncold"], true["nhot"])
    assert (bare.mask.sum(axis=1) == before).all()


def test_the_fit_of_all_traces_ends_where_msaexps_does(bare, summary):
    (key,) = (k for k in summary["flagging"] if k.startswith("fit_all_traces(niter=4,degree=0"))
    peer = summary["flagging"][key]
    found = bare.fit_all_traces(**FIT, tol=1e-8, method="powell", verbose=False)
    for position, fit in found.items():
        true = peer[str(position)]
        np.testing.assert_allclose(fit["theta"], true["theta"], rtol=0, atol=2e-3)
        # Rounds stop after four, each with the subtracted traces of the last; the other positions only take the solution.
        assert fit["chi2_fit"] == pytest.approx(true["chi2_fit"], rel=3e-8)
        known = fit["sden"] > 0
        assert (fit["snum"][known] / fit["sden"][known]).sum() == pytest.approx(true["flux_sum"], rel=1e-4)
    assert found[2]["chi2_fit"] <= peer["2"]["chi2_fit"] * (1 + 2e-9)
    np.testing.assert_allclose(bare.trace_coeffs[:, -1], peer["trace_coeffs"][0][0], rtol=0, atol=1e-5)
    assert np.abs(bare.yslit - bare.yslit_orig + bare.trace_coeffs[:, -1:]).max() < 1e-9


@pytest.mark.parametrize("weight", ["ivm", "poisson"])
def test_combined_spectra_of_the_class_are_msaexps(slitlets, pack, folder, weight):
    group = SlitGroup(slitlets, "g", compat="msaexp", pack=pack, weight_type=weight, **BARE)
    # At msaexp's own solution; its Powell stops 1e-7 pixel beside the minimum.
    group.fit_all_traces(**(FIT | {"x0": [5.640411624876906, 0.807807898998332], "evaluate": True}))
    spectrum = combine_grating_group([group])
    with fits.open(folder / f"reference/msaexp/combine_bare_{weight}.spec.fits.gz") as hdus:
        covered = spectrum.image.n_pixels > 0
        for name, ours in (("SCI", spectrum.sci), ("WHT", spectrum.wht)):
            np.testing.assert_array_equal(ours[covered], hdus[name].data[covered].astype(float))
        # msaexp's profiles have the subtracted traces of the round before its last, which are not in the reference: the
        # profile differs by 3e-6 of its peak, and what is weighted by it by 1e-7.
        true = hdus["PROFILE"].data[covered].astype(float)
        assert np.abs(spectrum.profile[covered] - true).max() < 1e-5 * true.max()
        for name in ("flux", "err", "sky", "path_corr", "flux_sum", "var_sum", "norm_corr"):
            ours, true = spectrum.table[name].to_numpy(), np.asarray(hdus["SPEC1D"].data[name], float)
            known = np.isfinite(ours)
            worst = np.abs(ours - true)[known].max() / np.abs(true[known]).max()
            print(f"{weight} {name}: {worst:.1e}")
            assert worst < 3e-7, name
        assert np.array_equal(spectrum.npix, hdus["SPEC1D"].data["npix"])
        assert np.isfinite(spectrum.flux).sum() == 345


def test_the_order_of_files_changes_nothing(slitlets, pack):
    first, second = (SlitGroup(order, "g", pack=pack) for order in (slitlets, [slitlets[2], slitlets[0], slitlets[1]]))
    spectra = []
    for group in (first, second):
        group.fit_all_traces(degree=0)
        spectra.append(combine_grating_group(group))
    np.testing.assert_array_equal(first.data, second.data)
    assert first.files == second.files
    assert spectra[0].table.equals(spectra[1].table)
    np.testing.assert_array_equal(spectra[0].sci, spectra[1].sci)


def test_the_lines_of_the_real_source_stand_out_in_all_of_its_exposures(slitlets, pack):
    found = extract_spectra(slitlets, pack=pack)
    assert found.status["status"].to_list() == ["ok"]
    spectrum = found.spectra["prism-clear"]
    sn = np.nan_to_num(spectrum.flux / spectrum.err)
    # [OIII] 5007 and H-alpha at z = 4.2337; the two brightest peaks, a resolution element apart from anything else.
    for line in (0.50082, 0.65646):
        near = np.abs(spectrum.wave - line * 5.2337) < 0.03
        assert sn[near].max() > 25
    far = np.ones(sn.size, bool)
    for line in (0.50082, 0.49603, 0.65646):
        far &= np.abs(spectrum.wave - line * 5.2337) > 0.06
    assert sn[far].max() < 15


def test_the_combined_spectrum_has_its_resolving_power_and_so_its_redshift(slitlets, pack, tmp_path):
    group = SlitGroup(slitlets, "g", pack=pack)
    group.fit_all_traces(degree=0)
    spectrum = combine_grating_group(group)
    table = fits.getdata(pack.path("jwst_nirspec_prism_disp.fits"), 1)
    np.testing.assert_allclose(
        spectrum.resolution, np.interp(spectrum.wave, table["WAVELENGTH"], table["R"]), rtol=1e-12
    )
    write_slit_spectrum(spectrum, tmp_path / "a.spec.fits")
    back = read_slit_spectrum(tmp_path / "a.spec.fits")
    found = fit_redshift(back, templates=prism_templates(), z_range=(0.2, 10.0))
    print(found.describe())
    assert found.status == "ok"
    assert abs(found.z - 4.2337) < 0.005


def test_flux_does_not_depend_on_how_pixels_are_resampled(slitlets, pack):
    group = SlitGroup(slitlets, "g", pack=pack)
    group.fit_all_traces(degree=0)
    pseudo, drizzle = (combine_grating_group(group, method=method) for method in ("pseudo", "drizzle"))
    np.testing.assert_array_equal(pseudo.flux, drizzle.flux)
    # A pixel of pseudo-drizzle covers 1.6 rows, one of drizzle 0.8: the trace is sharper (F37).
    near = (pseudo.wave > 1.6) & (pseudo.wave < 3.6)
    peaks = [float(np.median(np.nanmax(one.profile[:, near], axis=0))) for one in (pseudo, drizzle)]
    assert 1.02 < peaks[1] / peaks[0] < 1.4


def test_the_measured_profile_describes_the_source_better_than_a_gaussian(slitlets, pack):
    chi2 = []
    for name in (None, "merged"):
        group = SlitGroup(slitlets, "g", pack=pack, lookup_prf=name, **BARE)
        group.fit_all_traces(degree=0)
        chi2.append(group.traces.joint.chi2)
        assert (group.path_loss()[group.mask] < 1).all()
    print(f"chi2 of a Gaussian {chi2[0]:.1f}, of the table {chi2[1]:.1f}")
    assert chi2[1] < chi2[0] - 10


# The three parts of what the default does otherwise, one after the other from msaexp to the default.
STEPS = {
    "frame of one exposure, every kind of source": ("frame", "every_kind_is_point", "bar_threshold"),
    "what is subtracted, and its mask": ("nods", "pixels"),
    "all exposures fitted together": ("traces", "degree_rule"),
    "outliers against the other exposures": ("percentile", "stack", "hot_cold"),
    "path loss of width and place": ("path_loss",),
    "errors of the raw pixels": ("errors", "bar_variance", "sky_variance", "spline_clip"),
    "the rest": ("poisson", "section", "minimizer_words"),
}


def describe(group):
    """Return numbers of the spectrum of a group."""
    group.fit_all_traces(degree=0, initial_sigma=7, force_positive=False, with_bounds=False)
    spectrum = combine_grating_group(group)
    wave, flux, err = spectrum.wave, spectrum.flux, spectrum.err
    widths = np.gradient(wave)
    out = {"pixels": " ".join(str(n) for n in group.mask.sum(axis=1))}
    for name, low, high in (("[OIII]+Hb", 2.50, 2.70), ("Ha", 3.38, 3.50)):
        near = (wave > low) & (wave < high)
        beside = (np.abs(wave - 0.5 * (low + high)) < 0.25) & ~near & np.isfinite(flux)
        out[name] = float(((flux - np.median(flux[beside])) * widths)[near].sum())
        out[f"{name} err"] = spectrum.sum_flux(np.where(near, widths, 0.0))[1]
    blue = (wave > 1.6) & (wave < 2.4)
    out["continuum"] = float(np.median(flux[blue]))
    out["S/N"] = float(np.median((flux / err)[blue]))
    out["err"] = float(np.median(err[blue]))
    out["width"] = float(next(iter(group.fit.values()))["sigma"])
    fit = fit_redshift(spectrum, templates=msaexp_prism_templates(), z_range=(4.0, 4.5))
    out |= {"z": fit.z, "z_err": fit.z_err}
    return out


def test_how_the_default_differs_from_msaexp(slitlets, pack):
    params, preset = SlitGroupParams(), compat_group("msaexp")
    changed = {field.name for field in fields_of(params) if getattr(params, field.name) != getattr(preset, field.name)}
    assert changed <= {name for names in STEPS.values() for name in names}
    rows = {"msaexp": describe(SlitGroup(slitlets, "g", compat="msaexp", pack=pack))}
    rows["msaexp with its table"] = describe(SlitGroup(slitlets, "g", compat="msaexp", pack=pack, lookup_prf="merged"))
    now = preset
    for title, names in STEPS.items():
        now = replace(now, **{name: getattr(params, name) for name in names})
        rows[title] = describe(SlitGroup(slitlets, "g", params=now, pack=pack))
    assert now == params
    rows["the default with the table"] = describe(SlitGroup(slitlets, "g", pack=pack, lookup_prf="merged"))
    for title, row in rows.items():
        print(f"{title:45s}", "  ".join(f"{k} {v:.5g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()))
    first, last = rows["msaexp"], rows["the rest"]
    together, path = rows["all exposures fitted together"], rows["path loss of width and place"]
    assert first["pixels"] == "4611 4583 4610"
    for name in ("[OIII]+Hb", "Ha", "continuum"):
        # The common width is larger than that of one difference, so more light is counted; the source is a quarter of a
        # slit from the middle, where a slit passes two thirds of what it does there. Nothing else matters to a per cent.
        assert 1.08 < together[name] / first[name] < 1.15
        assert 1.4 < path[name] / together[name] < 1.55
        assert last[name] / path[name] == pytest.approx(1.0, abs=0.01)
    assert abs(last["z"] - first["z"]) < 0.001
    assert abs(first["z"] - 4.2337) < 0.001


def test_a_fitted_sky_and_the_offset_of_the_shutters_are_stages_of_the_constructor(slitlets, pack):
    asked = {"estimate_sky_kwargs": {}, "fit_shutter_offset_kwargs": {}}
    group = SlitGroup(slitlets, "g", compat="msaexp", pack=pack, **asked)
    status = group.meta["status"]
    assert (status["estimate_sky"], status["fit_shutter_offset"]) == ("ok", "ok")
    # No file of the background is beside the exposures, and so nothing of it is done.
    assert status["set_background_spectra"] == "no_spectra"
    # With a global sky the fit has the freedom that the constructor says.
    assert group.sky_data["df"] == group.meta["global_sky_df"] == 7
    assert SlitGroup(slitlets, "g", pack=pack, global_sky_df=9, **asked).sky_data["df"] == 9
    assert SlitGroup(slitlets, "g", pack=pack, sky_file=None, **asked).sky_data["df"] == 51
    assert -0.2 < group.meta["shutter_offset"] < -0.01
    plain = SlitGroup(slitlets, "g", compat="msaexp", pack=pack)
    assert not np.array_equal(plain.bar, group.bar)


def test_the_offset_of_nods_is_half_an_arcsecond_unless_given(bare, slitlets, pack):
    assert bare.meta["nod_offset"] == pytest.approx(0.529 / bare.slit_pixel_scale, rel=1e-12)
    assert bare.meta["nod_offset"] == pytest.approx(5.02, abs=0.15)
    assert SlitGroup(slitlets, "g", pack=pack, nod_offset=10.0, **BARE).meta["nod_offset"] == 10.0


def test_outliers_of_the_stack_are_flagged_after_the_fit_when_asked(slitlets, pack):
    found = {
        key: extract_spectra(slitlets, pack=pack, flag_2d_kwargs=words)
        for key, words in (("none", None), ("asked", {"threshold": (-3, 3)}))
    }
    flags = {}
    for key, one in found.items():
        (group,) = one.groups.values()
        bits = SLIT_FLAG_BITS["stack_high"] | SLIT_FLAG_BITS["stack_low"]
        flags[key] = (group.flags & np.uint32(bits)) != 0
    assert not flags["none"].any()
    assert flags["asked"].any()
    # A pixel of the detector is bad in all exposures.
    assert (flags["asked"] == flags["asked"][0]).all()


def test_the_tabulated_profile_is_chosen_by_extract_spectra(slitlets, pack):
    found = extract_spectra(slitlets, pack=pack, lookup_prf_type="merged")
    (group,) = found.groups.values()
    assert group.profile().values.shape[0] == 768
    missing = extract_spectra(slitlets, pack=pack, lookup_prf_type="by_grating")
    assert missing.status["status"].to_list() == ["failed"]
    assert "nirspec_prism_clear_s200a1_exp_psf_lookup_001.fits" in missing.status["message"][0]
