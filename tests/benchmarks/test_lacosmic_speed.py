"""L.A.Cosmic of a 2048 x 2048 exposure with stars and tracks against astroscrappy."""

import astroscrappy
import numpy as np
import pytest

from skymere.outliers import LacosmicParams, lacosmic

pytestmark = pytest.mark.benchmark

SIDE = 2048


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(3)
    image = np.full((SIDE, SIDE), 120.0)
    y, x = np.indices((25, 25)) - 12.0
    for _ in range(2000):
        sigma, flux = rng.uniform(1.1, 1.5), 10 ** rng.uniform(3, 5)
        i, j = rng.integers(0, SIDE - 25, 2)
        image[j : j + 25, i : i + 25] += flux / (2 * np.pi * sigma**2) * np.exp(-0.5 * (x**2 + y**2) / sigma**2)
    image = rng.poisson(image) + rng.normal(0, 5, image.shape)
    for _ in range(8000):
        t = np.arange(rng.integers(1, 9))
        angle = rng.uniform(0, np.pi)
        i, j = ((rng.uniform(10, SIDE - 20) + t * f).astype(int) for f in (np.cos(angle), np.sin(angle)))
        image[j.clip(0), i.clip(0)] += 10 ** rng.uniform(2.2, 4)
    return image.astype(np.float32)


@pytest.mark.parametrize("separable", [False, True])
def test_lacosmic(separable, frame, race):
    """With the same full medians, and against astroscrappy's faster separable ones."""

    def ours():
        return lacosmic(frame, params=LacosmicParams(read_noise=5.0))

    def peer():
        return astroscrappy.detect_cosmics(frame, readnoise=5.0, sepmed=separable)

    race(
        f"L.A.Cosmic {SIDE} x {SIDE}, astroscrappy's {'separable' if separable else 'full'} medians",
        ours,
        peer,
        repeat=3,
    )
    if not separable:
        inner = np.s_[8:-8, 8:-8]
        assert np.mean(ours()[0][inner] != peer()[0][inner]) < 2e-4
