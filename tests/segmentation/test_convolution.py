"""Weighted convolution."""

import numpy as np
import pytest
from scipy import ndimage

from skymere.errors import InvalidInputError
from skymere.segmentation import PYRAMID, convolve, gaussian_kernel

RNG = np.random.default_rng(11)
IMAGE = RNG.normal(3.0, 1.0, (70, 90)).astype(np.float32)
KERNEL = RNG.uniform(0.1, 1.0, (5, 3)).astype(np.float32)


def by_scipy(image: np.ndarray, kernel: np.ndarray, weight: np.ndarray) -> np.ndarray:
    used = np.where(np.isfinite(image), weight, 0.0)
    product = np.where(used > 0, used * np.nan_to_num(image), 0.0)
    top = ndimage.convolve(product.astype(float), kernel.astype(float), mode="constant")
    bottom = ndimage.convolve(used.astype(float), kernel.astype(float), mode="constant")
    with np.errstate(invalid="ignore"):
        return np.where(bottom > 0, top / bottom, np.nan)


def test_an_asymmetric_kernel_is_flipped_and_edges_are_renormalised() -> None:
    expected = by_scipy(IMAGE, KERNEL, np.ones(IMAGE.shape))
    np.testing.assert_allclose(convolve(IMAGE, KERNEL), expected, rtol=2e-6)


def test_weights_and_holes_count_as_the_formula_says() -> None:
    weight = RNG.uniform(0.0, 2.0, IMAGE.shape).astype(np.float32)
    weight[10:14, 20:30] = 0
    holed = IMAGE.copy()
    holed[40:50, 40:45] = np.nan
    expected = by_scipy(holed, KERNEL, weight)
    np.testing.assert_allclose(convolve(holed, KERNEL, weight=weight), expected, rtol=2e-5)
    mask = weight == 0
    expected = by_scipy(holed, KERNEL, (~mask).astype(float))
    np.testing.assert_allclose(convolve(holed, KERNEL, mask=mask), expected, rtol=2e-5)


def test_pixels_without_a_good_neighbour_are_nan() -> None:
    holed = IMAGE.copy()
    holed[30:39, 30:39] = np.nan
    filtered = convolve(holed, PYRAMID)
    assert np.isnan(filtered[31:38, 31:38]).all()
    assert np.isfinite(filtered[30, 30])


def test_inverse_variance_weights_are_the_best_for_a_known_profile() -> None:
    kernel = gaussian_kernel(3.0)
    error = RNG.uniform(0.5, 3.0, (400, 400)).astype(np.float32)
    noise = (RNG.normal(0, 1, error.shape) * error).astype(np.float32)
    squares = ndimage.convolve(1 / error.astype(float) ** 2, kernel.astype(float) ** 2, mode="constant")
    sums = ndimage.convolve(1 / error.astype(float) ** 2, kernel.astype(float), mode="constant")
    pull = convolve(noise, kernel, weight=error**-2) * sums / np.sqrt(squares)
    assert np.std(pull) == pytest.approx(1.0, abs=0.02)


def test_a_kernel_larger_than_the_image_gives_the_weighted_mean() -> None:
    flat = convolve(IMAGE[:3, :3], np.ones((9, 9)))
    np.testing.assert_allclose(flat, IMAGE[:3, :3].mean(), rtol=1e-6)


def test_wrong_kernels_are_named() -> None:
    for kernel in (np.ones((2, 3)), np.zeros((3, 3)), np.full((3, 3), np.nan)):
        with pytest.raises(InvalidInputError, match="kernel"):
            convolve(IMAGE, kernel)
