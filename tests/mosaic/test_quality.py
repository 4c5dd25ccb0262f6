"""What the weight of a mosaic says about its parameters, and whether sources were rejected."""

import json
from dataclasses import replace

import numpy as np
import pytest

from skymere.errors import InvalidInputError
from skymere.mosaic import (
    FlagParams,
    GridParams,
    MosaicParams,
    QualityParams,
    RejectionMap,
    drizzle_exposures,
    make_grid,
    measure_quality,
)
from skymere.outliers import CosmicRayParams
from skymere.resample import DrizzleParams, drizzle

# Stars on a raster of 1.6 arcsec; FWHM 1.3 pixels.
STARS = [(1.6 * i + 0.03 * j, 1.6 * j, 90.0, 0.055) for i in range(-2, 3) for j in range(-2, 3)]


def dithered(make_exposure, n, *, stars=STARS, wrong=0.0, hits=40, **more):
    """Exposures with sub-pixel dithers, cosmic rays, and pointings that are wrong by so many pixels."""
    rng = np.random.default_rng(11)
    made = []
    for i in range(n):
        x, y = rng.uniform(-0.4, 0.4, 2)
        one = make_exposure(f"e{i}", x=x, y=y, stars=stars, noise=0.09, shape=(120, 120), **more)
        data = one.data.copy()
        data.flat[rng.choice(data.size, hits, replace=False)] += rng.uniform(2.0, 20.0, hits)
        wcs = one.wcs.deepcopy()
        wcs.wcs.crpix = np.array(wcs.wcs.crpix) + wrong * rng.normal(size=2)
        wcs.wcs.set()
        made.append(replace(one, data=data, wcs=wcs))
    return made


def quality_of(exposures, cosmic_rays=None, **grid):
    params = MosaicParams(flag=FlagParams(cosmic_rays=cosmic_rays or CosmicRayParams()))
    mosaic, _ = drizzle_exposures(exposures, make_grid(exposures, params=GridParams(**grid)), params=params)
    return mosaic.params["quality"]


def test_saturated_pixels_of_any_exposure_cover_their_whole_area(make_exposure) -> None:
    exposures = [make_exposure(f"e{i}", x=0.033 * i, rotation=20.0 * i) for i in range(3)]
    exposures[1].dq[40, 45] = 2
    exposures[2].dq[10:12, 70] = 2 | 1
    exposures[0].dq[30, 30] = 1
    grid = make_grid(exposures, params=GridParams(scale_arcsec=0.04))
    rejection = RejectionMap(grid)
    for exposure in exposures:
        rejection.add(exposure)
    found = rejection.saturated()
    # 3 pixels of 0.1 arcsec and all pixels of 0.04 that they touch.
    assert 3 * 6.25 < found.sum() < 3 * 20
    for k, y, x in ((1, 40, 45), (2, 10, 70), (2, 11, 70)):
        corners = np.array([(dx, dy) for dx in (-0.49, 0.0, 0.49) for dy in (-0.49, 0.0, 0.49)])
        ra, dec = exposures[k].wcs.all_pix2world(x + corners[:, 0], y + corners[:, 1], 0)
        u, v = (np.rint(p).astype(int) for p in grid.pixels(ra, dec))
        assert found[v, u].all()
    unknown = RejectionMap(grid)
    unknown.add(replace(exposures[0], dq_bits={"hot": 1}, dq=np.zeros_like(exposures[0].dq)))
    assert unknown.saturated() is None


def test_stars_that_survive_pass_and_stars_that_are_eaten_fail(make_exposure) -> None:
    exposures = dithered(make_exposure, 5, wrong=0.1)
    kept = quality_of(exposures, scale_arcsec=0.07)
    assert kept["verdict"] == "ok", kept
    assert kept["n_sources"] >= 20
    assert abs(kept["excess"]) < 0.02
    assert kept["warnings"] == []
    eaten = quality_of(exposures, CosmicRayParams(core_scale=0.0, scale=(0.3, 0.2)), scale_arcsec=0.07)
    assert eaten["verdict"] == "over-rejected", eaten
    assert eaten["excess"] > 0.1
    assert eaten["correlation"] > kept["correlation"] + 0.1
    assert eaten["warnings"][0].startswith("rejection: ")
    assert kept["coincidence"] < 0.1


def test_exposures_that_are_not_aligned_fail_although_no_source_is_left(make_exposure) -> None:
    good = dithered(make_exposure, 6)
    for i in (1, 3, 5):
        wcs = good[i].wcs.deepcopy()
        wcs.wcs.crpix = np.add(wcs.wcs.crpix, (8.0, 6.0))
        wcs.wcs.set()
        good[i] = replace(good[i], wcs=wcs)
    lost = quality_of(good, scale_arcsec=0.1)
    assert lost["verdict"] == "over-rejected", lost
    assert lost["coincidence"] > 0.1
    assert "not aligned" in lost["warnings"][0]


