"""Running medians and means of images."""

import galsim
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

import skymere
from skymere.background import RunningParams, large_scale_background
from skymere.errors import InvalidInputError, NoDataError

METHODS = ("running_median", "boxcar_mean")


def running(data: np.ndarray, box: int, method: str, **more: object) -> np.ndarray:
    return large_scale_background(data, box_pix=box, params=RunningParams(method=method), **more)


def by_hand(data: np.ndarray, box: int, method: str, mask: np.ndarray | None = None) -> np.ndarray:
    """By numpy, box after box, which end at the border; NaN where they are empty."""
    values = np.where(np.isfinite(data), data, np.nan).astype(float)
    if mask is not None:
        values[mask] = np.nan
    h = box // 2
    out = np.full(data.shape, np.nan)
    for y, x in np.ndindex(*data.shape):
        part = values[max(y - h, 0) : y + h + 1, max(x - h, 0) : x + h + 1]
        if np.isfinite(part).any():
            out[y, x] = np.nanmedian(part) if method == "running_median" else np.nanmean(part)
    return out


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("shape", "box"), [((50, 71), 1), ((50, 71), 2), ((47, 53), 9), ((130, 70), 35), ((80, 81), 79)]
)
def test_they_are_those_of_numpy_box_after_box(method, shape, box) -> None:
    rng = np.random.default_rng(5)
    y, x = np.indices(shape)
    data = (rng.normal(size=shape) + 0.05 * x - 0.03 * y).astype(np.float32)
    data[rng.random(shape) < 0.03] = [np.nan, np.inf, -np.inf, 1e30, -1e30][box % 5]
    # Equal values, too.
    data[10:20, 10:30] = 1.5
    mask = rng.random(shape) < 0.2
    mask[:12, :12] = True
    found = running(data, box, method, mask=mask)
    wanted = by_hand(data, box, method, mask)
    known = np.isfinite(wanted)
    assert known.mean() > 0.5
    if method == "running_median":
        np.testing.assert_array_equal(found[known], wanted[known].astype(np.float32))
    else:
        np.testing.assert_allclose(found[known], wanted[known], rtol=2e-7, atol=1e-6)
    assert np.isfinite(found).all()


@given(
    seed=st.integers(0, 2**32 - 1),
    ny=st.integers(1, 90),
    nx=st.integers(1, 90),
    part=st.floats(0.0, 1.0),
    levels=st.sampled_from([2, 5, 10**6]),
    good=st.sampled_from([0.02, 0.5, 1.0]),
)
@settings(max_examples=40, deadline=None)
def test_medians_are_exact_for_any_image(seed, ny, nx, part, levels, good) -> None:
    """Few levels are many equal values; few good pixels are many holes."""
    rng = np.random.default_rng(seed)
    data = rng.integers(-levels, levels, (ny, nx)).astype(np.float32)
    mask = rng.random((ny, nx)) > good
    mask[rng.integers(ny), rng.integers(nx)] = False
    box = 1 + int(part * (min(ny, nx) - 1))
    box -= 1 - box % 2
    found, wanted = running(data, box, "running_median", mask=mask), by_hand(data, box, "running_median", mask)
    known = np.isfinite(wanted)
    np.testing.assert_array_equal(found[known], wanted[known].astype(np.float32))
    assert np.isfinite(found).all()


