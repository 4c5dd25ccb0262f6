"""Bad pixels: every rule by itself, growth, several exposures."""

import numpy as np
import pytest
from scipy import ndimage

from skymere.errors import InvalidInputError
from skymere.instruments import JWST, NIRSPEC_BAD_BITS
from skymere.slit import (
    SLIT_FLAG_BITS,
    BadPixelParams,
    bad_bits,
    extra_bad_pixels,
    find_bad_pixels,
    grow_mask,
    multiple_exposure_mask,
)

SHAPE = (2, 20, 30)


def planes(sigma=1.0, level=2.0, seed=1):
    random = np.random.default_rng(seed)
    half = np.full(SHAPE, sigma**2 / 2, np.float32)
    return {
        "sci": random.normal(level, sigma / 10, SHAPE).astype(np.float32),
        "var_rnoise": half,
        "var_poisson": half.copy(),
        "dq": np.zeros(SHAPE, np.uint32),
        "wavelength": np.broadcast_to(1 + 0.1 * np.arange(30.0), SHAPE).copy(),
    }


def reasons(found, *at):
    return {name for name, bit in SLIT_FLAG_BITS.items() if found.flags[at] & bit}


def test_clean_data_have_no_bad_pixel():
    found = find_bad_pixels(**planes())
    assert not found.mask.any()
    assert found.n_flagged == {}


def test_the_bits_that_count_are_those_of_msaexp():
    # BAD_PIXEL_FLAG of msaexp 0.9.19.
    assert bad_bits(NIRSPEC_BAD_BITS) == 738200579
    with pytest.raises(InvalidInputError, match="warmish"):
        BadPixelParams(bad_dq=("warmish",))


@pytest.mark.parametrize("name", ["hot", "warm", "dead", "outlier", "jump_det", "msa_failed_open", "saturated"])
def test_only_bad_bits_make_a_pixel_bad(name):
    data = planes()
    data["dq"][0, 5, 6] = JWST[name] | JWST["persistence"]
    found = find_bad_pixels(**data, params=BadPixelParams(dilate_failed_open=0))
    assert found.mask.sum() == (name in NIRSPEC_BAD_BITS)
    assert found.n_flagged == ({"dq": 1} if name in NIRSPEC_BAD_BITS else {})


@pytest.mark.parametrize("n_steps", [0, 1, 2, 5])
def test_shutters_stuck_open_grow_by_as_many_steps_as_asked(n_steps):
    data = planes()
    data["dq"][1, 10, 12] = JWST["msa_failed_open"]
    found = find_bad_pixels(**data, params=BadPixelParams(dilate_failed_open=n_steps))
    rows, columns = np.indices(SHAPE[1:])
    np.testing.assert_array_equal(found.mask[1], np.abs(rows - 10) + np.abs(columns - 12) <= n_steps)
    assert not found.mask[0].any()


def test_growth_is_that_of_scipy():
    mask = np.random.default_rng(2).random((3, 15, 18)) > 0.95
    for n in (1, 3):
        true = [ndimage.binary_dilation(one, iterations=n) for one in mask]
        np.testing.assert_array_equal(grow_mask(mask, n_steps=n), true)
    with pytest.raises(InvalidInputError, match="n_steps"):
        grow_mask(mask, n_steps=-1)


def test_zeros_and_nan_are_no_data():
    data = planes()
    data["sci"][0, 3, 4], data["sci"][1, 3, 4] = 0.0, np.nan
    found = find_bad_pixels(**data)
    assert found.n_flagged == {"no_data": 2}


def test_prism_pixels_have_an_upper_limit_and_a_lower_one_of_their_own_noise():
    data = planes()
    data["sci"][0, 1, 1], data["sci"][0, 2, 2] = 20000.0, -3.2
    found = find_bad_pixels(**data)
    assert reasons(found, 0, 1, 1) == {"too_bright"}
    assert reasons(found, 0, 2, 2) == {"too_negative"}
    assert not find_bad_pixels(**data, params=BadPixelParams(is_prism=False)).mask.any()
    bright = data | {"sci": data["sci"] + 50000}
    assert "too_bright" not in find_bad_pixels(**bright).n_flagged


def test_negative_and_noisy_pixels_are_bad_in_every_grating():
    data = planes()
    data["sci"][1, 4, 4] = -5.1
    data["var_rnoise"][1, 6, 6] = 6.0
    found = find_bad_pixels(**data, params=BadPixelParams(is_prism=False))
    assert found.n_flagged == {"too_negative": 1, "noisy": 1}
    assert reasons(found, 1, 4, 4) == {"too_negative"}
    assert reasons(found, 1, 6, 6) == {"noisy"}


def test_the_border_of_the_slit_is_left_out():
    data = planes()
    data["wavelength"][:, :4] = np.nan
    found = find_bad_pixels(**data, params=BadPixelParams(pad_border=2))
    assert found.mask[:, :6].all()
    assert not found.mask[:, 6:].any()
    assert find_bad_pixels(**data, params=BadPixelParams(pad_border=0)).n_flagged == {}


def test_what_is_known_to_be_bad_is_flagged_with_its_reason_and_does_not_enter_the_limits():
    data = planes()
    known = np.zeros(SHAPE, bool)
    known[:, :, :15] = True
    data["var_rnoise"][:, :, :15] = 1e6
    data["var_rnoise"][0, 0, 20] = 20.0
    found = find_bad_pixels(**data, known={"hot_pixel": known})
    assert found.n_flagged["hot_pixel"] == known.sum()
    assert "noisy" in reasons(found, 0, 0, 20)
    with pytest.raises(InvalidInputError, match="'cold'"):
        find_bad_pixels(**data, known={"cold": known})


def test_all_bits_set_leaves_nothing_and_invents_nothing():
    data = planes()
    data["dq"][:] = 0xFFFFFFFF
    found = find_bad_pixels(**data)
    assert found.mask.all()
    assert found.n_flagged == {"dq": found.mask.size}


def test_arrays_of_other_shapes_are_errors():
    data = planes()
    with pytest.raises(InvalidInputError, match="dq"):
        find_bad_pixels(**(data | {"dq": data["dq"][:1]}))
    with pytest.raises(InvalidInputError, match="sci"):
        find_bad_pixels(**(data | {"sci": data["sci"][0]}))


def test_a_table_of_bad_pixels_is_cut_where_the_slit_is_and_the_edge_is_bad():
    frame = np.zeros((2048, 2048), np.uint32)
    frame[702, 2030] = 2
    bad = extra_bad_pixels(frame, x0=2020, y0=700, shape=(5, 28))
    expected = np.zeros((5, 28), bool)
    expected[2, 10], expected[:, 19:] = True, True
    np.testing.assert_array_equal(bad, expected)
    assert extra_bad_pixels(frame, x0=2020, y0=700, shape=(5, 28), mask_edges=False).sum() == 1
    with pytest.raises(InvalidInputError, match="inside the detector"):
        extra_bad_pixels(frame, x0=2020, y0=700, shape=(5, 29))


def test_a_pixel_bad_in_two_of_three_exposures_is_bad_in_all_and_one_bad_in_all_needs_no_mask():
    bad = np.zeros((3, 1, 4), bool)
    for column, n in enumerate(range(4)):
        bad[:n, 0, column] = True
    assert multiple_exposure_mask(bad)[0].tolist() == [False, False, True, False]
    six = np.zeros((6, 1, 7), bool)
    for n in range(7):
        six[:n, 0, n] = True
    assert multiple_exposure_mask(six)[0].tolist() == [False] * 4 + [True, True, False]
    assert not multiple_exposure_mask(bad[:2]).any()
