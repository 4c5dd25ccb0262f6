import numpy as np
import pytest

from skymere import get_num_threads, set_num_threads
from skymere.errors import InvalidInputError
from skymere.resample import BlotParams, Drizzler, blot

INTERPOLATIONS = ("nearest", "linear", "poly3", "poly5")
ORDER = {"nearest": 0, "linear": 1, "poly3": 3, "poly5": 5}


def polynomial(x, y, order):
    x, y = x / 10 - 1, y / 10 - 1
    return 1.0 + sum((0.3 * x**k - 0.2 * y**k + 0.1 * x**k * y**order) for k in range(order + 1))


def image(order, shape=(24, 31)):
    y, x = np.indices(shape, dtype=float)
    return polynomial(x, y, order).astype(np.float32)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_each_interpolation_is_exact_for_polynomials_of_its_order(interpolation):
    rng = np.random.default_rng(1)
    order = ORDER[interpolation]
    positions = rng.uniform([3, 3], [27, 20], (50, 40, 2))
    found = blot(image(order), positions, params=BlotParams(interpolation=interpolation))
    assert found.dtype == np.float32
    x, y = positions[..., 0], positions[..., 1]
    if order == 0:
        x, y = np.floor(x + 0.5), np.floor(y + 0.5)
    assert np.abs(found / polynomial(x, y, order) - 1).max() < 5e-6


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_pixel_centres_give_the_pixels_up_to_the_border(interpolation):
    data = np.random.default_rng(2).normal(size=(9, 8)).astype(np.float32)
    y, x = np.indices(data.shape, dtype=float)
    found = blot(data, np.stack([x, y], axis=-1), params=BlotParams(interpolation=interpolation))
    assert np.allclose(found, data, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_beside_a_nan_and_at_the_border_the_order_falls_and_beyond_it_is_the_fill_value(interpolation):
    data = image(1)
    data[10, 12] = np.nan
    params = BlotParams(interpolation=interpolation, fillval=-5.0)

    def at(x, y):
        return float(blot(data, np.array([[[x, y]]]), params=params)[0, 0])

    for x, y in ((12.2, 10.3), (-0.51, 4.0), (30.51, 4.0), (4.0, 23.51), (4.0, -0.51), (np.nan, 4.0), (4.0, np.inf)):
        assert at(x, y) == -5.0
    for x, y in ((0.3, 0.3), (29.7, 22.8), (15.2, 10.3), (13.3, 10.0), (12.0, 11.4)):
        sample = polynomial(x, y, 1) if interpolation != "nearest" else data[round(y), round(x)]
        assert at(x, y) == pytest.approx(sample, rel=1e-5)
    assert at(12.7, 10.0) == data[10, 13]
    assert at(-0.4, -0.4) == data[0, 0]
    assert at(30.4, 23.4) == data[23, 30]


def windowed_sinc(name, distance, sinscl):
    """Weights of pixels at these distances along one axis, not yet divided by their sum."""
    if name == "sinc":
        nearest = np.abs(distance).argmin(axis=-1, keepdims=True)
        shift = np.take_along_axis(distance, nearest, -1)
        number = np.round(distance - shift)
        fall = np.where(np.abs(number) < 8, np.cos(np.pi / 2 * number / 7) ** 2, 0.0)
        return np.where(np.abs(number) <= 7, fall, 0.0) * np.sinc(number + sinscl * shift)
    order = int(name[-1])
    return np.where(np.abs(distance) < order, np.sinc(distance) * np.sinc(distance / order), 0.0)


@pytest.mark.parametrize(("name", "sinscl"), [("lanczos3", 1.0), ("lanczos5", 1.0), ("sinc", 1.0), ("sinc", 0.7)])
def test_windowed_sincs_are_sums_over_the_pixels_around(name, sinscl):
    rng = np.random.default_rng(4)
    data = rng.normal(10, 1, (40, 45)).astype(np.float32)
    positions = rng.uniform([8, 8], [36, 31], (30, 20, 2))
    positions[0, 0] = [20.0, 20.0]
    found = blot(data, positions, params=BlotParams(interpolation=name, sinscl=sinscl))
    x = windowed_sinc(name, np.arange(45) - positions[..., :1], sinscl)
    y = windowed_sinc(name, np.arange(40) - positions[..., 1:], sinscl)
    sums = np.einsum("abj,abi,ji->ab", y, x, data.astype(float))
    assert np.abs(found - sums / x.sum(-1) / y.sum(-1)).max() < 2e-5
    assert found[0, 0] == pytest.approx(data[20, 20], rel=1e-6)


@pytest.mark.parametrize("name", ["lanczos3", "lanczos5", "sinc"])
def test_windowed_sincs_leave_a_constant_and_fall_back_at_the_border(name):
    positions = np.random.default_rng(5).uniform(-0.5, 29.5, (40, 40, 2))
    found = blot(np.full((30, 30), 3.0, np.float32), positions, params=BlotParams(interpolation=name))
    assert np.abs(found - 3).max() < 2e-6


@pytest.mark.parametrize("sinscl", [0.0, 1.5, float("nan")])
def test_a_factor_that_is_not_allowed_is_named(sinscl):
    with pytest.raises(InvalidInputError, match="sinscl"):
        BlotParams(interpolation="sinc", sinscl=sinscl)


def test_blot_of_a_drizzled_smooth_image_is_the_image(bent_map):
    shape = (50, 60)
    y, x = np.indices(shape, dtype=float)
    # One exposure's output pixels are means about 0.1 pixel off their centres, so the gradient must be small.
    smooth = (100 + 10 * np.sin(x / 30) * np.cos(y / 35)).astype(np.float32)
    pixmap = bent_map(shape, scale=1.6, bend=2e-4, shift=(20.0, 30.0))
    drizzler = Drizzler((160, 170))
    drizzler.add(smooth, pixmap)
    back = blot(drizzler.finish().data, pixmap)
    inside = np.s_[4:-4, 4:-4]
    assert np.abs(back / smooth - 1)[inside].max() < 1e-3


def test_any_number_of_threads_gives_the_same_bits():
    rng = np.random.default_rng(3)
    data = rng.normal(size=(300, 200)).astype(np.float32)
    positions = rng.uniform(-3, 303, (120, 90, 2))
    before = get_num_threads()
    found = []
    for n in (1, 4):
        set_num_threads(n)
        found.append(blot(data, positions))
    set_num_threads(before)
    assert np.array_equal(*found)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: BlotParams(interpolation="sinc7"), "interpolation: 'sinc7'"),
        (lambda: blot(np.ones(4), np.ones((2, 2, 2))), "data: shape"),
        (lambda: blot(np.ones((4, 4)), np.ones((2, 2, 3))), "pixmap: shape"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InvalidInputError, match=message):
        call()