@pytest.mark.parametrize("box", [65, 201])
@pytest.mark.parametrize("kind", ["noise", "steep", "steps", "sources"])
def test_medians_of_large_boxes_are_exact_where_guesses_of_their_range_fail(box, kind) -> None:
    """Noise alone is where they hold; the others have medians far apart within a tile."""
    rng = np.random.default_rng(7)
    shape = (330, 300)
    y, x = np.indices(shape)
    data = rng.normal(size=shape)
    if kind == "steep":
        data += 3.0 * x
    elif kind == "steps":
        data += 1000.0 * ((x // 60 + y // 70) % 2)
    elif kind == "sources":
        data += 500.0 * np.exp(-((x % 90 - 40) ** 2 + (y % 100 - 50) ** 2) / 800)
    data = data.astype(np.float32)
    found = running(data, box, "running_median")
    h = box // 2
    for j in (0, 30, h, 100, 163, 164, 240, 329):
        for i in (0, 5, h, 66, 128, 200, 201, 299):
            part = data[max(j - h, 0) : j + h + 1, max(i - h, 0) : i + h + 1]
            assert found[j, i] == np.float32(np.median(part.astype(float)))
    if box == 65:
        inner = slice(h, -h)
        wanted = ndimage.percentile_filter(data[100:200, 100:200], 50, size=box)[inner, inner]
        np.testing.assert_array_equal(found[100:200, 100:200][inner, inner], wanted)


def test_huge_values_spoil_no_mean_that_does_not_see_them() -> None:
    """Differences of running sums from the corner of the image would."""
    data = np.random.default_rng(2).normal(size=(60, 70)).astype(np.float32)
    wanted = running(data, 7, "boxcar_mean")
    data[25, 26] = 1e30
    found = running(data, 7, "boxcar_mean")
    sees = np.zeros(data.shape, bool)
    sees[22:29, 23:30] = True
    np.testing.assert_array_equal(found[~sees], wanted[~sees])
    np.testing.assert_allclose(found[sees], 1e30 / 49, rtol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_pixels_without_good_ones_in_their_box_get_the_mean_of_the_nearest(method) -> None:
    rng = np.random.default_rng(1)
    data = rng.normal(size=(60, 64)).astype(np.float32)
    mask = np.zeros(data.shape, bool)
    mask[10:40, 20:50] = True
    mask[0:20, 0:18] = True
    found = running(data, 5, method, mask=mask)
    empty = ~np.isfinite(by_hand(data, 5, method, mask))
    assert empty.sum() > 600
    ys, xs = np.nonzero(~empty)
    for y, x in np.argwhere(empty)[::7]:
        distance2 = (ys - y) ** 2 + (xs - x) ** 2
        nearest = distance2 == distance2.min()
        assert found[y, x] == pytest.approx(found[ys[nearest], xs[nearest]].mean(dtype=float), rel=1e-6)
    # More good pixels may be asked for than one.
    needy = large_scale_background(data, box_pix=5, mask=mask, params=RunningParams(method=method, min_good_pix=15))
    few = ndimage.convolve((~mask).astype(int), np.ones((5, 5), int), mode="constant") < 15
    assert few.sum() > empty.sum()
    np.testing.assert_array_equal(needy[~few], found[~few])
    assert (needy[few & ~empty] != found[few & ~empty]).any()


@pytest.mark.parametrize("method", METHODS)
def test_a_gradient_is_removed_and_sources_keep_their_flux(method) -> None:
    """B6, argument 9: to 1 % of the amplitude, fluxes within 0.5 %; sources are masked to 2.5 of their radii."""
    rng = np.random.default_rng(9)
    n, amplitude, box = 600, 50.0, 61
    y, x = np.indices((n, n))
    sky = amplitude * ((x + 0.5 * y) / (1.5 * n) + 0.1 * np.sin(x / 300.0))
    truth = np.zeros((n, n))
    places = [
        (60 + 80 * i + dx, 60 + 80 * j + dy)
        for i in range(7)
        for j in range(7)
        for dx, dy in rng.uniform(-9, 9, (1, 2))
    ]
    mask = np.zeros((n, n), bool)
    for cx, cy in places:
        galaxy = galsim.Convolve(galsim.Exponential(half_light_radius=2.0, flux=3000.0), galsim.Gaussian(fwhm=3.0))
        stamp = galaxy.drawImage(nx=61, ny=61, scale=1.0, offset=(cx % 1, cy % 1)).array
        y0, x0 = int(cy) - 30, int(cx) - 30
        truth[y0 : y0 + 61, x0 : x0 + 61] += stamp
        mask |= np.hypot(x - cx, y - cy) < 12
    noise = rng.normal(0, 1.0, (n, n))
    image = (truth + sky + noise).astype(np.float32)
    before = image.copy()
    level = running(image, box, method, mask=mask)
    np.testing.assert_array_equal(image, before)
    off = level - sky
    h = box // 2
    inside = off[h:-h, h:-h]
    slope = amplitude * (1 / (1.5 * n) + 0.1 / 300.0)
    print(
        method,
        "rms",
        off.std() / amplitude,
        "inside",
        inside.std() / amplitude,
        "largest",
        np.abs(off).max() / amplitude,
    )
    assert np.sqrt((off**2).mean()) < 0.01 * amplitude
    assert np.sqrt((inside**2).mean()) < 0.005 * amplitude
    # Masks on one side of a box move its middle, and so does the border, by up to half of its half.
    assert np.abs(off).max() < (slope + amplitude / (3 * n)) * h / 2 + 0.01 * amplitude
    left = image - level
    changes = []
    for cx, cy in places:
        within = np.hypot(x - cx, y - cy) < 10
        # The noise is the same on both sides: what is left is the background's.
        changes.append(left[within].sum(dtype=float) / (truth + noise)[within].sum() - 1)
    print("change of flux: median", np.median(changes), "scatter", np.std(changes), "largest", np.abs(changes).max())
    assert abs(np.median(changes)) < 0.005
    far = [c for c, (cx, cy) in zip(changes, places, strict=True) if h < cx < n - h and h < cy < n - h]
    # 314 pixels of a background good to 1 / sqrt(61^2 / 1.5) have 8 of 3000.
    assert np.sqrt(np.mean(np.square(far))) < 0.005


@pytest.mark.parametrize("method", METHODS)
def test_any_number_of_threads_gives_the_same_bits(method) -> None:
    rng = np.random.default_rng(3)
    data = rng.normal(size=(700, 650)).astype(np.float32)
    mask = rng.random(data.shape) < 0.1
    mask[100:300, 100:300] = True
    found = []
    for n in (1, 2, 3):
        skymere.set_num_threads(n)
        found.append(running(data, 71, method, mask=mask))
    skymere.set_num_threads(0)
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])


def test_a_box_on_the_sky_is_that_of_its_pixels() -> None:
    data = np.random.default_rng(3).normal(size=(100, 90)).astype(np.float32)
    wanted = running(data, 21, "running_median")
    for box in (1.24, 1.26):
        found = large_scale_background(data, box_arcsec=box, scale_arcsec=0.06)
        np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(large_scale_background(data, box_pix=20), wanted)


def test_wrong_arguments_are_named() -> None:
    data = np.ones((40, 30), np.float32)
    for more, message in (
        ({}, "box_pix, box_arcsec: None, None are not allowed, exactly one"),
        ({"box_pix": 3, "box_arcsec": 1.0}, "exactly one"),
        ({"box_pix": 0}, "box_pix: 0"),
        ({"box_pix": 2.5}, "box_pix: 2.5"),
        ({"box_pix": 31}, "box of 31 pixels is larger than the image of 30 x 40"),
        ({"box_arcsec": 1.0}, "scale_arcsec: None"),
        ({"box_arcsec": -1.0, "scale_arcsec": 0.1}, "box_arcsec: -1.0"),
        ({"box_arcsec": 0.01, "scale_arcsec": 0.1}, "less than half a pixel"),
        ({"box_pix": 3, "mask": np.zeros((3, 3), bool)}, "mask"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            large_scale_background(data, **more)
    with pytest.raises(InvalidInputError, match="data"):
        large_scale_background(np.zeros((0, 4), np.float32), box_pix=1)
    with pytest.raises(InvalidInputError, match="method: 'mode'"):
        RunningParams(method="mode")
    with pytest.raises(InvalidInputError, match="min_good_pix: 0"):
        RunningParams(min_good_pix=0)
    with pytest.raises(NoDataError, match="none of its 1200 pixels is good"):
        large_scale_background(np.full((40, 30), np.nan, np.float32), box_pix=3)
