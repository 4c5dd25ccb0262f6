"""Traces, dispersion and shutter coordinates."""

import numpy as np
import pytest

from skymere.errors import InvalidInputError, NoDataError
from skymere.slit import (
    dispersion,
    fit_traces,
    nod_index,
    relative_nod_offsets,
    shift_wavelength,
    shifted_traces,
    shutter_coordinate,
    slit_trace,
    trace_distance,
)


def curved(shape=(20, 30), flip=False):
    """Coordinates along the slit with a curved trace, its true row, and a wavelength that depends on both."""
    rows, columns = np.indices(shape, dtype=float)
    true = 9.3 + 0.001 * (columns[0] - 12) ** 2
    slit_y = (rows - true) * (-0.2 if flip else 0.2)
    slit_y[np.abs(slit_y) > 1.5] = np.nan
    return slit_y, true, 1 + 0.1 * columns + 0.01 * rows


@pytest.mark.parametrize("flip", [False, True])
def test_a_trace_is_where_the_slit_coordinate_is_zero_whichever_way_it_runs(flip):
    slit_y, true, wavelength = curved(flip=flip)
    trace = slit_trace(slit_y, wavelength)
    np.testing.assert_allclose(trace.y, true, atol=1e-12)
    np.testing.assert_allclose(trace.wavelength, 1 + 0.1 * np.arange(30) + 0.01 * true, atol=1e-12)


@pytest.mark.parametrize("center", [-2.0, -1.03, 0.0, 0.37, 1.4, 5.0])
def test_traces_are_those_of_numpy_s_interpolation_bit_for_bit(center):
    slit_y, _, wavelength = curved()
    trace = slit_trace(slit_y, wavelength, center=center)
    for column in range(30):
        known = np.isfinite(slit_y[:, column])
        assert trace.y[column] == np.interp(center, slit_y[known, column], np.flatnonzero(known))
        assert trace.wavelength[column] == np.interp(center, slit_y[known, column], wavelength[known, column])


def test_columns_without_the_slit_have_no_trace_and_a_cutout_without_it_is_an_error():
    slit_y, _, wavelength = curved()
    slit_y[:, 4] = np.nan
    trace = slit_trace(slit_y, wavelength)
    assert np.flatnonzero(~np.isfinite(trace.y)).tolist() == [4]
    with pytest.raises(NoDataError, match="slit_y"):
        slit_trace(np.full((3, 3), np.nan), np.ones((3, 3)))


def test_the_fit_gives_a_parabola_back_and_the_distance_from_it_is_zero_on_it():
    columns = np.arange(300.0)
    true = 12 + 0.4 * (columns - 150) / 300 + 2.3 * ((columns - 150) / 300) ** 2
    rows = np.stack([true, true + 5.1, true - 5.1])
    rows[1, 17] = np.nan
    coefficients = fit_traces(columns, rows)
    np.testing.assert_allclose(coefficients[0], [2.3, 0.4, 12.0], atol=1e-6)
    np.testing.assert_allclose(relative_nod_offsets(coefficients), [0, 5.1, -5.1], atol=1e-9)
    pixels = np.indices((25, 300), dtype=float)[0]
    np.testing.assert_allclose(
        trace_distance(pixels, columns, coefficients[0], [0.25]), pixels - true - 0.25, atol=1e-9
    )
    with pytest.raises(NoDataError, match="exposure 0"):
        fit_traces(np.arange(4.0), np.full((1, 4), np.nan))


def test_dispersion_of_a_grating_and_of_a_prism():
    columns = np.broadcast_to(np.arange(50.0), (3, 50))
    np.testing.assert_allclose(dispersion(0.6 + 0.01 * columns), 0.01)
    np.testing.assert_allclose(dispersion(0.6 + 1e-4 * columns**2)[:, 1:-1], 2e-4 * columns[:, 1:-1], atol=1e-12)


def test_dithers_move_traces_and_the_reference_stays():
    rows = np.stack([np.full(4, 10.0), np.full(4, 11.0), np.full(4, 12.0)])
    moved = shifted_traces(rows, [0.0, 0.53, -0.53], pixel_scale_arcsec=0.1, reference=1)
    np.testing.assert_allclose(moved[:, 0], [5.7, 11.0, 0.4])
    sky = shifted_traces(rows, [0.0, 0.53, -0.53], pixel_scale_arcsec=0.1, has_source=False)
    np.testing.assert_allclose(sky[:, 0], [10.0, 16.3, 6.7])
    two = shifted_traces(rows[:2], [0.0, 0.5], pixel_scale_arcsec=0.1, has_source=False)
    np.testing.assert_allclose(two[:, 0], [7.5, 13.5])
    for wrong in ({"pixel_scale_arcsec": 0.0}, {"pixel_scale_arcsec": 0.1, "reference": 3}):
        with pytest.raises(InvalidInputError, match="is not allowed"):
            shifted_traces(rows, [0.0, 1.0, 2.0], **wrong)


def test_nods_are_numbered_along_the_slit_and_rounded_dithers_are_one_nod():
    assert nod_index([11.8168, 12.3458, 11.2878, 11.79]).tolist() == [2, 3, 1, 2]
    assert relative_nod_offsets([[0.1, 4.0]]).tolist() == [0.0]


def test_shutter_centres_are_integers_and_an_offset_moves_them():
    slit_y = np.array([-1.0, 0.0, 1.0]) * 5 * 0.23
    np.testing.assert_allclose(shutter_coordinate(slit_y, shutter_scale=0.23), [-1, 0, 1], atol=1e-14)
    np.testing.assert_allclose(shutter_coordinate(slit_y, shutter_scale=0.23, offset=0.5)[1], 0.1)
    with pytest.raises(InvalidInputError, match="shutter_scale"):
        shutter_coordinate(slit_y, shutter_scale=-1.0)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_source_beside_the_middle_shifts_wavelengths_by_a_stated_number_of_pixels(sign):
    wavelength, step = 1 + 0.05 * np.arange(40), np.full(40, 0.05)
    # 2 pixels for a slit width, so 0.4 for a fifth of it; whichever sign the slope has.
    shifted, pixels = shift_wavelength(wavelength, sign * np.full(40, 0.1), step, x_position=0.2)
    assert pixels == pytest.approx(0.4)
    np.testing.assert_allclose(shifted - wavelength, 0.02)
    other, pixels = shift_wavelength(wavelength, np.full(40, 0.1), step, x_position=-0.2)
    assert pixels == pytest.approx(-0.4)
    np.testing.assert_allclose(other - wavelength, -0.02)
    with pytest.raises(InvalidInputError, match="x_position"):
        shift_wavelength(wavelength, step, step, x_position=np.nan)
