import numpy as np
import pytest
from scipy.ndimage import maximum_filter

from skymere import get_num_threads, set_num_threads
from skymere.errors import InvalidInputError, NoDataError
from skymere.resample import DrizzleParams, Drizzler, decode_context, pixel_scale_ratio

CONSERVING = ("square", "turbo", "point")
KERNELS = (*CONSERVING, "gaussian", "lanczos2", "lanczos3")
SHAPE = (22, 25)
OUTPUT = (64, 72)


def make(exposures, shape=OUTPUT, **params):
    drizzler = Drizzler(shape, params=DrizzleParams(**params))
    for exposure in exposures:
        arguments = dict(exposure)
        drizzler.add(
            arguments.pop("data"),
            arguments.pop("pixmap"),
            pixel_scale_ratio=arguments.pop("ratio", 1.0),
            **arguments,
        )
    return drizzler.finish()


def scene(rng, shape=SHAPE, **extra):
    return {"data": rng.normal(10.0, 3.0, shape).astype(np.float32), **extra}


def relative(found, expected):
    """Largest difference in units of the local maximum (7 x 7)."""
    difference = np.nan_to_num(np.abs(found - expected))
    local = maximum_filter(np.nan_to_num(np.abs(expected)), 7)
    assert not difference[local == 0].any()
    return (difference[local > 0] / local[local > 0]).max()


def error(found, expected, kernel):
    """Largest error of the data, for Lanczos in units of ``sum |w d| / |sum w|``, where the weight is not tiny."""
    if kernel in CONSERVING:
        return relative(found.data, expected.data)
    limit = 0.5 if kernel.startswith("lanczos") else 1e-6
    used = expected.weight > limit * np.median(expected.weight[expected.weight > 0])
    assert used.any()
    difference = np.abs(found.data - expected.data)[used]
    if kernel.startswith("lanczos"):
        return (difference * expected.weight[used] / expected.size[used]).max()
    return (difference / maximum_filter(np.abs(np.nan_to_num(expected.data)), 7)[used]).max()


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(
    "geometry",
    [
        {},
        {"scale": 1.0, "angle": 0.0, "bend": 0.0, "shift": (0.0, 0.0)},
        {"scale": 1.0, "angle": 0.0, "bend": 0.0, "shift": (3.5, 2.5)},
        {"scale": 0.4, "angle": 133.0},
        {"scale": 2.3, "angle": -90.0, "flip": True},
        {"scale": 3.0, "angle": 45.0, "shift": (-20.0, -11.0)},
    ],
)
def test_every_kernel_is_the_float64_reference(kernel, geometry, reference_drizzle, bent_map):
    rng = np.random.default_rng(3)
    exposures = []
    for shift in (0.0, 0.37):
        pixmap = bent_map(SHAPE, **geometry) + shift
        weight = rng.uniform(0.5, 2.0, SHAPE).astype(np.float32)
        weight[rng.random(SHAPE) < 0.1] = 0.0
        exposures.append(
            scene(
                rng,
                pixmap=pixmap,
                weight=weight,
                variance=rng.uniform(1.0, 2.0, SHAPE).astype(np.float32),
                dq=(1 << rng.integers(0, 32, SHAPE)).astype(np.uint32),
                value_scale=0.7,
                ratio=1.0 / geometry.get("scale", 1.7),
            )
        )
    for pixfrac in {"gaussian": (1.0, 0.6, 1.5), "lanczos2": (1.0,), "lanczos3": (1.0,)}.get(
        kernel, (1.0, 0.6, 1.5, 0.05)
    ):
        found = make(exposures, kernel=kernel, pixfrac=pixfrac)
        expected = reference_drizzle(exposures, OUTPUT, kernel=kernel, pixfrac=pixfrac)
        assert error(found, expected, kernel) < 3e-7
        assert relative(found.weight, expected.weight) < 3e-7
        if kernel in CONSERVING:
            assert relative(found.variance, expected.variance) < 3e-7
        assert np.array_equal(found.dq, expected.dq)
        bits = [
            [{k for k in range(2) if found.context[0, j, i] >> k & 1} for i in range(OUTPUT[1])]
            for j in range(OUTPUT[0])
        ]
        assert bits == expected.context
        if kernel in CONSERVING:
            assert np.array_equal(np.isnan(found.data), expected.weight == 0)


