"""Responses of slits: normalisation, extended calibration, flat field of the shutters."""

import numpy as np
import pytest

from skymere.errors import InvalidInputError
from skymere.slit import extended_calibration, shutter_flat, slit_normalization

WAVES = np.linspace(0.6, 5.3, 414)


def test_the_normalisation_is_linear_in_the_place_of_the_shutter(made):
    random = np.random.default_rng(3)
    table = random.normal([1.0, 0.0, 0.0], [0.1, 1e-4, 1e-4], (31, 4, 3))
    waves = np.array([0.7, 2.2, 5.0, 0.5, 6.0, np.nan])
    factor = slit_normalization(waves, quadrant=3, column=200, row=70, coefficients=table, wavelengths=WAVES)
    rank = np.interp(waves[:3], WAVES, np.arange(414) / 414)
    true = 1 / made.spline(rank, table[:, 2] @ [1, 200, 70], (0, 1))
    np.testing.assert_allclose(factor[:3], true, rtol=1e-12)
    assert np.isnan(factor[3:]).all()
    with pytest.raises(InvalidInputError, match="quadrant: 5"):
        slit_normalization(waves, quadrant=5, column=1, row=1, coefficients=table, wavelengths=WAVES)


# A sensitivity that falls to both sides.
KNOTS = np.linspace(1.0, 2.0, 11)
SENSITIVITY = {"table_wavelength": KNOTS, "sensitivity": 1 - 3.9 * (KNOTS - 1.5) ** 2}


class TestExtended:
    """Flux calibration over the extended range."""

    def test_low_sensitivities_and_unknown_wavelengths_are_left_out(self):
        found = extended_calibration([0.9, 1.0, 1.3, 1.5, 2.0], **SENSITIVITY, threshold=0.1)
        np.testing.assert_allclose(found.factor[2:4], [1 / 0.844, 1.0], rtol=1e-12)
        assert np.isnan(found.factor[[0, 1, 4]]).all()
        corrections = found.detector_correction, found.fixed_slit_correction, found.quadrant_correction
        assert corrections == (False, False, 0)

    def test_detector_slit_and_quadrant_are_further_factors(self):
        more = {"nrs1_nrs2": np.full(11, 1.1), "nrs1_s200a1": np.full(11, 0.7), "quadrants": {2: np.full(11, 1.3)}}
        found = extended_calibration([1.5], **SENSITIVITY, **more, quadrant=2)
        np.testing.assert_allclose(found.factor, 1.1 * 0.7 / 1.3, rtol=1e-12)
        assert (found.detector_correction, found.fixed_slit_correction, found.quadrant_correction) == (True, True, 2)
        other = extended_calibration([1.5], **SENSITIVITY, quadrants=more["quadrants"], quadrant=4)
        assert other.quadrant_correction == 0

    def test_a_negative_threshold_corrects_the_detector_alone(self):
        found = extended_calibration([1.05, 1.5], **SENSITIVITY, nrs1_nrs2=np.full(11, 1.1), threshold=-1.0)
        np.testing.assert_allclose(found.factor, 1.1)

    def test_a_threshold_that_leaves_nothing_is_an_error(self):
        with pytest.raises(InvalidInputError, match="threshold"):
            extended_calibration([1.5], **SENSITIVITY, threshold=1.0)


def test_the_flat_field_is_a_surface_in_column_row_and_wavelength(made):
    random = np.random.default_rng(5)
    table = random.uniform(0.8, 1.2, (21, 5 * 4))
    waves = np.linspace(0.6, 5.4, 21)
    at = np.array([0.9, 3.1, 5.0, 0.5, 5.7, np.nan])
    options = {"n_x": 5, "n_y": 4, "x_limits": (0.0, 370.0), "y_limits": (0.0, 180.0)}
    flat = shutter_flat(at, column=200, row=90, table_wavelength=waves, coefficients=table, **options, smooth_scale=0.8)
    x, y = 200 * 370 / 369, 90 * 180 / 179
    # Splines of the column for each spline of the row, then of the row.
    rows = np.array([[made.spline(x, some, (0, 370)) for some in one.reshape(4, 5)] for one in table])
    nodes = np.array([made.spline(y, one, (0, 180)) for one in rows])
    nodes = (nodes - 1) * (1 - 0.8 * np.exp(-((waves - 3.1) ** 2) / 2 / 0.7**2)) + 1
    true = made.spline(np.interp(at[:3], waves, np.linspace(0, 1, 21)), nodes, (0, 1))
    np.testing.assert_allclose(flat[:3], true, rtol=1e-12)
    assert np.isnan(flat[3:]).all()
    with pytest.raises(InvalidInputError, match="column: 370"):
        shutter_flat(at, column=370, row=90, table_wavelength=waves, coefficients=table, **options)
