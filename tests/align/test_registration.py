"""Registration on pixels: near the Cramer-Rao limit, unbiased, in every geometry, for groups, and without cosmic rays."""

from dataclasses import replace

import numpy as np
import pytest

from skymere.align import AlignParams, FindParams, align
from skymere.datamodels import FLAG_BITS

from .conftest import READ_NOISE, SKY, exposure, gaussian_star, pointing, star_image

SHAPE = (260, 280)
FWHM = 3.0
FIND = FindParams(fwhm_pix=FWHM)


def field(seed, *, n=5, shift=1.5, turn=0.0, n_sources=40, hits=0):
    """Exposures of soft sources whose headers are wrong by up to ``shift`` pixel, and their true WCS."""
    rng = np.random.default_rng(seed)
    header = pointing(SHAPE)
    xy = rng.uniform(20, 240, (n_sources, 2))
    flux = 10 ** rng.uniform(3.3, 4.3, n_sources)
    sky = header.all_pix2world(xy, 0)
    exposures, truth = [], []
    for k in range(n):
        error = {"dx": rng.uniform(-shift, shift), "dy": rng.uniform(-shift, shift), "rotation_deg": turn} if k else {}
        true = pointing(SHAPE, **error)
        data, sigma = star_image(SHAPE, *true.all_world2pix(sky, 0).T, flux, FWHM, rng)
        for j, i in zip(rng.integers(0, SHAPE[0], hits), rng.integers(0, SHAPE[1], hits), strict=True):
            data[j, i : i + 3] += 5000.0
        exposures.append(exposure(f"e{k}", data, sigma, header))
        truth.append(true)
    return exposures, truth, (xy, flux)


def limit(xy, flux):
    """1 sigma of a shift of one exposure, the smallest that the noise allows [pix]."""
    rendered = [np.zeros(SHAPE) for _ in range(3)]
    for image, step in zip(rendered, (0.0, 0.1, -0.1), strict=True):
        for (x, y), f in zip(xy, flux, strict=True):
            place, stamp = gaussian_star(SHAPE, x + step, y, f, FWHM)
            image[place] += stamp
    slope = (rendered[1] - rendered[2]) / 0.2
    return 1 / np.sqrt((slope**2 / (rendered[0] + SKY + READ_NOISE**2)).sum())


def off(found, true):
    """Offset of the middle of the field [pix]."""
    middle = np.array([[139.5, 129.5]])
    return (true.all_world2pix(found.all_pix2world(middle, 0), 0) - middle)[0]


def test_offsets_are_near_the_limit_and_their_errors_are_right():
    offsets, limits, pulls, catalogue = [], [], [], []
    params = AlignParams(method="pixels", fitgeom="shift", find=FIND)
    for seed in range(6):
        exposures, truth, scene = field(seed)
        for method, out in (("pixels", offsets), ("reference", catalogue)):
            found = align(exposures, params=replace(params, method=method))
            assert all(a.is_aligned for a in found)
            out += [off(a.wcs, true) for a, true in zip(found[1:], truth[1:], strict=True)]
            if method == "pixels":
                pulls += [off(a.wcs, t) * 0.1 / a.fit.shift_err for a, t in zip(found[1:], truth[1:], strict=True)]
        limits.append(limit(*scene) * np.sqrt(2))
    rms, best = np.sqrt(np.mean(np.square(offsets))), np.sqrt(np.mean(np.square(limits)))
    print(f"rms {rms:.4f} pix, limit {best:.4f}, catalogue {np.sqrt(np.mean(np.square(catalogue))):.4f}")
    print(f"pull {np.std(pulls):.2f}")
    assert rms < 1.5 * best
    assert 0.7 < np.std(pulls) < 1.3


@pytest.mark.parametrize("fitgeom", ["rshift", "rscale", "general"])
def test_rotations_are_found_on_pixels(fitgeom):
    exposures, truth, _ = field(11, turn=0.05, n_sources=60)
    found = align(exposures, params=AlignParams(method="pixels", fitgeom=fitgeom, find=FIND))
    for a, true in zip(found[1:], truth[1:], strict=True):
        x, y = np.meshgrid([20.0, 260.0], [20.0, 240.0])
        points = np.column_stack([x.ravel(), y.ravel()])
        away = true.all_world2pix(a.wcs.all_pix2world(points, 0), 0) - points
        assert np.abs(away).max() < 0.08
        assert abs(abs(a.correction.rotation_deg) - 0.05) < 0.01


def test_cosmic_rays_do_not_pull():
    exposures, truth, _ = field(3, hits=150)
    found = align(exposures, params=AlignParams(method="pixels", fitgeom="shift", find=FIND))
    assert max(np.abs(off(a.wcs, t)).max() for a, t in zip(found[1:], truth[1:], strict=True)) < 0.05


def test_a_catalogue_keeps_the_mean_and_a_group_moves_as_one():
    exposures, truth, _ = field(4)
    halves = []
    for e in exposures:
        for k, rows in enumerate((np.s_[:130, :], np.s_[130:, :])):
            arrays = {key: getattr(e, key)[rows] for key in ("data", "error", "dq")}
            halves.append(replace(e, wcs=e.wcs[rows], exposure_id=f"{e.exposure_id}{k}", group=e.exposure_id, **arrays))
    params = AlignParams(method="pixels", fitgeom="shift", find=FIND)
    found = align(halves, params=params)
    for k in range(1, 5):
        low, high = found[2 * k], found[2 * k + 1]
        assert np.array_equal(low.correction.shift, high.correction.shift)
        assert np.abs(off(low.wcs, truth[k])).max() < 0.05
    reference = found[0].sources.select("x", "y").to_numpy()
    import polars as pl

    ra, dec = truth[0].all_pix2world(reference, 0).T
    catalogue = pl.DataFrame({"ra": ra, "dec": dec})
    tied = align(exposures, reference=catalogue, params=replace(params, min_matches=8))
    mean = np.mean([off(a.wcs, t) for a, t in zip(tied, truth, strict=True)], axis=0)
    assert np.abs(mean).max() < 0.05
    assert tied[0].status == "aligned"


def test_two_exposures_and_flagged_pixels():
    exposures, truth, _ = field(5, n=2)
    flagged = exposures[1].flagged("cosmic_ray", np.random.default_rng(1).uniform(size=SHAPE) < 0.03)
    assert FLAG_BITS["cosmic_ray"]
    found = align([exposures[0], flagged], params=AlignParams(method="pixels", fitgeom="shift", find=FIND))
    assert np.abs(off(found[1].wcs, truth[1])).max() < 0.05
    assert found[1].row()["method"] == "image"