@pytest.mark.parametrize("kernel", CONSERVING)
def test_weight_is_conserved_in_the_interior(kernel, bent_map):
    rng = np.random.default_rng(4)
    exposure = scene(
        rng, pixmap=bent_map(SHAPE, shift=(12.0, 14.0)), weight=rng.uniform(0, 2, SHAPE).astype(np.float32)
    )
    found = make([exposure], shape=(90, 90), kernel=kernel, pixfrac=0.8)
    assert found.weight.sum(dtype=float) == pytest.approx(exposure["weight"].sum(dtype=float), rel=1e-6)
    total = (found.weight.astype(float) * np.nan_to_num(found.data)).sum()
    assert total == pytest.approx((exposure["weight"].astype(float) * exposure["data"]).sum(), rel=1e-6)


def test_flux_is_conserved_with_the_squared_ratio_of_the_scales(bent_map):
    rng = np.random.default_rng(5)
    shape = (40, 40)
    image = np.zeros(shape, np.float32)
    image[10:30, 10:30] = rng.uniform(5, 10, (20, 20))
    for scale in (0.8, 1.0, 2.2):
        pixmap = bent_map(shape, scale=scale, angle=15.0, bend=0.0, shift=(12.0, 3.0))
        found = make([{"data": image, "pixmap": pixmap, "value_scale": 1 / scale**2}], shape=(110, 110))
        assert np.nansum(found.data, dtype=float) == pytest.approx(image.sum(dtype=float), rel=1e-4)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.5, 0.5), (0.25, -0.4)])
def test_the_position_of_a_star_is_kept(kernel, shift):
    y, x = np.indices((41, 41), dtype=float)
    star = np.exp(-((x - 20.3) ** 2 + (y - 19.6) ** 2) / (2 * 2.0**2)).astype(np.float32)
    fine = 4
    pixmap = np.stack([(x + 0.5) * fine - 0.5 + shift[0], (y + 0.5) * fine - 0.5 + shift[1]], axis=-1)
    found = make([{"data": star, "pixmap": pixmap, "ratio": 1 / fine}], shape=(170, 170), kernel=kernel)
    image = np.nan_to_num(found.data).astype(float)
    v, u = np.indices(image.shape)
    centre = np.array([(image * u).sum(), (image * v).sum()]) / image.sum()
    expected = np.array([(20.3 + 0.5) * fine - 0.5 + shift[0], (19.6 + 0.5) * fine - 0.5 + shift[1]])
    # The nearest output pixel of a point is up to half a pixel away, and always on the same side on this grid.
    allowed = 0.5001 if kernel == "point" else 0.01
    assert np.abs(centre - expected).max() < allowed


def test_turbo_is_square_on_maps_that_are_not_rotated(bent_map):
    rng = np.random.default_rng(6)
    exposure = scene(rng, pixmap=bent_map(SHAPE, scale=1.9, angle=0.0, bend=0.0), ratio=1 / 1.9)
    a, b = (make([exposure], kernel=kernel, pixfrac=0.7) for kernel in ("square", "turbo"))
    assert np.nanmax(np.abs(a.data - b.data)) < 1e-5
    assert np.abs(a.weight - b.weight).max() < 1e-5


@pytest.mark.parametrize("kernel", KERNELS)
def test_an_integer_shift_of_the_map_shifts_the_output(kernel, bent_map):
    rng = np.random.default_rng(7)
    exposure = scene(rng, pixmap=bent_map(SHAPE))
    there = make([exposure], shape=(80, 80), kernel=kernel)
    moved = make([{**exposure, "pixmap": exposure["pixmap"] + np.array([8.0, 4.0])}], shape=(80, 80), kernel=kernel)
    assert np.allclose(moved.weight[4:, 8:], there.weight[:-4, :-8], rtol=1e-6, atol=1e-9)
    assert np.allclose(moved.data[4:, 8:], there.data[:-4, :-8], rtol=1e-6, equal_nan=True)


