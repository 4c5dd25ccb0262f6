"""Which sources take part in an alignment."""

import numpy as np
import polars as pl
import pytest

from skymere.align import AlignParams, FindParams, align, exclude_sources, select_sources
from skymere.errors import InvalidInputError

GRID = pl.DataFrame({"x": [float(i % 10) for i in range(100)], "y": [float(i // 10) for i in range(100)]})


def square(low, high):
    return [(low, low), (high, low), (high, high), (low, high)]


def left_of(regions):
    kept = exclude_sources(GRID, regions).select("x", "y").to_numpy()
    return {(int(x), int(y)) for x, y in kept}


def test_a_later_region_overrules_an_earlier_one():
    everything = {(x, y) for x in range(10) for y in range(10)}
    inner = {(x, y) for x in range(4, 6) for y in range(4, 6)}
    outer = {(x, y) for x in range(2, 8) for y in range(2, 8)}
    big, small = square(1.5, 7.5), square(3.5, 5.5)
    assert left_of([]) == everything
    assert left_of([("exclude", big)]) == everything - outer
    assert left_of([("include", big)]) == outer
    assert left_of([("include", big), ("exclude", small)]) == outer - inner
    assert left_of([("exclude", small), ("include", big)]) == everything
    assert left_of([("exclude", big), ("include", small)]) == everything - outer | inner


def test_polygons_may_be_concave_and_masks_are_images():
    horseshoe = [(-1, -1), (10, -1), (10, 10), (7.5, 10), (7.5, 1.5), (2.5, 1.5), (2.5, 10), (-1, 10)]
    assert left_of([("exclude", horseshoe)]) == {(x, y) for x in range(3, 8) for y in range(2, 10)}
    mask = np.zeros((10, 5), bool)
    mask[:, :3] = True
    assert left_of(mask) == {(x, y) for x in range(3, 10) for y in range(10)}


def test_excluded_sources_take_no_part_and_the_image_stays(star_field):
    exposures, _ = star_field(1.8, 7)
    params = AlignParams(find=FindParams(fwhm_pix=1.8))
    before = exposures[1].data.copy()
    corner = [("exclude", [(-1, -1), (350, -1), (350, 701), (-1, 701)])]
    found = align(exposures[:2], exclusions={"e1": corner}, params=params)[1]
    whole = align(exposures[:2], params=params)[1]
    assert found.sources["x"].min() > 350
    assert 0.3 < found.fit.n_used / whole.fit.n_used < 0.7
    assert np.array_equal(exposures[1].data, before)
    assert np.hypot(*np.subtract(found.shift_arcsec, whole.shift_arcsec)) < 0.1


def test_windows_of_flux_and_the_brightest_choose_from_any_catalogue():
    table = pl.DataFrame({"mag": [20.0, 18.0, 22.0, float("nan"), 19.0], "number": [0, 1, 2, 3, 4]})
    within = select_sources(table, column="mag", limits=(18.5, 22.0), is_magnitude=True)
    assert within["number"].to_list() == [0, 2, 4]
    brightest = select_sources(table, column="mag", n_brightest=2, is_magnitude=True)
    assert brightest["number"].to_list() == [1, 4]
    assert select_sources(table, column="mag", n_brightest=1)["number"].to_list() == [2]


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: exclude_sources(GRID, [("remove", square(0, 1))]), "remove"),
        (lambda: exclude_sources(GRID, [("exclude", [(0, 0), (1, 1)])]), "polygon"),
        (lambda: exclude_sources(GRID, np.zeros(5, bool)), "mask"),
        (lambda: select_sources(GRID), "flux"),
        (lambda: select_sources(GRID, column="x", limits=(2.0, 1.0)), "limits"),
        (lambda: select_sources(GRID, column="x", n_brightest=0), "n_brightest"),
    ],
)
def test_what_is_not_allowed_is_named(call, named):
    with pytest.raises(InvalidInputError, match=named):
        call()
