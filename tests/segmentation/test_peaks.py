"""Segments that grow from their peaks, against the rules written out pixel by pixel."""

from collections.abc import Iterator

import numpy as np
import pytest

import skymere
from skymere._rust import segmentation as _rust
from skymere.errors import InvalidInputError, NoDataError
from skymere.segmentation import MeasureImage, PeakParams, convolve, detect_peaks, gaussian_kernel
from skymere.segmentation.sky_noise import measure_sky_noise
from skymere.wcs import Grid


@pytest.fixture(autouse=True)
def _all_threads() -> Iterator[None]:
    yield
    skymere.set_num_threads(0)


def neighbours(image: np.ndarray, y: int, x: int) -> list[tuple[int, int]]:
    near = [(y - 1, x), (y, x - 1), (y, x + 1), (y + 1, x)]
    return [(v, u) for v, u in near if 0 <= v < image.shape[0] and 0 <= u < image.shape[1]]


def serial(image: np.ndarray, threshold: float, reach: int, min_area: int) -> np.ndarray:  # noqa: C901
    """The rules of B2.A, one pixel after the other."""
    label = np.zeros(image.shape, int)
    peaks: list[tuple[int, int]] = []

    def squared(at: tuple[int, int], k: int) -> int:
        return (at[0] - peaks[k - 1][0]) ** 2 + (at[1] - peaks[k - 1][1]) ** 2

    bright = [at for at in np.ndindex(image.shape) if np.isfinite(image[at]) and image[at] >= threshold]
    for at in sorted(bright, key=lambda at: (-image[at], at)):
        ring, seen = {at}, {at}
        for _ in range(reach):
            ring = {b for a in ring for b in neighbours(image, *a)} - seen
            seen |= ring
            labelled = [(squared(a, label[a]), a) for a in ring if label[a]]
            if labelled:
                label[at] = label[min(labelled)[1]]
                break
        else:
            peaks.append(at)
            label[at] = len(peaks)
    connected = np.zeros_like(label)
    for k, peak in enumerate(peaks, start=1):
        todo = [peak]
        while todo:
            at = todo.pop()
            if label[at] == k and not connected[at]:
                connected[at] = k
                todo += neighbours(image, *at)
    label = connected
    is_large = np.bincount(label.ravel(), minlength=len(peaks) + 1) >= min_area
    for k in range(1, len(peaks) + 1):
        if is_large[k]:
            continue
        mine = list(zip(*np.nonzero(label == k), strict=True))
        touching = {b for a in mine for b in neighbours(image, *a) if label[b] and is_large[label[b]]}
        heir = label[min((squared(b, label[b]), b) for b in touching)[1]] if touching else 0
        for at in mine:
            label[at] = heir
    kept = [k for k in range(1, len(peaks) + 1) if is_large[k]]
    number = np.zeros(len(peaks) + 1, int)
    number[kept] = np.arange(1, len(kept) + 1)
    return number[label]


def smooth_noise(seed: int, shape: tuple[int, int], fwhm: float) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)
    return convolve(noise, gaussian_kernel(fwhm)) if fwhm else noise


@pytest.mark.parametrize("reach", [0, 1, 2, 5, 9])
@pytest.mark.parametrize(("fwhm", "min_area"), [(0.0, 1), (2.0, 6), (4.0, 10)])
def test_labels_are_those_of_the_rules_followed_pixel_by_pixel(reach: int, fwhm: float, min_area: int) -> None:
    for seed in range(4):
        image = smooth_noise(seed, (47, 61), fwhm)
        image[(seed * 7) % 40 : (seed * 7) % 40 + 3, 20:30] = np.nan
        for threshold in (0.0, 1.2 * float(np.nanstd(image))):
            expected = serial(image, threshold, reach, min_area)
            found, x, y = _rust.peak_first(image, threshold=threshold, reach=reach, min_area=min_area)
            assert np.array_equal(found, expected)
            assert np.array_equal(found[y, x], np.arange(1, found.max() + 1))


def test_equal_pixels_are_taken_in_raster_order() -> None:
    for seed in range(6):
        image = np.round(smooth_noise(seed, (40, 40), 2.0) * 4).astype(np.float32)
        found, _, _ = _rust.peak_first(image, threshold=0.0, reach=4, min_area=3)
        assert np.array_equal(found, serial(image, 0.0, 4, 3))


