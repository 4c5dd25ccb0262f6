"""Shadows of the bars: tables with and without wavelength, of one to many shutters."""

import numpy as np
import pytest

from skymere.errors import InvalidInputError, NoDataError
from skymere.slit import bar_shutter_offset, bar_table_number, bar_throughput, shutter_is_outside


def as_arguments(table):
    return {"coefficients": table.coefficients, "limits": table.limits, "wavelengths": table.wavelengths}


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_table_without_wavelength_is_scipy_s_spline(made, n):
    table = made.bar_table(n)
    places = np.linspace(*table.limits, 101).reshape(1, 101)
    shadow = bar_throughput(places, **as_arguments(table))
    assert not shadow.is_wrapped
    np.testing.assert_allclose(shadow.bar, made.spline(places, table.coefficients, table.limits), atol=1e-13)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_table_with_wavelength_is_linear_between_its_wavelengths_and_constant_beyond(made, n):
    table = made.bar_table(n, waves=[1.0, 3.0])
    places = np.full((1, 4), 0.2)
    waves = np.array([[0.3, 1.5, 3.0, 8.0]])
    bar = bar_throughput(places, waves, **as_arguments(table)).bar[0]
    low, high = (made.spline(0.2, column, table.limits) for column in table.coefficients.T)
    np.testing.assert_allclose(bar, [low, 0.75 * low + 0.25 * high, high, high], atol=1e-13)
    with pytest.raises(InvalidInputError, match="wavelength"):
        bar_throughput(places, **as_arguments(table))


def test_long_slitlets_repeat_the_middle_shutter_and_short_ones_end(made):
    table = made.bar_table(3)
    places = np.linspace(-2.4, 2.4, 97)
    wrapped = bar_throughput(places, **as_arguments(table))
    assert wrapped.is_wrapped
    assert shutter_is_outside(places, table.limits)
    inner = bar_throughput((places + 0.5) % 1 - 0.5, **as_arguments(table), wrap="no")
    np.testing.assert_array_equal(wrapped.bar, inner.bar)
    assert np.isfinite(wrapped.bar).all()
    ended = bar_throughput(places, **as_arguments(table), wrap="no")
    np.testing.assert_array_equal(np.isfinite(ended.bar), np.abs(places) <= 1.6)
    # One side alone is enough, the upper as well as the lower.
    assert bar_throughput(np.array([0.0, 2.2]), **as_arguments(table)).is_wrapped
    assert bar_throughput(np.array([-2.2, 0.0]), **as_arguments(table)).is_wrapped
    with pytest.raises(InvalidInputError, match="wrap"):
        bar_throughput(places, **as_arguments(table), wrap="maybe")


def test_unknown_places_have_an_unknown_shadow(made):
    bar = bar_throughput(np.array([0.1, np.nan]), **as_arguments(made.bar_table(3))).bar
    assert np.isfinite(bar[0])
    assert np.isnan(bar[1])


def test_every_number_of_shutters_has_its_table():
    assert [bar_table_number(n) for n in (1, 2, 3)] == [(1, "auto"), (2, "auto"), (3, "auto")]
    assert [bar_table_number(n) for n in (4, 5)] == [(3, "yes")] * 2
    assert bar_table_number(0) == (3, "no")


@pytest.mark.parametrize("threshold", [None, 0.8])
@pytest.mark.parametrize(
    ("n", "first", "expected"), [(3, -1, 0), (3, 0, -1), (3, -2, 1), (2, 0, 0), (2, -1, 1), (1, 0, 0), (1, 2, -2)]
)
def test_the_coordinate_begins_where_the_table_does(n, first, expected, threshold):
    lit = np.concatenate([np.full(100, shutter) for shutter in range(first, first + n)])
    few = np.full(79, first - 1)
    places = np.concatenate([lit, few, [np.nan]])
    assert bar_shutter_offset(places, n_shutters=n, threshold=threshold) == expected


def test_a_shutter_with_many_bad_pixels_does_not_move_the_slit():
    places = np.repeat([-2, -1, 0, 1, 2], [20, 60, 100, 90, 30])
    assert bar_shutter_offset(places, n_shutters=3) == 0
    # The lowest shutter with more than 0.8 of the pixels is that in the middle.
    assert bar_shutter_offset(places, n_shutters=3, threshold=0.8) == -1
    # One of three without any pixel: the slit is as near to the middle as the others allow.
    assert bar_shutter_offset(np.repeat([0, 1], 50), n_shutters=3) == 0


def test_nothing_lit_is_an_error():
    with pytest.raises(NoDataError, match="no valid pixel"):
        bar_shutter_offset([np.nan], n_shutters=3)
