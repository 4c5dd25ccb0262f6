"""The predicted noise covariance against a dense float64 covariance matrix, kernel by kernel."""

import numpy as np
import pytest

from skymere import get_num_threads, set_num_threads
from skymere._rust import resample as rust
from skymere.datamodels import Exposure, NoiseCovariance
from skymere.errors import InvalidInputError
from skymere.resample import (
    DrizzleParams,
    Drizzler,
    NoiseParams,
    SumVariance,
    drizzle,
    measure_noise,
    predict_noise,
    predict_sums,
)
from skymere.wcs import Grid

KERNELS = ("square", "turbo", "point", "gaussian", "lanczos2", "lanczos3")
SHAPE, OUTPUT = (14, 13), (30, 34)


def scene(rng, bent_map, shape=SHAPE, n=3, **geometry):
    """Exposures with holes and variances of their own, whose drops reach beyond the output."""
    out = []
    for k in range(n):
        weight = rng.uniform(0.5, 2.0, shape).astype(np.float32)
        weight[rng.random(shape) < 0.15] = 0.0
        out.append(
            {
                "data": np.zeros(shape, np.float32),
                "pixmap": bent_map(shape, scale=2.2, **geometry) + 0.37 * k,
                "weight": weight,
                "variance": rng.uniform(1.0, 3.0, shape).astype(np.float32),
                "value_scale": 0.7,
                "ratio": 1.0 / 2.2,
            }
        )
    return out


def arguments(exposure):
    return {name: value for name, value in exposure.items() if name != "ratio"} | {
        "pixel_scale_ratio": exposure["ratio"]
    }


def weight_of(exposures, shape, params):
    drizzler = Drizzler(shape, params=params)
    for exposure in exposures:
        drizzler.add(**arguments(exposure))
    return drizzler.finish()


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_variance_of_any_sum_is_that_of_the_dense_covariance(kernel, reference_covariance, bent_map):
    rng = np.random.default_rng(1)
    exposures = scene(rng, bent_map, shift=(-2.0, 3.0))
    params = DrizzleParams(kernel=kernel, pixfrac=0.8)
    image = weight_of(exposures, OUTPUT, params)
    weight, covariance = reference_covariance(exposures, OUTPUT, kernel=kernel, pixfrac=0.8)
    # Lanczos and gaussian weights come close to 0, where their inverse is not bounded: those are left out.
    used = np.abs(weight) > 0.05 * np.median(np.abs(weight[weight != 0]))
    sums = []
    for _ in range(40):
        h, w = rng.integers(1, 12, 2)
        y0, x0 = rng.integers(0, OUTPUT[0] - h + 1), rng.integers(0, OUTPUT[1] - w + 1)
        sums.append((y0, x0, rng.normal(1.0, 1.0, (h, w)) * used[y0 : y0 + h, x0 : x0 + w]))
    found = SumVariance(image.weight, sums, params=params)
    for exposure in exposures:
        found.add(**arguments(exposure))
    for (y0, x0, u), variance in zip(sums, found.variance, strict=True):
        whole = np.zeros(OUTPUT)
        whole[y0 : y0 + u.shape[0], x0 : x0 + u.shape[1]] = u
        expected = whole.ravel() @ covariance @ whole.ravel()
        assert variance == pytest.approx(expected, rel=2e-5, abs=1e-12)
    # One pixel alone is the variance plane.
    single = SumVariance(image.weight, [(15, 17, np.ones((1, 1)))], params=params)
    for exposure in exposures:
        single.add(**arguments(exposure))
    assert single.variance[0] == pytest.approx(image.variance[15, 17], rel=1e-6)


