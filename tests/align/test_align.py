"""Star fields with known errors of pointing."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

from skymere.align import AlignParams, FindParams, align
from skymere.align.matching import Positions, find_offset, match_positions
from skymere.errors import InvalidInputError
from skymere.wcs import wcs_from_cards

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


def shift_pulls(star_field, seeds, *, n_stars, shape):
    """Errors of shifts at the middle of the pairs in units of their sigmas."""
    pulls = []
    for seed in seeds:
        exposures, truth = star_field(1.8, seed, n_stars=n_stars, shape=shape)
        params = AlignParams(find=FindParams(fwhm_pix=1.8))
        for a, e, true in zip(align(exposures, params=params)[1:], exposures[1:], truth[1:], strict=True):
            middle = a.fit.map.centre + a.fit.map.shift
            x, y = e.wcs.all_world2pix(a.plane.sky((middle - a.fit.map.shift)[None]), 0).T
            turned = true.all_pix2world(np.column_stack([x, y]), 0)
            off = a.plane.of_sky(*turned.T)[0] - middle
            pulls.append(off / a.fit.shift_err)
    return np.array(pulls)


def test_errors_of_the_shifts_pass_a_pull_test(star_field):
    pulls = shift_pulls(star_field, range(100, 130), n_stars=45, shape=(300, 300))
    print(f"{pulls.size} pulls, sigma {pulls.std():.3f}")
    assert pulls.size == 180
    # Three exposures share the noise of a reference: 180 pulls tell sigma to 6 %.
    assert 0.85 < pulls.std() < 1.15


@pytest.mark.validate
def test_errors_of_the_shifts_are_right_to_a_tenth(star_field):
    pulls = shift_pulls(star_field, range(200, 320), n_stars=60, shape=(400, 400))
    print(f"{pulls.size} pulls, sigma {pulls.std():.3f}, mean {pulls.mean(axis=0).round(3)}")
    assert pulls.size == 720
    assert 0.9 < pulls.std() < 1.1


def test_the_row_of_a_solution_has_the_columns_of_the_schema(star_field):
    exposures, _ = star_field(1.8, 7)
    text = (Path(__file__).parents[2] / "schemas" / "wcs_solution-1.0.0.yaml").read_text(encoding="utf-8")
    columns = {c["name"]: c for c in yaml.safe_load(text)["tables"][0]["columns"]}
    found = align(exposures, params=AlignParams(find=FindParams(fwhm_pix=1.8)))
    for a in found:
        row = a.row()
        assert set(row) <= set(columns)
        missing = {name for name, c in columns.items() if not c["nullable"]} - set(row)
        assert missing == {"tile", "run_id"}
        back = wcs_from_cards(json.loads(row["wcs"]))
        np.testing.assert_array_equal(back.wcs.crval, a.wcs.wcs.crval)
        assert json.loads(row["params"])["fitgeom"] == "rscale"
    reference, moved = found[0].row(), found[1].row()
    assert (reference["method"], reference["parent"]) == ("header", "")
    assert (moved["method"], moved["is_active"]) == ("catalogue", True)
    # All four headers are equal: the parent of the second is what the first says.
    assert moved["parent"] == reference["solution_id"]


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


def test_an_offset_can_be_given_instead_of_looked_for(star_field):
    exposures, _ = star_field(1.8, 7)
    find = FindParams(fwhm_pix=1.8)
    found = align(exposures[:2], params=AlignParams(find=find))[1]
    given = AlignParams(find=find, use_histogram=False, offset_arcsec=found.shift_arcsec, tolerance_arcsec=0.2)
    again = align(exposures[:2], params=given)[1]
    assert np.hypot(*np.subtract(again.shift_arcsec, found.shift_arcsec)) < 1e-3
    nothing = align(exposures[:2], params=AlignParams(find=find, use_histogram=False))[1]
    assert nothing.status == "not aligned"
    assert "pairs within 0.1 arcsec" in nothing.reason


@pytest.mark.parametrize("radius", [1.0, 2.524])
def test_long_catalogues_are_compared_without_their_product(radius):
    rng = np.random.default_rng(3)
    xy = rng.uniform(0, 2000, (100_000, 2))
    first, second = (Positions(xy=p, sigma=np.full(len(p), 0.01)) for p in (xy, np.add(xy[::-1], [0.76, -0.33])))
    # The product of the lists would take 80 GB; a radius that is no whole number of bins changes nothing.
    offset = find_offset(first, second, AlignParams(search_radius_arcsec=radius))
    assert np.abs(offset - [0.76, -0.33]).max() < 1e-6
    pairs = match_positions(Positions(xy=xy + offset, sigma=first.sigma), second, radius_arcsec=0.1)
    assert len(np.unique(pairs[:, 1])) == len(pairs) > 99_000


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
