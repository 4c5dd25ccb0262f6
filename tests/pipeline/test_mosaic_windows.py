"""A mosaic that is written window by window is the one that is drizzled whole, with its noise, quality and levels."""

import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "resample"))
from places import make_field

from skymere.datamodels import WINDOW_PIX, windows_of
from skymere.lake import pyramid
from skymere.mosaic import RejectionMap, measure_quality
from skymere.pipeline.mosaic_windows import write_mosaic
from skymere.pipeline.plan import MosaicPlan
from skymere.resample import DrizzleParams, HeldExposures, drizzle
from skymere.wcs import Grid

FILLS = {"sci": np.nan, "var": np.nan, "noise_class": 255}
DTYPES = {"ctx": np.int32, "dq": np.uint32, "noise_class": np.uint8}


class Kept:
    """A run that keeps its arrays in memory."""

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self.about: dict[str, object] = {}

    def open(self, path, shape, **_):
        name = path.split("/")[1]
        fill = np.nan if name.startswith("level") else FILLS.get(name, 0)
        self.arrays[path] = np.full(shape, fill, DTYPES.get(name, np.float32))
        return self.arrays[path]

    def write(self, path, array, *, attributes=None):
        self.arrays[path] = np.array(array)
        self.about[path] = attributes

    def annotate(self, _, attributes):
        self.about |= attributes


def exposures():
    """Exposures with cosmic rays and saturated pixels that leave some windows of the mosaic empty."""
    rng = np.random.default_rng(4)
    made = []
    for one in make_field(n=3).exposures:
        flags = np.where(rng.random(one.shape) < 0.01, 2, 0).astype(np.uint32)
        dq = np.where(rng.random(one.shape) < 0.002, 256, one.dq).astype(np.uint32)
        bits = {"bad": 1, "saturated": 256}
        noise = rng.normal(size=one.shape).astype(np.float32) * one.error
        data = noise + 30 * one.error * (rng.random(one.shape) < 0.004)
        made.append(replace(one, flags=flags, dq=dq, dq_bits=bits, data=data.astype(np.float32)))
    return made


@pytest.mark.parametrize("scale_arcsec", [0.02, 0.12])
def test_windows_have_the_bits_of_the_whole_mosaic(scale_arcsec: float) -> None:
    """Pixels as large as the detector's have classes by the phases of the grids, too."""
    given = exposures()
    middle = given[0].wcs.all_pix2world([[60.0, 60.0]], 0)[0]
    around = Grid.tangent(float(middle[0]), float(middle[1]), shape=(101, 101), scale_arcsec=scale_arcsec)
    # The field lies where four windows meet.
    shape = WINDOW_PIX[0] + 400, WINDOW_PIX[1] + 450
    grid = around.cutout(50 - WINDOW_PIX[0], 50 - WINDOW_PIX[1], shape)
    plan = MosaicPlan(drizzle=DrizzleParams(kernel="square", pixfrac=0.8))
    run = Kept()
    found = write_mosaic(run, HeldExposures(given), grid, band="r", plan=plan, ignore=())
    rejection = RejectionMap(grid, params=plan.drizzle)
    whole = drizzle(rejection.watch(given), grid, params=plan.drizzle, noise=plan.noise)
    assert all(whole.covered[window.slices].any() for window in windows_of(shape))
    expected = {"sci": whole.data, "wht": whole.weight, "var": whole.variance, "ctx": whole.context}
    expected |= {f"level{i}": level for i, level in enumerate(pyramid(whole.data, whole.weight), start=1)}
    expected |= {"dq": rejection.saturated().astype(np.uint32)}
    expected |= {"noise_class": whole.noise.class_map, "noise_kernel": whole.noise.kernels}
    expected |= {"noise_measured": whole.noise.measured}
    assert {path.split("/")[1] for path in run.arrays} == set(expected)
    for name, plane in expected.items():
        assert run.arrays[f"r/{name}"].dtype == plane.dtype
        assert run.arrays[f"r/{name}"].tobytes() == plane.tobytes(), name
    assert run.about["r/noise_kernel"]["classes"] == list(whole.noise.classes)
    assert found.n_covered == np.count_nonzero(whole.covered)
    assert found.largest_weight == whole.weight.max()
    quality, same = asdict(measure_quality(whole, rejection, params=plan.quality)), asdict(found.quality)
    assert (quality["n_sources"] > 10) == (scale_arcsec < 0.1)
    assert same["reasons"] == quality["reasons"]
    for name, value in quality.items():
        # Sums over windows have other last digits; places on the border of two windows count twice.
        allowed = 0.02 if name == "coincidence" else 1e-9
        if isinstance(value, float):
            assert same[name] == pytest.approx(value, rel=allowed, abs=allowed), name
        else:
            assert same[name] == value, name


def test_a_band_without_a_good_pixel_writes_nothing() -> None:
    given = [replace(one, dq=np.ones(one.shape, np.uint32), dq_bits={"bad": 1}) for one in make_field(n=2).exposures]
    grid = make_field(n=1).grid
    run = Kept()
    found = write_mosaic(run, HeldExposures(given), grid, band="r", plan=MosaicPlan(), ignore=())
    assert (found.n_covered, found.quality, run.arrays) == (0, None, {})
    assert found.about["exposure_ids"] == tuple(one.exposure_id for one in given)