@pytest.mark.parametrize("kernel", KERNELS)
def test_lag_sums_are_those_of_the_dense_covariance(kernel, reference_covariance, bent_map):
    rng = np.random.default_rng(2)
    exposures = scene(rng, bent_map, n=2, shift=(-2.0, 3.0))
    params = DrizzleParams(kernel=kernel, pixfrac=0.9)
    weight = weight_of(exposures, OUTPUT, params).weight
    expected_weight, covariance = reference_covariance(exposures, OUTPUT, kernel=kernel, pixfrac=0.9)
    used = np.abs(expected_weight) > 0.05 * np.median(np.abs(expected_weight[expected_weight != 0]))
    weight = np.where(used, weight, np.float32(0))
    covariance = covariance * used.ravel() * used.ravel()[:, np.newaxis]
    classes = rng.integers(0, 3, OUTPUT).astype(np.uint8)
    boxes = np.array([[0, 0, 9, 7], [10, 12, 8, 8], [20, 20, 10, 14]])
    box_classes, scales, reach = np.array([0, 1, 2], np.uint8), np.array([1.0, 0.5, 2.0]), 3
    found = sum(
        rust.lag_sums(
            boxes,
            box_classes,
            scales,
            classes,
            3,
            reach,
            weight,
            e["data"],
            e["pixmap"],
            e["weight"],
            e["variance"],
            e["value_scale"],
            e["ratio"],
            kernel,
            0.9,
        )
        for e in exposures
    )
    dense = covariance.reshape(*OUTPUT, *OUTPUT)
    for k, ((y0, x0, h, w), scale) in enumerate(zip(boxes, scales, strict=True)):
        expected = np.zeros((2 * reach + 1, 2 * reach + 1))
        for dj, di in np.argwhere(classes[y0 : y0 + h, x0 : x0 + w] == k):
            j, i = y0 + dj, x0 + di
            for (dy, dx), _ in np.ndenumerate(expected):
                row, column = j + dy - reach, i + dx - reach
                if 0 <= row < OUTPUT[0] and 0 <= column < OUTPUT[1]:
                    expected[dy, dx] += scale * dense[j, i, row, column]
        assert np.allclose(found[k], expected, rtol=1e-4, atol=1e-5 * expected[reach, reach])


def test_lag_products_are_those_of_all_pairs():
    rng = np.random.default_rng(3)
    image = rng.normal(size=OUTPUT).astype(np.float32)
    classes = rng.integers(0, 2, OUTPUT).astype(np.uint8)
    boxes, reach = np.array([[0, 0, 30, 34], [5, 6, 7, 8]]), 2
    found = rust.lag_products(boxes, np.array([0, 1], np.uint8), np.array([1.0, 3.0]), classes, 2, reach, image)
    wide = np.pad(image.astype(float), reach)
    for k, scale, box in ((0, 1.0, np.s_[0:30, 0:34]), (1, 3.0, np.s_[5:12, 6:14])):
        first = np.zeros(OUTPUT)
        first[box] = np.where(classes == k, image, 0.0)[box] * scale
        for dy in range(5):
            for dx in range(5):
                assert found[k, dy, dx] == pytest.approx((first * wide[dy : dy + 30, dx : dx + 34]).sum())


@pytest.mark.parametrize("kernel", ["square", "turbo", "lanczos3"])
def test_any_number_of_threads_gives_the_same_bits(kernel, bent_map):
    rng = np.random.default_rng(4)
    exposures = scene(rng, bent_map, shape=(80, 70))
    shape, params = (180, 160), DrizzleParams(kernel=kernel, pixfrac=0.8)
    image = weight_of(exposures, shape, params)
    classes = rng.integers(0, 3, shape).astype(np.uint8)
    boxes = np.array([(y, x, 8, 8) for y in range(0, 168, 9) for x in range(0, 150, 9)])
    sums = [(y, x, np.ones((h, w))) for y, x, h, w in boxes]
    box_classes, scales = (np.arange(len(boxes)) % 3).astype(np.uint8), rng.random(len(boxes))
    before = get_num_threads()
    results = []
    for n in (1, 2, 5):
        set_num_threads(n)
        found = SumVariance(image.weight, sums, params=params)
        lags = 0.0
        for e in exposures:
            found.add(**arguments(e))
            lags = lags + rust.lag_sums(
                boxes,
                box_classes,
                scales,
                classes,
                3,
                4,
                image.weight,
                e["data"],
                e["pixmap"],
                e["weight"],
                e["variance"],
                1.0,
                0.5,
                kernel,
                0.8,
            )
        products = rust.lag_products(boxes, box_classes, scales, classes, 3, 4, np.nan_to_num(image.variance))
        results.append((found.variance, lags, products))
    set_num_threads(before)
    for other in results[1:]:
        for a, b in zip(other, results[0], strict=True):
            assert np.array_equal(a, b)


