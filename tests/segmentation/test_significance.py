"""Images of several bands: as many false detections for any number of bands, and nothing left out in silence."""

import numpy as np
import pytest

from skymere.errors import InvalidInputError, NoDataError
from skymere.segmentation import (
    DetectParams,
    MeasureImage,
    SignificanceParams,
    convolve,
    detect,
    detect_peaks,
    gaussian_kernel,
    significance,
)

KERNEL = tuple(map(tuple, gaussian_kernel(2.5).tolist()))
FOUND = DetectParams(kernel=None, threshold_noise="filtered", deblend=None, clean=None, min_area=1, threshold=3.3)


def noise(rng: np.random.Generator, shape: tuple[int, int], fwhm: float) -> np.ndarray:
    image = rng.normal(0, 1, shape).astype(np.float32)
    # The noise of a drizzled image is correlated; its border is cut because fewer pixels were added there.
    return convolve(image, gaussian_kernel(fwhm))[8:-8, 8:-8] if fwhm else image


def false_detections(statistic: str, n: int, *, fwhm: float, side: int, seeds: range, **more: bool) -> np.ndarray:
    counts = []
    for seed in seeds:
        rng = np.random.default_rng([seed, n])
        # Bands of other depths; every error says too little of correlated noise.
        images = {
            f"b{k}": MeasureImage(data=(1 + k) * noise(rng, (side, side), fwhm), error=float(1 + k)) for k in range(n)
        }
        params = SignificanceParams(statistic=statistic, kernel=KERNEL, **more)
        found = detect(significance(images, params=params).data[4:-4, 4:-4], error=1.0, params=FOUND)
        counts.append(found.n_sources)
    return np.array(counts)


@pytest.mark.parametrize("fwhm", [0.0, 2.0])
@pytest.mark.parametrize(
    ("statistic", "more"),
    [
        ("chi_square", {}),
        ("chi_square", {"both_signs": True}),
        ("stack", {}),
        ("max_snr", {}),
        ("max_snr", {"with_stack": False}),
    ],
)
def test_the_number_of_false_detections_does_not_depend_on_the_number_of_bands(
    statistic: str, more: dict[str, bool], fwhm: float
) -> None:
    n_bands = (1, 2, 4, 10)
    counts = [false_detections(statistic, n, fwhm=fwhm, side=700, seeds=range(1), **more).sum() for n in n_bands]
    print(f"{statistic} {more} {fwhm}: {dict(zip(n_bands, map(int, counts), strict=True))}")
    mean = np.mean(counts)
    assert mean > 60
    assert np.all(np.abs(counts - mean) < 3.0 * np.sqrt(mean))


@pytest.mark.validate
@pytest.mark.parametrize("fwhm", [0.0, 2.0])
@pytest.mark.parametrize(
    ("statistic", "more"),
    [("chi_square", {}), ("chi_square", {"both_signs": True}), ("stack", {}), ("max_snr", {})],
)
def test_the_number_of_false_detections_on_a_large_field(statistic: str, more: dict[str, bool], fwhm: float) -> None:
    n_bands = (1, 2, 4, 10)
    counts = [false_detections(statistic, n, fwhm=fwhm, side=2048, seeds=range(3), **more).sum() for n in n_bands]
    print(f"{statistic} {more} {fwhm}: {dict(zip(n_bands, map(int, counts), strict=True))}")
    mean = np.mean(counts)
    assert np.all(np.abs(counts - mean) < 3.0 * np.sqrt(mean))


def test_without_calibration_the_largest_of_ten_bands_finds_many_times_more() -> None:
    one, ten = (
        false_detections("max_snr", n, fwhm=0.0, side=500, seeds=range(1), with_stack=False, calibrate=False).sum()
        for n in (1, 10)
    )
    assert ten > 5 * one


def with_source(n: int, bright: int) -> dict[str, MeasureImage]:
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:200, :200]
    source = 3.0 * np.exp(-((x - 90) ** 2 + (y - 120) ** 2) / 6)
    return {
        f"b{k}": MeasureImage(data=rng.normal(0, 1, (200, 200)) + (source if k == bright else 0), error=1.0)
        for k in range(n)
    }


@pytest.mark.parametrize(("statistic", "is_found"), [("chi_square", True), ("max_snr", True), ("stack", False)])
def test_a_source_of_the_bluest_band_is_found_by_chi_square_and_maximum(statistic: str, is_found: bool) -> None:
    found = significance(with_source(10, 0), params=SignificanceParams(statistic=statistic, kernel=KERNEL))
    assert (found.data[120, 90] > 5.0) == is_found
    labels = detect(found.data, error=1.0, params=DetectParams(kernel=None, threshold_noise="filtered")).labels
    assert (labels[120, 90] > 0) == is_found


def test_the_stack_of_equal_images_is_deeper_by_the_root_of_their_number() -> None:
    images = with_source(9, -1)
    y, x = np.mgrid[:200, :200]
    source = 2.0 * np.exp(-((x - 90) ** 2 + (y - 120) ** 2) / 50)
    params = SignificanceParams(statistic="stack", kernel=None)
    alone = significance({"b0": MeasureImage(data=source, error=1.0)}, params=params).data[120, 90]
    every = {band: MeasureImage(data=image.data + source, error=1.0) for band, image in images.items()}
    assert significance(every, params=params).data[115:126, 85:96].mean() == pytest.approx(
        3.0 * alone * (source[115:126, 85:96].mean() / source[120, 90]), abs=0.4
    )