@pytest.mark.parametrize("kernel", KERNELS)
def test_flips_and_quarter_turns_of_the_input_change_nothing(kernel, bent_map):
    rng = np.random.default_rng(8)
    data, pixmap = scene(rng)["data"], bent_map(SHAPE)
    there = make([{"data": data, "pixmap": pixmap}], kernel=kernel)
    for turn in (np.flipud, np.fliplr, np.rot90, lambda a: np.swapaxes(a, 0, 1)):
        found = make([{"data": turn(data), "pixmap": turn(pixmap)}], kernel=kernel)
        assert np.allclose(found.data, there.data, rtol=3e-7, equal_nan=True)
        assert np.allclose(found.weight, there.weight, rtol=3e-7, atol=1e-12)
        assert np.array_equal(found.context, there.context)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("pixfrac", [0.5, 1.0, 2.0])
def test_a_cut_output_is_the_same_part_of_a_whole_one(kernel, pixfrac, bent_map):
    rng = np.random.default_rng(9)
    exposure = scene(rng, pixmap=bent_map(SHAPE, scale=2.6), variance=rng.random(SHAPE, np.float32))
    whole = make([exposure], shape=(96, 96), kernel=kernel, pixfrac=pixfrac)
    for y0, x0, ny, nx in ((16, 8, 20, 30), (32, 32, 1, 1), (0, 64, 96, 3), (8, 16, 200, 7)):
        cut = make(
            [{**exposure, "pixmap": exposure["pixmap"] - [x0, y0]}], shape=(ny, nx), kernel=kernel, pixfrac=pixfrac
        )
        window = np.s_[y0 : y0 + ny, x0 : x0 + nx]
        part = np.s_[: min(ny, 96 - y0), :]
        for name in ("data", "weight", "variance"):
            assert np.array_equal(getattr(cut, name)[part], getattr(whole, name)[window], equal_nan=True), name
        assert np.array_equal(cut.context[0][part], whole.context[0][window])


def test_an_output_that_no_input_reaches_has_no_weight(bent_map):
    found = make([scene(np.random.default_rng(1), pixmap=bent_map(SHAPE) + 500.0)], fillval=-7.0)
    assert not found.weight.any()
    assert not found.context.any()
    assert (found.data == -7.0).all()


@pytest.mark.parametrize("kernel", KERNELS)
def test_pixels_without_weight_value_or_place_leave_no_trace(kernel, bent_map):
    rng = np.random.default_rng(10)
    data, pixmap = scene(rng)["data"], bent_map(SHAPE)
    bad = rng.random(SHAPE) < 0.2
    weight = np.where(bad, 0, 1.5).astype(np.float32)
    base = make([{"data": np.where(bad, 1e30, data).astype("f4"), "pixmap": pixmap, "weight": weight}], kernel=kernel)
    for value in (np.nan, np.inf, -np.inf):
        broken = np.where(bad, value, data).astype(np.float32)
        found = make([{"data": broken, "pixmap": pixmap, "weight": np.full(SHAPE, 1.5, np.float32)}], kernel=kernel)
        assert np.array_equal(found.data, base.data, equal_nan=True)
        assert np.array_equal(found.weight, base.weight)
    for value in (-1.0, np.nan):
        found = make(
            [{"data": data, "pixmap": pixmap, "weight": np.where(bad, value, 1.5).astype("f4")}], kernel=kernel
        )
        assert np.array_equal(found.data, base.data, equal_nan=True)
    variance = np.where(bad, np.nan, 1.0).astype(np.float32)
    found = make([{"data": data, "pixmap": pixmap, "variance": variance}], kernel=kernel)
    assert np.array_equal(np.isfinite(found.variance), found.weight != 0)


@pytest.mark.parametrize("kernel", KERNELS)
def test_nan_in_the_map_drops_the_drops_that_need_it(kernel, reference_drizzle, bent_map):
    rng = np.random.default_rng(11)
    pixmap = bent_map(SHAPE)
    pixmap[rng.random(SHAPE) < 0.05] = np.nan
    pixmap[3, 4, 1] = pixmap[9, 9, 0] = np.nan
    exposure = scene(rng, pixmap=pixmap)
    found = make([exposure], kernel=kernel)
    expected = reference_drizzle([exposure], OUTPUT, kernel=kernel)
    assert relative(found.weight, expected.weight) < 3e-7
    assert np.array_equal(np.isnan(found.data), expected.weight == 0)
    assert not make([{**exposure, "pixmap": np.full_like(pixmap, np.nan)}], kernel=kernel).weight.any()