def exposures_on_sky(rng, *, n=4, shape=(100, 110), noise=None, source=0.0):
    """Dithered, turned exposures of blank sky with their own errors, a hole in all and bad pixels in each."""
    out = []
    centre = np.array([150.0, 2.0])
    for k in range(n):
        grid = Grid.tangent(
            *(centre + rng.uniform(-1, 1, 2) * 0.3 / 3600),
            shape=shape,
            scale_arcsec=0.12,
            rotation_deg=10.0 + 2.0 * k,
        )
        error = np.full(shape, 0.1 * (1 + 0.2 * k), np.float32)
        dq = (rng.random(shape) < 0.01).astype(np.uint32)
        dq[48:53, 50:55] = 1
        data = rng.normal(0.0, error).astype(np.float32)
        y, x = np.indices(shape)
        data += (source * np.exp(-0.5 * ((x - 20) ** 2 + (y - 70) ** 2) / 4)).astype(np.float32)
        out.append(
            Exposure(
                exposure_id=f"e{k}",
                data=data if noise is None else noise[k],
                error=error,
                dq=dq,
                wcs=grid.wcs,
                exptime=100.0 * (k + 1),
                band="f140w",
                native_scale_arcsec=0.12,
            )
        )
    return out


GRID = Grid.tangent(150.0, 2.0, shape=(260, 270), scale_arcsec=0.06)


def test_a_mosaic_knows_its_noise_and_blank_sky_agrees():
    exposures = exposures_on_sky(np.random.default_rng(5), source=5.0)
    mosaic = drizzle(exposures, GRID, params=DrizzleParams(pixfrac=0.8), noise=NoiseParams())
    noise = mosaic.noise
    assert noise.classes == ("interior", "edge", "hole", "edge_rim", "hole_rim")
    counts = {k: np.count_nonzero(noise.class_map == k) for k in (0, 1, 2, 3, 4, 255)}
    assert min(counts.values()) > 50
    assert counts[0] > 20000
    assert np.array_equal(noise.class_map == 255, mosaic.weight == 0)
    # The hole that all exposures have, and the border.
    around = noise.class_map[115:145, 120:150]
    assert np.count_nonzero(around == 2) > 100
    assert np.count_nonzero((around == 4) | (around == 255)) > 20
    middle = noise.reach_pix
    assert np.allclose(noise.kernels[:, middle, middle], 1.0, atol=1e-5)
    assert np.allclose(noise.kernels, noise.kernels[:, ::-1, ::-1])
    # The largest eigenvalue of a correlation is that of large areas.
    assert noise.large_area_factors["interior"] == pytest.approx(mosaic.noise_correlation, rel=0.1)
    # Interior sky: about 20000 pixels, of which about one in three is independent.
    assert np.allclose(noise.measured[0], noise.kernels[0], atol=0.06)
    again = predict_noise(exposures, mosaic)
    assert np.array_equal(again.kernels, noise.kernels)
    masked = measure_noise(mosaic, again, mask=np.ones(mosaic.shape, bool))
    assert np.isnan(masked.measured).all()


def test_the_covariance_of_a_mosaic_needs_the_exposures_twice_and_the_same_ones():
    exposures = exposures_on_sky(np.random.default_rng(6), n=2)
    with pytest.raises(InvalidInputError, match="an iterator is not allowed with noise"):
        drizzle(iter(exposures), GRID, noise=NoiseParams())
    mosaic = drizzle(exposures, GRID)
    assert mosaic.noise is None
    with pytest.raises(InvalidInputError, match="an iterator is not allowed"):
        predict_noise(iter(exposures), mosaic)
    with pytest.raises(InvalidInputError, match=r"\['e0'\] are not those of the mosaic"):
        predict_noise(exposures[:1], mosaic)
    u = np.ones((5, 5))
    found = predict_sums(exposures, mosaic, [(100, 100, u), (0, 0, u)])
    assert found[0] > mosaic.variance[100:105, 100:105].sum()
    assert found[1] == 0.0


