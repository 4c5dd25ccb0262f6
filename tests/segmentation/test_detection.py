"""Labels, thresholds, deblending and cleaning."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

import skymere
from skymere._rust import segmentation as _rust
from skymere.datamodels import SegmentationMap
from skymere.errors import InvalidInputError, NoDataError
from skymere.segmentation import (
    PYRAMID,
    DeblendParams,
    DetectParams,
    deblend,
    detect,
    filtered_noise,
    gaussian_kernel,
    label,
    label_with_extents,
)


@pytest.fixture(autouse=True)
def _all_threads() -> Iterator[None]:
    yield
    skymere.set_num_threads(0)


def field(shape: tuple[int, int] = (600, 500), n: int = 300, seed: int = 1) -> np.ndarray:
    """White noise of sigma 1 with crowded Gaussian sources."""
    rng = np.random.default_rng(seed)
    image = rng.normal(0.0, 1.0, shape)
    y, x = np.mgrid[-15:16, -15:16]
    for cy, cx, sigma in zip(
        rng.integers(15, shape[0] - 15, n), rng.integers(15, shape[1] - 15, n), rng.uniform(1.2, 4, n), strict=True
    ):
        flux = 10 ** rng.uniform(1.0, 2.5)
        image[cy - 15 : cy + 16, cx - 15 : cx + 16] += flux * np.exp(-0.5 * (x**2 + y**2) / sigma**2)
    return image.astype(np.float32)


@pytest.mark.parametrize("connectivity", [4, 8])
@pytest.mark.parametrize("fill", [0.02, 0.3, 0.5, 0.62, 0.98])
@pytest.mark.parametrize("threads", [1, 3])
def test_labels_are_those_of_scipy(connectivity: int, fill: float, threads: int) -> None:
    skymere.set_num_threads(threads)
    mask = np.random.default_rng(7).uniform(size=(333, 257)) < fill
    expected, n = ndimage.label(mask, ndimage.generate_binary_structure(2, 1 if connectivity == 4 else 2))
    found = label(mask, connectivity=connectivity)
    assert found.n_sources == n
    # scipy numbers in raster order as well, so the labels are equal, not only the partition.
    assert np.array_equal(found.labels, expected)


@pytest.mark.parametrize("connectivity", [4, 8])
def test_extents_of_labels_are_those_of_scipy(connectivity: int) -> None:
    mask = ndimage.gaussian_filter(np.random.default_rng(5).normal(size=(301, 197)), 1.5) > 0.05
    found, table = label_with_extents(mask, connectivity=connectivity)
    np.testing.assert_array_equal(found.labels, label(mask, connectivity=connectivity).labels)
    np.testing.assert_array_equal(table["label"], found.ids)
    np.testing.assert_array_equal(table["area"], np.bincount(found.labels.ravel())[1:])
    centroids = ndimage.center_of_mass(mask, found.labels, table["label"].to_numpy())
    np.testing.assert_allclose(table.select("y", "x").to_numpy(), centroids, rtol=1e-12)
    windows = [(y.start, y.stop - 1, x.start, x.stop - 1) for y, x in ndimage.find_objects(found.labels)]
    assert table.select("y_min", "y_max", "x_min", "x_max").rows() == windows


def test_a_component_larger_than_several_blocks_has_one_label() -> None:
    y, x = np.mgrid[:500, :500]
    spiral = np.sin(np.hypot(x - 250, y - 250) / 6 + np.arctan2(y - 250, x - 250)) > 0.3
    expected, n = ndimage.label(spiral, np.ones((3, 3)))
    found = label(spiral)
    assert found.n_sources == n
    assert np.array_equal(found.labels, expected)


def test_any_number_of_threads_gives_the_same_labels() -> None:
    image = field()
    error = np.random.default_rng(3).uniform(0.8, 1.2, image.shape).astype(np.float32)
    maps = []
    for threads in (1, 2, 5):
        skymere.set_num_threads(threads)
        maps.append(detect(image, error=error).labels)
    assert np.array_equal(maps[0], maps[1])
    assert np.array_equal(maps[0], maps[2])


def test_label_one_is_the_brightest_source() -> None:
    image = field()
    found = detect(image, error=1.0)
    fluxes = ndimage.sum(image, found.labels, found.ids)
    assert np.all(np.diff(fluxes) <= 1e-3 * fluxes[0] * np.finfo(np.float32).eps + 1e-3)
    assert np.array_equal(found.ids, np.arange(1, found.n_sources + 1))


def test_noise_alone_gives_no_detection_at_the_default_threshold() -> None:
    noise = np.random.default_rng(0).normal(0, 1, (1024, 1024)).astype(np.float32)
    assert detect(noise, error=1.0).n_sources <= 1


def test_the_threshold_counts_in_sigmas_of_the_filtered_image() -> None:
    noise = np.random.default_rng(0).normal(0, 1, (1024, 1024)).astype(np.float32)
    error = np.random.default_rng(1).uniform(0.5, 2.0, noise.shape).astype(np.float32)
    params = DetectParams(threshold=1.0, min_area=1, deblend=None)
    inside = detect(noise * error, error=error, params=params).labels[4:-4, 4:-4] > 0
    assert inside.mean() == pytest.approx(0.158655, abs=0.004)


def test_at_the_edge_the_filter_is_renormalised() -> None:
    noise = np.random.default_rng(0).normal(0, 1, (4, 400_000)).astype(np.float32)
    params = DetectParams(threshold=1.0, min_area=1, deblend=None)
    edge = detect(noise, error=1.0, params=params).labels[0] > 0
    assert edge.mean() == pytest.approx(0.158655, abs=0.004)


def smoothed_noise(shape: tuple[int, int] = (700, 900)) -> NDArray[np.float32]:
    """White noise under a 2 x 2 box, scaled back to a sigma of 1 in each pixel."""
    white = np.random.default_rng(7).normal(0, 1, (shape[0] + 1, shape[1] + 1))
    return ((white[1:, 1:] + white[:-1, 1:] + white[1:, :-1] + white[:-1, :-1]) / 2.0).astype(np.float32)


def test_the_noise_of_the_filtered_image_is_that_of_the_two_filters_together() -> None:
    # Per axis: box (1, 1) / sqrt(2) under (1, 2, 1) / sqrt(6) is (1, 3, 3, 1) / sqrt(12), whose norm is sqrt(20 / 12).
    assert filtered_noise(smoothed_noise(), error=1.0) == pytest.approx(20.0 / 12.0, rel=0.01)
    white = np.random.default_rng(8).normal(0, 3, (700, 900))
    assert filtered_noise(white, error=3.0) == pytest.approx(1.0, abs=0.01)
    assert filtered_noise(white, error=1.5) == pytest.approx(2.0, abs=0.02)
    assert filtered_noise(white, error=3.0, kernel=None) == pytest.approx(1.0, abs=0.01)


def test_sources_do_not_move_the_measured_noise() -> None:
    image = smoothed_noise()
    image[::20, ::20] += 400.0
    assert filtered_noise(image, error=1.0) == pytest.approx(20.0 / 12.0, rel=0.02)


def test_too_few_negative_pixels_measure_nothing() -> None:
    assert np.isnan(filtered_noise(np.ones((100, 100)), error=1.0))
    assert detect(np.ones((100, 100)), error=1.0).params["noise_correlation"] == 1.0


def test_correlated_noise_makes_no_sources() -> None:
    image = smoothed_noise()
    alone = detect(image, error=1.0, params=DetectParams(threshold_noise="filtered"))
    assert alone.n_sources > 20
    assert detect(image, error=1.0).n_sources == 0


def test_errors_that_are_too_large_do_not_lower_the_threshold() -> None:
    image = field()
    measured = detect(image, error=10.0)
    assert measured.params["noise_correlation"] == 1.0
    expected = detect(image, error=10.0, params=DetectParams(threshold_noise="filtered"))
    assert np.array_equal(measured.labels, expected.labels)


def test_a_constant_error_equals_an_error_image() -> None:
    image = field()
    for noise in ("measured", "filtered", "unfiltered"):
        params = DetectParams(threshold=3.0, threshold_noise=noise)
        constant = detect(image, error=1.3, params=params).labels
        assert np.array_equal(constant, detect(image, error=np.full(image.shape, 1.3), params=params).labels)
        assert np.array_equal(constant, detect(image, weight=np.full(image.shape, 1.3**-2), params=params).labels)


def test_bad_pixels_are_not_detected_and_do_not_dim_their_neighbours() -> None:
    image = np.zeros((40, 40), dtype=np.float32)
    image[15:25, 15:25] = 10.0
    params = DetectParams(threshold=9.9, extent=None, threshold_noise="unfiltered", kernel=PYRAMID, deblend=None)
    whole = detect(image, error=1.0, params=params).labels
    assert whole.sum() == 64
    mask = np.zeros(image.shape, dtype=bool)
    mask[18, 18] = True
    holed = image.copy()
    holed[18, 18] = np.nan
    error = np.where(mask, np.inf, 1.0)
    for found in (
        detect(image, error=1.0, mask=mask, params=params),
        detect(holed, error=1.0, params=params),
        detect(image, error=error, params=params),
    ):
        assert found.labels.sum() == 63
        assert found.labels[18, 18] == 0


def test_nine_pixels_vanish_and_ten_stay_at_a_least_area_of_ten() -> None:
    image = np.zeros((30, 60), dtype=np.float32)
    image[5:8, 5:8] = 10.0
    image[5:7, 30:35] = 10.0
    params = DetectParams(kernel=None, min_area=10, deblend=None)
    found = detect(image, error=1.0, params=params)
    assert found.n_sources == 1
    assert found.labels[5, 30] == 1


def two_peaks(separation: float, ratio: float = 0.5) -> np.ndarray:
    y, x = np.mgrid[:80, :120]
    r2 = [(x - 50.0 - dx) ** 2 + (y - 40.0) ** 2 for dx in (0.0, separation)]
    return (100 * np.exp(-r2[0] / 18) + 100 * ratio * np.exp(-r2[1] / 18)).astype(np.float32)


LEVELS = DeblendParams(method="levels", contrast=0.005)
PARTS = [
    DeblendParams(),
    DeblendParams(kernel=None),
    *(replace(LEVELS, assignment=assignment) for assignment in ("likeliest", "random")),
    *(replace(LEVELS, spacing=spacing) for spacing in ("linear", "sinh")),
]


@pytest.mark.parametrize("parts", PARTS, ids=lambda p: f"{p.method}-{p.spacing}-{p.assignment}-{p.kernel is None}")
def test_two_peaks_are_split_and_one_is_not(parts: DeblendParams) -> None:
    params = DetectParams(deblend=parts)
    assert detect(two_peaks(14.0), error=0.5, params=params).n_sources == 2
    assert detect(two_peaks(3.0), error=0.5, params=params).n_sources == 1
    assert detect(two_peaks(14.0, 0.0), error=0.5, params=params).n_sources == 1


@pytest.mark.parametrize("params", [DeblendParams(), LEVELS], ids=["saddles", "levels"])
def test_deblending_keeps_the_pixels_and_follows_the_contrast(params: DeblendParams) -> None:
    image = two_peaks(14.0, 0.2)
    whole = detect(image, error=0.5, params=DetectParams(deblend=None))
    parts = deblend(image, whole, params=params)
    assert np.array_equal(parts.labels > 0, whole.labels > 0)
    assert parts.n_sources == 2
    assert deblend(image, whole, params=replace(params, contrast=0.5)).n_sources == 1
    assert deblend(image, whole, params=replace(LEVELS, n_levels=1)).n_sources == 1


def test_a_peak_must_stand_out_of_the_noise_above_its_saddle() -> None:
    image = two_peaks(10.0, 0.2)
    whole = detect(image, error=0.5, params=DetectParams(deblend=None))
    saddle = deblend(image, whole, sigma=0.1)
    assert saddle.n_sources == 2
    # The lower peak is some 2 above its saddle.
    assert deblend(image, whole, sigma=0.1, params=DeblendParams(min_prominence=1000.0)).n_sources == 1
    assert deblend(image, whole, sigma=10.0).n_sources == 1


def test_a_bump_that_the_symmetry_of_its_neighbour_explains_is_no_source() -> None:
    y, x = np.mgrid[:120, :120]
    ring = 100 * np.exp(-((x - 60.0) ** 2 + (y - 60.0) ** 2) / 18)
    arms = [6 * np.exp(-((x - 60.0 - dx) ** 2 + (y - 60.0) ** 2) / 8) for dx in (-14.0, 14.0)]
    symmetric = (ring + arms[0] + arms[1]).astype(np.float32)
    assert detect(symmetric, error=0.5).n_sources == 1
    assert detect((ring + arms[1]).astype(np.float32), error=0.5).n_sources == 2


def test_what_is_no_part_of_a_source_and_too_faint_itself_is_sky() -> None:
    y, x = np.mgrid[:80, :120]
    bright = 60 * np.exp(-((x - 40.0) ** 2 + (y - 40.0) ** 2) / 18)
    faint = 1.9 * np.exp(-((x - 58.0) ** 2 + (y - 40.0) ** 2) / 18)
    image = (bright + faint).astype(np.float32)
    params = DetectParams(threshold=8.0, extent=0.05, threshold_noise="filtered")
    whole = detect(image, error=1.0, params=replace(params, deblend=None))
    found = detect(image, error=1.0, params=params)
    assert (whole.labels[40, 58], found.n_sources, found.labels[40, 58]) == (1, 1, 0)


@pytest.mark.parametrize("params", [DeblendParams(), LEVELS], ids=["saddles", "levels"])
def test_a_label_in_several_pieces_is_parted_and_keeps_its_pixels(params: DeblendParams) -> None:
    y, x = np.mgrid[:80, :120]
    image = sum(h * np.exp(-((x - cx) ** 2 + (y - 40.0) ** 2) / 18) for h, cx in ((60.0, 30.0), (40.0, 90.0)))
    labels = (image > 1).astype(np.int32)
    # A third piece, of fewer pixels than a source has.
    labels[70, 60] = 1
    parts = deblend(image.astype(np.float32), SegmentationMap(labels=labels), params=params)
    assert np.array_equal(parts.labels > 0, labels > 0)
    assert (parts.n_sources, parts.labels[40, 30], parts.labels[40, 90]) == (2, 1, 2)


def test_a_split_leaves_no_source_below_the_least_area() -> None:
    for seed, parts in product(range(4), (DeblendParams(), LEVELS)):
        found = detect(field(seed=seed), error=1.0, params=DetectParams(min_area=12, deblend=parts))
        assert np.bincount(found.labels.ravel())[1:].min() >= 12


@pytest.mark.parametrize("params", [DeblendParams(), LEVELS], ids=["saddles", "levels"])
def test_a_large_segment_with_many_peaks_is_split_in_bounded_time(params: DeblendParams) -> None:
    rng = np.random.default_rng(4)
    image = np.full((1000, 1000), 5.0)
    y, x = np.mgrid[-12:13, -12:13]
    for cy, cx in zip(rng.integers(20, 980, 500), rng.integers(20, 980, 500), strict=True):
        image[cy - 12 : cy + 13, cx - 12 : cx + 13] += 200 * np.exp(-(x**2 + y**2) / 18)
    whole = SegmentationMap(labels=np.ones(image.shape, dtype=np.int32))
    found = deblend(image.astype(np.float32), whole, params=replace(params, contrast=1e-5))
    assert 380 < found.n_sources <= 500
    assert (found.labels > 0).all()


@pytest.mark.parametrize(("height", "is_kept"), [(1.8, False), (4.0, True)])
def test_cleaning_removes_what_the_wing_of_a_neighbour_explains(height: float, is_kept: bool) -> None:
    y, x = np.mgrid[:200, :200]
    image = (1000.0 * np.exp(-((x - 100.0) ** 2 + (y - 100.0) ** 2) / 32)).astype(np.float32)
    image[98:103, 123:128] += height
    # Without noise the threshold is 4 x 0.375; the wing 25 pixels away is about 0.5.
    params = DetectParams(threshold=4.0, extent=None, kernel=PYRAMID, deblend=LEVELS)
    assert detect(image, error=1.0, params=params).n_sources == 2
    found = detect(image, error=1.0, params=replace(params, clean=1.0))
    assert found.n_sources == 1 + is_kept
    assert (found.labels[100, 125] > 0) == is_kept


def test_empty_images_give_empty_maps() -> None:
    assert detect(np.zeros((20, 20), dtype=np.float32), error=1.0).n_sources == 0
    assert label(np.zeros((3, 3), dtype=bool)).n_sources == 0


def test_an_image_in_units_far_from_one_gives_the_same_labels() -> None:
    image = field()
    error = np.random.default_rng(3).uniform(0.8, 1.2, image.shape)
    expected = detect(image, error=error).labels
    tiny = detect(image * np.float32(1e-25), error=error * 1e-25).labels
    assert np.mean(tiny != expected) < 1e-4


def test_an_image_without_a_usable_pixel_is_an_error() -> None:
    image = np.zeros((20, 20), dtype=np.float32)
    with pytest.raises(NoDataError, match="none of the 400 pixels"):
        detect(np.full_like(image, np.nan), error=1.0)
    with pytest.raises(NoDataError, match="none of the 400 pixels"):
        detect(image, weight=image)
    with pytest.raises(NoDataError, match="none of the 400 pixels"):
        detect(image, error=1.0, mask=image == 0)


def test_the_kernels_refuse_levels_and_spacings_that_do_not_exist() -> None:
    image = np.ones((4, 4), dtype=np.float32)
    given = {"threshold": 0.0, "sigma": 1.0, "min_area": 1, "connectivity": 8, "saddles": None}
    for n_levels in (0, 65536):
        with pytest.raises(InvalidInputError, match=f"n_levels: {n_levels} is not allowed"):
            _rust.deblend(image, image.astype(np.int32), deblend_levels=(n_levels, "sinh", 0.01, False), **given)
    with pytest.raises(InvalidInputError, match='spacing: "even" is not known'):
        _rust.deblend(image, image.astype(np.int32), deblend_levels=(4, "even", 0.01, False), **given)


def test_a_detector_that_is_finished_takes_no_more_windows() -> None:
    given = {"threshold": 2.0, "extent": 2.0, "is_filtered": True, "connectivity": 8, "min_area": 1}
    unused = {"deblend_levels": None, "saddles": None, "sharp_kernel": None, "clean": None}
    detector = _rust.Detector(4, 4, None, **given, **unused)
    window = (np.ones((4, 4), dtype=np.float32), None, 1.0, None, (0, 0), ([0, 4], [0, 4]))
    detector.add(*window)
    detector.finish()
    for again in (lambda: detector.add(*window), detector.finish, detector.margin):
        with pytest.raises(InvalidInputError, match="already finished"):
            again()


def test_wrong_input_is_named() -> None:
    image = np.zeros((20, 20), dtype=np.float32)
    with pytest.raises(InvalidInputError, match="exactly one"):
        detect(image)
    with pytest.raises(InvalidInputError, match="exactly one"):
        detect(image, error=1.0, weight=image)
    with pytest.raises(InvalidInputError, match="error"):
        detect(image, error=np.ones((3, 3)))
    with pytest.raises(InvalidInputError, match="negative"):
        detect(image, error=image - 1)
    with pytest.raises(InvalidInputError, match="error"):
        detect(image, error=0.0)
    with pytest.raises(InvalidInputError, match="connectivity: 6"):
        label(image > 0, connectivity=6)
    with pytest.raises(InvalidInputError, match="kernel"):
        DetectParams(kernel=((1.0, 1.0),))
    with pytest.raises(InvalidInputError, match="-3"):
        deblend(image, SegmentationMap(labels=np.full((20, 20), -3, dtype=np.int32)))
    with pytest.raises(InvalidInputError, match="threshold"):
        DetectParams(threshold=-1.0)
    with pytest.raises(InvalidInputError, match="fwhm_pix"):
        gaussian_kernel(0.0)
