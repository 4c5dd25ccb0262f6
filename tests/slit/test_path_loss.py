"""Path loss that the pipeline corrected for, and pixel areas."""

import numpy as np
import pytest

from skymere.errors import InvalidInputError
from skymere.slit import flux_factor, path_loss_factor

POINT, UNIFORM = np.full((2, 3), 0.25, np.float32), np.full((2, 3), 0.5, np.float32)


@pytest.mark.parametrize(
    ("kind", "every", "removed", "factor"),
    [
        ("POINT", False, "PATHLOSS_PS", 0.25),
        ("point ", False, "PATHLOSS_PS", 0.25),
        ("", False, "PATHLOSS_UN", 0.5),
        ("EXTENDED", False, "PATHLOSS_UN", 0.5),
        ("EXTENDED", True, "PATHLOSS_PS", 0.25),
        ("", True, "PATHLOSS_UN", 0.5),
    ],
)
def test_the_correction_that_the_pipeline_made_is_taken_back(kind, every, removed, factor):
    loss = path_loss_factor((2, 3), point=POINT, uniform=UNIFORM, kind=kind, every_kind_is_point=every)
    assert (loss.removed, loss.applied) == (removed, "")
    np.testing.assert_array_equal(loss.factor, np.float32(factor))


def test_a_point_source_can_be_corrected_for_afterwards():
    loss = path_loss_factor((2, 3), point=POINT, uniform=UNIFORM, kind="", then_point=True)
    assert (loss.removed, loss.applied) == ("PATHLOSS_UN", "PATHLOSS_PS")
    np.testing.assert_array_equal(loss.factor, np.float32(2.0))


def test_without_arrays_nothing_is_done_and_that_is_said():
    loss = path_loss_factor((2, 3), point=None, uniform=None, kind="POINT", then_point=True)
    assert (loss.removed, loss.applied) == ("", "")
    np.testing.assert_array_equal(loss.factor, np.float32(1.0))


def test_unknown_transmissions_are_unknown_and_other_shapes_are_errors():
    holes = POINT.copy()
    holes[0, 0], holes[0, 1] = np.nan, 0.0
    loss = path_loss_factor((2, 3), point=holes, uniform=UNIFORM, kind="", then_point=True)
    assert np.isnan(loss.factor[0, :2]).all()
    assert np.isfinite(loss.factor[1]).all()
    with pytest.raises(InvalidInputError, match="PATHLOSS_UN"):
        path_loss_factor((2, 2), point=None, uniform=UNIFORM, kind="")


def test_a_pixel_of_a_picosteradian_with_one_mjy_per_steradian_has_one_microjansky():
    assert flux_factor(1e-12) == pytest.approx(1.0)
    with pytest.raises(InvalidInputError, match="pixel_area_sr"):
        flux_factor(0.0)
