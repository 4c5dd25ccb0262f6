"""All corrections together, on slits of which everything is known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from skymere.datamodels import SensitivityTable, SlitTables
from skymere.errors import InvalidInputError, NotFoundError
from skymere.io import read_slitlets
from skymere.slit import PrepareParams, applied_table, prepare_slitlets, reference_index, slit_info

NODS = (0.0, 0.5, -0.5)


@pytest.fixture
def nods(made):
    return [made.slitlet(k, y_offset=offset) for k, offset in enumerate(NODS)]


PLAIN = PrepareParams(fix_prism_norm=False, undo_barshadow=0, min_bar=None, with_extra_dq=False)


def with_shadow(made, one, *, mode="flat"):
    """Return a slitlet whose light is behind the bars of the tables, as the sky is before any correction."""
    places = one.geometry.slit_y
    table = made.tables().bars[3]
    shadow = np.nan_to_num(made.spline(places, table.coefficients, table.limits), nan=1.0)
    return replace(one, sci=one.sci * shadow, bar=np.ones(made.SHAPE, np.float32))


def test_order_of_exposures_changes_no_number(made, nods):
    arrays = prepare_slitlets(nods, tables=made.tables())
    shuffled = prepare_slitlets([nods[2], nods[0], nods[1]], tables=made.tables())
    for name in ("sci", "var_rnoise", "wavelength", "yslit", "bar", "flags", "ytr"):
        np.testing.assert_array_equal(getattr(shuffled, name), getattr(arrays, name)[[2, 0, 1]])
    assert [one.frame for one in shuffled.applied] == ["e0"] * 3


def test_a_flat_illumination_behind_bars_becomes_flat(made):
    behind = [with_shadow(made, made.slitlet(k, y_offset=o, sky=50.0)) for k, o in enumerate(NODS)]
    params = replace(PLAIN, undo_barshadow=2, bar_corr_mode="flat", min_bar=0.4)
    arrays = prepare_slitlets(behind, tables=made.tables(), params=params)
    # Each exposure has its own noise of 0.3; a row has 60 columns of three exposures.
    seen = arrays.mask.all(axis=(0, 2))
    assert seen.sum() >= 9
    rows = arrays.sci[:, seen].mean(axis=(0, 2))
    assert np.abs(rows - 50.0).max() < 5 * 0.3 / np.sqrt(180) / 0.4
    before = prepare_slitlets(behind, tables=made.tables(), params=PLAIN).sci[:, 10:15].mean(axis=(0, 2))
    assert before.max() / before.min() > 1.5


def test_variances_follow_the_data_squared_and_factors_are_recorded(made, nods):
    loss = np.full(made.SHAPE, 0.5, np.float32)
    typed = [
        replace(one, pathloss_un=loss, pixel_area_sr=3e-12, bar=np.full(made.SHAPE, 0.8, np.float32)) for one in nods
    ]
    arrays = prepare_slitlets(typed, tables=made.tables())
    valid = arrays.mask
    raw = np.stack([one.sci for one in nods]) / made.AREA_SR * 1e-12
    factor = 3.0 * 0.5 * 1.25 * 0.8 / arrays.bar
    np.testing.assert_allclose(arrays.sci[valid], (raw * factor)[valid], rtol=1e-5)
    np.testing.assert_allclose(arrays.var_rnoise[valid], (made.READ * factor**2)[valid], rtol=1e-5)
    np.testing.assert_allclose(arrays.var_poisson[valid], (made.PHOTON * factor**2)[valid], rtol=1e-5)
    np.testing.assert_allclose(arrays.phot_corr[valid], 1.5, rtol=1e-6)
    np.testing.assert_allclose(arrays.normalization[valid], 1.25, rtol=1e-12)
    record = arrays.applied[0]
    assert (record.bar_shadow, record.bar_mode, record.pathloss_removed) == ("replaced", "wave", "PATHLOSS_UN")
    assert record.normalization
    assert (record.pack, record.pack_digest) == ("made-1", "0" * 64)


def test_traces_follow_the_dithers_and_distances_are_zero_on_them(made, nods):
    arrays = prepare_slitlets(nods, tables=made.tables(), params=PLAIN)
    np.testing.assert_allclose(arrays.ytr[:, 0], [12.0, 17.0, 7.0], atol=1e-9)
    np.testing.assert_allclose(arrays.yslit[1, 17], 0.0, atol=1e-9)
    np.testing.assert_allclose(arrays.shutter_y[12], 0.0, atol=1e-12)
    own = prepare_slitlets(nods, tables=made.tables(), params=replace(PLAIN, trace_from_yoffset=False))
    np.testing.assert_allclose(own.ytr, 12.0, atol=1e-9)
    moved = prepare_slitlets(nods, tables=made.tables(), params=replace(PLAIN, trace_with_ypos=True))
    np.testing.assert_allclose(moved.ytr[:, 0], [12.5, 17.5, 7.5], atol=1e-9)


def test_a_source_beside_the_middle_shifts_wavelengths_when_asked(made, nods):
    arrays = prepare_slitlets(nods, tables=made.tables(), params=replace(PLAIN, trace_with_xpos=True))
    plain = prepare_slitlets(nods, tables=made.tables(), params=PLAIN)
    np.testing.assert_allclose((arrays.wavelength - plain.wavelength)[:, 12], 0.02, atol=1e-12)
    np.testing.assert_allclose(arrays.wtr - plain.wtr, 0.02, atol=1e-6)
    assert arrays.applied[0].wavelength_shift == pytest.approx(0.4, rel=1e-3)


def test_slits_of_sky_keep_their_own_trace_and_follow_the_dithers(made, nods):
    sky = [replace(one, is_background=True) for one in nods]
    arrays = prepare_slitlets(sky, tables=made.tables(), params=replace(PLAIN, trace_from_yoffset=False))
    np.testing.assert_allclose(arrays.ytr[:, 0], [12.0, 17.0, 7.0], atol=1e-9)


def test_bad_pixels_of_the_table_stuck_and_named_shutters_are_left_out(made, nods):
    bad = ((700 + 12, 300 + 30),)
    arrays = prepare_slitlets(nods, tables=made.tables(bad=bad))
    assert not arrays.mask[:, 12, 30].any()
    assert all(one.n_flagged["extra_dq"] == 1 for one in arrays.applied)
    assert arrays.shutters.names == (-1, 0, 1)
    dark = [
        replace(one, sci=np.where(one.geometry.slit_y < -0.5, one.sci - 2, one.sci).astype(np.float32)) for one in nods
    ]
    found = prepare_slitlets(dark, tables=made.tables())
    assert found.applied[0].stuck_shutters == (-1,)
    assert not found.mask[:, np.abs(found.shutter_y + 1) < 0.6].any()
    named = prepare_slitlets(nods, tables=made.tables(), params=PrepareParams(bad_shutter_names=(1,)))
    assert not named.mask[:, np.abs(named.shutter_y - 1) < 0.6].any()
    assert named.mask[:, np.abs(named.shutter_y) < 0.3].any()


@pytest.mark.parametrize("n_open", [1, 2, 3, 5])
def test_slitlets_of_any_number_of_shutters_have_a_shadow(made, n_open):
    # Of two open shutters that with the source is the lower.
    first = 0 if n_open == 2 else -(n_open // 2)
    ends = (first - 1.1, first + n_open + 0.1)
    state = "x" + "1" * (n_open - 1)
    ones = [made.slitlet(k, y_offset=o, ends=ends) for k, o in enumerate(NODS)]
    ones = [replace(one, place=replace(one.place, shutter_state=state)) for one in ones]
    arrays = prepare_slitlets(ones, tables=made.tables())
    record = arrays.applied[0]
    assert (record.n_shutters, record.is_wrapped) == (n_open, n_open == 5)
    assert record.bar_offset == 0 or record.is_wrapped
    places = arrays.shutter_y[arrays.mask[0].any(axis=1)]
    for shutter in range(first, first + n_open):
        assert (np.abs(places - shutter) < 0.3).sum() == 3 * 60


def test_fixed_slits_have_no_bars_and_no_shutters(made, nods):
    exposure = replace(nods[0].exposure, grating="G395M", exposure_type="NRS_FIXEDSLIT")
    fixed = [
        replace(one, is_fixed_slit=True, bar=None, exposure=exposure, place=replace(one.place, quadrant=0))
        for one in nods
    ]
    arrays = prepare_slitlets(fixed, tables=made.tables())
    assert {one.bar_shadow for one in arrays.applied} == {"none"}
    np.testing.assert_array_equal(arrays.bar, 1.0)
    assert arrays.shutters is None
    assert "bar" not in arrays.applied[0].n_flagged
    # Asked for, traces are where the file has them, one pixel and the dither from the median higher.
    own = prepare_slitlets(fixed, tables=made.tables(), params=PrepareParams(trace_from_yoffset=False))
    moved = prepare_slitlets(fixed, tables=made.tables(), params=PrepareParams(with_fs_offset=True))
    dither = np.array([one.exposure.y_offset for one in fixed]) / made.PIXEL_ARCSEC
    steps = np.broadcast_to(1 + (dither - np.median(dither))[:, None], own.ytr.shape)
    np.testing.assert_allclose(moved.ytr - own.ytr, steps, rtol=0, atol=1e-9)


def test_all_bits_set_is_a_status_and_no_number_is_invented(made, nods):
    dead = [replace(one, dq=np.ones(made.SHAPE, np.uint32)) for one in nods]
    arrays = prepare_slitlets(dead, tables=made.tables())
    assert [one.status for one in arrays.applied] == ["no_data"] * 3
    assert not arrays.mask.any()
    assert np.isnan(arrays.sci).all()
    one_dead = [dead[0], *nods[1:]]
    assert [one.status for one in prepare_slitlets(one_dead, tables=made.tables()).applied] == ["no_data", "ok", "ok"]


def test_one_exposure_alone_is_a_group(made, nods):
    arrays = prepare_slitlets(nods[:1], tables=made.tables())
    assert arrays.applied[0].status == "ok"
    assert arrays.mask.any()


@pytest.mark.parametrize(
    ("missing", "word"), [("wave_bars", "bar shadow"), ("normalization", "normalization"), ("bad_pixels", "bad pixels")]
)
def test_a_missing_table_is_an_error_that_names_what_needs_it(made, nods, missing, word):
    tables = replace(made.tables(), **{missing: None if missing == "normalization" else {}})
    with pytest.raises(NotFoundError, match=word):
        prepare_slitlets(nods, tables=tables)


def test_data_with_flats_of_the_extended_range_need_their_sensitivity(made, nods):
    extended = [replace(one, has_extended_calibration=True) for one in nods]
    with pytest.raises(NotFoundError, match="flat field of quadrant 2"):
        prepare_slitlets(extended, tables=made.tables())
    with pytest.raises(NotFoundError, match="sensitivity"):
        prepare_slitlets(extended, tables=made.tables(), params=PrepareParams(with_sflat_correction=False))
    off = PrepareParams(with_sflat_correction=False, extended_threshold=None)
    assert not prepare_slitlets(extended, tables=made.tables(), params=off).applied[0].extended_calibration


def test_the_frame_is_the_middle_nod_or_that_which_is_named(made, nods):
    assert reference_index(nods) == 0
    assert reference_index([nods[1], nods[2], nods[0]]) == 2
    assert reference_index([nods[1], nods[2], nods[0]], "first") == 2
    assert reference_index(nods, "e2") == 2
    with pytest.raises(InvalidInputError, match="'e9'"):
        reference_index(nods, "e9")


@pytest.mark.parametrize(
    "wrong", [{"undo_barshadow": 3}, {"bar_corr_mode": "both"}, {"min_bar": 1.0}, {"undo_pathloss": 4}]
)
def test_parameters_that_are_not_allowed_are_errors(wrong):
    with pytest.raises(InvalidInputError, match=next(iter(wrong))):
        PrepareParams(**wrong)


def test_tables_may_be_empty_when_nothing_needs_them(nods):
    assert prepare_slitlets(nods, tables=SlitTables(), params=PLAIN).mask.any()


def test_what_was_done_is_a_table_of_typed_columns(made, nods):
    arrays = prepare_slitlets(nods, tables=made.tables(bad=((712, 330),)))
    table = applied_table(arrays.applied)
    assert table["exposure_id"].to_list() == ["e0", "e1", "e2"]
    assert table["bar_shadow"].to_list() == ["replaced"] * 3
    assert table["n_extra_dq"].to_list() == [1, 1, 1]
    assert table.schema["normalization"] == pl.Boolean
    assert table.schema["stuck_shutters"] == pl.List(pl.Int64)
    assert table.schema["wavelength_shift"] == pl.Float64
    assert applied_table(()).height == 0


def test_the_info_of_a_group_has_the_rank_of_the_nod(nods):
    info = slit_info(nods)
    assert info["y_index"].to_list() == [2, 3, 1]
    assert info.select("xstart", "ystart", "ny", "nx").row(0) == (301, 701, 25, 60)


DATA = Path(__file__).parents[1] / "data"


def test_files_of_many_slits_and_of_fixed_slits_go_all_the_way(made):
    for one in read_slitlets(DATA / "jw09999001001_02101_00002_nrs1_cal.fits.gz"):
        arrays = prepare_slitlets(
            [one], tables=made.tables(), params=PrepareParams(undo_barshadow=0, fix_prism_norm=False)
        )
        loss = 0.25 if one.source.kind == "POINT" else 0.5
        factor = one.pixel_area_sr * 1e12 * loss
        np.testing.assert_allclose(arrays.sci[arrays.mask], one.sci[arrays.mask[0]] * factor, rtol=1e-6)
        # A pixel of a shutter stuck open goes with its four neighbours; no bar of the file has less than half the light.
        assert (~arrays.mask).sum() == 5
    waves = np.linspace(0.5, 6.0, 12)
    sensitivity = SensitivityTable(wavelength=waves, sensitivity=np.full(12, 2.0), nrs1_s200a1=np.full(12, 0.9))
    tables = replace(made.tables(), sensitivity=sensitivity)
    for one in read_slitlets(DATA / "jw09999002001_02101_00001_nrs1_cal.fits.gz"):
        arrays = prepare_slitlets([one], tables=tables)
        loss = 0.25 if one.source.kind == "POINT" else 0.5
        factor = one.pixel_area_sr * 1e12 * loss * 0.9 / 2.0
        np.testing.assert_allclose(arrays.sci[arrays.mask], one.sci[arrays.mask[0]] * factor, rtol=1e-6)
        record = arrays.applied[0]
        assert (record.extended_calibration, record.fixed_slit_correction, record.bar_shadow) == (True, True, "none")
