"""Outliers of slit exposures with known truth, each flagger by itself; ``-s`` prints the scores."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from skymere._rust import outliers as kernels
from skymere.errors import InvalidInputError
from skymere.outliers import (
    SLIT_OUTLIER_BITS,
    HotColdParams,
    PercentileOutlierParams,
    ProfileOutlierParams,
    StackOutlierParams,
    TraceOutlierParams,
    flag_2d_outliers,
    flag_from_profile,
    flag_hot_cold_pixels,
    flag_percentile_outliers,
    flag_trace_outliers,
)
from skymere.slit import SLIT_FLAG_BITS
from skymere.testing import SlitSceneParams, simulate_slitlets

LINES = {"line_centres": (1.5, 2.6, 2.62, 3.4, 4.4), "line_fluxes": (20.0, 5.0, 40.0, 2.0, 80.0)}
DITHERED = (0.0, 5.1, -5.1, 0.3, 5.4, -4.8)


def scene_of(seed=1, *, continuum=0.3, lines=LINES, **changes):
    return simulate_slitlets(seed=seed, continuum=continuum, **lines, params=SlitSceneParams(**changes))


def local(scene, params=None, **changes):
    """Run the flagger on a scene without its sky."""
    data = scene.sci - scene.sky
    arrays = {"variance": scene.variance, "wavelength": scene.wavelength, "yslit": scene.yslit, "valid": scene.valid}
    return flag_percentile_outliers(data, **(arrays | changes), params=params)


def score(n_scenes=8, **changes):
    """Return the part of the outliers that was found, false alarms, and the part of line pixels lost to them."""
    counts = np.zeros((3, 2))
    for seed in range(n_scenes):
        scene = scene_of(seed, outlier_fraction=0.005, **changes)
        found = local(scene).mask
        clean = scene.valid & ~scene.outliers
        for k, of in enumerate((scene.outliers, clean, scene.lines & clean)):
            counts[k] += (found & of).sum(), of.sum()
    return counts


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"continuum": 3.0},
        {"continuum": 0.02},
        {"source_sigma": 0.05},
        {"nods": (0.0, 5.3, -5.45)},
        {"nods": (0.0, 5.5, -5.3), "source_sigma": 0.05},
        {"nods": DITHERED},
        {"lines": LINES | {"line_fluxes": (400.0, 100.0, 800.0, 200.0, 2000.0)}},
    ],
    ids=["prism", "bright", "faint", "star", "phases", "star, phases", "six exposures", "bright lines"],
)
def test_outliers_of_eight_sigma_are_found_and_lines_are_kept(changes):
    counts = score(**changes)
    found, false, lost = counts[:, 0] / counts[:, 1]
    print(f"{changes}: found {found:.4f} of {counts[0, 1]:.0f}, false {false:.1e}, of lines {lost:.4f}")
    # The limits of the specification; 700 outliers and 120 000 clean pixels scatter by less than 0.01 and 1e-4.
    assert found > 0.95
    assert false < 1e-3
    assert counts[2, 1] > 1000
    assert lost < 0.005


def test_a_line_brighter_than_the_level_of_percentiles_survives_where_it_is_compared_locally():
    scene = scene_of(lines={"line_centres": (3.0,), "line_fluxes": (60.0,)}, psf_fwhm=(1.0, 1.0), source_sigma=0.05)
    everywhere = local(scene, PercentileOutlierParams(mode="global", scale=1, dilate=3))
    lost = (everywhere.mask & scene.lines).sum() / scene.lines.sum()
    print(f"line lost: {lost:.2f} with one level, {(local(scene).mask & scene.lines).sum()} pixels locally")
    assert lost > 0.3
    assert not (local(scene).mask & scene.lines).any()


def test_one_level_for_all_wavelengths_finds_hardly_any_outlier_of_eight_sigma():
    scene = scene_of(outlier_fraction=0.005)
    found = local(scene, PercentileOutlierParams(mode="global")).mask & scene.outliers
    assert scene.outliers.sum() > 50
    assert found.sum() < 0.05 * scene.outliers.sum()
    assert (local(scene).mask & scene.outliers).sum() > 0.9 * scene.outliers.sum()


@pytest.mark.parametrize("mode", ["local", "global"])
def test_of_gaussian_pixels_less_than_one_in_a_thousand_is_flagged(mode):
    scene = scene_of(continuum=0.0, lines={})
    found = local(scene, PercentileOutlierParams(mode=mode))
    assert found.mask[scene.valid].mean() < 1e-3


@pytest.mark.parametrize("nods", [(0.2,), (0.0, 5.1)])
def test_with_one_or_two_exposures_what_is_found_is_sharper_than_a_source(nods):
    counts = score(nods=nods, n_scenes=12)
    found, false, lost = counts[:, 0] / counts[:, 1]
    print(f"{len(nods)} exposures: found {found:.3f}, false {false:.1e}, of lines {lost:.4f}")
    assert found > 0.7
    assert false < 1e-3
    assert lost < 0.02


def test_low_outliers_have_their_own_bit():
    scene = scene_of(lines={})
    sci = scene.sci - scene.sky
    sigma = np.sqrt(scene.variance)
    sci[0, 12, 100] -= 10 * np.hypot(sigma, 0.03 * scene.source)[0, 12, 100]
    sci[1, 9, 50] += 10 * sigma[1, 9, 50]
    found = flag_percentile_outliers(sci, scene.variance, scene.wavelength, scene.yslit, valid=scene.valid)
    assert found.flags[0, 12, 100] == SLIT_OUTLIER_BITS["local_low"]
    assert found.flags[1, 9, 50] == SLIT_OUTLIER_BITS["local_high"]


def everything(scene, order=slice(None)):
    """Return the flags of every flagger, of exposures in another order."""
    data = (scene.sci - scene.sky)[order]
    noise, wave, yslit = scene.variance[order], scene.wavelength[order], scene.yslit[order]
    valid = scene.valid[order]
    return [
        flag_percentile_outliers(data, noise, wave, yslit, valid=valid).flags,
        flag_percentile_outliers(
            data, noise, wave, yslit, valid=valid, params=PercentileOutlierParams(mode="global", scale=0.8, dilate=3)
        ).flags,
        flag_from_profile(
            data, noise, yslit, valid=valid, params=ProfileOutlierParams(grow=0.5, require_multiple=False)
        ).flags,
        flag_trace_outliers(data, noise, wave, yslit, valid=valid, params=TraceOutlierParams(threshold=0.7)).flags,
        flag_2d_outliers(data, noise, wave, valid=valid, params=StackOutlierParams(threshold=(-3, 3))).flags,
        flag_hot_cold_pixels(data, valid=valid, params=HotColdParams(hot_percentile=0.3, min_nexp=2)).flags,
    ]


def test_the_order_of_exposures_does_not_matter():
    scene = scene_of(outlier_fraction=0.01, n_hot=5)
    first = everything(scene)
    for one, other in zip(first, everything(scene, [2, 0, 1]), strict=True):
        assert one.any()
        np.testing.assert_array_equal(one[[2, 0, 1]], other)


def test_flat_arrays_give_the_same_with_the_shape_of_the_cutout():
    scene = scene_of(outlier_fraction=0.01)
    n, ny, nx = scene.sci.shape
    flat = [
        a.reshape(n, -1) for a in (scene.sci - scene.sky, scene.variance, scene.wavelength, scene.yslit, scene.valid)
    ]
    found = flag_percentile_outliers(*flat[:4], valid=flat[4], shape=(ny, nx))
    assert found.flags.shape == (n, ny * nx)
    np.testing.assert_array_equal(found.flags.reshape(n, ny, nx), local(scene).flags)
    with pytest.raises(InvalidInputError, match="shape: it is needed"):
        flag_percentile_outliers(*flat[:4], valid=flat[4])
    with pytest.raises(InvalidInputError, match="yslit: shape"):
        flag_percentile_outliers(*flat[:3], scene.yslit, shape=(ny, nx))


def test_without_a_valid_pixel_nothing_is_flagged_and_that_is_said():
    scene = scene_of()
    none = np.zeros(scene.sci.shape, bool)
    arrays = (scene.sci, scene.variance, scene.wavelength, scene.yslit)
    for found in (
        flag_percentile_outliers(*arrays, valid=none),
        flag_percentile_outliers(*arrays, valid=none, params=PercentileOutlierParams(mode="global")),
        flag_from_profile(scene.sci, scene.variance, scene.yslit, valid=none),
        flag_trace_outliers(*arrays, valid=none),
        flag_2d_outliers(*arrays[:3], valid=none, params=StackOutlierParams(with_mask=True)),
        flag_hot_cold_pixels(scene.sci, valid=none),
    ):
        assert found.status == "too_few_pixels"
        assert not found.mask.any()


def test_outliers_of_the_profile_are_exactly_those_that_were_injected():
    scene = scene_of(lines={})
    sci = scene.sci - scene.sky
    sigma = np.sqrt(scene.variance)
    injected = np.zeros(sci.shape, bool)
    injected[:, 7, 40] = injected[:2, 16, 200] = True
    sci[:, 7, 40] += 60 * sigma[:, 7, 40]
    sci[:2, 16, 200] -= 60 * sigma[:2, 16, 200]
    alone = sci.copy()
    alone[0, 10, 300] += 60 * sigma[0, 10, 300]
    found = flag_from_profile(alone, scene.variance, scene.yslit, valid=scene.valid)
    # With three exposures two are enough, and what is in one alone is kept.
    np.testing.assert_array_equal(np.argwhere(found.mask[0]), [[7, 40], [16, 200]])
    assert found.flags[2, 7, 40] == SLIT_OUTLIER_BITS["profile_high"]
    assert found.flags[0, 16, 200] == SLIT_OUTLIER_BITS["profile_low"]
    each = flag_from_profile(
        sci, scene.variance, scene.yslit, valid=scene.valid, params=ProfileOutlierParams(require_multiple=False)
    )
    np.testing.assert_array_equal(each.mask, injected)


def test_what_is_brighter_than_the_trace_beside_it_is_flagged_and_the_trace_is_not():
    scene = scene_of(continuum=2.0)
    sci = scene.sci - scene.sky
    sci[1, 9:11, 150:152] += 5.0
    assert (np.abs(scene.yslit[1, 9:11, 150:152]) > 2).all()
    found = flag_trace_outliers(sci, scene.variance, scene.wavelength, scene.yslit, valid=scene.valid)
    np.testing.assert_array_equal(np.argwhere(found.mask), [[1, y, x] for y in (9, 10) for x in (150, 151)])
    assert found.n_flagged == {"beside_trace": 4}


def test_pixels_of_the_detector_stick_out_of_the_median_of_exposures():
    scene = scene_of(continuum=0.0, lines={})
    sci = scene.sci - scene.sky
    sigma = np.sqrt(scene.variance)
    sci[:, 6, 60] += 8 * sigma[:, 6, 60]
    sci[:, 15, [90, 91]] -= 14 * sigma[:, 15, [90, 91]]
    arrays = (sci, scene.variance, scene.wavelength)
    plain = replace(StackOutlierParams(), dilate=0)
    found = flag_2d_outliers(*arrays, valid=scene.valid, params=plain)
    np.testing.assert_array_equal(np.argwhere(found.mask[1]), [[6, 60], [15, 90], [15, 91]])
    assert found.flags[0, 6, 60] == SLIT_OUTLIER_BITS["stack_high"]
    assert found.flags[0, 15, 90] == SLIT_OUTLIER_BITS["stack_low"]
    ten = flag_2d_outliers(*arrays, valid=scene.valid, params=replace(plain, threshold=(-10, 10)))
    np.testing.assert_array_equal(np.argwhere(ten.mask[0]), [[15, 90], [15, 91]])
    single = flag_2d_outliers(*arrays, valid=scene.valid, params=replace(StackOutlierParams(), trim_multiples=True))
    rows, columns = np.indices(scene.sci.shape[1:])
    np.testing.assert_array_equal(single.mask[2], np.abs(rows - 6) + np.abs(columns - 60) <= 1)
    assert single.n_flagged == {"stack_high": 3, "grown": 12}


def test_hot_and_cold_pixels_are_counted_under_their_own_names():
    data = np.zeros((6, 5, 8))
    data[:, 1, 1] = 3.0
    data[:5, 2, 5] = -1.0
    data[:2, 4, 7] = 3.0  # a source at one of three positions
    found = flag_hot_cold_pixels(data, n_positions=3)
    assert (found.n_flagged["hot_exposures"], found.n_flagged["cold_pixel"]) == (6, 6)
    assert found.flags[5, 1, 1] == SLIT_OUTLIER_BITS["hot_exposures"]
    assert found.flags[5, 2, 5] == SLIT_OUTLIER_BITS["cold_pixel"]
    assert found.limits["n_needed"] == 5
    by_position = flag_hot_cold_pixels(data, n_positions=3, params=HotColdParams(count_from="positions"))
    assert by_position.limits["n_needed"] == 2
    assert by_position.mask[0, 4, 7]
    grown = flag_hot_cold_pixels(data, params=HotColdParams(dilate=1))
    assert grown.n_flagged == {"cold_pixel": 30, "hot_exposures": 30}


@pytest.mark.parametrize("size", [1, 2, 5, 6, 30, 200])
def test_running_ranks_are_those_of_scipy(size):
    values = np.random.default_rng(3).normal(size=101).round(1)
    levels = (0, 5, 50, 95)
    found = kernels.running_ranks(values, size, [int(size * level / 100) for level in levels])
    for level, one in zip(levels, found, strict=True):
        np.testing.assert_array_equal(one, ndimage.percentile_filter(values, level, size))
    (highest,) = kernels.running_ranks(values, size, [size - 1])
    np.testing.assert_array_equal(highest, ndimage.maximum_filter(values, size))


def test_reasons_have_bits_of_their_own():
    assert set(SLIT_OUTLIER_BITS) <= set(SLIT_FLAG_BITS)
    assert len(set(SLIT_FLAG_BITS.values())) == len(SLIT_FLAG_BITS)


@pytest.mark.parametrize(
    ("cls", "changes", "match"),
    [
        (PercentileOutlierParams, {"mode": "nearby"}, "mode"),
        (PercentileOutlierParams, {"dilate": 2}, "dilate"),
        (PercentileOutlierParams, {"threshold": 0}, "threshold"),
        (ProfileOutlierParams, {"nfilt": 0}, "nfilt"),
        (TraceOutlierParams, {"yslit": (2, -2)}, "yslit"),
        (StackOutlierParams, {"threshold": (5, -5)}, "threshold"),
        (StackOutlierParams, {"filter_size": 0}, "filter_size"),
        (HotColdParams, {"absolute": False}, "cold_percentile"),
        (HotColdParams, {"count_from": "files"}, "count_from"),
    ],
)
def test_parameters_that_are_not_allowed_are_named(cls, changes, match):
    with pytest.raises(InvalidInputError, match=match):
        cls(**changes)
