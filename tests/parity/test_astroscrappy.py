"""L.A.Cosmic against astroscrappy with full medians, and on a real frame."""

import astroscrappy
import numpy as np
import pytest
from astropy.io import fits

from skymere.outliers import LacosmicParams, lacosmic

INNER = np.s_[8:-8, 8:-8]
FILLS = {"mean": "meanmask", "median": "medmask", "distance": "idw"}


@pytest.fixture(scope="module")
def frame():
    """Sky, stars, a galaxy and tracks; and where the tracks are."""
    rng = np.random.default_rng(3)
    y, x = np.indices((300, 320), dtype=float)
    image = np.full(x.shape, 120.0)
    for _ in range(60):
        sigma, flux = rng.uniform(1.1, 1.5), 10 ** rng.uniform(3, 5.5)
        r2 = (x - rng.uniform(0, 320)) ** 2 + (y - rng.uniform(0, 300)) ** 2
        image += flux / (2 * np.pi * sigma**2) * np.exp(-0.5 * r2 / sigma**2)
    image += 500 * np.exp(-np.hypot(x - 160, y - 150) / 20)
    image = rng.poisson(image) + rng.normal(0, 5, image.shape)
    hits = np.zeros(image.shape, bool)
    for _ in range(250):
        length, angle = rng.integers(1, 9), rng.uniform(0, np.pi)
        t = np.arange(length)
        i = (rng.uniform(10, 310) + t * np.cos(angle)).round().astype(int).clip(0, 319)
        j = (rng.uniform(10, 290) + t * np.sin(angle)).round().astype(int).clip(0, 299)
        image[j, i] += 10 ** rng.uniform(2.2, 4)
        hits[j, i] = True
    return image.astype(np.float32), hits


@pytest.mark.parametrize("fill", list(FILLS))
@pytest.mark.parametrize("n_rounds", [1, 4])
def test_the_mask_and_the_image_are_those_of_astroscrappy(fill, n_rounds, frame):
    image, hits = frame
    expected, cleaned = astroscrappy.detect_cosmics(
        image, readnoise=5.0, sepmed=False, niter=n_rounds, cleantype=FILLS[fill]
    )
    found, ours = lacosmic(image, params=LacosmicParams(read_noise=5.0, fill=fill, n_rounds=n_rounds))
    # Pixels that are at a limit up to rounding may differ, and what the next round makes of them.
    assert np.mean(found[INNER] != expected[INNER]) < 2e-4
    same = (found & expected)[INNER]
    assert same.sum() > 700
    if fill == "mean":
        assert np.mean(np.abs(ours - cleaned)[INNER][same] > 1e-3 * cleaned[INNER][same]) < 0.02
    assert (found & hits).sum() / hits.sum() > 0.85


def test_astroscrappy_fills_with_the_lower_median_and_skymere_with_the_median(frame):
    image, _ = frame
    expected, theirs = astroscrappy.detect_cosmics(image, readnoise=5.0, sepmed=False, niter=1, cleantype="medmask")
    found, ours = lacosmic(image, params=LacosmicParams(read_noise=5.0, fill="median", n_rounds=1))
    assert np.array_equal(found[INNER], expected[INNER])
    for j, i in np.argwhere(found[INNER])[:200] + 8:
        near = np.s_[j - 2 : j + 3, i - 2 : i + 3]
        values = np.sort(image[near][~found[near]])
        assert ours[j, i] == pytest.approx(np.median(values), rel=1e-6)
        assert theirs[j, i] == values[(len(values) - 1) // 2]


def test_distances_weigh_inversely(frame):
    image, _ = frame
    found, ours = lacosmic(image, params=LacosmicParams(read_noise=5.0, fill="distance", n_rounds=1))
    dy, dx = np.mgrid[-2:3, -2:3]
    for j, i in np.argwhere(found[INNER])[:50] + 8:
        near = np.s_[j - 2 : j + 3, i - 2 : i + 3]
        weight = np.where(found[near], 0.0, 1 / np.maximum(np.hypot(dx, dy), 0.1))
        assert ours[j, i] == pytest.approx((weight * image[near]).sum() / weight.sum(), rel=1e-5)


def test_a_real_frame_with_background_and_variance(shared_data):
    with fits.open(shared_data / "imaging/cosmic_rays/gmos_astroscrappy.fits") as hdus:
        data, variance, sky = (np.array(hdus[name].data, np.float32) for name in ("SCI", "VAR", "SKYFIT"))
    expected, _ = astroscrappy.detect_cosmics(
        data, inbkg=sky, invar=variance, sepmed=False, cleantype="medmask", satlevel=np.inf
    )
    params = LacosmicParams(fill="median", saturation=np.inf)
    found, cleaned = lacosmic(data, error=np.sqrt(variance), background=sky, params=params)
    print(f"{found.sum()} pixels, astroscrappy {expected.sum()}, {(found != expected)[INNER].sum()} differ")
    assert (found != expected)[INNER].sum() <= 0.03 * expected.sum()
    assert np.array_equal(cleaned[~found], data[~found])