def test_any_number_of_threads_gives_the_same_segments() -> None:
    image = 3.0 * smooth_noise(5, (700, 600), 3.0)
    maps = []
    for threads in (1, 2, 5):
        skymere.set_num_threads(threads)
        maps.append(detect_peaks(image, scale_arcsec=0.06, params=PeakParams(detect_threshold=0.3)).segmentation.labels)
    assert maps[0].max() > 100
    assert all(np.array_equal(maps[0], other) for other in maps[1:])


def blobs(*places: tuple[float, float, float], sigma: float = 1.4) -> np.ndarray:
    y, x = np.mgrid[:64, :64]
    return sum(h * np.exp(-((x - at) ** 2 + (y - up) ** 2) / (2 * sigma**2)) for at, up, h in places)


def test_peaks_a_third_of_an_arcsec_apart_are_one_segment_and_twice_as_far_two() -> None:
    for scale in (0.06, 0.03):
        y, x = np.mgrid[:160, :160] * scale

        def pair(distance: float, x: np.ndarray = x, y: np.ndarray = y) -> np.ndarray:
            return sum(
                40.0 * np.exp(-((x - at) ** 2 + (y - 2.0) ** 2) / (2 * 0.05**2))
                for at in (2.0 - distance / 2, 2.0 + distance / 2)
            )

        params = PeakParams(conv_fwhm_arcsec=0.1)
        close, apart = (detect_peaks(pair(d), scale_arcsec=scale, params=params) for d in (0.3, 0.6))
        assert close.segmentation.n_sources == 1
        assert apart.segmentation.n_sources == 2


def test_the_threshold_is_above_the_median_of_the_smoothed_image() -> None:
    # A maximum of several bands has its median above 0.
    image = 1.5 + smooth_noise(6, (200, 200), 0.0) + np.pad(blobs((30, 30, 20)), 68)
    for level in (0.8, 1.5):
        found = detect_peaks(image, scale_arcsec=0.06, params=PeakParams(detect_threshold=level, min_area=1))
        assert found.threshold == pytest.approx(float(np.median(found.snr)) + level, abs=1e-6)
        assert np.array_equal(found.segmentation.labels > 0, found.snr >= found.threshold) or level < 1.0
        assert found.snr[found.segmentation.labels > 0].min() >= found.threshold


def test_nine_pixels_vanish_and_ten_stay() -> None:
    image = np.zeros((40, 40), np.float32)
    image[5:8, 5:8] = 9.0
    image[25:27, 20:25] = 7.0
    found = detect_peaks(image, scale_arcsec=0.06, params=PeakParams(conv_fwhm_arcsec=0.0))
    assert found.table["area"].to_list() == [10]
    assert found.segmentation.labels[5:8, 5:8].max() == 0


def test_label_one_is_the_brightest_peak_and_the_table_has_the_labels_of_the_map() -> None:
    image = blobs((12, 12, 10), (40, 20, 60), (30, 50, 30))
    grid = Grid.tangent(30.0, -20.0, shape=(64, 64), scale_arcsec=0.06)
    found = detect_peaks(image, grid=grid)
    assert found.table["label"].to_list() == found.segmentation.ids.tolist() == [1, 2, 3]
    assert found.table["peak"].is_sorted(descending=True)
    assert (found.table["x"][0], found.table["y"][0]) == (40, 20)
    # FITS counts from 1.
    ra, dec = grid.wcs.all_pix2world(found.table["x"] + 1, found.table["y"] + 1, 1)
    np.testing.assert_allclose(found.table["ra"], ra, atol=1e-10)
    np.testing.assert_allclose(found.table["dec"], dec, atol=1e-10)


def test_a_source_beside_a_hole_is_as_bright_as_in_the_open() -> None:
    image = np.full((64, 64), 5.0, np.float32)
    image[:, 30:34] = np.nan
    found = detect_peaks(image, scale_arcsec=0.06)
    assert np.isnan(found.snr[:, 30:34]).all()
    np.testing.assert_allclose(found.snr[:, :30], 5.0, rtol=1e-6)


