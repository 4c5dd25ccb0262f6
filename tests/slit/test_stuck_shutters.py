"""Shutters that let no light through."""

import numpy as np
import pytest

from skymere.errors import InvalidInputError
from skymere.slit import find_stuck_shutters, shutter_mask

SHAPE = (3, 25, 60)
PLACES = np.broadcast_to((np.arange(25.0)[:, None] - 12) / 5, SHAPE).copy()


def arrays(levels, seed=1):
    """Return data with a level of light in each of the shutters -1, 0, 1."""
    random = np.random.default_rng(seed)
    sci = random.normal(0, 1, SHAPE)
    for name, level in zip((-1, 0, 1), levels, strict=True):
        sci[np.round(PLACES) == name] += level
    valid = np.abs(PLACES) < 1.5
    return sci, np.ones(SHAPE), np.ones(SHAPE), PLACES, valid


@pytest.mark.parametrize("blank", [-1, 0, 1])
def test_a_blank_shutter_of_three_is_the_only_one_listed(blank):
    found = find_stuck_shutters(*arrays([0 if name == blank else 5 for name in (-1, 0, 1)]))
    assert found.stuck == (blank,)
    assert found.names == (-1, 0, 1)
    np.testing.assert_allclose(found.sn, [0 if name == blank else 5 for name in (-1, 0, 1)], atol=0.1)
    assert found.n_pixels.tolist() == [900, 900, 900]


@pytest.mark.parametrize("seed", range(20))
def test_a_sky_without_light_masks_no_more_than_noise_may(seed):
    # Three medians of noise of 0.04 sigma each: the best is above 0 or none is stuck, and never all.
    found = find_stuck_shutters(*arrays([0, 0, 0], seed))
    assert len(found.stuck) < 3


def test_equal_shutters_and_a_bright_source_in_one_are_not_stuck():
    assert find_stuck_shutters(*arrays([5, 5, 5])).stuck == ()
    assert find_stuck_shutters(*arrays([5, 12, 5])).stuck == ()
    assert find_stuck_shutters(*arrays([5, 12, 5]), threshold=0.5).stuck == (-1, 1)


def test_a_single_shutter_is_stuck_when_it_has_no_light():
    sci, variance, bar, places, valid = arrays([0, 0, 0])
    valid &= np.abs(places) < 0.5
    assert find_stuck_shutters(sci, variance, bar, places, valid).stuck == (0,)
    assert find_stuck_shutters(sci + 1, variance, bar, places, valid).stuck == ()


def test_dark_and_bad_pixels_do_not_count_and_a_corner_of_a_shutter_is_not_judged():
    sci, variance, bar, places, valid = arrays([0, 5, 5])
    valid &= ~((np.round(places) == -1) & (np.arange(60) > 20))
    assert find_stuck_shutters(sci, variance, bar, places, valid).stuck == ()
    bar[np.round(places) == -1] = 0.5
    assert find_stuck_shutters(sci, variance, bar, places, valid).names == (0, 1)
    nothing = find_stuck_shutters(sci, variance, bar, places, np.zeros(SHAPE, bool))
    assert (nothing.names, nothing.stuck) == ((), ())


def test_a_listed_shutter_has_no_valid_pixel_left():
    mask = shutter_mask(PLACES, (1, -1))
    np.testing.assert_array_equal(mask, np.abs(np.abs(PLACES) - 1) < 0.6)
    assert not shutter_mask(PLACES, ()).any()


def test_arrays_of_other_shapes_and_thresholds_are_errors():
    sci, variance, bar, places, valid = arrays([5, 5, 5])
    with pytest.raises(InvalidInputError, match="valid"):
        find_stuck_shutters(sci, variance, bar, places, valid[:1])
    with pytest.raises(InvalidInputError, match="threshold"):
        find_stuck_shutters(sci, variance, bar, places, valid, threshold=0.0)
