"""Sources found block by block are those of one pass, and so are all the images."""

from dataclasses import replace

import numpy as np
import pytest

from skymere.background import BackgroundParams
from skymere.datamodels import Mosaic, NoiseCovariance, StoredMosaic
from skymere.errors import InvalidInputError, NoDataError
from skymere.mosaic import FindParams, find_sources, find_sources_blocks
from skymere.segmentation import MeasureImage, measure
from skymere.wcs import Grid

SHAPE = (300, 260)
GRID = Grid.tangent(30.0, -10.0, shape=SHAPE, scale_arcsec=0.06)
EVERY = slice(None), slice(None)


def mosaic(band: str, sigma: float, *, seed: int = 0) -> Mosaic:
    """Sources of all sizes on a tilted sky, weights that vary, an uncovered corner, two exposures in most pixels."""
    rng = np.random.default_rng([seed, *band.encode()])
    places = np.random.default_rng(seed + 1)
    y, x = np.indices(SHAPE)
    weight = (5.0 + 0.01 * x + (y > 150)).astype(np.float32)
    data = 3.0 + 0.01 * x + rng.normal(0, 1, SHAPE) * np.sqrt(5.0 / weight)
    data[1:, :] = 0.9 * data[1:, :] + 0.3 * data[:-1, :]
    for _ in range(60):
        cy, cx, size, height = (
            places.uniform(0, 300),
            places.uniform(0, 260),
            places.uniform(1.5, 5),
            places.uniform(3, 40),
        )
        data += height * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * size**2))
    context = np.where(rng.uniform(size=SHAPE) < 0.9, 3, 1).astype(np.int32)
    weight[:40, :30] = 0
    data[:40, :30] = np.nan
    return Mosaic(
        band=band,
        grid=GRID,
        data=(sigma * data).astype(np.float32),
        weight=weight,
        variance=np.full(SHAPE, sigma**2, np.float32),
        context=context[None],
        exposure_ids=("a", "b"),
        zero_point_ab=25.0,
    )


BANDS = [mosaic("g", 1.0), mosaic("r", 2.0), mosaic("i", 0.5)]
PARAMS = FindParams(background=BackgroundParams(box_size=32))


@pytest.mark.parametrize("image", ["stack", "chi_square", "max_snr"])
@pytest.mark.parametrize("side", [70, 1000])
def test_every_image_has_the_bits_of_one_pass(image: str, side: int) -> None:
    params = replace(PARAMS, image=image)
    mask = np.zeros(SHAPE, bool)
    mask[200:210] = True
    whole = find_sources(BANDS, params=params, mask=mask)
    found = find_sources_blocks(BANDS, params=params, mask=mask, side=side)
    assert found.segmentation.n_sources == whole.segmentation.n_sources > 20
    assert np.array_equal(found.segmentation.whole().labels, whole.segmentation.labels)
    assert (found.threshold, found.noise_correlation) == (whole.threshold, whole.noise_correlation)
    assert (dict(found.excluded), dict(found.coverage)) == (dict(whole.excluded), dict(whole.coverage))
    window = slice(30, 222), slice(11, 150)
    assert np.array_equal(found.snr(*EVERY), whole.snr, equal_nan=True)
    assert np.array_equal(found.snr(*window), whole.snr[window], equal_nan=True)
    assert np.array_equal(found.stack(*window).data, whole.stack.data[window], equal_nan=True)
    for band, plane in whole.images().items():
        part = found.images(*window)[band]
        assert part.noise_correlation == plane.noise_correlation
        assert np.array_equal(part.data, np.asarray(plane.data)[window], equal_nan=True)
        assert np.array_equal(part.error, np.asarray(plane.error)[window])


def test_the_catalogue_is_that_of_one_pass() -> None:
    whole = find_sources(BANDS, params=PARAMS)
    stack = MeasureImage(data=whole.stack.data, error=whole.stack.error, zero_point_ab=23.9)
    expected = measure(whole.segmentation, whole.images(), detection=stack).table
    found = find_sources_blocks([StoredMosaic.of(m) for m in BANDS], params=PARAMS, side=90).measure().table
    assert found.columns == expected.columns
    for name in found.columns:
        assert np.array_equal(found[name].to_numpy(), expected[name].to_numpy(), equal_nan=True), name


