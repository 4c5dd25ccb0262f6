"""Single bright pixels, pluses around bad ones, and what is neither."""

from dataclasses import replace

import numpy as np
import pytest

from skymere.errors import InvalidInputError
from skymere.instruments import JWST
from skymere.slit import HotPixelParams, find_hot_pixels


def frame_of(level=0.0):
    random = np.random.default_rng(4)
    return {
        "sci": random.normal(level, 1, (30, 40)).astype(np.float32),
        "error": np.ones((30, 40), np.float32),
        "var_rnoise": np.ones((30, 40), np.float32),
        "dq": np.zeros((30, 40), np.uint32),
    }


def test_a_single_bright_pixel_is_hot_and_goes_with_its_neighbours():
    frame = frame_of()
    frame["sci"][10, 12] = 100
    found = find_hot_pixels(**frame)
    rows, columns = np.indices((30, 40))
    np.testing.assert_array_equal(found.hot, np.abs(rows - 10) + np.abs(columns - 12) <= 1)
    assert found.n_found == 1
    assert not found.warm.any()


def test_a_source_and_an_emission_line_are_not_hot():
    frame = frame_of()
    rows, columns = np.indices((30, 40))
    frame["sci"] += (200 * np.exp(-((rows - 15) ** 2 + (columns - 20) ** 2) / 2)).astype(np.float32)
    found = find_hot_pixels(**frame)
    assert found.n_found == 0


def test_a_plus_around_a_bad_pixel_is_warm():
    frame = frame_of()
    frame["dq"][8, 9] = JWST["hot"]
    for y, x in ((7, 9), (9, 9), (8, 8), (8, 10)):
        frame["sci"][y, x] = 100
    found = find_hot_pixels(**frame)
    assert found.warm[[7, 9, 8, 8], [9, 9, 8, 10]].all()
    assert not found.hot.any()


def test_too_many_are_refused_and_that_is_said():
    frame = frame_of()
    frame["sci"][2:28:4, 2:38:4] = 100
    found = find_hot_pixels(**frame, params=HotPixelParams(max_flagged=20))
    assert found.is_refused
    assert found.n_found > 20
    assert not found.hot.any()
    assert find_hot_pixels(**frame).hot.any()


def test_a_frame_without_good_pixels_has_none():
    frame = frame_of()
    frame["dq"][:] = 1
    assert find_hot_pixels(**frame).n_found == 0


def test_limits_must_be_positive():
    with pytest.raises(InvalidInputError, match="peak_ratio"):
        replace(HotPixelParams(), peak_ratio=0)
