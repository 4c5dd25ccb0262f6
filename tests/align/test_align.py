"""Star fields with known errors of pointing."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from skymere.align import AlignParams, FindParams, align
from skymere.errors import InvalidInputError

from .conftest import SCALE_ARCSEC


def pointing_error(found, true, shape):
    """Offset of the middle of the field [pix] and rotation [deg] of a WCS."""
    middle = np.array([[(shape[1] - 1) / 2, (shape[0] - 1) / 2]])
    points = middle + np.array([[0, 0], [300, 0], [-300, 0], [0, 300], [0, -300]])
    there = true.all_world2pix(found.all_pix2world(points, 0), 0) - points
    turn = (there[1, 1] - there[2, 1] - there[3, 0] + there[4, 0]) / 1200
    return there[0], np.rad2deg(turn)


def part(exposure, window, name=None):
    """A window of an exposure."""
    arrays = {key: getattr(exposure, key)[window] for key in ("data", "error", "dq")}
    return replace(exposure, wcs=exposure.wcs[window], exposure_id=name or exposure.exposure_id, **arrays)


@pytest.mark.parametrize("method", ["reference", "global"])
@pytest.mark.parametrize("fwhm", [1.2, 1.6, 2.0])
def test_shifts_and_rotations_of_star_fields_are_recovered(fwhm, method, star_field):
    shifts, turns = [], []
    for seed in (1, 2):
        exposures, truth = star_field(fwhm, seed)
        params = AlignParams(method=method, find=FindParams(fwhm_pix=fwhm))
        found = align(exposures, params=params)
        assert [a.status for a in found] == ["reference", *["aligned"] * 3]
        for a, e, true in zip(found[1:], exposures[1:], truth[1:], strict=True):
            shift, turn = pointing_error(a.wcs, true, e.shape)
            shifts.append(shift)
            turns.append(turn)
            assert a.fit.n_used > 0.9 * 200 * ((700 - 16) / 700) ** 2
            # The rms of the stars after the correction of the WCS is the one that the fit reports.
            i, j = a.fit.pairs[a.fit.used].T
            xy = a.sources.select("x", "y").to_numpy()[i]
            if method == "reference":
                sky = exposures[0].wcs.all_pix2world(found[0].sources.select("x", "y").to_numpy()[j], 0)
                off = (a.wcs.all_pix2world(xy, 0) - sky) * [np.cos(np.deg2rad(2.2)), 1] * 3600
                assert np.abs(off + a.fit.residuals[a.fit.used]).max() < 1e-5
    assert np.sqrt(np.mean(np.square(shifts))) < 0.005
    assert np.abs(shifts).max() < 0.01
    assert np.abs(turns).max() < 6e-4


def test_errors_of_the_shifts_pass_a_pull_test(star_field):
    pulls = []
    for seed in range(10, 22):
        exposures, truth = star_field(1.8, seed, n_stars=60, shape=(400, 400))
        params = AlignParams(find=FindParams(fwhm_pix=1.8))
        for a, e, true in zip(align(exposures, params=params)[1:], exposures[1:], truth[1:], strict=True):
            middle = a.fit.map.centre + a.fit.map.shift
            x, y = e.wcs.all_world2pix(a.plane.sky((middle - a.fit.map.shift)[None]), 0).T
            turned = true.all_pix2world(np.column_stack([x, y]), 0)
            off = a.plane.of_sky(*turned.T)[0] - middle
            pulls.append(off / a.fit.shift_err)
    assert 0.75 < np.std(pulls) < 1.25


@pytest.mark.parametrize("fitgeom", ["shift", "rshift", "rscale", "general"])
def test_each_geometry_recovers_what_it_may_move(fitgeom, star_field):
    exposures, truth = star_field(1.8, 7)
    a = align(exposures[:2], params=AlignParams(fitgeom=fitgeom, find=FindParams(fwhm_pix=1.8)))[1]
    shift, turn = pointing_error(a.wcs, truth[1], (700, 700))
    assert np.abs(shift).max() < (0.05 if fitgeom == "shift" else 0.01)
    if fitgeom == "shift":
        assert np.array_equal(a.correction.matrix, np.eye(2))
        assert abs(turn) == pytest.approx(0.02, abs=1e-3)
    else:
        assert abs(turn) < 6e-4
    if fitgeom == "rshift":
        assert a.correction.scale == pytest.approx(1.0, abs=1e-12)


def test_given_sources_are_taken_as_they_are(star_field):
    exposures, _ = star_field(1.8, 7)
    found = align(exposures[:2], params=AlignParams(find=FindParams(fwhm_pix=1.8)))
    moved = found[1].sources.with_columns(pl.col("x") + 0.5)
    again = align(exposures[:2], sources={"e0": found[0].sources, "e1": moved})[1]
    assert again.sources.equals(moved)
    change = np.subtract(again.shift_arcsec, found[1].shift_arcsec)
    assert np.hypot(*change) == pytest.approx(0.5 * SCALE_ARCSEC, rel=1e-3)


def test_ten_stars_are_not_enough_and_leave_the_wcs_as_it_was(star_field):
    exposures, _ = star_field(1.6, 3, n_stars=10)
    before = [e.wcs.to_header_string() for e in exposures]
    found = align(exposures)
    for a, e, text in zip(found[1:], exposures[1:], before[1:], strict=True):
        assert a.status == "not aligned"
        assert a.reason
        assert a.wcs is e.wcs
        assert a.wcs.to_header_string() == text
        assert a.row()["status"] == "rejected"


def test_an_external_catalogue_defines_the_sky(star_field):
    exposures, truth = star_field(1.6, 4)
    xy = align(exposures)[0].sources.select("x", "y").to_numpy()
    ra, dec = truth[0].all_pix2world(xy, 0).T
    catalogue = pl.DataFrame({"ra": ra + 0.2 / 3600, "dec": dec, "ra_err": 0.001, "dec_err": 0.001})
    for method in ("reference", "global"):
        found = align(exposures, reference=catalogue, params=AlignParams(method=method))
        for a in found:
            assert a.is_aligned
            assert a.row()["reference"] == "catalogue"
        shift = pointing_error(found[0].wcs, truth[0], (700, 700))[0]
        expected = 0.2 * np.cos(np.deg2rad(2.2)) / SCALE_ARCSEC
        assert shift[0] == pytest.approx(-expected, abs=0.01)


def test_chips_of_a_group_move_as_one(star_field):
    exposures, truth = star_field(1.6, 5)
    halves = []
    for e in exposures:
        for k, rows in enumerate((np.s_[:350, :], np.s_[350:, :])):
            halves.append(part(e, rows, name=f"{e.exposure_id}_{k}"))
    groups = {h.exposure_id: h.exposure_id[:2] for h in halves}
    found = align(halves, groups=groups)
    for k in range(1, 4):
        low, high = found[2 * k], found[2 * k + 1]
        assert low.group == high.group == f"e{k}"
        assert np.array_equal(low.correction.matrix, high.correction.matrix)
        assert np.abs(pointing_error(low.wcs, truth[k], (700, 700))[0]).max() < 0.02


def test_a_mosaic_of_fields_needs_a_growing_reference(star_field):
    exposures, _ = star_field(1.6, 6, n_stars=400, shifts=4.0)
    left, middle, right = (
        part(e, np.s_[:, a:b]) for e, (a, b) in zip(exposures, [(0, 400), (150, 550), (300, 700)], strict=False)
    )
    alone = align([left, right, middle], params=AlignParams(min_matches=60))
    assert [a.status for a in alone] == ["reference", "not aligned", "aligned"]
    assert "60 are needed" in alone[1].reason
    grown = align([left, middle, right], params=AlignParams(min_matches=60, expand_reference=True))
    assert [a.status for a in grown] == ["reference", "aligned", "aligned"]
    sorted_out = align([left, right, middle], params=AlignParams(min_matches=60, keep_order=False))
    assert [a.status for a in sorted_out] == ["aligned", "aligned", "reference"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"reference": "nobody"}, "reference"),
        ({"reference": pl.DataFrame({"ra": [1.0]})}, "dec"),
        ({"sources": {"e0": pl.DataFrame({"x": [1.0]})}}, "'y'"),
    ],
)
def test_wrong_references_and_sources_are_named(arguments, named, star_field):
    exposures, _ = star_field(1.6, 3, n_stars=10)
    with pytest.raises(InvalidInputError, match=named):
        align(exposures, **arguments)
    with pytest.raises(InvalidInputError, match="at least one"):
        align([])
    with pytest.raises(InvalidInputError, match="more than once"):
        align([exposures[0], exposures[0]])


@pytest.mark.parametrize(
    "value",
    [
        {"fitgeom": "affine"},
        {"method": "magic"},
        {"tolerance_arcsec": 0.0},
        {"min_matches": 0},
        {"error_floor_arcsec": -1.0},
        {"huber": 0.0},
        {"offset_arcsec": (np.nan, 0.0)},
    ],
)
def test_parameters_that_are_not_allowed_are_named(value):
    with pytest.raises(InvalidInputError, match=next(iter(value))):
        AlignParams(**value)