def test_the_negative_is_that_of_one_pass() -> None:
    params = replace(PARAMS, sources=replace(PARAMS.sources, threshold=2.5, extent=None, min_area=1))
    whole = find_sources(BANDS, params=params, negative=True)
    found = find_sources_blocks(BANDS, params=params, negative=True, side=100)
    assert found.segmentation.n_sources > 0
    assert np.array_equal(found.segmentation.whole().labels, whole.segmentation.labels)


def test_bands_that_cannot_be_used_are_recorded_alike() -> None:
    empty = replace(BANDS[0], band="u", weight=np.zeros(SHAPE, np.float32))
    whole = find_sources([*BANDS, empty], params=PARAMS)
    found = find_sources_blocks([*BANDS, empty], params=PARAMS, side=100)
    assert dict(found.excluded) == dict(whole.excluded)
    assert found.bands == tuple(whole.planes)
    with pytest.raises(NoDataError, match="no pixel is covered"):
        find_sources_blocks([empty], params=PARAMS)
    with pytest.raises(InvalidInputError, match="u: missing"):
        find_sources_blocks([*BANDS, empty], params=replace(PARAMS, unusable="raise"))
    with pytest.raises(InvalidInputError, match="'peaks' is not allowed block by block"):
        find_sources_blocks(BANDS, params=replace(PARAMS, method="peaks"))
    with pytest.raises(InvalidInputError, match="shapes"):
        replace(StoredMosaic.of(BANDS[0]), weight=np.zeros((3, 3)))


def test_bad_pixels_of_a_band_and_noise_covariances_are_those_of_one_pass() -> None:
    triangle = np.convolve(np.ones(3), np.ones(3)) / 3
    classes = (np.indices(SHAPE)[1] > 120).astype(np.uint8)
    noise = NoiseCovariance(kernels=np.stack([np.outer(triangle, triangle)] * 2), class_map=classes, classes=("a", "b"))
    bands = [replace(BANDS[0], noise=noise), *BANDS[1:]]
    y, x = np.indices(SHAPE)
    mask = {"g": np.hypot(x - 130, y - 100) < 40, "i": x > 200}
    whole = find_sources(bands, params=PARAMS, mask=mask)
    found = find_sources_blocks(bands, params=PARAMS, mask=mask, side=70)
    assert np.array_equal(found.segmentation.whole().labels, whole.segmentation.labels)
    window = slice(30, 222), slice(11, 150)
    images, parts = whole.images(), found.images(*window)
    assert isinstance(parts["g"], Mosaic)
    assert np.isnan(parts["g"].data).any()
    for band, image in images.items():
        assert np.array_equal(parts[band].data, np.asarray(image.data)[window], equal_nan=True)
    catalog = measure(
        whole.segmentation,
        images,
        detection=MeasureImage(data=whole.stack.data, error=whole.stack.error, zero_point_ab=23.9),
    )
    assert found.measure().table.equals(catalog.table)


@pytest.mark.parametrize("find", [find_sources, find_sources_blocks])
def test_words_that_are_no_bands_are_refused(find) -> None:
    with pytest.raises(InvalidInputError, match=r"flux_band: 'z' is not allowed, it must be one of \['g', 'r', 'i'\]"):
        find(BANDS, params=replace(PARAMS, flux_band="z"))
    with pytest.raises(InvalidInputError, match=r"mask: \['z'\] are not bands"):
        find(BANDS, params=PARAMS, mask={"z": np.zeros(SHAPE, bool)})


def test_noise_of_bands_is_measured_without_reading_the_others(monkeypatch) -> None:
    read = []
    window = StoredMosaic.window
    monkeypatch.setattr(StoredMosaic, "window", lambda self, *at: (read.append(self.band), window(self, *at))[1])

    def passes(n: int) -> float:
        read.clear()
        find_sources_blocks(BANDS[:n], params=replace(PARAMS, image="chi_square"), side=1000)
        return len(read) / n

    assert passes(3) == passes(1)
