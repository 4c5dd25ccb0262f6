import numpy as np
import pytest

from skymere import get_num_threads, set_num_threads
from skymere.align import FindParams, find_sources
from skymere.errors import InvalidInputError

from .conftest import star_image

SHAPE = (500, 520)


def star_grid(fwhm, flux, seed):
    """Stars 35 pixels apart, at any place in their pixels."""
    rng = np.random.default_rng(seed)
    x, y = (axis.ravel() for axis in np.meshgrid(np.arange(30, 500, 35.0), np.arange(30, 480, 35.0)))
    x, y = x + rng.uniform(-0.5, 0.5, x.size), y + rng.uniform(-0.5, 0.5, y.size)
    data, error = star_image(SHAPE, x, y, np.full(x.size, flux), fwhm, rng)
    return data, error, np.column_stack([x, y])


def paired(table, truth):
    """Differences from the nearest true position, and errors."""
    xy = table.select("x", "y").to_numpy()
    apart = xy[:, None] - truth
    nearest = np.hypot(*np.moveaxis(apart, -1, 0)).argmin(axis=1)
    return apart[np.arange(len(xy)), nearest], table.select("x_err", "y_err").to_numpy()


@pytest.mark.parametrize("fwhm", [1.2, 1.6, 2.0, 3.0])
def test_centroids_are_unbiased_and_their_errors_pass_a_pull_test(fwhm):
    pulls = []
    for seed in range(4):
        data, error, truth = star_grid(fwhm, 6e3, seed)
        found = find_sources(data, error=error, params=FindParams(fwhm_pix=fwhm))
        assert found.height == len(truth)
        off, sigma = paired(found, truth)
        assert np.abs(off.mean(axis=0)).max() < 0.005
        pulls.append(off / sigma)
    # Undersampling adds 0.008 pixel at 1.2 pixel, where the noise leaves 0.009.
    assert np.std(np.concatenate(pulls)) == pytest.approx(1.3 if fwhm < 1.5 else 1.0, abs=0.15 if fwhm < 1.5 else 0.1)


def test_stars_at_s_n_50_have_centroids_within_a_twentieth_of_a_pixel():
    data, error, truth = star_grid(2.0, 4e3, 9)
    off, _ = paired(find_sources(data, error=error, params=FindParams(fwhm_pix=2.0)), truth)
    assert off.std() < 0.05


def test_bad_pixels_do_not_pull_centroids():
    data, error, truth = star_grid(2.0, 5e4, 5)
    mask = np.zeros(SHAPE, bool)
    for x, y in np.round(truth).astype(int):
        mask[y + 1, x + 1] = True
    data[mask] = 1e6
    found = find_sources(data, error=error, mask=mask, params=FindParams(fwhm_pix=2.0))
    off, _ = paired(found, truth)
    assert found.height == len(truth)
    assert np.abs(off.mean(axis=0)).max() < 0.01
    assert off.std() < 0.03


def test_limits_and_numbers_choose_among_the_sources():
    data, error, truth = star_grid(2.0, 2e4, 6)
    data[250, 240] += 3e4
    params = {"fwhm_pix": 2.0}
    every = find_sources(data, error=error, params=FindParams(**params))
    assert every.height == len(truth) + 1
    assert every["flux"].is_sorted(descending=True)
    assert every["flux"].median() == pytest.approx(2e4, rel=0.05)
    soft = find_sources(data, error=error, params=FindParams(**params, sharpness=(0.0, 1.5)))
    assert soft.height == len(truth)
    assert find_sources(data, error=error, params=FindParams(**params, peak=(0.0, 1e4))).height == len(truth)
    assert find_sources(data, error=error, params=FindParams(**params, n_brightest=7)).equals(every.head(7))


def test_noise_has_no_sources_and_any_number_of_threads_gives_the_same_bits():
    rng = np.random.default_rng(7)
    noise = rng.normal(10, 1, SHAPE).astype(np.float32)
    assert find_sources(noise, params=FindParams(threshold=6)).height == 0
    before, found = get_num_threads(), []
    for n_threads in (1, 3):
        set_num_threads(n_threads)
        found.append(find_sources(noise, params=FindParams(threshold=2)))
    set_num_threads(before)
    assert found[0].height > 100
    assert found[0].equals(found[1])


@pytest.mark.parametrize(
    "value",
    [
        {"fwhm_pix": 0.0},
        {"threshold": float("nan")},
        {"separation_pix": 0},
        {"max_window_pix": 0.5},
        {"n_brightest": 0},
        {"peak": (2.0, 1.0)},
    ],
)
def test_parameters_that_are_not_allowed_are_named(value):
    with pytest.raises(InvalidInputError, match=next(iter(value))):
        FindParams(**value)


def test_shapes_that_differ_are_named():
    with pytest.raises(InvalidInputError, match="error"):
        find_sources(np.zeros((50, 50)), error=np.ones((50, 40)))
