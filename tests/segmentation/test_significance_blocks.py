"""Statistics of images in parts are those of the whole."""

import numpy as np
import pytest

from skymere.errors import InvalidInputError, NoDataError
from skymere.resample.ranks import median_of_parts
from skymere.segmentation import (
    MeasureImage,
    SignificanceParams,
    measure_sky_noise,
    measure_sky_scatter,
    significance,
    significance_blocks,
)

SHAPE = (170, 190)
RNG = np.random.default_rng(17)


@pytest.mark.parametrize("n", [1, 2, 3, 1000, 1001])
@pytest.mark.parametrize("kind", ["normal", "few values", "wide"])
def test_the_median_in_parts_is_that_of_numpy(n: int, kind: str) -> None:
    values = RNG.normal(-0.1, 1, n)
    values = {"normal": values, "few values": np.rint(values), "wide": values * 10.0 ** RNG.uniform(-30, 30, n)}[kind]
    values = values.astype(np.float32)
    holes = np.insert(values, n // 2, np.float32(np.nan))
    median, found = median_of_parts(lambda: iter(np.array_split(holes, 3)))
    assert (median, found) == (np.median(values), n)


def test_no_value_has_no_median() -> None:
    median, n = median_of_parts(lambda: iter([np.full(3, np.nan, np.float32)]))
    assert np.isnan(median)
    assert n == 0


def bands() -> dict[str, dict[str, np.ndarray]]:
    found = {}
    for band, sigma in (("g", 1.0), ("r", 0.3), ("i", 2.0), ("z", 1.5)):
        data = RNG.normal(0, sigma, SHAPE)
        data[60:66, 100:110] += 8 * sigma
        data[RNG.uniform(size=SHAPE) < 0.02] = np.nan
        error = np.full(SHAPE, sigma) * RNG.uniform(0.9, 1.2, SHAPE)
        found[band] = {"data": data.astype(np.float32), "error": error.astype(np.float32)}
    found["i"]["data"][:, :120] = 0.0
    return found


BANDS = bands()


def read(rows: slice, columns: slice) -> dict[str, MeasureImage | None]:
    images = {b: MeasureImage(**{k: p[rows, columns] for k, p in planes.items()}) for b, planes in BANDS.items()}
    return images | {"y": None}


@pytest.mark.parametrize(
    "params",
    [
        SignificanceParams(),
        SignificanceParams(both_signs=True, min_coverage=0.1),
        SignificanceParams(statistic="stack", kernel=None),
        SignificanceParams(statistic="max_snr", min_coverage=0.1),
        SignificanceParams(statistic="max_snr", with_stack=False, calibrate=False),
    ],
)
def test_windows_have_the_bits_of_the_whole(params: SignificanceParams) -> None:
    whole = significance(read(slice(0, SHAPE[0]), slice(0, SHAPE[1])), params=params)
    found = significance_blocks(read, SHAPE, side=64, params=params)
    assert found.usable.bands == whole.bands
    # Zeros of one band were never observed, and cover a part of its windows only.
    assert ("i" in whole.bands) == (params.min_coverage < 0.2)
    assert dict(found.usable.excluded) == dict(whole.excluded)
    assert dict(found.usable.coverage) == dict(whole.coverage)
    assert dict(found.noise) == dict(whole.noise)
    assert np.array_equal(found.data(slice(None), slice(None)), whole.data, equal_nan=True)
    assert np.array_equal(found.data(slice(50, 90), slice(99, 190)), whole.data[50:90, 99:], equal_nan=True)


def test_bands_without_errors_or_pixels_are_named() -> None:
    with pytest.raises(InvalidInputError, match="error must be given"):
        significance_blocks(lambda y, x: {"g": MeasureImage(data=BANDS["g"]["data"][y, x])}, SHAPE)
    with pytest.raises(NoDataError, match="no band can be used"):
        significance_blocks(lambda _y, _x: {"g": None}, SHAPE)


@pytest.mark.parametrize("side", [64, 100, 500])
def test_the_noise_of_the_sky_does_not_depend_on_blocks(side: int) -> None:
    data, error = BANDS["r"]["data"], BANDS["r"]["error"]
    sky = np.ones(SHAPE, bool)
    sky[55:70, 95:115] = False
    whole = measure_sky_noise(data, sky, variance=error**2)
    found = measure_sky_scatter(lambda y, x: (data[y, x], sky[y, x], error[y, x] ** 2), SHAPE, side=side)
    assert found.level == whole.level
    assert np.array_equal(found.covariance.kernels, whole.covariance.kernels)
    assert np.array_equal(found.variance(data, error**2), whole.variance, equal_nan=True)