def test_100_inputs_have_four_context_planes_and_decode_to_the_exact_list():
    rng = np.random.default_rng(12)
    shape, output = (6, 7), (40, 44)
    y, x = np.indices(shape, dtype=float)
    drizzler = Drizzler(output)
    expected = {}
    for k in range(100):
        x0, y0 = rng.integers(0, 37), rng.integers(0, 34)
        drizzler.add(np.full(shape, k, np.float32), np.stack([x + x0, y + y0], axis=-1))
        for j, i in np.ndindex(*shape):
            expected.setdefault((y0 + j, x0 + i), []).append(k)
    found = drizzler.finish()
    assert found.context.shape == (4, *output)
    rows, columns = np.indices(output)
    lists = decode_context(found.context, columns.ravel(), rows.ravel())
    for j, i, exposures in zip(rows.ravel(), columns.ravel(), lists, strict=True):
        assert exposures.tolist() == expected.get((j, i), [])
        if exposures.size:
            assert found.data[j, i] == pytest.approx(exposures.mean(), rel=1e-6)
            assert found.weight[j, i] == exposures.size


def test_variance_follows_the_squared_weights_one_exposure_after_the_other():
    rng = np.random.default_rng(13)
    y, x = np.indices((5, 5), dtype=float)
    pixmap = np.stack([x, y], axis=-1)
    drizzler = Drizzler((5, 5))
    weight_sum, variance = np.zeros((5, 5)), np.zeros((5, 5))
    for _ in range(7):
        w, v = rng.uniform(0.5, 3, (2, 5, 5)).astype(np.float32)
        drizzler.add(np.ones((5, 5)), pixmap, weight=w, variance=v)
        variance = (variance * weight_sum**2 + v.astype(float) * w.astype(float) ** 2) / (weight_sum + w) ** 2
        weight_sum = weight_sum + w
        assert np.allclose(drizzler.read().variance, variance, rtol=1e-6)
    assert drizzler.n_exposures == 7


def test_the_variance_of_one_pixel_is_that_of_many_realisations(bent_map):
    rng = np.random.default_rng(14)
    pixmaps = [bent_map(SHAPE, shift=(s, 1.7 * s)) for s in (2.0, 2.4, 3.1)]
    variance = rng.uniform(0.5, 2.0, SHAPE).astype(np.float32)
    samples = [
        make(
            [
                {"data": rng.normal(0, np.sqrt(variance)).astype("f4"), "pixmap": p, "variance": variance}
                for p in pixmaps
            ]
        )
        for _ in range(400)
    ]
    covered = samples[0].weight > 0.5 * np.median(samples[0].weight[samples[0].weight > 0])
    pulls = np.stack([s.data[covered] / np.sqrt(s.variance[covered]) for s in samples])
    assert np.std(pulls) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("kernel", KERNELS)
def test_any_number_of_threads_and_blocks_gives_the_same_bits(kernel, bent_map):
    rng = np.random.default_rng(15)
    shape = (150, 140)
    exposures = [
        scene(
            rng, shape, pixmap=bent_map(shape, bend=1e-4, shift=(3 + k, 5 - k)), variance=rng.random(shape, np.float32)
        )
        for k in range(3)
    ]
    before = get_num_threads()
    results = []
    for n in (1, 2, 3, 7):
        set_num_threads(n)
        results.append(make(exposures, shape=(700, 500), kernel=kernel, pixfrac=0.8))
    set_num_threads(before)
    for other in results[1:]:
        for name in ("data", "weight", "variance", "context"):
            assert np.array_equal(getattr(other, name), getattr(results[0], name), equal_nan=True)


def test_a_drop_of_many_output_pixels_is_shared_exactly(reference_drizzle):
    y, x = np.indices((3, 3), dtype=float)
    pixmap = np.stack([17.3 * x + 4.2 * y + 12.0, -5.1 * x + 21.9 * y + 14.0], axis=-1)
    exposure = {"data": np.arange(9, dtype=np.float32).reshape(3, 3), "pixmap": pixmap}
    found = make([exposure])
    expected = reference_drizzle([exposure], OUTPUT)
    assert relative(found.weight, expected.weight) < 3e-7
    assert relative(found.data, expected.data) < 3e-7