def test_random_hits_coincide_as_often_as_chance_says(make_exposure) -> None:
    rng = np.random.default_rng(12)
    exposures = [
        make_exposure(f"e{i}", x=0.31 * i).flagged("cosmic_ray", rng.random((80, 90)) < 0.02) for i in range(8)
    ]
    found = measured(exposures, DrizzleParams(), 0.1)
    assert abs(found.coincidence) < 0.02
    assert measured(exposures[:2], DrizzleParams(), 0.1).coincidence is None


def test_few_sources_and_single_exposures_are_not_tested(make_exposure) -> None:
    few = quality_of(dithered(make_exposure, 3, stars=STARS[:3]), scale_arcsec=0.1)
    assert (few["verdict"], few["excess"]) == ("not tested", None)
    one = quality_of(dithered(make_exposure, 1), scale_arcsec=0.1)
    assert one["verdict"] == "not tested"
    assert json.dumps(one, allow_nan=False)


def measured(exposures, params, scale_arcsec, **limits):
    grid = make_grid(exposures, params=GridParams(scale_arcsec=scale_arcsec))
    rejection = RejectionMap(grid, params=params)
    mosaic = drizzle(rejection.watch(exposures), grid, params=params)
    return measure_quality(mosaic, rejection, params=QualityParams(**limits))


def test_small_drops_and_few_dithers_leave_holes(make_exposure) -> None:
    """D9.2: pixfrac 0.6 on pixels of 0.4 of the native size with two dithers."""
    exposures = [make_exposure(f"e{i}", x=0.013 * i, y=0.021 * i, rotation=7.0) for i in range(2)]
    sparse = measured(exposures, DrizzleParams(pixfrac=0.6), 0.04)
    assert sparse.n_holes > 0.05 * sparse.n_enclosed
    assert any(warning.startswith("holes") for warning in sparse.warnings)
    dense = measured(exposures, DrizzleParams(pixfrac=1.0), 0.08)
    assert dense.n_holes == 0
    assert dense.weight_scatter < 0.3 < sparse.weight_scatter
    assert not any(warning.startswith("holes") for warning in dense.warnings)


def test_the_scatter_of_the_weight_is_that_of_the_covered_pixels(make_exposure) -> None:
    exposures = [make_exposure(f"e{i}", x=0.37 * i, y=0.11 * i) for i in range(3)]
    grid = make_grid(exposures, params=GridParams(scale_arcsec=0.06))
    rejection = RejectionMap(grid)
    mosaic = drizzle(rejection.watch(exposures), grid)
    weight = mosaic.weight[mosaic.weight > 0].astype(float)
    found = measure_quality(mosaic, rejection)
    assert found.weight_scatter == pytest.approx(weight.std() / np.median(weight))
    assert found.n_covered == weight.size


def test_black_pixels_are_told_from_holes_and_reasons_are_named(make_exposure) -> None:
    dq = np.zeros((80, 90), np.uint32)
    dq[30:34, 20:60] = 1
    hit = np.zeros(dq.shape, bool)
    hit[50, 50:60] = True
    exposures = [make_exposure(f"e{i}", dq=dq).flagged("cosmic_ray", hit) for i in range(2)]
    found = measured(exposures, DrizzleParams(), 0.1)
    assert found.n_holes == 0
    assert 60 < found.n_black < 200  # 4 x 40 and 1 x 10 pixels, less their partly covered edges
    assert found.reasons == pytest.approx({"hot": 160 / 7200, "cosmic_ray": 10 / 7200})
    assert found.rejected_fraction == pytest.approx(10 / 7200, rel=0.05)


def test_saturation_in_the_longer_of_unequal_exposures_is_flagged(make_exposure) -> None:
    dq = np.zeros((80, 90), np.uint32)
    dq[40:43, 40:43] = 2
    long, short = make_exposure("long", exptime=1000.0, dq=dq), make_exposure("short", exptime=50.0)
    assert measured([long, short], DrizzleParams(), 0.1).has_mixed_exptimes
    equal = make_exposure("equal", exptime=900.0)
    assert not measured([long, equal], DrizzleParams(), 0.1).has_mixed_exptimes
    fine = make_exposure("fine", exptime=1000.0)
    assert not measured([fine, short], DrizzleParams(), 0.1).has_mixed_exptimes


def test_limits_must_be_positive() -> None:
    with pytest.raises(InvalidInputError, match=r"max_excess: 0\.0 is not allowed"):
        QualityParams(max_excess=0.0)
