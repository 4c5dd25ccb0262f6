"""Running medians and means of a 1024 x 1024 image against scipy, which knows no masks, for growing boxes."""

import time

import numpy as np
import pytest
from scipy import ndimage

from skymere import set_num_threads
from skymere.background import RunningParams, large_scale_background

pytestmark = pytest.mark.benchmark

SIDE = 1024


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    rng = np.random.default_rng(1)
    y, x = np.indices((SIDE, SIDE))
    return (rng.normal(size=(SIDE, SIDE)) + 3.0 * np.sin(x / 300) + y / 500).astype(np.float32)


@pytest.mark.parametrize("box", [5, 25])
def test_running_medians(box, image, race) -> None:
    inner = (slice(box, -box),) * 2
    ours = large_scale_background(image, box_pix=box)
    np.testing.assert_array_equal(ours[inner], ndimage.median_filter(image, size=box)[inner])
    found = race(
        f"running median, box of {box}, scipy's median_filter",
        lambda: large_scale_background(image, box_pix=box),
        lambda: ndimage.median_filter(image, size=box),
        repeat=2,
    )
    assert found[1].ratio > 1
    assert found[2].ratio > 1


@pytest.mark.parametrize("box", [25, 201])
def test_boxcar_means(box, image, race) -> None:
    """Scipy's running sums have no mask, in float64 as ours."""
    params = RunningParams(method="boxcar_mean")
    wide = image.astype(float)
    inner = (slice(box, -box),) * 2
    ours = large_scale_background(image, box_pix=box, params=params)
    np.testing.assert_allclose(ours[inner], ndimage.uniform_filter(wide, size=box)[inner], rtol=0, atol=1e-6)
    race(
        f"boxcar mean, box of {box}, scipy's uniform_filter",
        lambda: large_scale_background(image, box_pix=box, params=params),
        lambda: ndimage.uniform_filter(wide, size=box),
        repeat=5,
    )


@pytest.mark.parametrize("method", ["running_median", "boxcar_mean"])
def test_the_cost_does_not_grow_with_the_area_of_the_box(method, image) -> None:
    """From 51 to 401 pixels, 62 times the area; a mask of 20 % as well."""
    mask = np.random.default_rng(2).random(image.shape) < 0.2
    set_num_threads(1)
    times = {}
    for box in (51, 101, 201, 401):
        best = np.inf
        for _ in range(2):
            start = time.process_time()
            large_scale_background(image, box_pix=box, mask=mask, params=RunningParams(method=method))
            best = min(best, time.process_time() - start)
        times[box] = best
    set_num_threads(0)
    print(method, {box: f"{1e9 * t / SIDE**2:.0f} ns per pixel" for box, t in times.items()})
    assert times[401] < 6 * times[51]
