"""`SlitGroup` and what is made of groups, on slitlets with known numbers."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy.special import ndtr

from skymere.errors import FormatError, InvalidInputError, NoDataError, NotFoundError
from skymere.io import build_pack
from skymere.slit import (
    SLIT_FLAG_BITS,
    GaussianProfile,
    SlitGroup,
    SlitGroupParams,
    combine_grating_group,
    compat_group,
    compat_nods,
    cross_section,
    drizzle_grating_group,
    extract_spectra,
    read_slit_spectrum,
    split_visit_groups,
    visit_rules,
    write_slit_spectrum,
)
from skymere.testing import write_slit_pack

PSF = GaussianProfile(wave=[0.5, 6.0], fwhm_pix=[1.5, 1.5])
GRID = 1.0 + 0.05 * np.arange(2, 58)
QUIET = {
    "sky_file": None,
    "set_background_spectra_kwargs": None,
    "flag_percentile_kwargs": None,
    "flag_trace_kwargs": None,
    "fix_prism_norm": False,
    "undo_barshadow": 0,
    "with_extra_dq": False,
    "stuck_threshold": 1e-9,
    "lookup_prf": PSF,
}
FLUX = 40.0


def light(center):
    """Return the pixel-integrated Gaussian of a column of 25 rows, from scipy."""
    sigma = np.hypot(1.5 / 2.35, 0.5)
    rows = np.arange(25.0) - center
    return ndtr((rows + 0.5) / sigma) - ndtr((rows - 0.5) / sigma)


@pytest.fixture
def nods(made):
    """Three nods of a flat spectrum of 40 uJy on a sky of 2 uJy, five pixels apart."""

    def draw(n=3, **changes):
        out = []
        for k, step in enumerate((0.0, 0.5, -0.5)[:n]):
            one = made.slitlet(k, y_offset=step, seed=5, **changes)
            source = light(12.0 + step / made.PIXEL_ARCSEC)[:, None] * FLUX
            out.append(replace(one, sci=(one.sci + source).astype(np.float32)))
        return out

    return draw


@pytest.fixture
def group(nods, made):
    return SlitGroup(nods(), "made", tables=made.tables(), **QUIET)


def combined(group, **words):
    group.fit_all_traces(degree=0)
    return combine_grating_group(group, wave_grid=GRID, with_pathloss=False, **words)


def test_a_flat_spectrum_comes_back_with_its_error(group):
    spectrum = combined(group)
    known = np.isfinite(spectrum.flux)
    assert known.sum() == GRID.size
    pull = (spectrum.flux[known] - FLUX) / spectrum.err[known]
    print(f"flux {np.mean(spectrum.flux[known]):.3f}, pull {pull.mean():.2f} +- {pull.std():.2f}")
    # 56 values: their mean is known to 0.13 of a sigma, their scatter to 10 per cent; three of each.
    assert abs(pull.mean()) < 0.45
    assert 0.7 < pull.std() < 1.3
    assert group.traces.joint.size == pytest.approx(0.5, abs=0.02)
    assert spectrum.sky.shape == spectrum.path_corr.shape == spectrum.npix.shape == GRID.shape
    assert spectrum.sci.shape == spectrum.wht.shape == spectrum.profile.shape == (27, GRID.size)


def test_a_box_and_a_second_group_give_the_same_flux(group, nods, made):
    optimal, box = combined(group), combined(group, extraction="boxcar")
    assert np.nanmean(box.flux) == pytest.approx(FLUX, rel=0.01)
    assert (box.err > optimal.err).mean() > 0.9
    again = SlitGroup(nods(), "again", tables=made.tables(), **QUIET)
    again.fit_all_traces(degree=0)
    both = combine_grating_group([group, again], wave_grid=GRID, with_pathloss=False)
    np.testing.assert_allclose(both.flux, optimal.flux, rtol=1e-10)
    np.testing.assert_allclose(both.err, optimal.err / np.sqrt(2), rtol=1e-6)
    assert both.pixels["exposure_index"].n_unique() == both.slits.height == 6


def test_the_pixel_table_gives_the_one_dimensional_spectrum_in_polars(group):
    spectrum = combined(group)
    edges = np.append(GRID - 0.025, GRID[-1] + 0.025)
    rows = spectrum.pixels.filter(pl.col("yslit").is_between(-3, 3)).with_columns(
        bin=pl.col("wave").map_batches(lambda w: pl.Series(np.searchsorted(edges, w.to_numpy(), side="right") - 1))
    )
    weight = 1 / pl.col("var_rnoise")
    made = (
        rows.filter(pl.col("bin").is_between(0, GRID.size - 1))
        .group_by("bin")
        .agg(flux=(pl.col("sci") * weight * pl.col("profile")).sum() / (weight * pl.col("profile") ** 2).sum())
        .sort("bin")
    )
    np.testing.assert_allclose(made["flux"], spectrum.flux[made["bin"].to_numpy()], rtol=1e-12)


def test_a_spectrum_is_written_and_read_back(group, tmp_path):
    spectrum = combined(group)
    path = tmp_path / "a.spec.fits"
    write_slit_spectrum(spectrum, path)
    back = read_slit_spectrum(path)
    assert back.table.equals(spectrum.table)
    for name in ("flux", "covariance", "sci", "wht", "profile"):
        np.testing.assert_array_equal(getattr(back, name), getattr(spectrum, name))
    assert back.pixels.equals(spectrum.pixels)
    assert back.meta["GRATING"][0] == "PRISM"
    assert back.meta["WEIGHT_TYPE"][0] == "ivm"
    assert back.slits["filename"].to_list() == ["e0.fits", "e1.fits", "e2.fits"]
    with pytest.raises(NotFoundError, match=r"b\.fits"):
        read_slit_spectrum(tmp_path / "b.fits")


def test_the_mean_along_the_slit_is_that_of_the_profile(group):
    section = cross_section(combined(group).image)
    on_trace = section.filter(pl.col("pix").abs() < 2.5)
    assert on_trace["profile"].max() == pytest.approx(on_trace["pfit"].max(), rel=0.02)
    assert section["pix"][int(section["profile"].arg_max())] == 0


def test_misspelt_and_impossible_arguments_are_errors(nods, made):
    slits, tables = nods(), made.tables()
    with pytest.raises(TypeError, match="undo_barshadows"):
        SlitGroup(slits, "g", tables=tables, undo_barshadows=2)
    with pytest.raises(TypeError, match="thresh"):
        SlitGroup(slits, "g", tables=tables, **(QUIET | {"flag_trace_kwargs": {"thresh": 1}}))
    for words in (
        {"weight_type": "ivar"},
        {"position_key": "nod"},
        {"reference_exposure": 9},
        {"compat": "grizli"},
        {"slit_hotpix_kwargs": {"peak": 1}},
        {"extended_calibration_kwargs": {"limit": 1}},
        {"compat": "msaexp", "params": SlitGroupParams()},
    ):
        with pytest.raises(InvalidInputError, match="not allowed"):
            SlitGroup(slits, "g", tables=tables, **(QUIET | words))
    with pytest.raises(InvalidInputError, match=r"exp: 7 is not allowed"):
        SlitGroup(slits, "g", tables=tables, **QUIET).make_diff_image(7)
    with pytest.raises(TypeError, match="degrees"):
        SlitGroup(slits, "g", tables=tables, **QUIET).fit_all_traces(degrees=1)
    with pytest.raises(InvalidInputError, match="lookup_prf: 'mean' is not allowed"):
        SlitGroup(slits, "g", tables=tables, **(QUIET | {"lookup_prf": "mean"}))


def test_words_of_a_peers_minimiser_are_for_the_preset_alone(nods, made):
    group = SlitGroup(nods(), "g", tables=made.tables(), **QUIET)
    for call in (group.fit_single_trace, group.fit_all_traces):
        for words in ({"method": "powell"}, {"verbose": False}):
            with pytest.raises(TypeError, match="exact derivatives"):
                call(degree=0, **words)
    # A loose tolerance ends the fit earlier, with no lower chi2.
    loose, fine = (group.fit_single_trace(degree=0, tol=tol) for tol in (10.0, 1e-10))
    assert loose["result"].n_evaluations < fine["result"].n_evaluations
    assert loose["chi2_fit"] >= fine["chi2_fit"]
    with pytest.raises(InvalidInputError, match="tolerance"):
        group.fit_single_trace(tol=0.0)
    peer = SlitGroup(nods(), "g", tables=made.tables(), compat="msaexp", **QUIET)
    plain = peer.fit_single_trace(degree=0)
    same = peer.fit_single_trace(degree=0, method="powell", tol=10.0, verbose=False)
    assert np.array_equal(plain["theta"], same["theta"])


def test_other_sources_and_gratings_are_named_in_the_error(nods, made):
    slits = nods()
    other = replace(slits[1], source=replace(slits[1].source, source_id=8))
    with pytest.raises(InvalidInputError, match="source 8"):
        SlitGroup([slits[0], other], "g", tables=made.tables(), **QUIET)
    other = replace(slits[1], exposure=replace(slits[1].exposure, grating="G395M"))
    with pytest.raises(InvalidInputError, match="G395M"):
        SlitGroup([slits[0], other], "g", tables=made.tables(), **QUIET)


def test_one_exposure_or_no_pixel_is_a_clear_error_and_a_status(nods, made):
    tables = made.tables()
    single = SlitGroup(nods(1), "single", tables=tables, **QUIET)
    single.fit_all_traces(degree=0)
    with pytest.raises(NoDataError, match="one position"):
        combine_grating_group(single, wave_grid=GRID)
    blind = [replace(one, dq=np.ones_like(one.dq)) for one in nods()]
    group = SlitGroup(blind, "blind", tables=tables, **QUIET)
    assert group.meta["status"]["data"] == "no_data"
    assert not np.isfinite(group.data).any()
    with pytest.raises(NoDataError):
        group.fit_all_traces(degree=0)
    assert group.fit is None
    for slits, status in ((nods(1), "one_position"), (blind, "no_data")):
        found = extract_spectra(slits, tables=tables, **QUIET)
        assert found.status["status"].to_list() == [status]
        assert found.spectra == {}


def test_a_stage_that_fails_is_a_status_and_leaves_the_group_as_it_was(nods, made, monkeypatch):
    group = SlitGroup(nods(), "g", tables=made.tables(), **QUIET)
    before = group.flags.copy()

    def fail():
        msg = "no pixel has only sky"
        raise NoDataError(msg)

    group._stage("estimate_sky", fail)
    assert group.meta["status"]["estimate_sky"] == "NoDataError: no pixel has only sky"
    assert np.array_equal(group.flags, before)


def test_a_single_position_is_taken_as_it_is_with_a_sky(nods, made):
    words = QUIET | {"diffs": False, "sky_arrays": ([0.5, 6.0], [2.0, 2.0])}
    group = SlitGroup(nods(1), "g", tables=made.tables(), **words)
    spectrum = combined(group)
    assert np.nanmean(spectrum.flux) == pytest.approx(FLUX, rel=0.01)
    # Beyond the sky's wavelengths nothing is known.
    words["sky_arrays"] = ([2.0, 3.0], [2.0, 2.0])
    short = SlitGroup(nods(1), "g", tables=made.tables(), **words)
    assert np.isnan(short.data[(short.wave < 2) | (short.wave > 3)]).all()


def test_gratings_subtract_nods_unless_told_otherwise(nods, made):
    slits = [replace(one, exposure=replace(one.exposure, grating="G395M")) for one in nods()]
    words = QUIET | {"diffs": False}
    assert SlitGroup(slits, "g", tables=made.tables(), **words).meta["diffs"]
    assert not SlitGroup(slits, "g", tables=made.tables(), grating_diffs=False, **words).meta["diffs"]


def test_slits_of_sky_have_positions_of_their_own(made):
    slits = [made.slitlet(k, y_offset=step, is_background=True) for k, step in enumerate((0.0, 0.5, -0.5))]
    group = SlitGroup(slits, "sky", tables=made.tables(), **QUIET)
    assert group.meta["position_key"] == "manual_position"
    assert group.info["manual_position"].to_list() == ["0.0", "5.0", "-5.0"]
    assert group.unp.N == 3
    assert group.make_diff_image("5.0")[0].tolist() == [False, True, False]


def test_nods_by_number_or_state_are_the_same_groups(nods, made):
    slits = nods()
    states = ("1x1", "11x", "x11")
    slits = [replace(one, place=replace(one.place, shutter_state=s)) for one, s in zip(slits, states, strict=True)]
    groups = [
        SlitGroup(slits, "g", tables=made.tables(), position_key=key, **QUIET)
        for key in ("y_index", "position_number", "shutter_state")
    ]
    assert [one.unp.values for one in groups] == [[1, 2, 3], [1, 2, 3], ["11x", "1x1", "x11"]]
    differences = [one.make_diff_image(one.unp.keys[0])[2] for one in groups]
    np.testing.assert_array_equal(differences[0], differences[1])
    np.testing.assert_array_equal(differences[0], differences[2])


def test_updating_coefficients_moves_the_distance_and_keeps_the_copy(group):
    before = group.yslit.copy()
    group.trace_coeffs[:, -1] = 0.25
    group.update_trace_from_coeffs()
    np.testing.assert_allclose(group.yslit, before - 0.25, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(group.yslit_orig, before)
    group.set_trace_coeffs(degree=1)
    assert group.base_coeffs.shape == (3, 2)
    np.testing.assert_allclose(group.yslit, before, rtol=0, atol=1e-9)


def test_the_trace_is_shared_by_all_nods_and_fitted_by_each_when_asked(group):
    shared = group.fit_all_traces(degree=0)
    assert np.ptp(group.trace_coeffs, axis=0).max() < 1e-9
    assert {tuple(one["theta"]) for one in shared.values()} == {tuple(shared[1]["theta"])}
    each = group.fit_all_traces(degree=0, ref_exp=None)
    assert len({float(one["theta"][-1]) for one in each.values()}) == 3
    fixed = group.fit_all_traces(x0=[6.0, 0.1], evaluate=True)
    assert all(one["sigma"] == pytest.approx(0.6) for one in fixed.values())
    assert group.trace_coeffs[:, -1].tolist() == [0.1] * 3


def test_a_width_that_is_given_is_kept(group):
    fit = group.fit_single_trace(exp=2, degree=1, fix_sigma=6.0)
    assert fit["sigma"] == pytest.approx(0.6)
    assert fit["theta"].shape == (2,)
    with pytest.raises(InvalidInputError, match="x0"):
        group.fit_single_trace(x0=[5.0])


def test_path_losses_are_not_corrected_twice(nods, made):
    slits = nods()
    for undo, is_corrected in ((0, False), (1, True), (2, False)):
        group = SlitGroup(slits, "g", tables=made.tables(), undo_pathloss=undo, **QUIET)
        group.fit_all_traces(degree=0)
        loss = group.path_loss()
        assert (loss < 0.999).any() == is_corrected
        assert (loss <= 1).all()
    peer = SlitGroup(slits, "g", tables=made.tables(), compat="msaexp", **QUIET)
    peer.fit_all_traces(degree=0)
    assert (peer.path_loss() == 1).all()


def test_the_preset_is_a_set_of_named_parameters():
    preset = compat_group("msaexp")
    assert (preset.nods, preset.frame, preset.poisson) == (compat_nods(), "first", "data")
    assert preset != SlitGroupParams()
    with pytest.raises(InvalidInputError, match="compat"):
        compat_group("grizli")


def test_groups_follow_headers_and_not_names_of_files(nods):
    slits = [replace(one, exposure=replace(one.exposure, visit="v1")) for one in nods()]
    other = [replace(one, exposure=replace(one.exposure, visit="v2"), path=slits[0].path) for one in nods()]
    found = split_visit_groups([*other, *slits])
    assert list(found) == ["v1_nrs1_7_9_7-prism-clear", "v2_nrs1_7_9_7-prism-clear"]
    assert [one.exposure.exposure_id for one in found["v1_nrs1_7_9_7-prism-clear"]] == ["e0", "e1", "e2"]
    assert split_visit_groups(slits, gratings=["G395M"]) == {}
    assert len(split_visit_groups(slits, exclude=["e1"])["v1_nrs1_7_9_7-prism-clear"]) == 2
    with pytest.raises(InvalidInputError, match="files"):
        extract_spectra(slits, gratings=["G395M"])


def test_rules_for_visits_are_a_table_that_leaves_out_and_splits(nods, tmp_path):
    def exposures(program, names):
        one = nods(1)[0]
        return [replace(one, exposure=replace(one.exposure, program=program, exposure_id=name)) for name in names]

    def parts(program, names, rules):
        found = split_visit_groups(exposures(program, names), rules=rules)
        assert all(key.endswith("-prism-clear") for key in found)
        return [[one.exposure.exposure_id for one in members] for members in found.values()]

    six = [f"jw02561001001_0{k}101_00001_nrs1" for k in range(1, 7)]
    rules = visit_rules()
    assert len(rules) == 8
    assert parts("02561", six, rules) == [six[::2], six[1::2]]
    assert parts("02561", six[:5], rules) == [six[:5]]
    assert parts("02561", six, ()) == parts("2750", six, rules) == [six]
    assert parts("8204", six, rules) == [six[:3], six[3:]]
    assert parts("6368", [*six, *(name.replace("1001_0", "1001_1") for name in six)], rules)[0] == [
        six[2],
        "jw02561001001_11101_00001_nrs1",
    ]
    keys = list(split_visit_groups(exposures("02561", six), rules=rules))
    assert keys == ["02561_nrs1_7_9_7a-prism-clear", "02561_nrs1_7_9_7b-prism-clear"]
    bad = ["jw04246003001_03101_00001_nrs2", "jw04246003001_03101_00002_nrs2"]
    assert parts("04246", bad, rules) == [bad[1:]]
    path = tmp_path / "rules.csv"
    path.write_text("program,exposures,source,rule\n2750,,9_7,first 2 of 6\n")
    assert parts("2750", six, visit_rules(path)) == [six[:2], six[2:]]
    for text, match in (("program\n1\n", "columns"), ("program,exposures,source,rule\n1,,,halves\n", "rule: 'halves'")):
        path.write_text(text)
        with pytest.raises(FormatError, match=match):
            visit_rules(path)
    with pytest.raises(NotFoundError, match=r"none\.csv"):
        visit_rules(tmp_path / "none.csv")


def test_all_visits_of_a_source_are_one_spectrum(nods, made):
    slits = [replace(one, exposure=replace(one.exposure, visit=v)) for v in ("v1", "v2") for one in nods()]
    drizzle = {"wave_grid": GRID, "with_pathloss": False}
    words = {
        "tables": made.tables(),
        "drizzle_kws": drizzle,
        "trace_from_yoffset": True,
        "trace_with_ypos": False,
        **QUIET,
    }
    found = extract_spectra(slits, **words)
    assert found.status["status"].to_list() == ["ok", "ok"]
    spectrum = found.spectra["prism-clear"]
    assert np.nanmean(spectrum.flux) == pytest.approx(FLUX, rel=0.01)
    first, second = found.groups.values()
    # The first one's solution holds for the second.
    assert np.ptp([g.trace_coeffs[0, -1] for g in (first, second)]) < 1e-12
    narrow = extract_spectra(slits, mask_cross_dispersion=(4.0, 100.0), **words)
    masked = next(iter(narrow.groups.values()))
    assert not masked.mask[masked.yslit_orig > 4.3].any()
    assert ((masked.flags & SLIT_FLAG_BITS["excluded"]) != 0).any()


def test_groups_that_cannot_be_combined_are_named(group, nods, made):
    with pytest.raises(InvalidInputError, match="made has no fit"):
        drizzle_grating_group(group, wave_grid=GRID)
    group.fit_all_traces(degree=0)
    other = SlitGroup(nods(), "other", tables=made.tables(), weight_type="mask", **QUIET)
    with pytest.raises(InvalidInputError, match="weight_type 'mask' of other"):
        combine_grating_group([group, other], wave_grid=GRID)
    with pytest.raises(InvalidInputError, match="groups"):
        combine_grating_group([])
    image = drizzle_grating_group(group, wave_grid=GRID, method="drizzle")
    assert image.sci.shape == (27, GRID.size)


def test_correcting_again_changes_nothing_that_was_corrected(nods, made):
    words = QUIET | {"fix_prism_norm": True, "undo_barshadow": 2}
    group = SlitGroup(nods(), "g", tables=made.tables(), **words)
    before = group.sci.copy()
    group.apply_normalization_correction()
    group.apply_spline_bar_correction()
    np.testing.assert_allclose(group.sci, before, rtol=3e-7)
    late = SlitGroup(nods(), "g", tables=made.tables(), **(words | {"fix_prism_norm": False, "undo_barshadow": 0}))
    late.apply_spline_bar_correction()
    late.apply_normalization_correction()
    both = late.mask & group.mask
    assert both.sum() > 2000
    np.testing.assert_allclose(late.sci[both], group.sci[both], rtol=1e-6)
    assert late.meta["own_barshadow"]
    late.meta["bad_shutter_names"] = [1]
    late.apply_bad_shutter_mask()
    assert not late.mask[np.abs(late.slit_frame_y - 1) < 0.5].any()
    assert late.calculate_slices() == [(slice(0, 25), slice(0, 60))] * 3


def test_a_file_that_cannot_be_read_and_a_stage_that_fails_are_told_and_the_rest_goes_on(
    nods, made, tmp_path, monkeypatch
):
    broken = tmp_path / "broken.fits"
    broken.write_bytes(b"nothing of FITS")

    def fail(*args, **kwargs):
        msg = "no solution"
        raise np.linalg.LinAlgError(msg)

    monkeypatch.setattr(SlitGroup, "flag_hot_cold_pixels", fail)
    words = {"tables": made.tables(), **QUIET, "trace_from_yoffset": True, "hot_cold_kwargs": {}}
    found = extract_spectra([*nods(), broken], drizzle_kws={"wave_grid": GRID}, **words)
    status = {row["group"]: row for row in found.status.iter_rows(named=True)}
    assert status[str(broken)]["status"] == "failed"
    assert "broken.fits" in status[str(broken)]["message"]
    (other,) = [row for name, row in status.items() if name != str(broken)]
    assert other["status"] == "ok"
    assert "no solution" in other["message"]
    assert len(found.spectra) == 1
    with pytest.raises(FormatError, match=r"broken\.fits"):
        extract_spectra([broken], **words)


def test_what_a_group_says_does_not_depend_on_the_folder_of_its_pack(nods, made, tmp_path):
    told = []
    for name in ("here", "there"):
        pack = build_pack(write_slit_pack(tmp_path / name))
        one = SlitGroup(nods(), "made", tables=made.tables(), pack=pack, **(QUIET | {"sky_file": "read"}))
        one._stage("wanting", lambda pack=pack: pack.path("nothing.csv"))
        assert str(tmp_path / name) in one.failed_stages["wanting"]
        told.append(dict(one.meta["status"]))
    assert told[0] == told[1]
    assert told[0]["get_global_sky"].endswith(
        f"_sky.csv: not in the pack {pack.label}, it holds {len(pack.files)} others"
    )
    assert told[0]["wanting"].startswith(f"NotFoundError: nothing.csv: not in the pack {pack.label}, it holds")
