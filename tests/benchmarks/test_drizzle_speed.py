"""Drizzle and blot of a WFC3/IR exposure (1014 x 1014) against PyPI drizzle."""

import numpy as np
import pytest
from astropy.wcs import WCS
from drizzle.resample import Drizzle, blot_image

from skymere.resample import BlotParams, DrizzleParams, Drizzler, blot
from skymere.wcs import Grid, pixel_map

pytestmark = pytest.mark.benchmark

SHAPE = (1014, 1014)
SCALE_ARCSEC = 0.06
RATIO = float(np.float32(SCALE_ARCSEC / 0.1283))


def detector():
    """The geometry of WFC3/IR: 0.128 arcsec pixels, 10 % anamorphic, distorted by several pixels."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = [53.1, -27.8], [507.0, 507.0]
    t = np.deg2rad(38.0)
    turn = np.array([[-np.cos(t), np.sin(t)], [np.sin(t), np.cos(t)]])
    wcs.wcs.cd = turn @ np.diag([0.1355, 0.1211]) / 3600
    wcs.wcs.set()
    return wcs


@pytest.fixture(scope="module")
def scene():
    rng = np.random.default_rng(1)
    wcs = detector()
    grid = Grid.covering([(wcs, SHAPE)], scale_arcsec=SCALE_ARCSEC, margin_pix=10)
    pixmap = pixel_map(wcs, grid.wcs, SHAPE)
    y, x = np.indices(SHAPE, dtype=float)
    pixmap += np.stack([1e-6 * (x - 507) * (y - 507), 2e-6 * (x - 507) ** 2], axis=-1)
    data = rng.normal(1.0, 0.1, SHAPE).astype(np.float32)
    weight = rng.uniform(100, 200, SHAPE).astype(np.float32)
    return data, weight, pixmap, grid, wcs


@pytest.mark.filterwarnings("ignore:Kernel:Warning")
@pytest.mark.parametrize(
    ("kernel", "pixfrac"),
    [("square", 1.0), ("square", 0.8), ("turbo", 1.0), ("point", 1.0), ("gaussian", 1.0), ("lanczos3", 1.0)],
)
def test_drizzle_with_the_pixel_map_given(kernel, pixfrac, scene, race):
    data, weight, pixmap, grid, _ = scene

    def ours():
        drizzler = Drizzler(
            grid.shape, params=DrizzleParams(kernel=kernel, pixfrac=pixfrac, fillval=0.0, lanczos="table")
        )
        drizzler.add(data, pixmap, weight=weight, value_scale=RATIO**2, pixel_scale_ratio=RATIO)
        return drizzler.finish()

    def peer():
        drizzler = Drizzle(kernel=kernel, out_shape=grid.shape, fillval=0.0)
        drizzler.add_image(
            data,
            exptime=1.0,
            pixmap=pixmap,
            weight_map=weight,
            pixfrac=pixfrac,
            in_units="cps",
            iscale=RATIO**2,
            pixel_scale_ratio=RATIO,
        )
        return drizzler

    race(f"drizzle {kernel} pixfrac {pixfrac} to {grid.shape[0]} x {grid.shape[1]}", ours, peer)
    found, expected = ours(), peer()
    if kernel == "lanczos3":
        agrees_with_lanczos(found, expected)
        return
    assert np.abs(found.data - expected.out_img).max() < 1e-6 * expected.out_img.max()
    assert np.abs(found.weight - expected.out_wht).max() < 1e-6 * expected.out_wht.max()
    assert np.mean(found.context[0] != expected.out_ctx.reshape(grid.shape)) < 1e-6


def agrees_with_lanczos(found, expected):
    """Up to ties between two entries of drizzle's table; its weights are larger by the squared scale ratio, and it
    drops input pixels centred outside of the output."""
    inner = np.s_[8:-8, 8:-8]
    weight = expected.out_wht[inner] * RATIO**2
    used = weight > 0.5 * np.median(weight)
    off = np.abs(found.data[inner] - expected.out_img[inner])[used] / expected.out_img.max()
    assert np.mean(off > 3e-6) < 1e-4
    assert off.max() < 1e-3
    assert np.mean(np.abs(found.weight[inner] - weight) > 3e-6 * weight.max()) < 1e-4


@pytest.mark.parametrize("interpolation", ["linear", "poly5", "lanczos3"])
def test_blot(interpolation, scene, race):
    data, _, pixmap, grid, _ = scene
    drizzler = Drizzler(grid.shape, params=DrizzleParams(fillval=0.0))
    drizzler.add(data, pixmap)
    image = drizzler.finish().data
    positions = np.round(pixmap * 2**11 + 0.25) / 2**11
    params = BlotParams(interpolation=interpolation)

    def ours():
        return blot(image, positions, params=params)

    def peer():
        return blot_image(image, positions, interp=interpolation)

    race(f"blot {interpolation}", ours, peer)
    middle = np.s_[8:-8, 8:-8]
    expected, tolerance = peer(), 1e-6
    if interpolation == "lanczos3":
        # drizzle's weights do not add up to 1, and come from a table in steps of 0.01 pixel.
        expected /= blot_image(np.ones_like(image), positions, interp=interpolation)
        tolerance = 5e-3
    assert np.abs(ours() - expected)[middle].max() < tolerance
