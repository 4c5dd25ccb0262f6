"""Mesh background."""

import numpy as np
import pytest

import skymere
from skymere.background import BackgroundParams, estimate_background, level_error
from skymere.errors import InvalidInputError, NoDataError


def _sky(shape: tuple[int, int] = (300, 420), seed: int = 3) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]]
    level = 100.0 + 0.01 * x - 0.02 * y
    return (level + np.random.default_rng(seed).normal(0.0, 2.0, shape)).astype(np.float32)


def test_a_tilted_sky_and_its_noise_are_found() -> None:
    found = estimate_background(_sky())
    y, x = np.mgrid[:300, :420]
    residual = found.level - (100.0 + 0.01 * x - 0.02 * y)
    assert np.std(residual) < 0.12
    assert abs(residual.mean()) < 0.05
    assert found.rms_global == pytest.approx(2.0, rel=0.03)


def test_sources_move_the_level_less_than_a_fifth_of_the_noise() -> None:
    image = _sky()
    rng = np.random.default_rng(5)
    for y, x in zip(rng.integers(5, 290, 120), rng.integers(5, 410, 120), strict=True):
        image[y - 2 : y + 3, x - 2 : x + 3] += 300.0
    found = estimate_background(image)
    assert abs(found.level_global - estimate_background(_sky()).level_global) < 0.4


@pytest.mark.parametrize(("filter_size", "box_size"), [(3, 32), (1, 32), (3, 16)])
def test_the_scatter_of_the_level_over_realisations_is_what_is_said(filter_size: int, box_size: int) -> None:
    params = BackgroundParams(box_size=box_size, filter_size=filter_size)
    rng = np.random.default_rng(9)
    middles = slice(3 * box_size // 2, 7 * box_size, box_size)
    shape = (8 * box_size, 8 * box_size)
    levels = [
        estimate_background(rng.normal(5.0, 2.0, shape).astype(np.float32), params=params).level[middles, middles]
        for _ in range(150)
    ]
    assert np.std(levels) == pytest.approx(level_error(2.0, 1.0, params=params), rel=0.07)
    assert level_error(2.0, 1.5, params=params) == pytest.approx(1.5 * level_error(2.0, 1.0, params=params))


def test_masked_and_non_finite_pixels_do_not_count() -> None:
    image = _sky()
    clean = estimate_background(image)
    mask = np.zeros(image.shape, dtype=bool)
    mask[50:80, 60:90] = True
    spoiled = image.copy()
    spoiled[50:80, 60:90] = 1e6
    masked = estimate_background(spoiled, mask=mask)
    spoiled[50:80, 60:90] = np.nan
    holed = estimate_background(spoiled)
    assert np.array_equal(masked.level, holed.level)
    assert np.array_equal(masked.rms, holed.rms)
    assert np.abs(masked.level - clean.level).max() < 0.5


def test_cells_without_enough_pixels_are_filled_from_the_nearest_ones() -> None:
    image = np.full((192, 192), 5.0, dtype=np.float32)
    image[:, 64:] = np.nan
    image[:, :64] += np.random.default_rng(1).normal(0, 1, (192, 64)).astype(np.float32)
    found = estimate_background(image, params=BackgroundParams(filter_size=1))
    assert np.isfinite(found.level).all()
    assert np.abs(found.level[:, 160] - found.level[:, 40]).max() < 0.2


def test_swapping_the_axes_swaps_the_background() -> None:
    image = _sky()
    straight, turned = estimate_background(image), estimate_background(image.T.copy())
    assert np.abs(straight.level - turned.level.T).max() < 0.05


def test_a_cell_larger_than_the_image_gives_one_level() -> None:
    found = estimate_background(_sky((40, 50)))
    assert np.ptp(found.level) == 0


def test_a_threshold_keeps_cells_that_are_close_to_their_neighbours() -> None:
    image = _sky()
    unfiltered = estimate_background(image, params=BackgroundParams(filter_size=1))
    held = estimate_background(image, params=BackgroundParams(filter_size=3, filter_threshold=1e3))
    assert np.array_equal(unfiltered.level, held.level)


def test_any_number_of_threads_gives_the_same_bits() -> None:
    image = _sky((700, 650))
    skymere.set_num_threads(1)
    one = estimate_background(image)
    skymere.set_num_threads(3)
    three = estimate_background(image)
    skymere.set_num_threads(0)
    assert np.array_equal(one.level, three.level)
    assert np.array_equal(one.rms, three.rms)


def test_wrong_input_is_named() -> None:
    with pytest.raises(NoDataError, match="none of the 1 cells"):
        estimate_background(np.full((10, 10), np.nan, dtype=np.float32))
    with pytest.raises(InvalidInputError, match="mask"):
        estimate_background(_sky(), mask=np.zeros((3, 3), dtype=bool))
    with pytest.raises(InvalidInputError, match="data"):
        estimate_background(np.empty((0, 4), dtype=np.float32))
    with pytest.raises(InvalidInputError, match="filter_size"):
        BackgroundParams(filter_size=2)
    with pytest.raises(InvalidInputError, match="box_size"):
        BackgroundParams(box_size=0)
