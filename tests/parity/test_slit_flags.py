"""The flaggers on three real slitlets against the masks of msaexp 0.9.19 (``reference/msaexp``); ``-s`` prints the counts.

Each method alone on the bare group; masks are the same pixel by pixel.
"""

import json
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits

from skymere.outliers import (
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


@pytest.fixture(scope="module")
def folder(shared_data):
    return shared_data / "spectra/reference/msaexp"


@pytest.fixture(scope="module")
def bare(folder):
    with fits.open(folder / "slitgroup_bare.fits.gz") as hdus:
        arrays = {hdu.name: hdu.data.copy() for hdu in hdus[1:]}
    arrays["VAR"] = arrays["VAR_RNOISE"] + arrays["VAR_POISSON"]
    arrays["MASK"] = arrays["MASK"].astype(bool)
    return arrays


@pytest.fixture(scope="module")
def summary(folder):
    return json.loads((folder / "slitgroup_summary.json").read_text())["flagging"]


@pytest.fixture(scope="module")
def masks(folder):
    with fits.open(folder / "flag_masks.fits.gz") as hdus:
        return {hdu.header["METHOD"]: hdu.data.astype(bool) for hdu in hdus[1:]}


def run(bare, function, params):
    names = {
        flag_2d_outliers: ("SCI", "VAR", "WAVE"),
        flag_from_profile: ("SCI", "VAR", "YSLIT"),
        flag_hot_cold_pixels: ("SCI",),
        flag_percentile_outliers: ("SCI", "VAR", "WAVE", "YSLIT"),
        flag_trace_outliers: ("SCI", "VAR", "WAVE", "YSLIT"),
    }[function]
    return function(*(bare[name] for name in names), valid=bare["MASK"], params=params)


MSAEXP = {"mode": "global", "dilate": 3}
CASES = [
    ("flag_percentile_outliers()", flag_percentile_outliers, PercentileOutlierParams(**MSAEXP)),
    ("flag_percentile_outliers(scale=1)", flag_percentile_outliers, PercentileOutlierParams(**MSAEXP, scale=1)),
    ("flag_from_profile()", flag_from_profile, ProfileOutlierParams()),
    (
        "flag_from_profile(grow=1,require_multiple=False)",
        flag_from_profile,
        ProfileOutlierParams(grow=1, require_multiple=False),
    ),
    ("flag_trace_outliers()", flag_trace_outliers, TraceOutlierParams()),
    ("flag_trace_outliers(threshold=0.5)", flag_trace_outliers, TraceOutlierParams(threshold=0.5)),
    ("flag_2d_outliers()", flag_2d_outliers, StackOutlierParams(threshold=(-10, 10), trim_multiples=True)),
    (
        "flag_2d_outliers(threshold=[-3,3],with_mask=True)",
        flag_2d_outliers,
        StackOutlierParams(threshold=(-3, 3), with_mask=True, trim_multiples=True),
    ),
]


@pytest.mark.parametrize(("call", "function", "params"), CASES, ids=[case[0] for case in CASES])
def test_masks_of_each_method_alone_are_those_of_the_reference(bare, summary, masks, call, function, params):
    found = run(bare, function, params)
    removed = bare["MASK"] & found.mask
    print(f"{call}: {int(removed.sum())} {dict(found.n_flagged)} {dict(found.limits)}")
    np.testing.assert_array_equal(removed, masks[call])
    true = summary[call]
    assert removed.sum(axis=(1, 2)).tolist() == true["removed_per_exp"]
    if "threshold" in true:
        assert found.limits["high"] == pytest.approx(true["threshold"], rel=1e-12)
    if "invalid_sum" in true:
        assert found.mask[0].sum() == true["invalid_sum"]


@pytest.mark.parametrize(
    ("call", "params", "names"),
    [
        ("flag_hot_cold_pixels()", HotColdParams(), ("returned_first", "returned_second")),
        (
            "flag_hot_cold_pixels(cold=-0.02,hot=0.2)",
            HotColdParams(cold_percentile=-0.02, hot_percentile=0.2),
            ("ncold", "nhot"),
        ),
        (
            "flag_hot_cold_pixels(1,99,absolute=False)",
            HotColdParams(cold_percentile=1, hot_percentile=99, absolute=False),
            ("ncold", "nhot"),
        ),
    ],
)
@pytest.mark.parametrize("count_from", ["exposures", "positions"])
def test_hot_and_cold_pixels_are_those_of_the_summary(bare, summary, call, params, names, count_from):
    found = flag_hot_cold_pixels(
        bare["SCI"], valid=bare["MASK"], n_positions=3, params=replace(params, count_from=count_from)
    )
    n = len(bare["SCI"])
    counts = [found.n_flagged.get(name, 0) / n for name in ("cold_pixel", "hot_exposures")]
    print(call, counts)
    assert counts == [summary[call][name] for name in names]
