"""Static mask, combination and cosmic rays against plain references."""

import numpy as np
import pytest
from scipy import ndimage

import skymere
from skymere.errors import InvalidInputError
from skymere.outliers import (
    CombineParams,
    CosmicRayParams,
    MinmedParams,
    StaticMaskParams,
    combine_images,
    compare_with_model,
    grow_mask,
    low_pixels,
    masked_median,
    masked_minmed,
    trail_mask,
)


def test_low_pixels_are_those_below_mode_minus_four_sigma() -> None:
    rng = np.random.default_rng(1)
    data = rng.normal(0.6, 0.1, (200, 200)).astype(np.float32)
    data[:3, :5] = 0.6 - 0.55
    data[50:60, 50:60] += 5.0
    mask = low_pixels(data)
    assert mask[:3, :5].all()
    assert mask.sum() <= 15 + 5  # 4 sigma: 1.3 expected by chance


@pytest.mark.parametrize("n_images", [1, 2, 4, 7, 8, 13, 16, 19])
def test_the_median_is_numpys_over_the_good_values(n_images: int) -> None:
    rng = np.random.default_rng(2)
    stack = rng.normal(size=(n_images, 10, 150)).astype(np.float32)
    mask = rng.random(stack.shape) < 0.3
    stack[n_images // 3, 3, 4] = np.nan
    expected = np.ma.median(np.ma.array(stack, mask=mask | ~np.isfinite(stack)), axis=0).filled(np.nan)
    np.testing.assert_array_equal(masked_median(stack, mask), expected.astype(np.float32))


def minmed_reference(stack, mask, exptime, sky, read_noise, p):
    """D8.13 in float64, pixel by pixel."""
    _, ny, nx = stack.shape
    median, minimum = np.full((ny, nx), np.nan), np.full((ny, nx), np.nan)
    weight, variance = np.zeros((ny, nx)), np.zeros((ny, nx))
    for y in range(ny):
        for x in range(nx):
            good = ~mask[:, y, x]
            values = np.sort(stack[good, y, x].astype(float))
            if values.size == 0:
                continue
            kept = values[:-1] if values.size > 1 else values
            median[y, x], minimum[y, x] = np.median(kept), values[0]
            weight[y, x] = exptime[good].sum()
            variance[y, x] = (sky * exptime + read_noise**2)[good].sum()
    sigma = np.sqrt(np.maximum(median * weight + variance, 0.0))
    low = minimum * weight < median * weight - p.n_sigma_low * sigma
    near = np.zeros_like(low)
    for y, x in np.argwhere(low):
        near[max(y - p.grow, 0) : y + p.grow + 1, max(x - p.grow, 0) : x + p.grow + 1] = True
    limit = np.where(near, p.n_sigma_near, p.n_sigma_low)
    return np.where(minimum * weight < median * weight - limit * sigma, minimum, median)


def test_minmed_is_that_of_the_specification() -> None:
    rng = np.random.default_rng(3)
    exptime, sky, rn = np.array([200.0, 250.0, 300.0, 200.0]), np.full(4, 0.6), np.full(4, 20.0)
    stack = rng.normal(0.0, 0.13, (4, 60, 60)).astype(np.float32)
    for k in range(4):
        stack[k].flat[rng.choice(3600, 400, replace=False)] += rng.exponential(2.0, 400).astype(np.float32)
    mask = rng.random(stack.shape) < 0.1
    p = MinmedParams()
    found = masked_minmed(stack, mask, exptime=exptime, sky=sky, read_noise=rn, params=p)
    np.testing.assert_allclose(found, minmed_reference(stack, mask, exptime, sky, rn, p), rtol=1e-6)


def test_two_images_are_averaged() -> None:
    stack = np.array([[[1.0, 5.0]], [[3.0, 7.0]]], np.float32)
    mask = np.array([[[False, True]], [[False, False]]])
    found = masked_minmed(stack, mask, exptime=[1.0, 1.0], sky=[0.0, 0.0], read_noise=[0.0, 0.0])
    np.testing.assert_array_equal(found, [[2.0, 7.0]])


def comparison_reference(data, model, exptime, read_noise, p):
    """D8.14 with numpy."""
    steep = np.zeros_like(model)
    for axis, shift in ((0, 1), (0, -1), (1, 1), (1, -1)):
        moved = np.roll(model, shift, axis)
        edge = [slice(None)] * 2
        edge[axis] = 0 if shift == 1 else -1
        moved[tuple(edge)] = model[tuple(edge)]
        steep = np.maximum(steep, np.abs(model - moved))
    noise = np.sqrt(np.abs(model) * exptime + read_noise**2) / exptime
    off = np.abs(data - model) - p.core_scale * np.maximum(steep - 3 * noise, 0.0)
    seed = off > p.scale[0] * steep + p.snr[0] * noise
    near = np.zeros_like(seed)
    for y, x in np.argwhere(seed):
        near[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2] = True
    return (off > p.scale[1] * steep + p.snr[1] * noise) & near


@pytest.mark.parametrize("core_scale", [0.0, 0.8])
def test_the_comparison_is_that_of_the_specification(core_scale: float) -> None:
    rng = np.random.default_rng(4)
    model = rng.gamma(2.0, 0.4, (80, 90))
    data = model + rng.normal(0.0, 0.3, model.shape)
    data.flat[rng.choice(data.size, 300, replace=False)] += 4.0
    p = CosmicRayParams(core_scale=core_scale)
    found = compare_with_model(data, model, exptime=200.0, read_noise=20.0, params=p)
    model32, data32 = model.astype(np.float32).astype(float), data.astype(np.float32).astype(float)
    expected = comparison_reference(data32, model32, 200.0, 20.0, p)
    assert found.sum() > 100
    assert np.count_nonzero(found != expected) <= 1  # a value within rounding of its threshold


@pytest.mark.parametrize("side", [1, 2, 3, 5])
def test_growing_is_a_box_dilation(side: int) -> None:
    mask = np.random.default_rng(5).random((50, 40)) < 0.01
    expected = ndimage.binary_dilation(mask, np.ones((side, side), bool), origin=0) if side > 1 else mask
    found = grow_mask(mask, side=side)
    if side % 2 == 1:
        np.testing.assert_array_equal(found, expected)
    else:
        assert found.sum() <= mask.sum() * side**2
        assert (found & mask).sum() == mask.sum()


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    rng = np.random.default_rng(6)
    stack, mask = rng.normal(size=(5, 100, 100)).astype(np.float32), rng.random((5, 100, 100)) < 0.2
    before = skymere.get_num_threads()
    results = []
    try:
        for n_threads in (1, 2, 5):
            skymere.set_num_threads(n_threads)
            results.append(masked_minmed(stack, mask, exptime=[9.0] * 5, sky=[1.0] * 5, read_noise=[2.0] * 5))
    finally:
        skymere.set_num_threads(before)
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: StaticMaskParams(sigma=0.0), "sigma: 0.0 is not allowed"),
        (lambda: CosmicRayParams(combine="mode"), "combine: 'mode' is not allowed"),
        (lambda: CosmicRayParams(snr=(1.0,)), "snr"),
        (lambda: CosmicRayParams(noise="own"), "noise: 'own'"),
        (lambda: CosmicRayParams(cte_grow=-1), "cte_grow, cte_direction: -1, 1"),
        (lambda: CosmicRayParams(memory_mb=0.0), "memory_mb: 0.0"),
        (lambda: CombineParams(combine="minmed", n_high=1), "n_low, n_high: 0, 1 are not allowed with 'minmed'"),
        (lambda: CombineParams(lower=1.0, upper=1.0), "lower: 1.0"),
        (lambda: CombineParams(combine="mean", n_low=-1), "n_low, n_high: -1, 0"),
        (lambda: trail_mask(np.zeros((3, 3), bool), length=1, direction=0), "length, direction: 1, 0"),
        (lambda: CosmicRayParams(grow=0), "grow: 0 is not allowed"),
        (lambda: grow_mask(np.zeros((3, 3), bool), side=0), "side: 0 is not allowed"),
        (lambda: masked_median(np.zeros((2, 3, 3)), np.zeros((3, 3, 3), bool)), "mask: shape"),
        (
            lambda: masked_minmed(
                np.zeros((2, 3, 3)), np.zeros((2, 3, 3), bool), exptime=[1.0], sky=[0.0] * 2, read_noise=[0.0] * 2
            ),
            "exptime: 1 entries",
        ),
        (lambda: compare_with_model(np.zeros((3, 3)), np.zeros((3, 4)), exptime=1.0, read_noise=0.0), "model: shape"),
        (lambda: compare_with_model(np.zeros((3, 3)), np.zeros((3, 3)), exptime=0.0, read_noise=0.0), "exptime: 0.0"),
    ],
)
def test_wrong_arguments_are_named(make, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        make()


def test_combinations_are_numpys_over_the_good_values() -> None:
    rng = np.random.default_rng(7)
    stack = rng.normal(size=(6, 30, 40)).astype(np.float32)
    mask = rng.random(stack.shape) < 0.4
    mask[:, 3, 4] = True
    good = np.ma.array(stack.astype(float), mask=mask)
    for name, expected in (
        ("mean", good.mean(axis=0)),
        ("sum", good.sum(axis=0)),
        ("median", np.ma.median(good, axis=0)),
    ):
        found = combine_images(stack, mask, params=CombineParams(combine=name))
        np.testing.assert_allclose(found, expected.filled(np.nan), rtol=2e-6, atol=1e-6)
        assert np.isnan(found[3, 4])
        filled = combine_images(stack, mask, params=CombineParams(combine=f"i{name}"))
        every = {"mean": np.mean, "sum": np.sum, "median": np.median}[name](stack[:, 3, 4].astype(float))
        assert filled[3, 4] == pytest.approx(every, rel=1e-6)
        some = ~mask.all(axis=0)
        np.testing.assert_array_equal(filled[some], found[some])


def test_lowest_and_highest_and_values_beyond_limits_are_left_out() -> None:
    stack = np.array([9.0, 1.0, 4.0, 2.0, 30.0, -5.0], np.float32).reshape(6, 1, 1)
    good = np.zeros(stack.shape, bool)

    def value(**params) -> float:
        return float(combine_images(stack, good, params=CombineParams(**params))[0, 0])

    assert value(combine="mean", n_low=1, n_high=2) == pytest.approx(7 / 3)
    assert value(combine="median", n_high=1) == 2.0
    assert value(combine="sum", lower=0.0, upper=10.0) == 16.0
    assert value(combine="sum", n_low=3, n_high=3) == 4.0  # one is left
    everything = CombineParams(combine="isum", lower=100.0)
    assert float(combine_images(stack, good, params=everything)[0, 0]) == 41.0


def test_iminmed_uses_all_values_where_all_are_masked() -> None:
    stack = np.array([[3.0, 1.0], [1.0, 1.1], [50.0, 1.2]], np.float32).reshape(3, 1, 2)
    mask = np.zeros(stack.shape, bool)
    mask[:, 0, 0] = True
    noise = {"exptime": [10.0] * 3, "sky": [0.1] * 3, "read_noise": [1.0] * 3}
    plain = combine_images(stack, mask, params=CombineParams(), **noise)
    assert np.isnan(plain[0, 0])
    filled = combine_images(stack, mask, params=CombineParams(combine="iminmed"), **noise)
    assert filled[0, 0] == 2.0
    assert filled[0, 1] == plain[0, 1]


def stcal_reference(data, error, model, p):
    """The test of stcal as jwst#5332 describes it: own errors, strict inequalities, 3 x 3 smoothing of the seeds."""
    steep = np.zeros_like(model)
    for axis in (0, 1):
        step = np.abs(np.diff(model, axis=axis))
        low, high = [slice(None)] * 2, [slice(None)] * 2
        low[axis], high[axis] = slice(None, -1), slice(1, None)
        steep[tuple(low)] = np.maximum(steep[tuple(low)], step)
        steep[tuple(high)] = np.maximum(steep[tuple(high)], step)
    off, sigma = np.abs(data - model), np.nan_to_num(error)
    seeds = off > p.scale[0] * steep + p.snr[0] * sigma
    padded = np.pad(seeds, 1, mode="edge")
    ny, nx = seeds.shape
    near = np.any([padded[i : i + ny, j : j + nx] for i in range(3) for j in range(3)], axis=0)
    return (off > p.scale[1] * steep + p.snr[1] * sigma) & near


def test_the_variant_with_error_arrays_is_that_of_stcal() -> None:
    rng = np.random.default_rng(8)
    model = rng.gamma(2.0, 0.4, (70, 80)).astype(np.float32)
    error = rng.uniform(0.1, 0.4, model.shape).astype(np.float32)
    data = (model + rng.normal(size=model.shape) * error).astype(np.float32)
    data.flat[rng.choice(data.size, 300, replace=False)] += 3.0
    error[5, 5] = np.nan
    p = CosmicRayParams(noise="error", core_scale=0.0, snr=(5.0, 4.0), scale=(1.2, 0.7))
    found = compare_with_model(data, model, exptime=100.0, read_noise=9.0, error=error, params=p)
    expected = stcal_reference(data.astype(float), error.astype(float), model.astype(float), p)
    assert found.sum() > 100
    assert np.count_nonzero(found != expected) <= 1  # a value within rounding of its threshold
    with pytest.raises(InvalidInputError, match="error: None is not allowed with noise='error'"):
        compare_with_model(data, model, exptime=100.0, read_noise=9.0, params=p)


def test_charge_trails_follow_the_read_out_after_growing() -> None:
    model = np.ones((12, 9), np.float32)
    data = model.copy()
    data[5, 4] = 50.0
    p = CosmicRayParams(grow=3, cte_grow=3, cte_direction=1)
    found = compare_with_model(data, model, exptime=100.0, read_noise=3.0, params=p)
    expected = np.zeros_like(found)
    expected[4:10, 3:6] = True
    np.testing.assert_array_equal(found, expected)
    down = trail_mask(data > 9, length=2, direction=-1)
    assert np.argwhere(down).tolist() == [[3, 4], [4, 4], [5, 4]]