def test_a_class_without_pixels_has_the_kernel_of_the_interior():
    exposures = exposures_on_sky(np.random.default_rng(7), n=1)
    small = Grid.tangent(150.0, 2.0, shape=(30, 30), scale_arcsec=0.06)
    clean = [Exposure(**{**vars(e), "dq": np.zeros_like(e.dq), "wcs": exposures[0].wcs}) for e in exposures]
    noise = drizzle(clean, small, noise=NoiseParams(measure=False)).noise
    assert (noise.class_map == 0).all()
    assert np.array_equal(noise.kernels[1], noise.kernels[0])
    assert np.array_equal(noise.kernels[2], noise.kernels[0])
    assert noise.measured is None


ONES = np.ones((4, 4), np.float32)
WHITE = {"kernels": np.ones((1, 1, 1)), "class_map": np.zeros((4, 4), np.uint8), "classes": ("all",)}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SumVariance(ONES, [(0, 0, np.ones((5, 1)))]), r"sums\[0\]: the stamp"),
        (lambda: SumVariance(ONES, [(0, 0, ONES), (-1, 0, np.ones((1, 1)))]), r"sums\[1\]: the stamp"),
        (lambda: SumVariance(ONES, [(0, 0, np.ones(3))]), r"sums\[0\]: shape"),
        (lambda: SumVariance(ONES, []).add(ONES, np.ones((4, 4, 2)), variance=ONES[:2]), "variance: shape"),
        (lambda: SumVariance(ONES, []).add(ONES, np.ones((3, 4, 2)), variance=ONES), "pixmap: shape"),
        (lambda: NoiseParams(n_cells=0), "n_cells: 0"),
        (lambda: NoiseParams(phase_step=-0.1), "phase_step: -0.1"),
        (lambda: NoiseParams(weight_drop=1.0), "weight_drop: 1.0"),
        (lambda: NoiseCovariance(**{**WHITE, "kernels": np.ones((1, 2, 2))}), "odd square"),
        (lambda: NoiseCovariance(**{**WHITE, "kernels": np.ones((2, 1, 1))}), "kernels: shape"),
        (lambda: NoiseCovariance(**{**WHITE, "kernels": np.full((1, 1, 1), np.nan)}), "not finite"),
        (lambda: NoiseCovariance(**{**WHITE, "class_map": np.ones((4, 4), np.uint8)}), "class_map: class 1"),
        (lambda: NoiseCovariance(**WHITE, measured=np.ones((1, 3, 3))), "measured: shape"),
        (lambda: NoiseCovariance(**WHITE).sum_variance(np.ones(3), 1.0, y0=0, x0=0), "weights: shape"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InvalidInputError, match=message):
        call()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"boxes": np.array([[0, 0, 5, 5]])}, "boxes"),
        ({"boxes": np.array([[-1, 0, 1, 1]])}, "boxes"),
        ({"boxes": np.array([[0, 0, 1]])}, "boxes: shape"),
        ({"box_classes": np.array([1], np.uint8)}, "box_classes: 1"),
        ({"scales": np.ones(2)}, "scales: shape"),
        ({"n_classes": 0}, "n_classes: 0"),
        ({"reach": 256}, "reach: 256"),
        ({"image": np.ones((3, 4), np.float32)}, "image: shape"),
    ],
)
def test_bad_boxes_are_named(changes, message):
    given = {
        "boxes": np.array([[0, 0, 4, 4]]),
        "box_classes": np.array([0], np.uint8),
        "scales": np.ones(1),
        "classes": np.zeros((4, 4), np.uint8),
        "n_classes": 1,
        "reach": 1,
        "image": ONES,
    }
    with pytest.raises(InvalidInputError, match=message):
        rust.lag_products(*(given | changes).values())