def test_the_pipeline_s_own_maximum_is_that_of_the_images_and_their_stack() -> None:
    rng = np.random.default_rng(3)
    data = [rng.normal(0, s, (100, 120)).astype(np.float32) for s in (1.0, 2.0)]
    images = {f"b{i}": MeasureImage(data=d, error=s) for i, (d, s) in enumerate(zip(data, (1.0, 2.0), strict=True))}
    params = SignificanceParams(statistic="max_snr", kernel=None, calibrate=False, min_coverage=0.0)
    found = significance(images, params=params)
    z = [d / (s * n) for d, s, n in zip(data, (1.0, 2.0), found.noise.values(), strict=True)]
    stack = (z[0] / 1.0 + z[1] / 2.0) / np.sqrt(1.0 + 0.25)
    np.testing.assert_allclose(found.data, np.maximum(np.maximum(z[0], z[1]), stack), atol=2e-5)
    assert detect_peaks(found.data, scale_arcsec=0.06).segmentation.shape == (100, 120)


def test_bands_that_are_missing_blank_or_small_are_recorded_with_the_reason() -> None:
    images: dict[str, MeasureImage | None] = dict(with_source(2, 0))
    small = np.array(images["b0"].data)
    small[:, 90:] = np.nan
    zeros = np.array(images["b1"].data)
    zeros[60:] = 0.0
    images |= {
        "gone": None,
        "blank": MeasureImage(data=np.full((200, 200), np.nan), error=1.0),
        "zero": MeasureImage(data=np.zeros((200, 200))),
        "small": MeasureImage(data=small, error=1.0),
        "cut": MeasureImage(data=zeros, error=1.0),
    }
    found = significance(images)
    assert found.bands == ("b0", "b1")
    assert set(found.excluded) == {"gone", "blank", "zero", "small", "cut"}
    assert found.excluded["gone"] == "missing"
    assert "no pixel" in found.excluded["blank"]
    assert "no pixel" in found.excluded["zero"]
    assert found.coverage["small"] == pytest.approx(0.45)
    assert "0.300 is below min_coverage 0.6" in found.excluded["cut"]
    with pytest.raises(InvalidInputError, match="gone: missing; blank"):
        significance(images, params=SignificanceParams(unusable="raise"))
    with pytest.raises(NoDataError, match="no band can be used"):
        significance({"gone": None})


def test_where_fewer_bands_cover_their_number_counts() -> None:
    images = with_source(2, 0)
    half = np.array(images["b1"].data)
    half[:, :80] = np.nan
    images["b1"] = MeasureImage(data=half, error=1.0)
    found = significance(images, params=SignificanceParams(kernel=KERNEL, min_coverage=0.1))
    alone = significance({"b0": images["b0"]}, params=SignificanceParams(kernel=KERNEL))
    assert set(np.unique(found.n_bands[:, :80])) == {1}
    detected = alone.data[:, :80] > 2.6
    np.testing.assert_allclose(found.data[:, :80][detected], alone.data[:, :80][detected], rtol=1e-3)
    assert not np.isnan(found.data).any()


def test_the_noise_is_that_between_the_sources() -> None:
    rng = np.random.default_rng(9)
    sky = rng.normal(0, 2.0, (512, 512))
    y, x = np.mgrid[:512, :512]
    for cy, cx in rng.integers(20, 490, (60, 2)):
        sky += 300 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 18)
    found = significance({"r": MeasureImage(data=sky)}, params=SignificanceParams(statistic="stack", kernel=None))
    # What the mesh says of the noise, over what the pixels below the sky show.
    assert found.noise["r"] == pytest.approx(1.0, abs=0.1)
    assert np.median(np.abs(found.data - sky / 2.0)[np.abs(sky) < 8]) < 0.1
    # That of the whole image, sources included, is 8 % too large.
    assert 1.4826 * np.median(np.abs(sky - np.median(sky))) > 2.1


def test_bad_bands_are_named() -> None:
    good = np.random.default_rng(1).normal(0, 1, (50, 50))
    with pytest.raises(InvalidInputError, match=r"images\['b'\]: shape"):
        significance({"a": MeasureImage(data=good, error=1.0), "b": MeasureImage(data=good[1:], error=1.0)})
    with pytest.raises(InvalidInputError, match="negative"):
        significance({"a": MeasureImage(data=good, error=-np.ones((50, 50)))})
    pair = {"a": MeasureImage(data=good, error=1.0), "b": MeasureImage(data=good, error=1.0, zero_point_ab=25.0)}
    with pytest.raises(InvalidInputError, match="zero point"):
        significance(pair, params=SignificanceParams(statistic="stack"))
    for name, value in {"statistic": "median", "min_coverage": 2.0, "unusable": "ignore"}.items():
        with pytest.raises(InvalidInputError, match=name):
            SignificanceParams(**{name: value})