def test_the_scale_ratio_is_the_side_of_an_output_pixel_in_input_pixels(bent_map):
    rng = np.random.default_rng(16)
    pixmap = bent_map(SHAPE, scale=2.0, bend=0.0)
    assert pixel_scale_ratio(pixmap) == pytest.approx(0.5, rel=1e-5)
    exposure = scene(rng, pixmap=pixmap)
    measured = make([{**exposure, "ratio": None}], kernel="turbo")
    given = make([{**exposure, "ratio": 0.5}], kernel="turbo")
    assert np.allclose(measured.weight, given.weight, atol=1e-4)
    # At half the scale turbo must leave no holes inside.
    assert (measured.weight[30:38, 30:40] > 0).all()
    with pytest.raises(NoDataError):
        pixel_scale_ratio(np.full((4, 4, 2), np.nan))


def test_a_drizzler_can_be_read_before_it_is_finished_but_not_used_after(bent_map):
    rng = np.random.default_rng(17)
    exposures = [scene(rng, pixmap=bent_map(SHAPE, shift=(s, s))) for s in (1.0, 2.5)]
    drizzler = Drizzler(OUTPUT)
    drizzler.add(exposures[0]["data"], exposures[0]["pixmap"])
    first = drizzler.read()
    drizzler.add(exposures[1]["data"], exposures[1]["pixmap"])
    assert np.array_equal(first.data, make(exposures[:1]).data, equal_nan=True)
    assert first.context.max() == 1
    assert np.array_equal(drizzler.finish().data, make(exposures).data, equal_nan=True)
    for call in (drizzler.read, drizzler.finish, lambda: drizzler.add(exposures[0]["data"], exposures[0]["pixmap"])):
        with pytest.raises(InvalidInputError, match="it was finished"):
            call()


def test_a_tiny_pixfrac_is_a_point(bent_map):
    exposure = scene(np.random.default_rng(18), pixmap=bent_map(SHAPE))
    assert np.array_equal(make([exposure], pixfrac=0.0).data, make([exposure], kernel="point").data, equal_nan=True)


ONES = np.ones((4, 4), np.float32)
MAP = np.ones((4, 4, 2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: DrizzleParams(kernel="gauss"), "kernel: 'gauss'"),
        (lambda: DrizzleParams(pixfrac=-1.0), "pixfrac: -1.0"),
        (lambda: DrizzleParams(pixfrac=float("nan")), "pixfrac: nan"),
        (lambda: Drizzler((0, 5)), "shape"),
        (lambda: Drizzler((5, 5)).add(ONES, MAP[:3]), "pixmap: shape"),
        (lambda: Drizzler((5, 5)).add(ONES, MAP, weight=ONES[:2]), "weight: shape"),
        (lambda: Drizzler((5, 5)).add(ONES, MAP, variance=ONES[:2]), "variance: shape"),
        (lambda: Drizzler((5, 5)).add(ONES, MAP, dq=ONES), "dq: dtype"),
        (lambda: Drizzler((5, 5)).add(ONES.astype(complex), MAP), "data: dtype"),
        (lambda: Drizzler((5, 5)).add(ONES, MAP, value_scale=float("inf")), "value_scale: inf"),
        (lambda: Drizzler((5, 5)).add(ONES[:1], MAP[:1]), "at least 2 x 2"),
        (lambda: Drizzler((5, 5), params=DrizzleParams(kernel="turbo")).add(ONES, MAP, pixel_scale_ratio=0.0), "ratio"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InvalidInputError, match=message):
        call()


def test_either_all_exposures_have_a_variance_or_none():
    drizzler = Drizzler((5, 5))
    drizzler.add(ONES, MAP)
    with pytest.raises(InvalidInputError, match="variance: exposure 1 has it"):
        drizzler.add(ONES, MAP, variance=ONES)
    drizzler.add(ONES, MAP)
    assert drizzler.n_exposures == 2