@pytest.mark.parametrize("fwhm", [0.0, 2.5])
def test_the_pull_of_segment_fluxes_is_one_in_white_and_in_correlated_noise(fwhm: float) -> None:
    y, x = np.mgrid[:500, :500]
    scene = np.zeros((500, 500))
    rng = np.random.default_rng(8)
    for cy in range(25, 500, 50):
        for cx in range(25, 500, 50):
            scene += rng.uniform(40, 100) * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * rng.uniform(1.5, 4) ** 2))
    labels = detect_peaks(scene, scale_arcsec=0.06, params=PeakParams(detect_threshold=2.0)).segmentation.labels
    truth = np.bincount(labels.ravel(), scene.ravel())[1:]
    pulls = []
    for seed in range(12):
        noise = smooth_noise(300 + seed, scene.shape, fwhm)
        image = (scene + 7.0 + noise / noise.std()).astype(np.float32)
        blank = scene < 1e-3
        sky = measure_sky_noise(image, blank)
        sums = _rust.segment_sums(labels, image - np.float32(sky.level), sky.variance)
        pulls.append((sums["flux"] - truth) / (np.sqrt(sums["variance"]) * sky.correlation(sums["area"])))
    width = float(np.std(pulls))
    print(
        f"fwhm {fwhm}: pull {width:.3f} of {np.size(pulls)} fluxes, median R {np.median(sky.correlation(sums['area'])):.2f}"
    )
    assert width == pytest.approx(1.0, abs=0.06)


def test_segments_of_low_s_n_become_sky_and_the_others_keep_their_numbers() -> None:
    image = blobs((12, 12, 60), (40, 20, 9), (30, 50, 30), sigma=2.0)
    rng = np.random.default_rng(2)
    # The second one is not there in the flux image.
    flux = blobs((12, 12, 60), (30, 50, 30), sigma=2.0) + rng.normal(0, 1, image.shape)
    found = detect_peaks(image, scale_arcsec=0.06, flux_image=MeasureImage(data=flux, zero_point_ab=23.9))
    assert found.n_faint == 1
    assert found.table["label"].to_list() == found.segmentation.ids.tolist() == [1, 2]
    assert (found.table["flux"] > 10 * found.table["flux_err"]).all()
    every = detect_peaks(image, scale_arcsec=0.06, flux_image=MeasureImage(data=flux), params=PeakParams(min_snr=-1e9))
    assert every.segmentation.n_sources == 3


def test_a_point_source_is_found_best_when_smoothed_with_its_own_width() -> None:
    y, x = np.mgrid[:31, :31] - 15
    point = np.exp(-(x**2 + y**2) / (2 * (3.33 / 2.3548) ** 2))
    rates = []
    for fwhm in (0.05, 0.2, 0.8):
        noise = np.random.default_rng(4).normal(0, 1, (310, 310)).astype(np.float32)
        image = noise + np.tile(point, (10, 10)).astype(np.float32) * 2.2
        smooth = convolve(image, gaussian_kernel(fwhm / 0.06))
        sigma = convolve(noise, gaussian_kernel(fwhm / 0.06)).std()
        params = PeakParams(conv_fwhm_arcsec=fwhm, detect_threshold=float(4.0 * sigma), min_area=1)
        labels = detect_peaks(image, scale_arcsec=0.06, params=params).segmentation.labels
        assert smooth.shape == labels.shape
        near = labels.reshape(10, 31, 10, 31)[:, 14:17, :, 14:17]
        rates.append(np.count_nonzero(near.max(axis=(1, 3))))
    assert rates[1] > rates[0]
    assert rates[1] > rates[2]


def test_bad_input_is_named() -> None:
    image = np.ones((20, 20), np.float32)
    with pytest.raises(InvalidInputError, match="scale_arcsec"):
        detect_peaks(image)
    with pytest.raises(InvalidInputError, match="scale_arcsec"):
        detect_peaks(image, scale_arcsec=-1.0)
    with pytest.raises(InvalidInputError, match="mask"):
        detect_peaks(image, scale_arcsec=0.1, mask=np.zeros((20, 21), bool))
    with pytest.raises(InvalidInputError, match="grid"):
        detect_peaks(image, grid=Grid.tangent(0, 0, shape=(21, 20), scale_arcsec=0.1))
    with pytest.raises(NoDataError, match="400 pixels"):
        detect_peaks(np.full((20, 20), np.nan), scale_arcsec=0.1)
    with pytest.raises(InvalidInputError, match="flux_image"):
        detect_peaks(image, scale_arcsec=0.1, flux_image=MeasureImage(data=np.ones((3, 3))))
    with pytest.raises(NoDataError, match="all equal"):
        detect_peaks(np.zeros((40, 40)), scale_arcsec=0.1, flux_image=MeasureImage(data=np.ones((40, 40))))
    for name, value in {"conv_fwhm_arcsec": -1, "detect_threshold": 0, "min_area": 0, "min_snr": np.nan}.items():
        with pytest.raises(InvalidInputError, match=name):
            PeakParams(**{name: value})
