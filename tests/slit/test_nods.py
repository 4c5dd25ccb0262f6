"""Differences of nods."""

import dataclasses

import numpy as np
import pytest
from astropy.io import fits

from skymere.errors import InvalidInputError
from skymere.slit import NodParams, SlitFrames, compat_nods, make_diff_image

N, NY, NX = 4, 9, 30


def make_frames(seed: int = 1, **changes) -> SlitFrames:
    """Four exposures at three positions with noise of variance 2 and a sky that is the same in all."""
    rng = np.random.default_rng(seed)
    sky = rng.uniform(5, 9, (NY, NX))
    values = {
        "data": sky + rng.normal(0, np.sqrt(2.0), (N, NY, NX)),
        "variance": np.full((N, NY, NX), 2.0),
        "read_variance": np.full((N, NY, NX), 0.5),
        "mask": np.zeros((N, NY, NX), bool),
        "position": [1, 2, 3, 2],
        "wavelength": np.broadcast_to(np.linspace(1, 5, NX), (N, NY, NX)),
        "base_coeffs": [[4.0], [6.0], [2.0], [6.0]],
    }
    return SlitFrames(**(values | changes))


def test_differences_of_real_slitlets_are_those_of_msaexp_to_the_last_bit(real):
    with fits.open(real.folder / "reference" / "msaexp" / "diff_images_bare.fits.gz") as hdul:
        for position in real.frames.positions:
            made = make_diff_image(real.frames, position=position, params=compat_nods("msaexp"))
            ours = {"DIFF": made.difference, "VDIFF": made.variance, "WDIFF": made.read_variance}
            for name, values in ours.items():
                assert np.array_equal(values, hdul[name, position].data, equal_nan=True), (name, position)


def test_a_constant_sky_cancels_and_variances_of_means_are_over_the_number():
    frames = make_frames()
    sky = np.broadcast_to(frames.data[0], frames.data.shape)
    same = make_diff_image(dataclasses.replace(frames, data=sky), position=1)
    assert np.abs(same.difference).max() < 1e-14
    two = make_diff_image(frames, position=2)
    assert np.allclose(two.positive_variance, 2.0 / 2, rtol=1e-15)
    assert np.allclose(two.variance, 2.0 / 2 + 2.0 / 2, rtol=1e-15)
    one = make_diff_image(frames, position=1)
    assert np.allclose(one.variance, 2.0 + 2.0 / 3, rtol=1e-15)
    assert np.allclose(one.read_variance, 0.5 + 0.5 / 3, rtol=1e-15)
    assert one.is_negative.tolist() == [False, True, True, True]
    # 270 pixels of known variance: the scatter of the mean square is sqrt(2 / 270) = 0.09.
    pulls = one.difference / np.sqrt(one.variance)
    assert abs((pulls**2).mean() - 1) < 4 * np.sqrt(2 / pulls.size)


def test_pixels_that_are_bad_in_all_subtracted_nods_do_not_survive():
    mask = np.zeros((N, NY, NX), bool)
    mask[1:, 3, 4] = True  # bad in all exposures that are subtracted from the first
    mask[1, 5, 6] = True
    frames = make_frames(mask=mask, counted_mask=np.zeros((N, NY, NX), bool))
    right = make_diff_image(frames, position=1)
    assert np.argwhere(right.mask).tolist() == [[3, 4]]
    assert np.isnan(right.difference[3, 4])
    assert right.n_negative[5, 6] == 2
    assert np.isclose(right.negative[5, 6], frames.data[[2, 3], 5, 6].mean(), rtol=1e-15)
    assert np.isclose(right.negative_variance[5, 6], 2 * 2.0 / 4, rtol=1e-15)
    peer = make_diff_image(frames, position=1, params=compat_nods())
    assert not peer.mask.any()
    assert peer.difference[3, 4] == frames.data[0, 3, 4]
    # The sum of two is divided by three.
    assert np.isclose(peer.negative[5, 6], frames.data[[2, 3], 5, 6].sum() / 3, rtol=1e-15)


def test_without_subtraction_the_position_itself_is_left():
    frames = make_frames()
    made = make_diff_image(frames, position=3, params=NodParams(subtract=False))
    assert np.array_equal(made.difference, frames.data[2])
    assert np.array_equal(made.variance, frames.variance[2])
    assert not made.is_negative.any()
    assert not made.mask.any()


def test_pixels_that_are_not_finite_are_masked():
    data = make_frames().data.copy()
    data[0, 2, 2] = np.nan
    made = make_diff_image(make_frames(data=data), position=1)
    assert np.argwhere(made.mask).tolist() == [[2, 2]]


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: make_diff_image(make_frames(), position=7), "position: 7"),
        (lambda: make_frames(variance=np.ones((N, NY, 3))), "variance: shape"),
        (lambda: make_frames(position=[1, 2]), "position: shape"),
        (lambda: NodParams(negative_mask="none"), "negative_mask: 'none'"),
        (lambda: NodParams(negative_count="all"), "negative_count: 'all'"),
        (lambda: compat_nods("grizli"), "compat: 'grizli'"),
    ],
)
def test_bad_arguments_are_named(call, text):
    with pytest.raises(InvalidInputError, match=text):
        call()
